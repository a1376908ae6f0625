"""Pieces of volumes, and how they are changed for training.

Dimensions: C channels, D H W voxels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from inflate_zoo.bench.definitions import Augment


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


class Turn(NamedTuple):
    """A rotation in the plane and a magnification.

    Attributes:
        angle: In radians.
        zoom: In the plane.
        depth_zoom: Through the slices.
    """

    angle: float
    zoom: float
    depth_zoom: float


def draw_turn(change: Augment, rng: np.random.Generator) -> Turn:
    """Draw a rotation and a magnification."""
    angle = math.radians(rng.uniform(-change.degrees, change.degrees))
    low, high = change.zoom
    if change.zoom_law == "log":
        zoom = math.exp(rng.uniform(math.log(low), math.log(high)))
    else:
        zoom = rng.uniform(low, high)
    return Turn(angle, zoom, zoom if change.zoom_depth else 1.0)


def warped(
    volume: np.ndarray,
    corner: Sequence[int],
    size: Sequence[int],
    turn: Turn,
    *,
    repeat: bool,
) -> np.ndarray:
    """A window of a volume, rotated and magnified about its middle; whole numbers stay such.

    A larger box is cut, so that corners hold tissue and not padding.

    Args:
        volume: Shape (channels, D, H, W); unsigned integers are taken for class indices.
        corner: First voxel of the window; may be negative.
        size: Voxels per axis.
        turn: How.
        repeat: See `crop`.

    Returns:
        Shape (channels, *size), float32.
    """
    from monai.transforms import Affine

    depth, height, width = size
    reach = (abs(math.sin(turn.angle)) + abs(math.cos(turn.angle))) / turn.zoom
    side = math.ceil(max(height, width) * max(reach, 1.0)) + 2
    large = (depth, side + (side - height) % 2, side + (side - width) % 2)
    start = [at - (wide - own) // 2 for at, wide, own in zip(corner, large, size, strict=True)]
    affine = Affine(
        rotate_params=(turn.angle, 0.0, 0.0),
        scale_params=(1 / turn.depth_zoom, 1 / turn.zoom, 1 / turn.zoom),
        spatial_size=tuple(size),
        mode="nearest" if volume.dtype.kind == "u" else "bilinear",
        padding_mode="zeros",
        image_only=True,
    )
    return np.asarray(affine(crop(volume, start, large, repeat=repeat).astype(np.float32)))


def flipped(
    image: np.ndarray, label: np.ndarray, probability: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Mirror image and label, each axis with a probability."""
    axes = [axis for axis in (-3, -2, -1) if rng.random() < probability]
    return np.flip(image, tuple(axes)), np.flip(label, tuple(axes))


def quarter_turned(
    image: np.ndarray, label: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rotate in the plane by 90, 180 or 270 degrees; what is not square, by 180."""
    square = image.shape[-1] == image.shape[-2]
    turns = int(rng.integers(1, 4)) if square else 2
    return np.rot90(image, turns, (-2, -1)), np.rot90(label, turns, (-2, -1))


def intensities(image: np.ndarray, change: Augment, rng: np.random.Generator) -> np.ndarray:
    """Gamma, brightness, noise, each with its probability; still in [0, 1]."""
    if rng.random() < change.intensity:
        image = image ** np.float32(rng.uniform(*change.gamma))
    if rng.random() < change.intensity:
        image = image + np.float32(rng.uniform(-change.brightness, change.brightness))
    if rng.random() < change.intensity:
        spread = np.float32(rng.uniform(0, change.noise))
        image = image + spread * rng.standard_normal(image.shape, dtype=np.float32)
    return np.asarray(np.clip(image, 0, 1))
