"""Attention whose logits take what a query makes of its offset from a key, axis by axis.

As in MViTv2 (Li et al. 2022, section 4.1), in ViTDet and in SAM: each axis has a table with a row
for each offset, query minus key, and the query's product with that row is added to its logit.

Dimensions: B batch, N tokens of a grid D H W, c channels of a head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from torch import Tensor, nn

from inflate_zoo.networks.base import Triple
from inflate_zoo.networks.layers.attention import PLAIN_TOKENS, heads_of, joined
from inflate_zoo.networks.layers.constants import made_once
from inflate_zoo.networks.layers.positions import resize_offsets

AXES = ("d", "h", "w")
_LANES = 8  # fused kernels are quicker on whole multiples of them


@made_once
def _offset_rows(side: int, made_for: int, device: torch.device) -> Tensor:
    """The row of a table for each query and key of an axis, shape (side * side,)."""
    places = torch.arange(side, device=device)
    return (places.unsqueeze(1) - places + made_for - 1).flatten()


@made_once
def _places(grid: Triple, room: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Where each token of a grid stands: one in the column of its place along each axis.

    Shape (N, D + H + W + room), the last columns zero.
    """
    axes = [torch.arange(side, device=device) for side in grid]
    places = torch.meshgrid(*axes, indexing="ij")
    hot = [F.one_hot(p.flatten(), side) for p, side in zip(places, grid, strict=True)]
    return F.pad(torch.cat(hot, dim=1), (0, room)).to(dtype)


def products_by_axis(query: Tensor, tables: Sequence[Tensor], grid: Triple) -> Tensor:
    """What each query makes of a key at each place along each axis.

    Args:
        query: Shape (B, heads, N, c), not scaled.
        tables: Of depth, height and width, each of shape (2 * side - 1, c), its side no less than
            the grid's.
        grid: D, H, W.

    Returns:
        Shape (B, heads, N, D + H + W).
    """
    tokens = query.reshape(*query.shape[:2], *grid, query.shape[-1])
    made = []
    for axis, (table, side) in enumerate(zip(tables, grid, strict=True)):
        rows = _offset_rows(side, (len(table) + 1) // 2, table.device)
        offsets = table.index_select(0, rows).view(side, side, -1).to(query.dtype)
        if side == 1:  # one product for all: a stack of matrices of one column is slow
            made.append(torch.matmul(tokens, offsets[0].mT).flatten(2, 4))
            continue
        # Before the last two dimensions stands the axis: each of its places has a matrix.
        lines = tokens.transpose(2 + axis, 3)
        made.append(torch.matmul(lines, offsets.mT).transpose(2 + axis, 3).flatten(2, 4))
    return torch.cat(made, dim=-1)


def attend_decomposed(
    query: Tensor, key: Tensor, value: Tensor, tables: Sequence[Tensor], grid: Triple
) -> Tensor:
    """Attention on a grid with relative positions decomposed by axis.

    A logit is the scaled product of query and key, plus the products of the query, unscaled, with
    the tables' rows for the offset along depth, height and width. All of it is one product of
    vectors that are D + H + W longer: the query brings its products with all offsets, the key says
    where it stands. So no bias of N x N is ever in memory.

    Args:
        query: Shape (B, heads, N, c); likewise `key` and `value`.
        key: Keys.
        value: Values.
        tables: As `products_by_axis` takes them.
        grid: D, H, W.

    Returns:
        Shape (B, heads, N, c).
    """
    channels = query.shape[-1]
    room = -(channels + sum(grid)) % _LANES
    places = _places(grid, room, key.dtype, key.device)
    products = products_by_axis(query, tables, grid)
    empty = products.new_zeros(*products.shape[:-1], room)
    query = torch.cat([query * channels**-0.5, products, empty], dim=-1)
    key = torch.cat([key, places.expand(*key.shape[:2], -1, -1)], dim=-1)
    if query.device.type == "cpu" and query.dtype == torch.bfloat16 and len(places) <= PLAIN_TOKENS:
        return torch.matmul(torch.matmul(query, key.mT).softmax(dim=-1), value)
    # Fused kernels want values as wide as keys.
    value = F.pad(value, (0, places.shape[1]))
    return F.scaled_dot_product_attention(query, key, value, scale=1.0)[..., :channels]


class DecomposedAttention(nn.Module):
    """Multi-head self-attention on a grid, with relative positions decomposed by axis.

    Args:
        dim: Width.
        heads: Heads.
        sides: Tokens (depth, height, width) that the tables are made for.
        qkv_bias: Whether query, key and value have a bias.
    """

    def __init__(self, dim: int, heads: int, sides: Triple, *, qkv_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        for axis, side in zip(AXES, sides, strict=True):
            table = nn.Parameter(torch.zeros(2 * side - 1, dim // heads))
            self.register_parameter(f"rel_pos_{axis}", table)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, grid: Triple, *, whole: bool) -> Tensor:
        """(B, N, E) to (B, N, E), tokens of a grid.

        Args:
            x: Tokens.
            grid: D, H, W.
            whole: Whether it is the whole grid, to whose size tables are resized; else a part of
                what they are made for, whose offsets are among theirs.
        """
        query, key, value = heads_of(self.qkv(x), self.heads)
        tables: list[Tensor] = [self.get_parameter(f"rel_pos_{axis}") for axis in AXES]
        if whole:
            tables = [resize_offsets(t, side) for t, side in zip(tables, grid, strict=True)]
        mixed = attend_decomposed(query, key, value, tables, grid)
        return self.proj(joined(mixed))  # type: ignore[no-any-return]
