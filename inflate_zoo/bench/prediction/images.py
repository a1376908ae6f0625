"""Images to segment: files grouped into cases, checked, and brought to what a network sees."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inflate_zoo.bench.data.dicom import holds_dicom, is_dicom, read_series
from inflate_zoo.bench.data.grids import (
    Grid,
    grid_difference,
    require_same_grid,
    shear,
    short_name,
)
from inflate_zoo.bench.data.preprocessing import class_indices, seen_shape
from inflate_zoo.bench.data.volumes import (
    SUPPORTED,
    Volume,
    describe_channels,
    read_channels,
    read_grid,
    read_volume,
)
from inflate_zoo.bench.definitions.progress import StageProgress
from inflate_zoo.bench.definitions.tasks import Slices, Task
from inflate_zoo.errors import UsageError
from inflate_zoo.files.reading import called, reading, require_folder, require_regular
from inflate_zoo.texts import is_text

PREDICTED = ".nii.gz"  # how predictions end
_CHANNEL = re.compile(r"(.+)_(\d{4})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class CaseImages:
    """One image to segment.

    Attributes:
        case: Its name: the file's or folder's, without ending and channel number.
        images: One file with all channels, or one per channel, in channel order; a folder is a
            DICOM series.
        reference: Label to score against; `None` for none.
    """

    case: str
    images: tuple[Path, ...]
    reference: Path | None

    @property
    def file(self) -> str:
        """Name of the prediction's file."""
        return f"{self.case}{PREDICTED}"

    @property
    def probabilities_file(self) -> str:
        """Name of the file of probabilities."""
        return f"{self.case}.npz"

    def channels(self, slices: Slices) -> Iterator[Volume]:
        """Its channels one by one, each [1, depth, height, width].

        Args:
            slices: Plane of a slice.

        Raises:
            UsageError: One cannot be read.
        """
        return read_channels(self.images, slices, _read)


def _read(path: Path, slices: Slices, like: Grid | None) -> Volume:
    read = read_series if path.is_dir() else read_volume
    return read(path, slices, like)


def find_jobs(paths: Sequence[Path], references: Path | None, task: Task) -> list[CaseImages]:
    """Group files into cases, sorted by name; of volumes headers alone are read.

    Files that end in `_0000`, `_0001`, ... are channels of one case. Such a number belongs to the
    name where a file has all channels of the task by itself, and, where the task has but one, where
    another number than `_0000` is there. A folder that holds DICOM files is
    as one file of that name.

    Args:
        paths: Files; folders of them; DICOM series, or folders of such.
        references: Folder of labels named as the cases; `None` for none.
        task: What the network was trained for.

    Raises:
        UsageError: No images, a path that is not there, a case named twice or by what is no text,
            channels or references missing.
    """
    if references is not None:
        require_folder(references, "name a folder of labels that are called as the cases")
    named: dict[str, dict[int | None, list[Path]]] = {}
    stems = [(path, _stem(path)) for path in _files(paths)]
    numbers: dict[str, set[int]] = {}
    for _, stem in stems:
        if match := _CHANNEL.fullmatch(stem):
            numbers.setdefault(match[1], set()).add(int(match[2]))
    for path, stem in stems:
        case, place = _case_and_channel(path, stem, numbers, len(task.channels))
        named.setdefault(case, {}).setdefault(place, []).append(path)
    problems, jobs = [], []
    for case, channels in sorted(named.items()):
        problem = _odd_channels(channels, len(task.channels))
        if not is_text(case):  # the record of what was made could not name it
            problem = "has a name that is no UTF-8: rename its files"
        if problem:
            problems.append(f"{case}: {problem}")
            continue
        images = tuple(channels[place][0] for place in sorted(channels, key=lambda key: key or 0))
        reference = _reference(references, case) if references else None
        if references and reference is None:
            problems.append(f"{case}: '{references.name}' holds no {case}.nii.gz")
        jobs.append(CaseImages(case, images, reference))
    _refuse(problems, "give each case once, with all its channels, and its reference if any")
    return jobs


def _case_and_channel(
    path: Path, stem: str, numbers: Mapping[str, set[int]], channels: int
) -> tuple[str, int | None]:
    """The name of a file's case, and the number of its channel; `None` where it has all of them."""
    if not (match := _CHANNEL.fullmatch(stem)):
        return stem, None
    whole = numbers[match[1]] != {0}
    if channels > 1:
        whole = False
        with suppress(UsageError):  # what cannot be read is told once it is needed
            whole = not path.is_dir() and read_grid(path).channels == channels
    return (stem, None) if whole else (match[1], int(match[2]))


def _files(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += _inside(path)
        elif path.name.lower().endswith(SUPPORTED):
            found.append(path)
        else:
            require_regular(path)
            series = is_dicom(path)
            hint = "name the folder of its series" if series else "name .nii or .nii.gz files"
            raise UsageError(f"'{short_name(path)}' is no NIfTI file", hint=hint)
    return found


def _inside(folder: Path) -> list[Path]:
    """The NIfTI files of a folder; else itself or its folders, where they hold DICOM files."""
    with reading(folder):
        entries = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    files = [path for path in entries if path.name.lower().endswith(SUPPORTED)]
    if holds_dicom(folder):
        if files:
            raise UsageError(
                f"'{called(folder)}' holds NIfTI files and DICOM files",
                hint="put them into folders of their own, or name the NIfTI files",
            )
        return [folder.resolve() if folder.name in ("", "..") else folder]
    series = [] if files else [path for path in entries if path.is_dir() and holds_dicom(path)]
    if not files and not series:
        raise UsageError(
            f"'{called(folder)}' holds no .nii or .nii.gz file, and no DICOM series",
            hint="name another",
        )
    return files or series


def _stem(path: Path) -> str:
    if path.is_dir():  # a DICOM series
        return path.name
    return re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)


def _odd_channels(channels: dict[int | None, list[Path]], count: int) -> str | None:
    if any(len(files) > 1 for files in channels.values()) or (
        None in channels and len(channels) > 1
    ):
        files = [short_name(path) for group in channels.values() for path in group]
        return f"is named more than once: {', '.join(files)}"
    if None not in channels and set(channels) != set(range(count)):
        shown = ", ".join(f"{place:04d}" for place in sorted(channels, key=lambda key: key or 0))
        return f"has the channels {shown}, the task has {count}, from 0000"
    return None


def _reference(folder: Path, case: str) -> Path | None:
    candidates = (folder / f"{case}{ending}" for ending in SUPPORTED)
    return next((path for path in candidates if path.exists()), None)


def _refuse(problems: Sequence[str], hint: str) -> None:
    if problems:
        raise UsageError(
            f"{len(problems)} case(s) cannot be predicted; nothing was written",
            details=problems,
            hint=hint,
        )


def check_jobs(jobs: Sequence[CaseImages], task: Task, progress: StageProgress) -> None:
    """Read every file whole once; warn of grids without right angles.

    Raises:
        UsageError: Lists all cases that cannot be used.
    """
    problems, odd = [], []
    for index, job in enumerate(jobs):
        progress("cases checked", index, len(jobs))
        try:
            grid = check_images(job, task)
            if sheared := shear(grid):
                odd.append(f"{job.case}: {sheared}")
            if job.reference is not None:
                require_same_grid(read_reference(job.reference, task)[1], grid)
        except UsageError as error:
            problems.append(f"{job.case}: {error.message}")
    progress("cases checked", len(jobs), len(jobs))
    _refuse(problems, "correct the files, or leave these cases out")
    if odd:
        more = f" (and {len(odd) - 1} case(s) more)" if len(odd) > 1 else ""
        warnings.warn(f"{odd[0]}{more}", stacklevel=2)


def check_images(job: CaseImages, task: Task) -> Grid:
    """Read the channels of a case whole once.

    Returns:
        The grid that all of them share.

    Raises:
        UsageError: A file cannot be read, channels are too many, too few or on another grid, a
            voxel is NaN or infinite, or all of a channel are equal.
    """
    first: Grid | None = None
    found = 0
    for volume in job.channels(task.slices):
        if first is None:
            first = volume.grid
            seen_shape(task, first)
        if different := grid_difference(volume.grid, first, "the first"):
            raise UsageError(f"channel {found} {different}", hint="")
        if not np.isfinite(volume.array).all():
            raise UsageError(f"channel {found} holds voxels that are NaN or infinite", hint="")
        if volume.array.min() == volume.array.max():
            raise UsageError(f"channel {found} holds one value only", hint="")
        found += 1
    if found != len(task.channels) or first is None:
        expected = f"{len(task.channels)} ({', '.join(task.channels)})"
        raise UsageError(f"has {found} channel(s), the task has {expected}", hint="")
    return first


def read_reference(
    path: Path, task: Task, like: Grid | None = None
) -> tuple[NDArray[np.uint8], Grid]:
    """Class indices of a label, [depth, height, width], and its grid.

    Args:
        path: Its file.
        task: What the label's values mean.
        like: As `read_volume` takes it.

    Raises:
        UsageError: It cannot be read, or holds other values than the task's.
    """
    volume = read_volume(path, task.slices, like)
    if volume.grid.channels != 1:
        what, hint = describe_channels(volume)
        raise UsageError(f"its reference '{volume.grid.name}' {what}", hint=hint)
    return class_indices(volume.array[0], task.values, volume.grid.name), volume.grid
