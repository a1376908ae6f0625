"""Relative position biases of attention: tables resized in the plane, and put together for a grid.

A table has a row for every offset in the plane, query minus key, height first, and three more for
the cls token, in this order: from cls to a patch, from a patch to cls, from cls to itself. Depth
adds a table of its own, a row for every offset in depth.

Dimensions: R rows, h heads, D H W the grid, L = 1 + D * H * W tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from torch import Tensor, nn

from inflate_zoo.networks.layers.constants import made_once
from inflate_zoo.networks.layers.offsets import CLS_ROWS, offsets, table_rows
from inflate_zoo.networks.layers.positions import resize_offsets

Grid = tuple[int, int]


def resize_table(table: Tensor, grid: Grid, target: Grid, resizing: str) -> Tensor:
    """Resize a table in the plane; the rows of the cls token stay as they are.

    Args:
        table: Shape (R, h) for `grid`, any float dtype.
        grid: Present grid (height, width).
        target: New grid (height, width).
        resizing: A name in `RESIZINGS`.

    Returns:
        Shape (R', h), same dtype; the table itself where the grid stays and its order too.
    """
    if grid == target and resizing != "width_first":
        return table
    plane = RESIZINGS[resizing](table[:-CLS_ROWS].float(), offsets(grid), offsets(target))
    return torch.cat([plane.to(table.dtype), table[-CLS_ROWS:]])


def _bilinear(plane: Tensor, old: Grid, new: Grid) -> Tensor:
    """Bilinear, without antialiasing: transformers' BEiT at other grids than its own."""
    maps = plane.t().reshape(1, -1, *old)
    return F.interpolate(maps, size=new, mode="bilinear")[0].flatten(1).t()


def _width_first(plane: Tensor, old: Grid, new: Grid) -> Tensor:
    """Transformers' BEiT of a grid that is not square: it takes the rows to run width first.

    So it does at its own grid too, where the table is resized from width x height to height x
    width: nothing is left out here because the grid stays.
    """
    maps = plane.t().reshape(1, -1, old[1], old[0])
    return F.interpolate(maps, size=new, mode="bilinear")[0].flatten(1).t()


def _geometric(plane: Tensor, old: Grid, new: Grid) -> Tensor:
    """Timm's, after BEiT's own code: old offsets lie further apart the farther out they are.

    Per axis an old offset stands where the new grid has the sum of so many steps, each q times the
    one before, and q is such that the outermost one meets the new outermost one; between them the
    values are linear. BEiT's own code puts cubic splines through them.
    """
    rows, columns = (_linear_weights(a, b).to(plane) for a, b in zip(old, new, strict=True))
    maps = plane.t().reshape(-1, *old)
    return (rows @ maps @ columns.t()).flatten(1).t()


def _geometric_places(old: int, new: int) -> list[float]:
    """Where the old offsets stand among the new ones, 0 in the middle, ascending."""
    half, reach = old // 2, new // 2
    low, high = 1.01, 1.5
    ratio = low
    while high - low > 1e-6:
        ratio = (low + high) / 2
        if (1 - ratio**half) / (1 - ratio) > reach:
            high = ratio
        else:
            low = ratio
    outwards, place = [], 0.0
    for step in range(half):
        place += ratio**step
        outwards.append(place)
    return [-place for place in reversed(outwards)] + [0.0, *outwards]


def _linear_weights(old: int, new: int) -> Tensor:
    """What each new offset takes of each old one, shape (new, old); beyond the last one, that."""
    places = torch.tensor(_geometric_places(old, new), dtype=torch.float64)
    wanted = torch.arange(new, dtype=torch.float64) - new // 2
    if old == 1:
        return torch.ones(new, 1)
    right = torch.searchsorted(places, wanted).clamp(1, old - 1)
    left = right - 1
    share = ((wanted - places[left]) / (places[right] - places[left])).clamp(0, 1)
    weights = torch.zeros(new, old, dtype=torch.float64)
    weights.scatter_(1, left.unsqueeze(1), (1 - share).unsqueeze(1))
    weights.scatter_add_(1, right.unsqueeze(1), share.unsqueeze(1))
    return weights.float()


RESIZINGS: Mapping[str, Callable[[Tensor, Grid, Grid], Tensor]] = MappingProxyType(
    {"bilinear": _bilinear, "width_first": _width_first, "geometric": _geometric}
)


@made_once
def _plane_index(height: int, width: int, device: torch.device) -> Tensor:
    """The row of every query and key in the plane, shape (H * W * H * W,)."""
    y = torch.arange(height, device=device)
    x = torch.arange(width, device=device)
    rows = (y.view(-1, 1, 1, 1) - y.view(1, 1, -1, 1) + height - 1) * (2 * width - 1)
    return (rows + (x.view(1, -1, 1, 1) - x.view(1, 1, 1, -1) + width - 1)).flatten()


@made_once
def _whole_index(height: int, width: int, device: torch.device) -> Tensor:
    """`_plane_index` with the cls token, its rows the last three; shape (L * L,), one deep."""
    last = (2 * height - 1) * (2 * width - 1)
    places = height * width
    plane = _plane_index(height, width, device).view(places, places)
    column = torch.full((places, 1), last + 1, device=device)
    row = torch.full((1, 1 + places), last, device=device)
    row[:, 0] = last + 2
    return torch.cat([row, torch.cat([column, plane], dim=1)]).flatten()


@made_once
def _counted(copies: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What the rows of the cls token gain where its key counts so often, shape (3,)."""
    return torch.tensor([0.0, math.log(copies), math.log(copies)], dtype=dtype, device=device)


def assemble_bias(plane: Tensor, depth: Tensor, grid: tuple[int, int, int], copies: int) -> Tensor:
    """What is added to the logits of every query and key.

    Args:
        plane: Table in the plane, shape (R, h), its last three rows those of the cls token.
        depth: Table in depth, shape (2 * D - 1, h), added to what patches are to each other.
        grid: D, H, W.
        copies: How often the cls key counts: as often as any patch of the plane is there, D, for
            the softmax to be that of one slice where slices are equal.

    Returns:
        Shape (1, h, L, L): queries, then keys.
    """
    deep, *size = grid
    heads = plane.shape[1]
    offsets_hr = plane.t()
    corner = offsets_hr[:, -CLS_ROWS:]
    if copies != 1:
        corner = corner + _counted(copies, plane.dtype, plane.device)
    places = size[0] * size[1]
    if deep == 1:  # one gather, no copies
        rows = torch.cat([offsets_hr[:, :-CLS_ROWS] + depth.t(), corner], dim=1)
        index = _whole_index(size[0], size[1], plane.device)
        return rows.index_select(1, index).view(1, heads, 1 + places, 1 + places)
    rows = offsets_hr[:, :-CLS_ROWS].contiguous()
    flat = rows.index_select(1, _plane_index(size[0], size[1], plane.device))
    flat = flat.view(heads, 1, places, 1, places)
    line = depth.t().index_select(1, _plane_index(deep, 1, plane.device))
    body = (flat + line.view(heads, deep, 1, deep, 1)).view(heads, deep * places, deep * places)
    to_patch, to_cls, own = corner.unsqueeze(2).unbind(1)
    column = to_cls.unsqueeze(2).expand(-1, deep * places, 1)
    row = torch.cat([own, to_patch.expand(-1, deep * places)], dim=1).unsqueeze(1)
    return torch.cat([row, torch.cat([column, body], dim=2)], dim=1).unsqueeze(0)


class PositionBias(nn.Module):
    """The tables of one attention, or of those that share them.

    Args:
        made_for: D, H, W that the tables are of.
        heads: Attention heads.
        resizing: How that of the plane is resized for another grid: a name in `RESIZINGS`.
        counts: Whether the cls key counts as often as there are depth tokens; else once.
    """

    def __init__(
        self, made_for: tuple[int, int, int], heads: int, resizing: str, *, counts: bool
    ) -> None:
        super().__init__()
        self.made_for, self.resizing, self.counts = made_for, resizing, counts
        self.plane = nn.Parameter(torch.zeros(table_rows(made_for[1:]), heads))
        self.depth = nn.Parameter(torch.zeros(2 * made_for[0] - 1, heads))

    def forward(self, grid: tuple[int, int, int]) -> Tensor:
        """Shape (1, h, L, L), for a grid D, H, W."""
        plane = resize_table(self.plane, self.made_for[1:], grid[1:], self.resizing)
        depth = resize_offsets(self.depth, grid[0])
        return assemble_bias(plane, depth, grid, grid[0] if self.counts else 1)
