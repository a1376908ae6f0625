"""From raw volumes to what a network sees, and a task for a data set that has none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inflate_zoo.bench.data.grids import Grid
from inflate_zoo.bench.data.resampling import (
    MOST_VOXELS,
    Shape,
    resample_image,
    resampled_shape,
)
from inflate_zoo.bench.data.volumes import Volume, value_text
from inflate_zoo.bench.definitions.tasks import Intensity, Millimetres, Task
from inflate_zoo.errors import UsageError

_DIGITS = 1 << 12  # float32 has 13 bits more than float16, in which images are kept; one is spare
_CHECK = "run 'inflate-zoo data check' on the data set's folder"


@dataclass(frozen=True, eq=False)
class NetworkInput:
    """What a network sees of a case, in training as in prediction.

    Attributes:
        image: float16 [channels, depth, height, width] in [0, 1], at the task's spacing.
        grid: Of the file that holds the first channel; it alone decides the shape of `image`.
    """

    image: NDArray[np.float16]
    grid: Grid


def network_input(task: Task, channels: Iterable[Volume], case: str) -> NetworkInput:
    """Bring the channels of an image to what the network sees.

    Args:
        task: Intensities, spacing and plane.
        channels: Each [1, depth, height, width]; all on one grid.
        case: Name of the case, for errors.

    Raises:
        UsageError: They are not as many as the task has, or the result would not fit into any
            memory.
    """
    image, grid, shape, found = np.empty(0, np.float16), None, (0, 0, 0), 0
    for volume in channels:
        if grid is None:
            grid, shape = volume.grid, seen_shape(task, volume.grid)
            image = np.empty((len(task.channels), *shape), np.float16)
        if found < len(image):
            image[found] = resample_image(normalize(volume.array[0], task.intensity), shape)
        found += 1
    if grid is None or found != len(task.channels):
        what = f"its image has {found} channel(s), the task {len(task.channels)}"
        raise UsageError(f"case '{case}': {what}", hint=_CHECK)
    return NetworkInput(image, grid)


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
    if max(abs(low), abs(high)) > _DIGITS * (high - low):  # the difference is not float32's to take
        scaled = np.empty(array.shape, np.float32)
        np.subtract(array, low, out=scaled, dtype=np.float64, casting="same_kind")
        low, high = 0, high - low
    else:
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
            odd = next(v for v in np.unique(plane).tolist() if v not in set(values))
            raise UsageError(
                f"'{where}' holds the value {value_text(odd)}, which is no label of the task",
                hint=_CHECK,
            )
        out[...] = table[small]
    return indices


def seen_shape(task: Task, grid: Grid) -> Shape:
    """The shape that a network sees of an image on a grid; see `target_shape`."""
    return target_shape(task, grid.voxels(task.slices), grid.spacing(task.slices))


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
        if shape[0] * side * side > MOST_VOXELS:
            raise UsageError(
                f"{shape[0]} whole slices of {side} x {side} pixels fit into no memory",
                hint="write a smaller slice_size into a copy of the task's file, and give it with "
                "--dataset, or cut the volume into parts",
            )
        return shape[0], side, side
    return resampled_shape(shape, spacing, task.spacing)
