"""How pieces of volumes are changed for training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from torch import Tensor

from inflate_zoo.bench.data.resampling import crop
from inflate_zoo.bench.definitions.protocols import Augment


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
        Shape (channels, *size); float32, or the integers' type.
    """
    depth, height, width = size
    reach = (abs(math.sin(turn.angle)) + abs(math.cos(turn.angle))) / turn.zoom
    side = math.ceil(max(height, width) * max(reach, 1.0)) + 2
    large = (depth, side + (side - height) % 2, side + (side - width) % 2)
    start = [at - (wide - own) // 2 for at, wide, own in zip(corner, large, size, strict=True)]
    box = crop(volume, start, large, repeat=repeat)
    rows, columns = _turned_plane(large[1:], (height, width), turn)
    through = _offsets(depth) / turn.depth_zoom + (depth - 1) / 2
    if volume.dtype.kind == "u":
        return _nearest(box, through, rows, columns)
    # As good as in three dimensions: slices are turned alike, so depth comes apart.
    x, y = (2 * at / (wide - 1) - 1 for at, wide in ((columns, large[2]), (rows, large[1])))
    grid = torch.from_numpy(np.stack([x, y], axis=-1).astype(np.float32))[None]
    planes = torch.from_numpy(box.astype(np.float32)).flatten(0, 1)[None]
    turned = F.grid_sample(planes, grid, align_corners=True)
    turned = turned.reshape(*box.shape[:2], height, width)
    if turn.depth_zoom != 1:
        weights = (1 - np.abs(through[:, None] - np.arange(depth))).clip(0)
        turned = torch.einsum("od,cdhw->cohw", torch.from_numpy(weights).float(), turned)
    return np.asarray(turned)


def _offsets(extent: int) -> np.ndarray:
    """Positions from the middle."""
    return np.arange(extent) - (extent - 1) / 2


def _turned_plane(
    large: Sequence[int], size: Sequence[int], turn: Turn
) -> tuple[np.ndarray, np.ndarray]:
    """Where in a plane `large` the pixels of a turned plane `size` lie, rows and columns."""
    y, x = np.meshgrid(*(_offsets(extent) / turn.zoom for extent in size), indexing="ij")
    sine, cosine = math.sin(turn.angle), math.cos(turn.angle)
    middle = [(extent - 1) / 2 for extent in large]
    return cosine * y - sine * x + middle[0], sine * y + cosine * x + middle[1]


def _nearest(
    box: np.ndarray, through: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Voxels of (channels, D, H, W) nearest to each place; 0 where `through` leaves the box."""
    depth, _, width = box.shape[1:]
    z, y, x = (np.rint(at).astype(np.int64) for at in (through, rows, columns))
    planes = box.reshape(*box.shape[:2], -1).take(z.clip(0, depth - 1), axis=1)
    planes[:, (z < 0) | (z >= depth)] = 0
    found: np.ndarray = planes.take((y * width + x).ravel(), axis=2)
    return found.reshape(*box.shape[:2], *rows.shape)


def flipped(
    image: np.ndarray,
    label: np.ndarray,
    probability: float,
    rng: np.random.Generator,
    *,
    depth: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Mirror image and label, each axis with a probability, but depth only where it may be."""
    # Drawn for depth, too, where it may not: what is drawn after it stays the same.
    drawn = [axis for axis in (-3, -2, -1) if rng.random() < probability]
    axes = tuple(axis for axis in drawn if depth or axis != -3)
    return np.flip(image, axes), np.flip(label, axes)


def quarter_turned(
    image: np.ndarray, label: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rotate in the plane by 90, 180 or 270 degrees; what is not square, by 180."""
    square = image.shape[-1] == image.shape[-2]
    turns = int(rng.integers(1, 4)) if square else 2
    return np.rot90(image, turns, (-2, -1)), np.rot90(label, turns, (-2, -1))


def intensities(image: Tensor, change: Augment, rng: np.random.Generator) -> Tensor:
    """Gamma, brightness, noise, each with its probability; still in [0, 1]."""
    if rng.random() < change.intensity:
        image = image.pow(rng.uniform(*change.gamma))
    if rng.random() < change.intensity:
        image = image + rng.uniform(-change.brightness, change.brightness)
    if rng.random() < change.intensity:
        noise = torch.from_numpy(rng.standard_normal(image.shape, dtype=np.float32))
        image = torch.add(image, noise, alpha=rng.uniform(0, change.noise))
    return image.clamp(0, 1)
