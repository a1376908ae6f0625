"""Swin on volumes: attention inside windows over depth and plane, with a table of biases.

Dimensions: B batch, N tokens of a window, L tokens of a stage, d h w their grid, E width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from inflate_zoo.networks.base import Triple
from inflate_zoo.networks.layers.attention import heads_of, joined
from inflate_zoo.networks.layers.grids import Placement, stage_grids
from inflate_zoo.networks.layers.parts import Mlp, PatchEmbed, initialise
from inflate_zoo.networks.layers.stages import Stage, StagedNetwork, WindowBlock, merge_parts
from inflate_zoo.networks.layers.windows import (
    attend_in_windows,
    from_windows,
    table_rows,
    to_windows,
    window_mask,
)
from inflate_zoo.networks.swin.config import SwinConfig


class SwinTransformer(StagedNetwork):
    """Swin on volumes.

    Args:
        config: The architecture.

    Attributes:
        config: As given.
    """

    config: SwinConfig

    def __init__(self, config: SwinConfig) -> None:
        super().__init__(config)
        dim, eps = config.embed_dim, config.outer_eps
        self.patch_embed = PatchEmbed(config.in_channels, dim, config.patch, bias=config.stem_bias)
        self.norm_pre = nn.LayerNorm(dim, eps=eps) if config.stem_norm else nn.Identity()
        grids = stage_grids(config, self.grid_size)
        self.stages = nn.ModuleList(
            Stage([Block(config, stage, grid, shifted=i % 2 == 1) for i in range(depth)])
            for stage, (grid, depth) in enumerate(zip(grids, config.depths, strict=True))
        )
        self.merges = nn.ModuleList(
            Merging(width, eps, depth=config.merge_depth) for width in config.widths[:-1]
        )
        self.norm = nn.LayerNorm(config.widths[-1], eps=config.norm_eps)
        self.tables = frozenset(
            name for name, _ in self.named_parameters() if name.endswith("_bias_table")
        )
        initialise(self, *(p for name, p in self.named_parameters() if name in self.tables))


class WindowAttention(nn.Module):
    """Multi-head self-attention inside windows, with a bias for each relative position.

    Args:
        dim: E.
        heads: Heads.
        table: Window (depth, height, width) that the table is made for.
        qkv_bias: Whether query, key and value have a bias.
    """

    def __init__(self, dim: int, heads: int, table: Triple, *, qkv_bias: bool) -> None:
        super().__init__()
        self.heads, self.table = heads, table
        depth, height, width = (2 * side - 1 for side in table)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(depth * height * width, heads))
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, windows: Tensor, placement: Placement) -> Tensor:
        """(B n, N, E), same shape, windows that lie so."""
        query, key, value = heads_of(self.qkv(windows), self.heads)
        rows = table_rows(placement.window, self.table, windows.device)
        bias = self.relative_position_bias_table[rows].permute(2, 0, 1)
        mask = window_mask(placement, query.dtype, windows.device)
        mixed = attend_in_windows(query, key, value, bias, mask)
        return self.proj(joined(mixed))  # type: ignore[no-any-return]


class Block(WindowBlock):
    """Pre-norm transformer block, its attention inside windows."""

    def __init__(self, config: SwinConfig, stage: int, grid: Triple, *, shifted: bool) -> None:
        super().__init__(config, stage, grid, shifted=shifted)
        dim, eps = config.widths[stage], config.norm_eps
        heads, bias = config.num_heads[stage], config.qkv_bias
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = WindowAttention(dim, heads, self.window, qkv_bias=bias)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, config.mlp_dims[stage], config.activation, gated=False)

    def forward(self, x: Tensor, grid: Triple) -> Tensor:
        """(B, L, E) to (B, L, E), tokens of a grid."""
        at = self.placement(grid)
        tokens = self.norm1(x).unflatten(1, grid)
        mixed = from_windows(self.attn(to_windows(tokens, at), at), at)
        x = x + self._drop(mixed.flatten(1, 3), 0)
        return x + self._drop(self.mlp(self.norm2(x)), 1)


class Merging(nn.Module):
    """Neighbouring tokens side by side, normed, then reduced to twice the width."""

    def __init__(self, dim: int, eps: float, *, depth: bool) -> None:
        super().__init__()
        self.depth = depth
        parts = 8 if depth else 4
        self.norm = nn.LayerNorm(parts * dim, eps=eps)
        self.reduction = nn.Linear(parts * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, d, h, w, E) to (B, d or d / 2, h / 2, w / 2, 2 E)."""
        return self.reduction(self.norm(merge_parts(x, depth=self.depth)))  # type: ignore[no-any-return]
