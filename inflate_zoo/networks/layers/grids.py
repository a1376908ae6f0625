"""Grids of hierarchical networks and how windows lie on them, as data. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Annotated, Literal

from pydantic import Field

from inflate_zoo.networks.base import BackboneConfig, Pair, Side, Triple, Width

Clipping = Literal["plane", "axis", "height"]
Padding = Literal["before_shift", "after_shift"]
Sides = Annotated[tuple[Side, ...], Field(strict=False, min_length=1, max_length=8)]
Widths = Annotated[tuple[Width, ...], Field(strict=False)]
Pairs = Annotated[tuple[Annotated[Pair, Field(strict=False)], ...], Field(strict=False)]

MOST_WINDOW = 128  # a side, in tokens: a table of biases grows with its square


@dataclass(frozen=True)
class Placement:
    """How the windows of one block lie on its grid.

    Attributes:
        grid: Tokens (depth, height, width).
        window: Tokens of a window.
        early: Places by which tokens are shifted before they are padded to whole windows.
        late: Places by which they are shifted after it.
    """

    grid: Triple
    window: Triple
    early: tuple[int, int, int]
    late: tuple[int, int, int]

    @property
    def counts(self) -> Triple:
        """Windows along each axis."""
        depth, height, width = (
            -(-size // side) for size, side in zip(self.grid, self.window, strict=True)
        )
        return depth, height, width

    @property
    def padded(self) -> Triple:
        """The grid in whole windows."""
        depth, height, width = (
            count * side for count, side in zip(self.counts, self.window, strict=True)
        )
        return depth, height, width

    @property
    def is_masked(self) -> bool:
        """Whether a window holds what its tokens must not all see."""
        return any((*self.early, *self.late)) or self.padded[0] > self.grid[0]


def place(
    grid: Triple, window: Triple, *, shifted: bool, clipping: Clipping, padding: Padding
) -> Placement:
    """Where windows lie.

    Args:
        grid: Tokens (depth, height, width).
        window: Tokens of a window; along an axis where it reaches over the whole grid it is
            clipped to it, and nothing is shifted.
        shifted: Whether every other block's windows are meant, half a window further on.
        clipping: `axis`: each on its own; `plane`: height and width together, by the smaller side;
            `height`: together, by the height alone.
        padding: Whether the plane is padded to whole windows before or after it is shifted.
    """
    depth = min(grid[0], window[0])
    plane = list(zip(grid[1:], window[1:], strict=True))
    covered = [size <= side for size, side in plane]
    if clipping == "plane" and any(covered):
        covered = [True, True]
        plane = [(min(grid[1:]), side) for _, side in plane]
    if clipping == "height":
        covered = [covered[0], covered[0]]
        plane = [(grid[1], side) for _, side in plane]
    height, width = (min(size, side) for size, side in plane)
    shifts = [
        0 if over or not shifted else side // 2
        for over, side in zip(covered, window[1:], strict=True)
    ]
    deep = 0 if grid[0] <= window[0] or not shifted else window[0] // 2
    early = (0, shifts[0], shifts[1]) if padding == "after_shift" else (0, 0, 0)
    late = (deep, shifts[0], shifts[1]) if padding == "before_shift" else (deep, 0, 0)
    return Placement(grid, (depth, height, width), early, late)


def unshifted(grid: Triple, window: Triple) -> tuple[Placement, ...]:
    """Windows that are never shifted, one placement for each depth that they have.

    Args:
        grid: Tokens (depth, height, width).
        window: Tokens of a window. Where it does not divide the grid the plane is padded to whole
            windows; along depth the last windows are less deep, so nothing pads it.

    Returns:
        Slabs of the grid, one after another along depth; at most two.
    """
    depth, height, width = grid
    whole = depth - depth % window[0]
    parts = [(whole, window[0]), (depth - whole, depth - whole)]
    return tuple(
        Placement((slab, height, width), (deep, *window[1:]), (0, 0, 0), (0, 0, 0))
        for slab, deep in parts
        if slab
    )


def stage_grids(config: BackboneConfig, grid: Triple) -> list[Triple]:
    """Grids (depth, height, width) of the tokens of each level, where the last one's is `grid`."""
    last, grids = config.levels[-1].stride, []
    for level in config.levels:
        depth, height, width = (
            side * most // step for side, most, step in zip(grid, last, level.stride, strict=True)
        )
        grids.append((depth, height, width))
    return grids


def stage_tokens(config: BackboneConfig, tokens: int) -> list[int]:
    """Tokens of each level where the last one has as many as given."""
    last = prod(config.levels[-1].stride)
    return [tokens * last // prod(level.stride) for level in config.levels]
