"""Everything that is wrong with a data set, found in one pass over its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from statistics import median_low
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from inflate_zoo.bench.data.grids import (
    Grid,
    form_difference,
    grid_difference,
    mixed_planes,
    shear,
    short_name,
)
from inflate_zoo.bench.data.remembered import Remembered
from inflate_zoo.bench.data.splits import FEWEST
from inflate_zoo.bench.data.threads import in_threads, threads_for
from inflate_zoo.bench.data.volumes import (
    Volume,
    describe_channels,
    read_channels,
    read_grid,
    read_volume,
    value_text,
)
from inflate_zoo.bench.definitions.datasets import Case, Dataset, Finding
from inflate_zoo.bench.definitions.tasks import Split
from inflate_zoo.errors import UsageError

_SHOWN = 5  # odd values of a label
_ROUNDED = 0.01  # from a whole number: arithmetic, not a share of a class
_ROUND = "write np.rint(label).astype(np.uint8), without scl_slope and scl_inter"
_TAKE_OUT = "repair the file or take the case out"
_MEMORY = "close other programs, or take the case out"
_FAR = 100  # times wider voxels than those of the other cases: another unit, not another scanner
_USUAL = (0.005, 50.0)  # mm, width of a voxel in any scan of a body
_CORRECT_FORM = "correct whichever is wrong"
_RESAMPLE = "resample image and label onto a grid with right angles if that matters"
_ALIGN = "a derived task mixes their axes: resample some cases, or make two data sets"
_WARNINGS = TypeAdapter(list[tuple[str, str]])  # what was found and what to do, as kept
_STATE_UNIT = "state the unit in the headers' xyzt_units, or correct their spacing"


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
    grids: list[Grid]  # of the image's files


def check(
    dataset: Dataset,
    progress: Callable[[int, int], None] = lambda *_: None,
    remembered: Remembered | None = None,
) -> Report:
    """Read every file of a data set and list all that is wrong.

    Args:
        dataset: As `layouts.read_dataset` gives it; its problems are taken over.
        progress: Called with the number of cases done and in all.
        remembered: Cases that were good before, by their files, are not read again.
    """
    bad, warnings = list(dataset.problems), list(dataset.warnings)
    folds = Split().folds
    needed = max(FEWEST, folds)
    if len(dataset.cases) < needed:
        what = f"{len(dataset.cases)} usable cases are too few for {folds} folds"
        bad.append(Finding("", what, f"at least {needed} are needed"))
    total = len(dataset.cases)
    progress(0, total)
    threads = threads_for(max(map(_voxels, dataset.cases), default=0))
    verdicts = in_threads(lambda case: _checked(case, dataset, remembered), dataset.cases, threads)
    grids: dict[str, Grid] = {}
    for done, (case, verdict) in enumerate(zip(dataset.cases, verdicts, strict=True), 1):
        bad += verdict.bad
        warnings += verdict.warnings
        if verdict.grids:
            grids[case.name] = verdict.grids[0]
        progress(done, total)
    bad += _far_spacings(grids)
    warnings += _unusual_spacing(grids)
    if mixed := mixed_planes(grids):
        warnings.append(Finding("", mixed, _ALIGN))
    warnings += [
        Finding(case, f"'{grid.name}' {sheared}", _RESAMPLE)
        for case, grid in grids.items()
        if (sheared := shear(grid))
    ]
    warnings.sort(key=lambda finding: bool(finding.case))  # of the whole data set first
    return Report(total, tuple(bad), tuple(warnings))


def _voxels(case: Case) -> int:
    """Voxels of the largest file; what cannot be read is told of later."""
    sizes = [0]
    for path in (case.label, *case.images):
        with suppress(UsageError):
            grid = read_grid(path)
            sizes.append(prod(grid.shape) * grid.channels)
    return max(sizes)


def _width(grid: Grid) -> float:
    """Mean width of a voxel in mm."""
    return float(prod(grid.spacing_ras) ** (1 / 3))


def _far_spacings(grids: Mapping[str, Grid]) -> list[Finding]:
    """Cases in another unit than the rest: resampled as they stand, they would fill any memory."""
    usual = median_low([_width(grid) for grid in grids.values()]) if grids else 1.0
    return [
        Finding(
            case,
            f"'{grid.name}' has voxels {_width(grid):.3g} mm wide, most cases {usual:.3g} mm; "
            f"its header states {grid.unit}",
            _STATE_UNIT,
        )
        for case, grid in grids.items()
        if not 1 / _FAR < _width(grid) / usual < _FAR
    ]


def _unusual_spacing(grids: Mapping[str, Grid]) -> list[Finding]:
    stated = [_width(grid) for grid in grids.values() if grid.unit in ("mm", "no unit")]
    if not stated or _USUAL[0] <= (usual := median_low(stated)) <= _USUAL[1]:
        return []
    unit = "micron" if usual > 1 else "metres"
    return [Finding("", f"voxels are {usual:.3g} mm wide: are they in {unit}?", _STATE_UNIT)]


def _checked(case: Case, dataset: Dataset, remembered: Remembered | None) -> _Verdict:
    """The verdict on a case; of a good one as it was found before, with its warnings."""
    if remembered is None:
        return _check_case(case, dataset)
    asked = case.name, [short_name(path) for path in (*case.images, case.label)]
    key = remembered.key("good", [case], *asked, dict(dataset.labels), len(dataset.channels))
    with suppress(ValidationError, UsageError):
        warnings = _WARNINGS.validate_python(remembered.find(key))
        told = [Finding(case.name, what, hint) for what, hint in warnings]
        return _Verdict([], told, [read_grid(case.images[0])])
    verdict = _check_case(case, dataset)
    if not verdict.bad:
        remembered.keep(key, [[finding.what, finding.hint] for finding in verdict.warnings])
    return verdict


def _check_case(case: Case, dataset: Dataset) -> _Verdict:
    verdict = _Verdict([], [], [])

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
        verdict.grids.extend(_check_image(case, label, dataset, complain, warn))
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
) -> list[Grid]:
    """Check the channels of an image against its label; the grids of its files."""
    found, grids = 0, list[Grid]()
    for volume in read_channels(case.images, "axial"):
        grid = volume.grid
        if not grids or grid is not grids[-1]:
            grids.append(grid)
            if len(case.images) > 1 and grid.channels > 1:
                complain(f"'{grid.name}' is 4-D, one channel per file is expected")
            if label is not None and (different := grid_difference(label, grid)):
                complain(f"its label '{label.name}' {different}", "write the label on its grid")
            if odd := form_difference(grid):
                warn(f"'{grid.name}' {odd}", _CORRECT_FORM)
        _check_channel(
            volume, f"'{grid.name}'" + f" channel {found}" * (grid.channels > 1), complain
        )
        found += 1
    expected = len(dataset.channels)
    if expected and found != expected:
        first = grids[0].shape[0] == expected != grids[0].channels
        complain(
            f"the image has {found} channel(s), {dataset.stated_by} names {expected}",
            "channels come last in NIfTI: write np.moveaxis(image, 0, -1)"
            if first
            else f"correct the image{dataset.or_table}",
        )
    return grids


def _check_channel(volume: Volume, where: str, complain: Callable[..., None]) -> None:
    """Values that are no numbers, or all the same; slab by slab to keep memory low."""
    odd, least, most = 0, np.inf, -np.inf
    for slab in volume.array[0]:
        with np.errstate(over="ignore"):  # what float32 cannot hold counts as infinite
            values = slab.astype(np.float32)
        finite = np.isfinite(values)
        lost = values.size - int(finite.sum())
        odd += lost
        own = slab[finite] if lost else slab  # float32 takes 2^30 and 2^30 + 1 for one
        if own.size:
            least, most = min(least, own.min().item()), max(most, own.max().item())
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
        what, hint = describe_channels(volume)
        complain(f"{where} {what}", hint)
        return
    if odd_form := form_difference(volume.grid):
        warn(f"{where} {odd_form}", _CORRECT_FORM)
    values, nan = _values(volume.array[0])
    if nan:
        complain(f"{where} holds {nan:,} voxels that are NaN or infinite")
    known = set(dataset.labels.values())
    fractions = sorted(value for value in values if value != int(value))
    unknown = sorted(value for value in values if value == int(value) and value not in known)
    rounded = all(abs(value - round(value)) < _ROUNDED for value in fractions)
    correct = f"correct the label{dataset.or_table}"
    for kind, odd, hint in (
        ("fractions", fractions, _ROUND if rounded else correct),
        (f"values that {dataset.stated_by} does not name", unknown if known else [], correct),
    ):
        if odd:
            shown = ", ".join(value_text(value) for value in odd[:_SHOWN])
            more = f" and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else ""
            complain(f"{where} holds {kind}: {shown}{more}", hint)
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
