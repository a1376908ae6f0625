"""BEiT on volumes.

Dimensions: B batch, D H W voxels, L tokens, E embed_dim.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from inflate_zoo.networks.base import BackboneConfig, Triple
from inflate_zoo.networks.beit.config import BeitConfig
from inflate_zoo.networks.layers.attention import BiasedAttention, prefix_bias
from inflate_zoo.networks.layers.bias_tables import PositionBias
from inflate_zoo.networks.layers.column import Column
from inflate_zoo.networks.layers.parts import LayerScale, Mlp, PatchEmbed, initialise
from inflate_zoo.networks.layers.residual import ResidualBlock


class Beit(Column):
    """BEiT, BEiT v2 or data2vec on volumes.

    The cls key counts as often as there are depth tokens: in the tables' own rows, where there are
    any.

    Args:
        config: The architecture; where `config.position_grid` is not the volume's, tables are
            resized in each pass.

    Attributes:
        config: As given.
    """

    config: BeitConfig

    def __init__(self, config: BeitConfig) -> None:
        super().__init__(config)
        dim, eps = config.embed_dim, config.norm_eps

        self.patch_embed = PatchEmbed(config.in_channels, dim, config.patch, bias=config.stem_bias)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.position_bias = position_bias(config, counts=True) if config.shared_table else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        final = config.final_norm
        self.norm = nn.LayerNorm(dim, eps=eps) if final == "tokens" else nn.Identity()
        self.fc_norm = nn.LayerNorm(dim, eps=eps) if final == "pooled" else nn.Identity()
        names = (name for name, _ in self.named_parameters() if "position_bias." in name)
        self.tables = frozenset({"cls_token", *names})
        initialise(self, self.cls_token)

    def set_config(self, config: BackboneConfig) -> None:
        """Take volumes of the config's size; tables are those of `config` already."""
        super().set_config(config)
        for module in self.modules():
            if isinstance(module, PositionBias):
                module.made_for = (self.config.depth_rows, *self.config.position_grid)
                module.resizing = self.config.table_resizing

    def _tokens(self, x: Tensor, grid: Triple) -> Tensor:  # noqa: ARG002 - blocks know places
        patches = self.patch_embed(x)
        front = self.cls_token.expand(x.shape[0], -1, -1).to(patches.dtype)
        return torch.cat([front, patches], dim=1)

    def _beside(self, grid: Triple) -> tuple[Any, ...]:
        if self.position_bias is not None:
            return self.position_bias(grid), grid
        if self.config.block_tables:
            return None, grid
        token = self.cls_token
        return prefix_bias(1 + prod(grid), 1, grid[0], token.dtype, token.device), grid

    def _pool(self, tokens: Tensor) -> Tensor:
        return tokens[:, 0] if self.config.pool == "cls" else tokens[:, 1:].mean(dim=1)


def position_bias(config: BeitConfig, *, counts: bool) -> PositionBias:
    """Tables of the config's grid; of those that share an attention one counts the cls key."""
    made_for = (config.depth_rows, *config.position_grid)
    return PositionBias(made_for, config.num_heads, config.table_resizing, counts=counts)


class Block(ResidualBlock):
    """Pre-norm transformer block whose attention knows relative positions."""

    def __init__(self, config: BeitConfig) -> None:
        super().__init__()
        dim, eps, heads = config.embed_dim, config.norm_eps, config.num_heads
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        counts = not config.shared_table
        self.position_bias = position_bias(config, counts=counts) if config.block_tables else None
        self.attn = BiasedAttention(dim, heads, qv_bias=config.qv_bias)
        self.ls1 = LayerScale(dim) if config.layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, config.mlp_dim, config.activation, gated=False)
        self.ls2 = LayerScale(dim) if config.layer_scale else nn.Identity()

    def forward(self, x: Tensor, shared: Tensor | None, grid: Triple) -> Tensor:
        """(B, L, E) to (B, L, E).

        Args:
            x: Tokens.
            shared: What all blocks add to their logits, shape (1, heads or 1, L or 1, L).
            grid: Of the patch tokens.
        """
        own = None if self.position_bias is None else self.position_bias(grid)
        bias = own if shared is None else shared if own is None else own + shared
        x = x + self._drop(self.ls1(self.attn(self.norm1(x), bias)), 0)
        return x + self._drop(self.ls2(self.mlp(self.norm2(x))), 1)
