"""Training windows: where they lie, and how they are changed.

Dimensions: C channels, D H W voxels. Every window is a function of (trial seed, step, place in the
batch) alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from inflate_zoo.bench.cache import CachedCase, open_case
from inflate_zoo.bench.definitions import Augment, Voxels
from inflate_zoo.bench.seeding import derived
from inflate_zoo.errors import UsageError

_MOST_OPEN = 32  # cases of four files each: systems allow a process 256 or 1024


class Broken(NamedTuple):
    """In place of a window that cannot be made: errors lose their attributes between processes."""

    case: str
    reason: str


class Window(NamedTuple):
    """One training window.

    Attributes:
        image: Shape [C, D, H, W], float32 in [0, 1].
        label: Class indices, shape [D, H, W], int64.
        case: Where it comes from.
    """

    image: Tensor
    label: Tensor
    case: str


@dataclass(frozen=True, slots=True)
class WindowRule:
    """How windows are drawn.

    Attributes:
        size: Voxels (depth, height, width).
        foreground: Share of windows that hold a drawn labelled voxel, anywhere in the window.
        augment: Their changes; `None` for none.
    """

    size: Voxels
    foreground: float
    augment: Augment | None


def crop(volume: np.ndarray, corner: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """A box of the last three axes; what lies outside the volume is 0.

    Args:
        volume: Shape (..., D, H, W).
        corner: First voxel; may be negative.
        size: Voxels per axis.

    Returns:
        Shape (..., *size), a copy.
    """
    box = np.zeros((*volume.shape[:-3], *size), volume.dtype)
    source: list[Any] = [...]
    target: list[Any] = [...]
    for start, extent, limit in zip(corner, size, volume.shape[-3:], strict=True):
        first, last = max(start, 0), min(start + extent, limit)
        source.append(slice(first, max(first, last)))
        target.append(slice(first - start, max(first, last) - start))
    box[tuple(target)] = volume[tuple(source)]
    return box


def place(case: CachedCase, rule: WindowRule, rng: np.random.Generator) -> tuple[int, int, int]:
    """Draw the corner of a window.

    A share of the windows holds a labelled voxel, its class drawn evenly among those of the case,
    anywhere in the window; the others lie anywhere. A window leaves the volume only where the
    volume is smaller.
    """
    shape = np.asarray(case.label.shape)
    size = np.asarray(rule.size)
    room = shape - size
    if rng.random() < rule.foreground and len(case.foreground):
        classes = case.foreground[:, 0]
        wanted = rng.choice(np.unique(classes))
        rows = case.foreground[classes == wanted]
        voxel = rows[rng.integers(len(rows)), 1:]
        corner = voxel - (rng.random(3) * size).astype(int)
    else:
        corner = np.asarray([rng.integers(extent + 1) if extent > 0 else 0 for extent in room])
    corner = np.where(room > 0, np.clip(corner, 0, np.maximum(room, 0)), room // 2)
    return int(corner[0]), int(corner[1]), int(corner[2])


def draw(case: CachedCase, rule: WindowRule, seed: int) -> Window:
    """Draw and change one window of a case."""
    rng = np.random.default_rng(seed)
    corner = place(case, rule, rng)
    change = rule.augment
    if change is None or rng.random() >= change.turn:
        image = crop(case.image, corner, rule.size).astype(np.float32)
        label = crop(case.label, corner, rule.size)
    else:
        image, label = _turned(case, corner, rule, change, rng)
    if change is not None:
        image, label = _flipped(image, label, change.flip, rng)
        image = _intensities(image, change, rng)
    return Window(
        torch.from_numpy(np.ascontiguousarray(image)),
        torch.from_numpy(np.ascontiguousarray(label)).long(),
        case.name,
    )


def _turned(
    case: CachedCase,
    corner: Sequence[int],
    rule: WindowRule,
    change: Augment,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Rotate and zoom in the plane: through thick slices either would mix what lies far apart.

    A larger box is cut, so that corners hold tissue and not padding.
    """
    from monai.transforms import Affine

    angle = math.radians(rng.uniform(-change.degrees, change.degrees))
    # As likely to shrink as to magnify, by the same factor.
    zoom = math.exp(rng.uniform(math.log(change.zoom[0]), math.log(change.zoom[1])))
    depth, height, width = rule.size
    reach = (abs(math.sin(angle)) + abs(math.cos(angle))) / zoom
    side = math.ceil(max(height, width) * max(reach, 1.0)) + 2
    size = (depth, side + (side - height) % 2, side + (side - width) % 2)
    start = [
        at - (large - small) // 2 for at, large, small in zip(corner, size, rule.size, strict=True)
    ]
    affine = {
        "rotate_params": (angle, 0.0, 0.0),
        "scale_params": (1.0, 1 / zoom, 1 / zoom),
        "spatial_size": rule.size,
        "padding_mode": "zeros",
        "image_only": True,
    }
    image = Affine(mode="bilinear", **affine)(crop(case.image, start, size).astype(np.float32))
    label = Affine(mode="nearest", **affine)(crop(case.label, start, size)[None].astype(np.float32))
    return np.asarray(image), np.asarray(label)[0].astype(np.uint8)


def _flipped(
    image: np.ndarray, label: np.ndarray, probability: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    axes = [axis for axis in (-3, -2, -1) if rng.random() < probability]
    return np.flip(image, tuple(axes)), np.flip(label, tuple(axes))


def _intensities(image: np.ndarray, change: Augment, rng: np.random.Generator) -> np.ndarray:
    """Gamma, brightness, noise, each with its probability; still in [0, 1]."""
    if rng.random() < change.intensity:
        image = image ** np.float32(rng.uniform(*change.gamma))
    if rng.random() < change.intensity:
        image = image + np.float32(rng.uniform(-change.brightness, change.brightness))
    if rng.random() < change.intensity:
        spread = np.float32(rng.uniform(0, change.noise))
        image = image + spread * rng.standard_normal(image.shape, dtype=np.float32)
    return np.asarray(np.clip(image, 0, 1))


class Windows(Dataset[Window | Broken]):
    """All windows of a training, by their number: step * batch + place in the batch.

    Args:
        cache: The cache folder.
        keys: Cache keys of the training cases.
        rule: How windows are drawn.
        seed: The trial's seed.
    """

    def __init__(self, cache: Path, keys: Sequence[str], rule: WindowRule, seed: int) -> None:
        self._cache, self._keys, self._rule, self._seed = cache, tuple(keys), rule, seed
        self._open: dict[str, CachedCase] = {}

    def key(self, index: int) -> str:
        """Cache key of a window's case: all are visited, in a new order, before any comes again."""
        turn, place_in_turn = divmod(index, len(self._keys))
        order = np.random.default_rng(derived(self._seed, "cases", turn)).permutation(
            len(self._keys)
        )
        return self._keys[int(order[place_in_turn])]

    def _case(self, key: str) -> CachedCase:
        if key not in self._open:
            if len(self._open) == _MOST_OPEN:
                del self._open[next(iter(self._open))]
            self._open[key] = open_case(self._cache, key)
        return self._open[key]

    def __getitem__(self, index: int) -> Window | Broken:
        """Window number `index`."""
        key = self.key(index)
        try:
            case = self._case(key)
        except UsageError as error:
            return Broken(key[:16], error.message)
        try:
            return draw(case, self._rule, derived(self._seed, "window", index))
        except (ValueError, RuntimeError, IndexError, OSError) as error:
            return Broken(case.name, f"{type(error).__name__}: {error}")


def collate(windows: list[Any]) -> Any:
    """A group of windows, or the first one that cannot be made.

    Returns:
        Images [windows, ...], labels [windows, D, H, W] and case names; or `Broken`.
    """
    broken = [window for window in windows if isinstance(window, Broken)]
    if broken:
        return broken[0]
    images, labels, cases = zip(*windows, strict=True)
    return torch.stack(images), torch.stack(labels), list(cases)
