"""A task for a data set that has none, and what a protocol leaves to the data."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from math import floor, log10
from statistics import median
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from inflate_zoo.bench.data.grids import PLANES, mixed_planes, plane_of, require_same_grid, times
from inflate_zoo.bench.data.remembered import Remembered, Tally
from inflate_zoo.bench.data.volumes import read_channels, read_grid, read_volume
from inflate_zoo.bench.definitions.datasets import Case, Dataset, refuse_problems
from inflate_zoo.bench.definitions.protocols import Data
from inflate_zoo.bench.definitions.tasks import Intensity, Task
from inflate_zoo.errors import UsageError

_PERCENTILES = (0.5, 99.5)
_LEAST_HU, _MOST_HU = -(2**15), 2**15
_BOUNDS = TypeAdapter(tuple[int, int])


def resolve_task(task: Task, data: Data) -> Task:
    """The task with what a protocol changes of it."""
    changes: dict[str, Any] = {"whole_slices": data.whole_slices}
    if data.spacing != "task":
        changes["spacing"] = data.spacing
    if data.intensity != "task":
        changes["intensity"] = data.intensity
    if data.ct_intensity != "task" and task.modality == "CT":
        changes["intensity"] = data.ct_intensity
    return task.model_copy(update=changes)


def derive_task(
    dataset: Dataset,
    training_cases: Sequence[str],
    name: str,
    remembered: Remembered | None = None,
) -> Task:
    """A task for a data set without a definition, from its training cases alone.

    Slices are perpendicular to the axis with by far the largest median spacing, else axial. The
    spacing is the median per axis. CT gets a window from the 0.5 to the 99.5 percentile of all
    labelled voxels, rounded to 1 HU; everything else percentiles of each volume. The surface Dice
    tolerates 1 mm, or two voxels where none is 0.1 mm wide. Where cases differ in their thick axis,
    which medians mix, it warns.

    Args:
        dataset: The data set.
        training_cases: Names of cases that no test part holds.
        name: Name of the task.
        remembered: Keeps the window of CT, which all these cases are read for.

    Raises:
        UsageError: A file cannot be read, or no voxel is labelled.
    """
    refuse_problems(dataset)
    chosen = set(training_cases)
    cases = [case for case in dataset.cases if case.name in chosen]
    if not cases:
        raise UsageError("no training cases to derive a task from", hint="name some")
    grids = {case.name: read_grid(case.images[0]) for case in cases}
    sizes = [grid.spacing_ras for grid in grids.values()]
    x, y, z = (_rounded(float(median(axis))) for axis in zip(*sizes, strict=True))
    slices = plane_of((x, y, z)) or "axial"
    if mixed := mixed_planes(grids):
        medians = f"{times((x, y, z))} mm along right, anterior, superior"
        what = f"the derived task takes {slices} slices and the medians, {medians}"
        warnings.warn(f"{mixed}; {what}", stacklevel=2)
    depth, height, width = PLANES[slices]
    low, high = _PERCENTILES
    rule = Intensity(rule="percentiles", low=low, high=high)
    return Task(
        name=name,
        title=dataset.title,
        modality=dataset.modality,
        channels=dataset.channels,
        labels=dict(dataset.labels),
        regions=dict(dataset.regions),
        intensity=_window(cases, remembered) if dataset.modality == "CT" else rule,
        spacing=((x, y, z)[depth], (x, y, z)[height], (x, y, z)[width]),
        slices=slices,
        surface_tolerance_mm=1.0 if max(x, y, z) >= 0.1 else _rounded(2 * max(x, y, z)),
        license=dataset.license,
        citation=dataset.citation,
    )


def _rounded(millimetres: float) -> float:
    """To 4 decimals, or to 3 digits where that would leave fewer: microscopes see microns."""
    return round(millimetres, max(4, 2 - floor(log10(millimetres))))


def _window(cases: Sequence[Case], remembered: Remembered | None) -> Intensity:
    """Percentiles of the labelled voxels of all cases, pooled in a histogram of whole HU."""
    if remembered is None:
        return _pooled(_tally(case) for case in cases)
    key = remembered.key("window", cases, _PERCENTILES)
    with suppress(ValidationError):
        low, high = _BOUNDS.validate_python(remembered.find(key))
        return Intensity(rule="window", low=low, high=high)
    found = _pooled(_known_tally(case, remembered) for case in cases)
    remembered.keep(key, [found.low, found.high])
    return found


def _known_tally(case: Case, remembered: Remembered) -> Tally:
    """The tally of a case, which other folds train on as well."""
    key = remembered.key("tally", [case])
    if key is None or key not in remembered.tallies:
        tally = _tally(case)
        if key is None:
            return tally
        remembered.tallies[key] = tally
    return remembered.tallies[key]


def _tally(case: Case) -> Tally:
    """The whole HU of the labelled voxels of a case, and how often each is there."""
    counts = np.zeros(_MOST_HU - _LEAST_HU, np.int64)
    label = read_volume(case.label, "axial", read_grid(case.images[0]))
    labelled = label.array[0] > 0
    for volume in read_channels(case.images, "axial"):
        require_same_grid(label.grid, volume.grid)
        values = volume.array[0][labelled]
        # What is no number has no say here, as where percentiles are those of a volume.
        whole = np.rint(values[np.isfinite(values)]).clip(_LEAST_HU, _MOST_HU - 1)
        counts += np.bincount(whole.astype(np.int64) - _LEAST_HU, minlength=len(counts))
    (places,) = counts.nonzero()
    return places, counts[places]


def _pooled(tallies: Iterable[Tally]) -> Intensity:
    counts = np.zeros(_MOST_HU - _LEAST_HU, np.int64)
    for places, found in tallies:
        counts[places] += found
    if not counts.any():
        raise UsageError(
            "no voxel of the training cases is labelled", hint="check the data set's labels"
        )
    low, high = (
        int(np.searchsorted(counts.cumsum(), np.ceil(counts.sum() * percent / 100))) + _LEAST_HU
        for percent in _PERCENTILES
    )
    return Intensity(rule="window", low=low, high=max(high, low + 1))
