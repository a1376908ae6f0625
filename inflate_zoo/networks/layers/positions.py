"""Position tables: any grid to any grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from torch import Tensor

from inflate_zoo.networks.layers.constants import made_once


def _bicubic(plane: Tensor, size: tuple[int, int]) -> Tensor:
    """As timm does."""
    return F.interpolate(plane, size=size, mode="bicubic", antialias=True)


def _bilinear(plane: Tensor, size: tuple[int, int]) -> Tensor:
    """As SigLIP 2 NaFlex does."""
    return F.interpolate(plane, size=size, mode="bilinear", antialias=True)


def _cropped(plane: Tensor, size: tuple[int, int]) -> Tensor:
    """As RADIO does: a square of the longer side, of which the upper left corner is kept."""
    square = F.interpolate(plane, size=(max(size), max(size)), mode="bilinear")
    return square[..., : size[0], : size[1]]


# From a plane (1, dim, height, width) in float32 to one of another size.
RESIZINGS: Mapping[str, Callable[[Tensor, tuple[int, int]], Tensor]] = MappingProxyType(
    {"bicubic": _bicubic, "bilinear": _bilinear, "cropped": _cropped}
)


def resize_in_plane(
    table: Tensor,
    prefix: int,
    grid: tuple[int, int],
    target: tuple[int, int],
    resizing: str = "bicubic",
) -> Tensor:
    """Resize an in-plane position table, in float32.

    Args:
        table: Shape (1, prefix + height * width, dim), rows in height, width order.
        prefix: Leading rows that belong to prefix tokens; they are not touched.
        grid: Present grid (height, width).
        target: New grid (height, width).
        resizing: How: a name in `RESIZINGS`.

    Returns:
        Shape (1, prefix + new height * new width, dim), same dtype; the table itself where the
        grid stays.
    """
    if grid == target:
        return table
    dim = table.shape[-1]
    plane = table[:, prefix:].float().reshape(1, *grid, dim).permute(0, 3, 1, 2)
    # With channels last in memory, as they are: else torch (2.10, 2.14) gets wrong what becomes
    # one token wide.
    plane = RESIZINGS[resizing](plane, target)
    plane = plane.permute(0, 2, 3, 1).reshape(1, -1, dim).to(table.dtype)
    return torch.cat([table[:, :prefix], plane], dim=1)


def resize_depth(table: Tensor, depth: int) -> Tensor:
    """Resize a depth table linearly.

    Args:
        table: Shape (1, rows, dim).
        depth: New number of rows.

    Returns:
        Shape (1, depth, dim), same dtype; the table itself where the number stays.
    """
    if table.shape[1] == depth:
        return table
    line = F.interpolate(table.float().transpose(1, 2), size=depth, mode="linear")
    return line.transpose(1, 2).to(table.dtype).contiguous()  # as files hold it


def resize_offsets(table: Tensor, side: int) -> Tensor:
    """Resize a table of the offsets along an axis linearly.

    Args:
        table: Shape (rows, dim).
        side: Tokens along the axis, which have 2 * side - 1 offsets.

    Returns:
        Shape (2 * side - 1, dim), same dtype; the table itself where the number stays.
    """
    rows = 2 * side - 1
    return table if len(table) == rows else resize_depth(table.unsqueeze(0), rows)[0]


def depth_table(line: Tensor | None, depth: int, like: Tensor) -> Tensor:
    """A depth table of so many rows: the one there is resized, else zeros.

    Args:
        line: Shape (1, rows, dim), or `None` where there is none.
        depth: Number of rows.
        like: What zeros take their last dimension, type and device from.

    Returns:
        Shape (1, depth, dim).
    """
    if line is None:
        return like.new_zeros(1, depth, like.shape[-1])
    return resize_depth(line, depth)


@made_once
def sincos_plane(height: int, width: int, dim: int, device: torch.device) -> Tensor:
    """Positions of AIMv2 on images of any size: sine and cosine of the column, then of the row.

    Args:
        height: Rows of the grid.
        width: Columns of it.
        dim: Width of a token, a multiple of 4.
        device: Where the table goes.

    Returns:
        Shape (1, height * width, dim), float32, rows in height, width order.
    """
    quarter = dim // 4
    waves = 10_000.0 ** -(torch.arange(quarter, dtype=torch.float64) / quarter)
    rows, columns = (
        torch.arange(side, dtype=torch.float64).outer(waves) for side in (height, width)
    )
    rows = rows.unsqueeze(1).expand(height, width, quarter)
    columns = columns.unsqueeze(0).expand(height, width, quarter)
    parts = (columns.sin(), columns.cos(), rows.sin(), rows.cos())
    return torch.cat(parts, dim=-1).view(1, height * width, dim).float().to(device)
