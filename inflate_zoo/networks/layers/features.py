"""Which feature maps are asked for, and how they are laid out: as timm's networks take and give it.

Dimensions: B batch, P prefix tokens, N tokens of a grid D H W, E width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from inflate_zoo.networks.base import Triple

Layout = Literal["NCHW", "NLC"]


def taken(indices: int | Sequence[int] | None, count: int, noun: str) -> list[int]:
    """Which of `count` levels are asked for.

    Args:
        indices: `None` for all, a number for so many of the last ones, or each by its index;
            negative ones count from the last.
        count: Levels there are.
        noun: What a level is called in the message.

    Returns:
        Indices from 0, ascending, each once.

    Raises:
        ValueError: One is out of range.
    """
    if isinstance(indices, int):
        if not 0 < indices <= count:
            raise ValueError(f"the last {indices} {noun}s are out of range for {count} {noun}s")
        return list(range(count - indices, count))
    asked = range(count) if indices is None else indices
    wrong = [index for index in asked if not -count <= index < count]
    if wrong:
        raise ValueError(f"{noun} indices {wrong} are out of range for {count} {noun}s")
    return sorted({index % count for index in asked})


def require_layout(layout: str) -> None:
    """Raise for a layout that is none.

    Raises:
        ValueError: It is neither `NCHW` nor `NLC`.
    """
    if layout not in ("NCHW", "NLC"):
        raise ValueError(f"output_fmt {str(layout)!r} is neither 'NCHW' nor 'NLC'")


def laid_out(tokens: Tensor, grid: Triple, layout: str) -> Tensor:
    """(B, N, E) as it is for `NLC`; for `NCHW` a map, (B, E, D, H, W)."""
    if layout == "NLC":
        return tokens
    columns = tokens.mT
    return columns.view(*columns.shape[:2], *grid)
