"""Preprocessed cases on disk, found again by what they were made of.

An entry is a folder that appears by one rename: killed runs leave no half entry, two runs at once
share one. It is used as it was made, or made anew.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from inflate_zoo.bench.data.grids import Grid, require_same_grid
from inflate_zoo.bench.data.preprocessing import class_indices, network_input, seen_shape
from inflate_zoo.bench.data.resampling import resample_labels
from inflate_zoo.bench.data.threads import in_threads, threads_for
from inflate_zoo.bench.data.volumes import Volume, read_channels, read_grid, read_volume
from inflate_zoo.bench.definitions.datasets import Case, Dataset, refuse_problems
from inflate_zoo.bench.definitions.tasks import Millimetres, Slices, Task
from inflate_zoo.errors import OutputExistsError, UsageError, WriteError
from inflate_zoo.files.budgets import JSON_BYTES, LEAST_MM, MOST_MM
from inflate_zoo.files.foreign import json_form, mapped_array
from inflate_zoo.files.reading import reading
from inflate_zoo.files.writing.contents import json_text, write_text
from inflate_zoo.files.writing.store import MANIFEST, DigestMemory, store_of

PREPROCESSING_VERSION = 1  # raise it when the same files would give other arrays
# Of each array its type and how many dimensions it has.
_ARRAYS: Mapping[str, tuple[str, int]] = MappingProxyType(
    {
        "image": ("float16", 4),
        "label": ("uint8", 3),
        "reference": ("uint8", 3),
        "foreground": ("int32", 2),
    }
)
_FILES = (*(f"{name}.npy" for name in _ARRAYS), "case.json")
_MOST_FOREGROUND = 20_000  # voxels per class
_ROUNDING = 1e-6  # of a length: headers are in single precision
_CHECK = "run 'inflate-zoo data check' on the data set's folder"


class _SpoiltError(Exception):
    """An entry is whole, and yet what it holds is no case."""


def _spoilt(_: Exception) -> Exception:
    return _SpoiltError()


_Length = Annotated[float, Field(ge=LEAST_MM, le=MOST_MM)]


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    spacing: tuple[_Length, _Length, _Length]


@dataclass(frozen=True, eq=False)
class CachedCase:
    """One case as a trial sees it; arrays are memory-mapped and read-only.

    Attributes:
        name: Name of the case.
        key: Name of the entry.
        image: float16 [channels, depth, height, width] in [0, 1], at the task's spacing.
        label: Class indices, uint8 [depth, height, width], on the same grid.
        reference: Class indices, uint8, on the file's own grid in (depth, height, width) order.
        spacing: Of the file's own grid, (depth, height, width) in mm; where headers of image and
            label differ, the image's. Its product is the volume of a voxel, also of a sheared one.
        foreground: int32 [n, 4], rows (class, z, y, x) on the grid of `image`, sorted by class;
            of each class besides the background all voxels, or 20,000 drawn with a fixed seed.
    """

    name: str
    key: str
    image: NDArray[np.float16]
    label: NDArray[np.uint8]
    reference: NDArray[np.uint8]
    spacing: Millimetres
    foreground: NDArray[np.int32]


def prepare(
    task: Task,
    dataset: Dataset,
    cases: Sequence[str],
    cache: Path,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, str]:
    """Preprocess cases that the cache does not hold yet.

    Args:
        task: With the spacing and intensities in force (see `preprocessing.resolve`).
        dataset: Where the cases are.
        cases: Names of the cases.
        cache: Folder of the cache; made if need be.
        progress: Called with the number of cases done and in all.

    Returns:
        Case name to the key that `open_case` takes, in the order of `cases`.

    Raises:
        UsageError: The data set has problems or lacks a case, or a file cannot be used.
        WriteError: Disk full, read-only folder.
    """
    refuse_problems(dataset)
    known = {case.name: case for case in dataset.cases}
    if unknown := [name for name in cases if name not in known]:
        raise UsageError(
            f"{len(unknown)} case(s) are not in the data set, e.g. '{unknown[0]}'", hint=_CHECK
        )
    keys: dict[str, str] = {}
    progress(0, len(cases))

    store = store_of(cache)

    def prepared(name: str) -> str:
        key = _key(task, known[name], store.digests)
        if not store.whole(_folder(cache, key), _FILES):
            _store(task, known[name], key, cache)
        return key

    largest = max((_voxels(task, known[name]) for name in cases), default=0)
    for name, key in zip(cases, in_threads(prepared, cases, threads_for(largest)), strict=True):
        keys[name] = key
        progress(len(keys), len(cases))
    return keys


def _voxels(task: Task, case: Case) -> int:
    """Voxels of a case's channels, on its own grid or as resampled, whichever are more."""
    grid = read_grid(case.images[0])
    # Channels are read together, where they share a file, and kept together in half precision.
    return max(prod(grid.shape), prod(seen_shape(task, grid))) * (1 + len(task.channels) // 4)


def open_case(cache: Path, key: str) -> CachedCase:
    """Open an entry of the cache.

    Raises:
        UsageError: It is gone or damaged.
    """
    folder = _folder(cache, key)
    store = store_of(cache)
    if not store.whole(folder, _FILES):
        raise _damaged(key)
    try:
        with (folder / "case.json").open("rb") as file:
            facts = json_form(_Facts, file.read(JSON_BYTES["note"]), _spoilt)
        arrays = {
            name: mapped_array(folder / f"{name}.npy", *form, _spoilt)
            for name, form in _ARRAYS.items()
        }
    except _SpoiltError as error:
        store.distrust(folder)
        raise _damaged(key) from error
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise UsageError(
                "too many files are open", hint="raise the limit, e.g. ulimit -n 4096"
            ) from error
        raise _damaged(key) from error
    return CachedCase(name=facts.name, key=key, spacing=facts.spacing, **arrays)


def absent_cases(cache: Path, keys: Iterable[str]) -> list[str]:
    """Of some entries those that the cache does not hold; damage is noticed where one is opened."""
    return [
        key
        for key in keys
        if not all((_folder(cache, key) / name).is_file() for name in (*_FILES, MANIFEST))
    ]


def _damaged(key: str) -> UsageError:
    return UsageError(
        f"the preprocessed case {key[:16]} is gone from the cache, or damaged",
        hint="run the 'inflate-zoo bench' command again: it is made anew",
    )


def _folder(cache: Path, key: str) -> Path:
    return cache / "cases" / key


def _key(task: Task, case: Case, digests: DigestMemory) -> str:
    def digest(path: Path) -> str:
        with reading(path):
            return digests.of(path)

    parts: dict[str, Any] = {
        "version": PREPROCESSING_VERSION,
        "name": case.name,
        "images": [digest(path) for path in case.images],
        "label": digest(case.label),
        "spacing": task.spacing,
        "intensity": task.intensity.model_dump(),
        "slices": task.slices,
        "values": task.values,
    }
    label, image = read_grid(case.label), read_grid(case.images[0])
    # Until lengths in micron and metre were converted, such files were prepared as if in mm.
    if label.millimetres != 1:
        parts["millimetres"] = label.millimetres
    # Until the image alone decided what is seen of it, its label's spacing did: headers round.
    if (seen := seen_shape(task, image)) != seen_shape(task, label):
        parts["seen"] = seen
    # Until then distances were measured with the label's, too, and volumes with its product.
    if (spacing := _own_spacing(label, image, task.slices)) != label.spacing(task.slices):
        parts["own_spacing"] = spacing
    # Until then voxels of sizes below 0 mirrored a file that states nothing else of its geometry.
    if label.had_negative_sizes or image.had_negative_sizes:
        parts["negative_sizes"] = True
    # Until the first image decided how all files are turned, each decided for itself.
    others = [label, *(read_grid(path) for path in case.images[1:])]
    if not all(np.array_equal(grid.orientation, image.orientation) for grid in others):
        parts["turned"] = "as the first image"
    if task.whole_slices:
        parts |= {"spacing": None, "slice_size": task.slice_size}
    return hashlib.sha256(json_text(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _own_spacing(label: Grid, image: Grid, slices: Slices) -> Millimetres:
    """Spacing of a case's own grid in mm: the image's; the label's where that is but rounded.

    Its product is the volume of a voxel: in depth it is how far apart the slices are, which is less
    than the edge of a voxel where the affine shears, as of a tilted gantry.
    """
    rounded = label.spacing(slices)
    _, height, width = image.spacing(slices)
    own = image.voxel_mm3 / (height * width), height, width
    return rounded if np.allclose(rounded, own, rtol=_ROUNDING, atol=0) else own


def _store(task: Task, case: Case, key: str, cache: Path) -> None:
    """Preprocess a case into the cache; where another process was faster, its entry stays."""
    store, target = store_of(cache), _folder(cache, key)
    arrays, spacing = preprocess(task, case)
    store.discard(target, _FILES)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with store.made(target, _FILES) as stage:
            for name, array in arrays.items():
                np.save(stage / f"{name}.npy", array, allow_pickle=False)
            write_text(stage / "case.json", json_text({"name": case.name, "spacing": spacing}))
    except OutputExistsError:
        if not store.whole(target, _FILES):
            raise
    except (OSError, WriteError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        raise WriteError(
            f"case '{case.name}' cannot be put into the cache: "
            f"{getattr(cause, 'strerror', None) or 'writing failed'}",
            hint="free space, or name another folder with the variable INFLATE_ZOO_CACHE",
        ) from error


def preprocess(task: Task, case: Case) -> tuple[dict[str, NDArray[Any]], Millimetres]:
    """The arrays of an entry, by name, and the spacing of the file's own grid in mm.

    Raises:
        UsageError: A file cannot be read, or image, label and task do not fit together.
    """
    label = read_volume(case.label, task.slices, read_grid(case.images[0]))
    if label.grid.channels != 1:
        raise _unfit(case, f"its label '{label.grid.name}' has {label.grid.channels} channels")
    reference = class_indices(label.array[0], task.values, label.grid.name)
    channels = _on_grid(label.grid, read_channels(case.images, task.slices))
    seen = network_input(task, channels, case.name)
    depth, height, width = seen.image.shape[1:]
    indices = resample_labels(reference, (depth, height, width))
    arrays: dict[str, NDArray[Any]] = {
        "image": seen.image,
        "label": indices,
        "reference": reference,
        "foreground": _foreground(indices, len(task.values)),
    }
    return arrays, _own_spacing(label.grid, seen.grid, task.slices)


def _on_grid(label: Grid, channels: Iterator[Volume]) -> Iterator[Volume]:
    """The channels, each once it is known to lie where the label lies."""
    for volume in channels:
        require_same_grid(label, volume.grid)
        yield volume


def _unfit(case: Case, what: str) -> UsageError:
    return UsageError(f"case '{case.name}': {what}", hint=_CHECK)


def _foreground(label: NDArray[np.uint8], classes: int) -> NDArray[np.int32]:
    random = np.random.default_rng(0)
    rows = [np.empty((0, 4), np.int32)]
    for index in range(1, classes):
        places = np.flatnonzero(label == index)
        if len(places) > _MOST_FOREGROUND:
            places = np.sort(random.choice(places, _MOST_FOREGROUND, replace=False))
        coordinates = np.stack(np.unravel_index(places, label.shape), axis=1)
        rows.append(np.insert(coordinates, 0, index, axis=1).astype(np.int32))
    return np.concatenate(rows)
