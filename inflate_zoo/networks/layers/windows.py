"""Windows on a grid of tokens: how they lie, and the relative positions inside of them.

Depth is treated on its own: its padding is masked, since what is padded there would be no copy of a
slice, and its regions are masked outright. In the plane all is as in the 2D originals, where padded
tokens take part and another region's keys lose 100 of their logits.

Dimensions: B batch, D H W grid of tokens, n windows, N tokens of a window, E width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from torch import Tensor

from inflate_zoo.networks.base import Triple
from inflate_zoo.networks.layers.attention import attend_by_products, learns_unfused
from inflate_zoo.networks.layers.constants import made_once
from inflate_zoo.networks.layers.grids import Placement

_OTHER_REGION = -100.0  # of Liu et al. 2021, and of every library since


def to_windows(tokens: Tensor, placement: Placement) -> Tensor:
    """(B, D, H, W, E) to (B n, N, E), windows and their tokens in depth, height, width order."""
    tokens = _rolled(tokens, placement.early, -1)
    ends = [whole - size for whole, size in zip(placement.padded, placement.grid, strict=True)]
    if any(ends):
        tokens = F.pad(tokens, (0, 0, 0, ends[2], 0, ends[1], 0, ends[0]))
    tokens = _rolled(tokens, placement.late, -1)
    (d, h, w), (wd, wh, ww) = placement.counts, placement.window
    parts = tokens.reshape(tokens.shape[0], d, wd, h, wh, w, ww, tokens.shape[-1])
    return parts.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(-1, wd * wh * ww, tokens.shape[-1])


def from_windows(windows: Tensor, placement: Placement) -> Tensor:
    """What `to_windows` did, undone; what was padded is left out."""
    (d, h, w), (wd, wh, ww) = placement.counts, placement.window
    parts = windows.reshape(-1, d, h, w, wd, wh, ww, windows.shape[-1])
    tokens = parts.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(
        -1, d * wd, h * wh, w * ww, windows.shape[-1]
    )
    tokens = _rolled(tokens, placement.late, 1)
    depth, height, width = placement.grid
    return _rolled(tokens[:, :depth, :height, :width], placement.early, 1)


def _rolled(tokens: Tensor, shift: tuple[int, int, int], sign: int) -> Tensor:
    if not any(shift):
        return tokens
    depth, height, width = (sign * places for places in shift)
    return torch.roll(tokens, (depth, height, width), (1, 2, 3))


def window_mask(placement: Placement, dtype: torch.dtype, device: torch.device) -> Tensor | None:
    """What is added to logits inside each window, shape (n, N, N); `None` where nothing is.

    A row of what is padded along depth is left as it is: nobody reads it, and a row of minus
    infinities has no softmax.
    """
    if not placement.is_masked:
        return None
    plane, depth = _regions(placement, device)
    mask = (plane.unsqueeze(2) != plane.unsqueeze(1)).to(dtype).mul_(_OTHER_REGION)
    apart = (depth.unsqueeze(2) != depth.unsqueeze(1)) & (depth.unsqueeze(2) >= 0)
    hidden: Tensor = mask.masked_fill(apart, float("-inf"))
    return hidden


@made_once
def _regions(placement: Placement, device: torch.device) -> Tensor:
    """Numbers of the regions in the plane and along depth, shape (2, n, N); -1 where depth ends.

    As bytes: all pairs of them are compared in every pass.
    """
    shift = [a + b for a, b in zip(placement.early, placement.late, strict=True)]
    sizes = list(zip(placement.padded, placement.window, shift, strict=True))
    depth, height, width = (_axis(*size, device) for size in sizes)
    if placement.padded[0] > placement.grid[0]:
        places = (torch.arange(placement.padded[0], device=device) + shift[0]) % placement.padded[0]
        depth = depth.masked_fill(places >= placement.grid[0], -1)
    plane = (3 * height[:, None] + width).expand(len(depth), -1, -1)
    deep = depth[:, None, None].expand_as(plane)
    unshifted = Placement(placement.padded, placement.window, (0, 0, 0), (0, 0, 0))
    both = torch.stack([plane, deep], dim=-1).unsqueeze(0).to(torch.int8)
    return to_windows(both, unshifted).permute(2, 0, 1)


def _axis(size: int, window: int, shift: int, device: torch.device) -> Tensor:
    """Along one axis: 0 before the last window, then 1, and 2 for what was carried around."""
    places = torch.arange(size, device=device)
    if not shift:
        return torch.zeros_like(places)
    return (places >= size - window).long() + (places >= size - shift).long()


@made_once
def table_rows(window: Triple, table: Triple, device: torch.device) -> Tensor:
    """Rows of a table of relative positions for all pairs of a window, shape (N, N).

    Args:
        window: Tokens of the window.
        table: Tokens of the window that the table was made for, nowhere less; the table has a row
            for each difference (depth, height, width), query minus key, in this order.
        device: Where to.
    """
    sides = [torch.arange(side, device=device) for side in window]
    places = torch.stack(torch.meshgrid(*sides, indexing="ij")).flatten(1)
    apart = places[:, :, None] - places[:, None]
    depth, height, width = (each + side - 1 for each, side in zip(apart, table, strict=True))
    rows: Tensor = (depth * (2 * table[1] - 1) + height) * (2 * table[2] - 1) + width
    return rows


def offsets(window: Triple, device: torch.device) -> Tensor:
    """All differences (depth, height, width) of places of a window, in the order of a table's rows.

    Shape (rows, 3), whole numbers.
    """
    sides = [torch.arange(1 - side, side, device=device) for side in window]
    return torch.stack(torch.meshgrid(*sides, indexing="ij"), dim=-1).flatten(0, 2)


def attend_in_windows(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor,
    mask: Tensor | None,
    *,
    scale: float | None = None,
) -> Tensor:
    """Attention inside windows.

    Args:
        query: Shape (B n, heads, N, E / heads); likewise `key` and `value`.
        key: Keys.
        value: Values.
        bias: What is added to the logits of every window, shape (heads, N, N).
        mask: What `window_mask` gave.
        scale: Of the products; one over the root of the last size by default.

    Returns:
        Shape (B n, heads, N, E / heads).
    """
    # It comes with the heads last in memory: a mask is added three times as fast to a copy.
    bias = bias.to(query.dtype).contiguous()
    if learns_unfused(bias):
        biases = (bias,) if mask is None else (bias, mask.unsqueeze(1))
        count = 1 if mask is None else len(mask)
        each = [part.reshape(-1, count, *part.shape[1:]) for part in (query, key, value)]
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        return attend_by_products(*each, *biases, scale=scale).flatten(0, 1)
    if mask is None:
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask=bias.unsqueeze(0), scale=scale
        )
    # Windows go beside the heads, so that volumes share one mask.
    heads, places = len(mask) * query.shape[1], query.shape[2:]
    each = [part.reshape(-1, heads, *places) for part in (query, key, value)]
    added = (bias + mask.unsqueeze(1)).reshape(1, heads, places[0], places[0])
    mixed = F.scaled_dot_product_attention(each[0], each[1], each[2], attn_mask=added, scale=scale)
    return mixed.view(query.shape)
