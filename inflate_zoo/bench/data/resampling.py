"""Between grids: images and labels to a network's spacing, probabilities back.

Resampling keeps the extent: the outer faces of the first and last voxel stay where they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from inflate_zoo.bench.data.grids import times
from inflate_zoo.bench.definitions.tasks import Millimetres
from inflate_zoo.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor


Shape = tuple[int, int, int]
MOST_VOXELS = 2**31  # of a resampled volume


def resampled_shape(shape: Sequence[int], spacing: Millimetres, target: Millimetres) -> Shape:
    """Shape of a volume at another spacing, at least one voxel along each axis.

    Args:
        shape: (depth, height, width) in voxels.
        spacing: Of that volume, in mm.
        target: Wanted, in mm.

    Raises:
        UsageError: The result would not fit into any memory.
    """
    depth, height, width = _stretched(shape, spacing, target)
    if depth * height * width > MOST_VOXELS:
        factor = 1.0
        while prod(_stretched(shape, spacing, [size * factor for size in target])) > MOST_VOXELS:
            factor *= 1.5
        fits = ",".join(f"{size * factor:g}" for size in target)
        raise UsageError(
            f"at {times(target)} mm a volume with voxels of {times(spacing)} mm would become "
            f"{depth} x {height} x {width} voxels",
            hint=f"correct its spacing if it is wrong, or add --set data.spacing=[{fits}]",
        )
    return depth, height, width


def _stretched(shape: Sequence[int], spacing: Millimetres, target: Sequence[float]) -> Shape:
    depth, height, width = (
        max(1, round(size * ours / theirs))
        for size, ours, theirs in zip(shape, spacing, target, strict=True)
    )
    return depth, height, width


def _linear(source: int, target: int) -> NDArray[np.float32]:
    """Matrix [target, source] of linear interpolation between the centres of voxels."""
    places = (np.arange(target) + 0.5) * source / target - 0.5
    places = places.clip(0, source - 1)
    below = np.minimum(places.astype(int), max(source - 2, 0))
    weight = places - below
    matrix = np.zeros((target, source), np.float32)
    rows = np.arange(target)
    matrix[rows, below] = 1 - weight
    matrix[rows, np.minimum(below + 1, source - 1)] += weight
    return matrix


def _smooth_linear(source: int, target: int) -> NDArray[np.float32]:
    """As `_linear`, after a Gaussian against aliasing where the axis shrinks."""
    matrix = _linear(source, target)
    if target >= source:
        return matrix
    smoothing = gaussian_filter1d(
        np.eye(source), sigma=(source / target - 1) / 2, axis=0, mode="nearest"
    )
    return np.asarray(matrix @ smoothing, np.float32)


def _apply(array: NDArray[np.float32], matrices: Sequence[NDArray[np.float32]]) -> NDArray[Any]:
    """Multiply each axis by its matrix, those that shrink the most first."""
    order = sorted(range(3), key=lambda axis: matrices[axis].shape[0] / matrices[axis].shape[1])
    for axis in order:
        depth, height, width = array.shape
        if axis == 0:
            array = (matrices[0] @ array.reshape(depth, -1)).reshape(-1, height, width)
        elif axis == 1:
            array = np.matmul(matrices[1], array)
        else:
            array = (array.reshape(-1, width) @ matrices[2].T).reshape(depth, height, -1)
    return array


def resample_image(array: NDArray[np.float32], shape: Shape) -> NDArray[np.float32]:
    """Resample one channel linearly, with a Gaussian against aliasing where it shrinks.

    Args:
        array: [depth, height, width], finite.
        shape: Wanted; where it is the array's own, the array itself is returned.
    """
    if array.shape == shape:
        return array
    matrices = [_smooth_linear(ours, new) for ours, new in zip(array.shape, shape, strict=True)]
    return _apply(np.ascontiguousarray(array, np.float32), matrices)


def resample_labels(classes: NDArray[np.uint8], shape: Shape) -> NDArray[np.uint8]:
    """Resample class indices: at each voxel the class with the greatest linear weight wins.

    One class at a time, and of it only the box that holds it. Of equal weights the lower class
    wins; the background, class 0, has what the others leave.

    Args:
        classes: [depth, height, width].
        shape: Wanted; where it is the array's own, the array itself is returned.
    """
    if classes.shape == shape:
        return classes
    matrices = [_linear(ours, new) for ours, new in zip(classes.shape, shape, strict=True)]
    winner, total = np.zeros(shape, np.uint8), np.zeros(shape, np.float32)
    greatest = np.zeros(shape, np.float32)
    for index in np.flatnonzero(np.bincount(np.unique(classes), minlength=1)):
        if index == 0:
            continue
        mask = classes == index
        box = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
        inner = tuple(slice(places[0], places[-1] + 1) for places in box)
        columns = [matrix[:, part] for matrix, part in zip(matrices, inner, strict=True)]
        touched = [np.flatnonzero(part.any(axis=1)) for part in columns]
        if any(places.size == 0 for places in touched):
            continue  # thinner than a voxel, and between two centres
        outer = tuple(slice(places[0], places[-1] + 1) for places in touched)
        rows = [part[out] for part, out in zip(columns, outer, strict=True)]
        weight = _apply(mask[inner].astype(np.float32), rows)
        total[outer] += weight
        wins = weight > greatest[outer]
        winner[outer][wins] = index
        np.maximum(greatest[outer], weight, out=greatest[outer])
    winner[1 - total >= greatest] = 0
    return winner


def classes_on(probabilities: Tensor, shape: Shape) -> Iterator[Tensor]:
    """Class probabilities on another grid, one class after the other.

    Args:
        probabilities: [classes, depth, height, width], any float type, any device.
        shape: Wanted (depth, height, width).

    Yields:
        float32 of `shape`; they still add up to what they added up to.
    """
    from torch.nn.functional import interpolate

    for own in probabilities:
        wanted = own.float()
        if wanted.shape != shape:
            wanted = interpolate(
                wanted[None, None], size=shape, mode="trilinear", align_corners=False
            )[0, 0]
        yield wanted


def restore(probabilities: Tensor, shape: Shape) -> NDArray[np.uint8]:
    """Bring class probabilities back to another grid and choose the greatest.

    One class at a time: at most two volumes of probabilities are held besides the input.

    Args:
        probabilities: [classes, depth, height, width], any float type, any device.
        shape: Wanted (depth, height, width).

    Returns:
        Class indices, of `shape`; of equal probabilities the lower class wins.
    """
    import torch

    winner = torch.zeros(shape, dtype=torch.uint8, device=probabilities.device)
    greatest = torch.full(shape, -torch.inf, device=probabilities.device)
    for index, candidate in enumerate(classes_on(probabilities, shape)):
        winner[candidate > greatest] = index
        torch.maximum(greatest, candidate, out=greatest)
    return np.asarray(winner.cpu().numpy(), np.uint8)


def crop(
    volume: np.ndarray, corner: Sequence[int], size: Sequence[int], *, repeat: bool = False
) -> np.ndarray:
    """A box of the last three axes; what lies outside the volume is 0.

    Args:
        volume: Shape (..., D, H, W).
        corner: First voxel; may be negative.
        size: Voxels per axis.
        repeat: Outside along D are the outer slices instead.

    Returns:
        Shape (..., *size); a view where that is the volume's own voxels.
    """
    if repeat:
        first, last = corner[0], corner[0] + size[0]
        if first >= 0 and last <= volume.shape[-3]:
            volume = volume[..., first:last, :, :]
        else:
            volume = volume[..., np.arange(first, last).clip(0, volume.shape[-3] - 1), :, :]
        corner = (0, *corner[1:])
    source: list[Any] = [...]
    target: list[Any] = [...]
    for start, extent, limit in zip(corner, size, volume.shape[-3:], strict=True):
        first, last = max(start, 0), min(start + extent, limit)
        source.append(slice(first, max(first, last)))
        target.append(slice(first - start, max(first, last) - start))
    inside = np.asarray(volume[tuple(source)])
    if inside.shape[-3:] == tuple(size):
        return inside
    box = np.zeros((*volume.shape[:-3], *size), volume.dtype)
    box[tuple(target)] = inside
    return box
