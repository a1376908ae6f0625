"""Position tables: any grid to any grid."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from torch import Tensor


def resize_in_plane(
    table: Tensor, prefix: int, grid: tuple[int, int], target: tuple[int, int]
) -> Tensor:
    """Resize an in-plane position table as timm does: bicubic, antialiased, in float32.

    Args:
        table: Shape (1, prefix + height * width, dim), rows in height, width order.
        prefix: Leading rows that belong to prefix tokens; they are not touched.
        grid: Present grid (height, width).
        target: New grid (height, width).

    Returns:
        Shape (1, prefix + new height * new width, dim), same dtype; the table itself where the
        grid stays.
    """
    if grid == target:
        return table
    dim = table.shape[-1]
    plane = table[:, prefix:].float().reshape(1, *grid, dim).permute(0, 3, 1, 2)
    plane = F.interpolate(plane, size=target, mode="bicubic", antialias=True)
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
    return line.transpose(1, 2).to(table.dtype)


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
