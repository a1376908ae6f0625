"""Training windows: where they lie, and what becomes of them.

Dimensions: C channels, D H W voxels. Every window is a function of (trial seed, step, place in the
batch) alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from inflate_zoo import stops
from inflate_zoo.bench.data.cases import CachedCase, open_case
from inflate_zoo.bench.data.resampling import crop
from inflate_zoo.bench.definitions.protocols import Augment, Voxels, mirrors_depth
from inflate_zoo.bench.training.augmentation import (
    Turn,
    draw_turn,
    flipped,
    intensities,
    quarter_turned,
    warped,
)
from inflate_zoo.bench.training.seeding import derive_seed
from inflate_zoo.errors import UsageError

_MOST_OPEN = 32  # cases of four files each: systems allow a process 256 or 1024


class FailedWindow(NamedTuple):
    """In place of a window that cannot be made: errors lose their attributes between processes."""

    case: str
    reason: str


class Window(NamedTuple):
    """One training window.

    Attributes:
        image: Shape [C, D, H, W], float32 in [0, 1].
        label: Class indices, shape [D, H, W], uint8, as bytes travel faster to a device; of a
            centre slice [1, H, W].
        case: Where it comes from.
    """

    image: Tensor
    label: Tensor
    case: str


class Group(NamedTuple):
    """Windows over which Dice is taken together.

    Attributes:
        images: Shape [windows, C, D, H, W]; the features of windows where these were kept.
        labels: Shape [windows, D, H, W].
        cases: Names of their cases.
    """

    images: Tensor
    labels: Tensor
    cases: list[str]


@dataclass(frozen=True, slots=True)
class WindowRule:
    """How windows are drawn.

    Attributes:
        size: Voxels (depth, height, width).
        foreground: Share of windows that hold a drawn labelled voxel, anywhere in the window.
        augment: Their changes; `None` for none.
        centre: Whether the centre slice alone is labelled. Any slice may be the centre; beyond the
            volume its outer slices are repeated.
    """

    size: Voxels
    foreground: float
    augment: Augment | None
    centre: bool = False


def place(case: CachedCase, rule: WindowRule, rng: np.random.Generator) -> tuple[int, int, int]:
    """Draw the corner of a window.

    A share of the windows holds a labelled voxel, its class drawn evenly among those of the case,
    anywhere in the window; the others lie anywhere. A window leaves the volume only where the
    volume is smaller. Where the centre slice alone is labelled, that is what is meant.
    """
    shape = np.asarray(case.label.shape)
    size = np.asarray(rule.size)
    if rule.centre:
        size = np.asarray((1, *rule.size[1:]))
    room = shape - size
    if rng.random() < rule.foreground and len(case.foreground):
        # They are sorted by class, so each has its piece; of 13 organs there are 260,000.
        classes = case.foreground[:, 0]
        ends = np.searchsorted(classes, np.arange(classes[-1] + 1, dtype=np.int32), side="right")
        counts = np.diff(ends, prepend=0)
        wanted = rng.choice(np.flatnonzero(counts))
        voxel = case.foreground[ends[wanted] - counts[wanted] + rng.integers(counts[wanted]), 1:]
        corner = voxel - (rng.random(3) * size).astype(int)
    else:
        corner = np.asarray([rng.integers(extent + 1) if extent > 0 else 0 for extent in room])
    corner = np.where(room > 0, np.clip(corner, 0, np.maximum(room, 0)), room // 2)
    if rule.centre:
        corner[0] -= rule.size[0] // 2
    return int(corner[0]), int(corner[1]), int(corner[2])


def draw(case: CachedCase, rule: WindowRule, seed: int) -> Window:
    """Draw and change one window of a case."""
    rng = np.random.default_rng(seed)
    corner = place(case, rule, rng)
    change = rule.augment
    if change is None or rng.random() >= change.turn:
        image = crop(case.image, corner, rule.size, repeat=rule.centre)
        label = crop(case.label, *_labelled(corner, rule))
    else:
        image, label = _turned(case, corner, rule, draw_turn(change, rng), rng)
    if change is not None:
        deep = mirrors_depth(rule.size, centre=rule.centre)
        image, label = flipped(image, label, change.flip, rng, depth=deep)
        if change.quarter_turn and rng.random() < change.quarter_turn:
            image, label = quarter_turned(image, label, rng)
    # Copies: a single flipped slice counts as contiguous, and torch takes no negative strides.
    pixels = torch.from_numpy(np.array(image, np.float32, order="C"))
    if change is not None:
        pixels = intensities(pixels, change, rng)
    return Window(pixels, torch.from_numpy(np.array(label, np.uint8, order="C")), case.name)


def _labelled(corner: Sequence[int], rule: WindowRule) -> tuple[Voxels, Voxels]:
    """Corner and size of what is labelled of a window."""
    depth, height, width = rule.size
    first, top, left = corner
    if rule.centre:
        return (first + depth // 2, top, left), (1, height, width)
    return (first, top, left), rule.size


def _turned(
    case: CachedCase,
    corner: Sequence[int],
    rule: WindowRule,
    turn: Turn,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """A window in which nothing is mixed that lies far apart: turned in the plane alone."""
    if rule.centre and turn.zoom > 1:  # any part of a magnified slice, not its middle alone
        rest = [(1 - 1 / turn.zoom) * extent / 2 for extent in rule.size[1:]]
        down, right = (round(rng.uniform(-extent, extent)) for extent in rest)
        corner = (corner[0], corner[1] + down, corner[2] + right)
    image = warped(case.image, corner, rule.size, turn, repeat=rule.centre)
    place, size = _labelled(corner, rule)
    if rule.centre and turn.depth_zoom != 1:  # what the centre becomes, its neighbours decide
        place, size = (corner[0], *place[1:]), rule.size
    label = warped(case.label[None], place, size, turn, repeat=rule.centre)[0]
    if len(label) > 1 and rule.centre:
        label = label[len(label) // 2][None]
    return image, label


class Windows(Dataset[Window | FailedWindow]):
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
        order = np.random.default_rng(derive_seed(self._seed, "cases", turn)).permutation(
            len(self._keys)
        )
        return self._keys[int(order[place_in_turn])]

    def _case(self, key: str) -> CachedCase:
        if key not in self._open:
            if len(self._open) == _MOST_OPEN:
                del self._open[next(iter(self._open))]
            self._open[key] = open_case(self._cache, key)
        return self._open[key]

    def __getitem__(self, index: int) -> Window | FailedWindow:
        """Window number `index`."""
        key = self.key(index)
        try:
            case = self._case(key)
        except UsageError as error:
            return FailedWindow(key[:16], error.message)
        try:
            return draw(case, self._rule, derive_seed(self._seed, "window", index))
        except (ValueError, RuntimeError, IndexError, OSError) as error:
            return FailedWindow(case.name, f"{type(error).__name__}: {error}")


def quiet_worker(_: int, *, asked_to_stop: bool = False) -> None:
    """Have a worker say nothing where the process that fetches its windows ended meanwhile.

    Its errors travel as values; what remains is the thread that hands tensors over, which shows a
    traceback when nobody takes them.

    Args:
        asked_to_stop: Whether the process may be, which then ends its workers: a signal to all
            processes is not to take them away before it has saved.
    """
    sys.excepthook = lambda *_: None
    if asked_to_stop:  # here, as torch handles SIGTERM itself once a worker begins
        stops.ignore()


def collate(windows: list[tuple[Tensor, Tensor, str] | FailedWindow]) -> Group | FailedWindow:
    """A group of windows, of images or of features, or the first one that cannot be made."""
    made = []
    for window in windows:
        if isinstance(window, FailedWindow):
            return window
        made.append(window)
    images, labels, cases = zip(*made, strict=True)
    return Group(torch.stack(images), torch.stack(labels), list(cases))
