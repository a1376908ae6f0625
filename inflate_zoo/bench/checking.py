"""Everything that is wrong with a data set, found in one pass over its files."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inflate_zoo.bench.cores import in_threads, threads_for
from inflate_zoo.bench.grids import Grid, grid_difference, short_name
from inflate_zoo.bench.layouts import Case, Dataset, Finding
from inflate_zoo.bench.splits import FEWEST
from inflate_zoo.bench.volumes import Volume, read_channels, read_grid, read_volume
from inflate_zoo.errors import UsageError

_SHOWN = 5  # odd values of a label
_TAKE_OUT = "repair the file or take the case out"
_MEMORY = "close other programs, or take the case out"


@dataclass(frozen=True)
class Report:
    """What is wrong with a data set.

    Attributes:
        cases: Number of cases read.
        bad: What keeps the data set from being used, by case.
        warnings: What deserves a look.
    """

    cases: int
    bad: tuple[Finding, ...]
    warnings: tuple[Finding, ...]


@dataclass(frozen=True)
class _Verdict:
    bad: list[Finding]
    warnings: list[Finding]


def check(
    dataset: Dataset,
    *,
    folds: int = 5,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Report:
    """Read every file of a data set and list all that is wrong.

    Args:
        dataset: As `layouts.read_dataset` gives it; its problems are taken over.
        folds: Folds it is to be split into.
        progress: Called with the number of cases done and in all.
    """
    bad, warnings = list(dataset.problems), []
    needed = max(FEWEST, folds)
    if len(dataset.cases) < needed:
        what = f"{len(dataset.cases)} usable cases are too few for {folds} folds"
        bad.append(Finding("", what, f"at least {needed} are needed"))
    total = len(dataset.cases)
    progress(0, total)
    threads = threads_for(max(map(_voxels, dataset.cases), default=0))
    verdicts = in_threads(lambda case: _check_case(case, dataset), dataset.cases, threads)
    for done, verdict in enumerate(verdicts, 1):
        bad += verdict.bad
        warnings += verdict.warnings
        progress(done, total)
    return Report(total, tuple(bad), tuple(warnings))


def _voxels(case: Case) -> int:
    """Voxels of the largest file; what cannot be read is told of later."""
    sizes = [0]
    for path in (case.label, *case.images):
        with suppress(UsageError):
            grid = read_grid(path)
            sizes.append(prod(grid.shape) * grid.channels)
    return max(sizes)


def _check_case(case: Case, dataset: Dataset) -> _Verdict:
    verdict = _Verdict([], [])

    def complain(what: str, hint: str = _TAKE_OUT) -> None:
        verdict.bad.append(Finding(case.name, what, hint))

    def warn(what: str, hint: str) -> None:
        verdict.warnings.append(Finding(case.name, what, hint))

    label: Grid | None = None
    try:
        volume = read_volume(case.label, "axial")
        label = volume.grid
        _check_label(volume, dataset, complain, warn)
        del volume
    except UsageError as error:
        complain(error.message, error.hint)
    except MemoryError:
        complain(f"'{short_name(case.label)}' does not fit into memory", _MEMORY)
    try:
        _check_image(case, label, dataset, complain, warn)
    except UsageError as error:
        complain(error.message, error.hint)
    except MemoryError:
        complain(f"'{short_name(case.images[0])}' does not fit into memory", _MEMORY)
    return verdict


def _check_image(
    case: Case,
    label: Grid | None,
    dataset: Dataset,
    complain: Callable[..., None],
    warn: Callable[[str, str], None],
) -> None:
    found, last = 0, None
    for volume in read_channels(case.images, "axial"):
        grid = volume.grid
        if grid is not last:
            last = grid
            if len(case.images) > 1 and grid.channels > 1:
                complain(f"'{grid.name}' is 4-D, one channel per file is expected")
            if label is not None and (different := grid_difference(label, grid)):
                complain(f"its label '{label.name}' {different}", "write the label on its grid")
            if odd := _pixdim_difference(grid):
                warn(odd, "the affine counts; correct the header if it is the wrong one")
        _check_channel(
            volume, f"'{grid.name}'" + f" channel {found}" * (grid.channels > 1), complain
        )
        found += 1
    if found != len(dataset.channels):
        expected = len(dataset.channels)
        complain(
            f"the image has {found} channel(s), dataset.json names {expected}",
            "correct dataset.json, or the image",
        )


def _pixdim_difference(grid: Grid) -> str | None:
    stated = np.abs(np.asarray(grid.header["pixdim"][1:4], np.float64))
    real = np.linalg.norm(grid.affine[:3, :3], axis=0)
    if np.all(np.abs(stated - real) <= 0.01 * real):
        return None
    shown = [" x ".join(f"{size:g}" for size in sizes) for sizes in (stated, real)]
    return f"'{grid.name}' has a spacing of {shown[0]} mm in its header, {shown[1]} in its affine"


def _check_channel(volume: Volume, where: str, complain: Callable[..., None]) -> None:
    """Values that are no numbers, or all the same; slab by slab to keep memory low."""
    odd, least, most = 0, np.inf, -np.inf
    for slab in volume.array[0]:
        with np.errstate(over="ignore"):  # what float32 cannot hold counts as infinite
            values = slab.astype(np.float32)
        finite = np.isfinite(values)
        odd += values.size - int(finite.sum())
        least = min(least, float(values.min(where=finite, initial=np.inf)))
        most = max(most, float(values.max(where=finite, initial=-np.inf)))
    if odd:
        complain(f"{where} holds {odd:,} voxels that are NaN or infinite")
    if least == most:
        complain(f"{where} holds one value only, {least:g}")


def _check_label(
    volume: Volume,
    dataset: Dataset,
    complain: Callable[..., None],
    warn: Callable[[str, str], None],
) -> None:
    where = f"its label '{volume.grid.name}'"
    if volume.grid.channels != 1:
        complain(f"{where} is 4-D with {volume.grid.channels} channels, 3-D is expected")
        return
    values, nan = _values(volume.array[0])
    if nan:
        complain(f"{where} holds {nan:,} voxels that are NaN or infinite")
    known = set(dataset.labels.values())
    fractions = sorted(value for value in values if value != int(value))
    unknown = sorted(value for value in values if value == int(value) and value not in known)
    for kind, odd in (
        ("fractions", fractions),
        ("values that dataset.json does not name", unknown),
    ):
        if odd:
            shown = ", ".join(f"{value:g}" for value in odd[:_SHOWN])
            more = f" and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else ""
            complain(f"{where} holds {kind}: {shown}{more}", "correct the label or dataset.json")
    if values == {0}:
        warn(f"{where} is all background", "fine for a healthy control")


def _values(label: NDArray[Any]) -> tuple[set[float], int]:
    """Distinct finite values, and how many voxels are not finite."""
    values: set[float] = set()
    odd = 0
    for slab in label:
        finite = np.isfinite(slab)
        odd += slab.size - int(finite.sum())
        values.update(np.unique(slab[finite]).tolist())
    return values, odd
