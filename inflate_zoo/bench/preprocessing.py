"""From raw volumes to what a network sees, and a task for a data set that has none."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, log10
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inflate_zoo.bench.grids import PLANES, require_same_grid
from inflate_zoo.bench.layouts import Case, Dataset, refuse_problems
from inflate_zoo.bench.protocols import Data
from inflate_zoo.bench.resampling import (
    Shape,
    resample_image,
    resample_labels,
    resampled_shape,
    restore,
)
from inflate_zoo.bench.tasks import Intensity, Millimetres, Slices, Task
from inflate_zoo.bench.volumes import read_channels, read_grid, read_volume
from inflate_zoo.errors import UsageError

__all__ = [
    "class_indices",
    "derive_task",
    "normalize",
    "resample_image",
    "resample_labels",
    "resampled_shape",
    "resolve",
    "restore",
    "target_shape",
]

_ANISOTROPIC = 1.5
_PERCENTILES = (0.5, 99.5)


def normalize(array: NDArray[Any], intensity: Intensity) -> NDArray[np.float32]:
    """Bring intensities to [0, 1]; NaN and a volume of one value become 0.

    Args:
        array: One channel of one volume, any shape and real type.
        intensity: The rule.

    Returns:
        Same shape, values in [0, 1].
    """
    low, high = intensity.low, intensity.high
    if intensity.rule == "percentiles":
        values = array if array.dtype.kind != "f" else array[np.isfinite(array)]
        if values.size == 0:
            return np.zeros(array.shape, np.float32)
        low, high = (float(end) for end in np.percentile(values, [low, high]))
        if low == high:  # nearly all voxels are equal
            low, high = float(values.min()), float(values.max())
    if low == high:
        return np.zeros(array.shape, np.float32)
    scaled = array.astype(np.float32, order="C")  # a copy, which the rest works on in place
    np.clip(scaled, low, high, out=scaled)
    scaled -= np.float32(low)
    scaled /= np.float32(high - low)
    np.nan_to_num(scaled, copy=False)
    return np.clip(scaled, 0, 1, out=scaled)


def class_indices(labels: NDArray[Any], values: Sequence[int], where: str) -> NDArray[np.uint8]:
    """Replace label values by their places in `values`.

    Args:
        labels: Label values, any real type.
        values: Ascending label values.
        where: Name of the file, for the message.

    Raises:
        UsageError: A voxel has another value.
    """
    table = np.zeros(256, np.uint8)
    table[list(values)] = np.arange(len(values))
    known = np.zeros(256, bool)
    known[list(values)] = True
    indices = np.empty(labels.shape, np.uint8)
    for plane, out in zip(labels, indices, strict=True):  # plane by plane for memory's sake
        with np.errstate(invalid="ignore"):
            small = plane.astype(np.uint8)
        if not ((small == plane) & known[small]).all():
            odd = next(v for v in np.unique(plane) if v not in set(values))
            raise UsageError(
                f"'{where}' holds the value {odd:g}, which is no label of the task",
                hint="run 'inflate-zoo data check' on the data set's folder",
            )
        out[...] = table[small]
    return indices


def resolve(task: Task, data: Data) -> Task:
    """The task with what a protocol changes of it."""
    changes: dict[str, Any] = {"whole_slices": data.whole_slices}
    if data.spacing != "task":
        changes["spacing"] = data.spacing
    if data.intensity != "task":
        changes["intensity"] = data.intensity
    if data.ct_intensity != "task" and task.modality == "CT":
        changes["intensity"] = data.ct_intensity
    return task.model_copy(update=changes)


def target_shape(task: Task, shape: Sequence[int], spacing: Millimetres) -> Shape:
    """Shape (depth, height, width) of a volume as the network sees it.

    Args:
        task: Its spacing, or the size of its whole slices.
        shape: Of the file's own grid.
        spacing: Of the file's own grid, in mm.

    Raises:
        UsageError: The result would not fit into any memory.
    """
    if task.whole_slices:
        side = task.slice_size
        unchanged = (1.0, 1.0, 1.0)
        return resampled_shape((shape[0], side, side), unchanged, unchanged)
    return resampled_shape(shape, spacing, task.spacing)


def derive_task(dataset: Dataset, training_cases: Sequence[str], name: str) -> Task:
    """A task for a data set without a definition, from its training cases alone.

    Slices are perpendicular to the axis with by far the largest median spacing, else axial. The
    spacing is the median per axis. CT gets a window from the 0.5 to the 99.5 percentile of all
    labelled voxels, rounded to 1 HU; everything else percentiles of each volume. The surface Dice
    tolerates 1 mm, or two voxels where none is 0.1 mm wide.

    Args:
        dataset: The data set.
        training_cases: Names of cases that no test part holds.
        name: Name of the task.

    Raises:
        UsageError: A file cannot be read, or no voxel is labelled.
    """
    refuse_problems(dataset)
    chosen = set(training_cases)
    cases = [case for case in dataset.cases if case.name in chosen]
    if not cases:
        raise UsageError("no training cases to derive a task from", hint="name some")
    sizes = [read_grid(case.images[0]).spacing_ras for case in cases]
    x, y, z = (_rounded(float(median(axis))) for axis in zip(*sizes, strict=True))
    slices = _plane((x, y, z))
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
        intensity=_window(cases) if dataset.modality == "CT" else rule,
        spacing=((x, y, z)[depth], (x, y, z)[height], (x, y, z)[width]),
        slices=slices,
        surface_tolerance_mm=1.0 if max(x, y, z) >= 0.1 else _rounded(2 * max(x, y, z)),
        license=dataset.license,
        citation=dataset.citation,
    )


def _rounded(millimetres: float) -> float:
    """To 4 decimals, or to 3 digits where that would leave fewer: microscopes see microns."""
    return round(millimetres, max(4, 2 - floor(log10(millimetres))))


def _plane(spacing_ras: Millimetres) -> Slices:
    order = sorted(range(3), key=lambda axis: spacing_ras[axis])
    thick = order[2]
    if spacing_ras[thick] <= _ANISOTROPIC * spacing_ras[order[1]]:
        return "axial"
    return next(plane for plane, axes in PLANES.items() if axes[0] == thick)


def _window(cases: Sequence[Case]) -> Intensity:
    """Percentiles of the labelled voxels of all cases, pooled in a histogram of whole HU."""
    least, most = -(2**15), 2**15
    counts = np.zeros(most - least, np.int64)
    for case in cases:
        label = read_volume(case.label, "axial")
        labelled = label.array[0] > 0
        for volume in read_channels(case.images, "axial"):
            require_same_grid(label.grid, volume.grid)
            values = np.rint(volume.array[0][labelled]).clip(least, most - 1).astype(np.int64)
            counts += np.bincount(values - least, minlength=most - least)
    if not counts.any():
        raise UsageError(
            "no voxel of the training cases is labelled", hint="check the data set's labels"
        )
    low, high = (
        int(np.searchsorted(counts.cumsum(), np.ceil(counts.sum() * percent / 100))) + least
        for percent in _PERCENTILES
    )
    return Intensity(rule="window", low=low, high=max(high, low + 1))
