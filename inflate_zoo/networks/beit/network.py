"""BEiT on volumes.

Dimensions: B batch, D H W voxels, L tokens, E embed_dim.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from inflate_zoo.networks.beit.config import BeitConfig
from inflate_zoo.networks.layers.attention import BiasedAttention, prefix_bias
from inflate_zoo.networks.layers.bias_tables import PositionBias
from inflate_zoo.networks.layers.column import Column
from inflate_zoo.networks.layers.parts import LayerScale, Mlp, PatchEmbed, initialise
from inflate_zoo.networks.layers.residual import ResidualBlock


class Beit(Column):
    """BEiT, BEiT v2 or data2vec on volumes of one size.

    The cls key counts as often as there are depth tokens: in the tables' own rows, where there are
    any.

    Args:
        config: The architecture; `config.volume` and `config.position_grid` must agree (a table is
            resized before it comes here).

    Attributes:
        config: As given.
    """

    config: BeitConfig

    def __init__(self, config: BeitConfig) -> None:
        if config.position_grid != config.grid_size[1:]:
            raise ValueError(f"position grid {config.position_grid} for grid {config.grid_size}")
        super().__init__(config)
        dim, eps = config.embed_dim, config.norm_eps
        depth, heads = self.grid_size[0], config.num_heads

        self.patch_embed = PatchEmbed(config.in_channels, dim, config.patch, bias=config.stem_bias)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        shared = config.shared_table
        self.position_bias = PositionBias(self.grid_size, heads, depth) if shared else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        final = config.final_norm
        self.norm = nn.LayerNorm(dim, eps=eps) if final == "tokens" else nn.Identity()
        self.fc_norm = nn.LayerNorm(dim, eps=eps) if final == "pooled" else nn.Identity()
        names = (name for name, _ in self.named_parameters() if "position_bias." in name)
        self.tables = frozenset({"cls_token", *names})
        initialise(self, self.cls_token)

    def _tokens(self, x: Tensor) -> Tensor:
        patches = self.patch_embed(x)
        front = self.cls_token.expand(x.shape[0], -1, -1).to(patches.dtype)
        return torch.cat([front, patches], dim=1)

    def _beside(self) -> tuple[Any, ...]:
        if self.position_bias is not None:
            return (self.position_bias(),)
        if self.config.block_tables:
            return (None,)
        depth, height, width = self.grid_size
        token = self.cls_token
        return (prefix_bias(1 + depth * height * width, 1, depth, token.dtype, token.device),)

    def _pool(self, tokens: Tensor) -> Tensor:
        return tokens[:, 0] if self.config.pool == "cls" else tokens[:, 1:].mean(dim=1)


class Block(ResidualBlock):
    """Pre-norm transformer block whose attention knows relative positions."""

    def __init__(self, config: BeitConfig) -> None:
        super().__init__()
        dim, eps, heads = config.embed_dim, config.norm_eps, config.num_heads
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        copies = 1 if config.shared_table else config.grid_size[0]
        own = config.block_tables
        self.position_bias = PositionBias(config.grid_size, heads, copies) if own else None
        self.attn = BiasedAttention(dim, heads, qv_bias=config.qv_bias)
        self.ls1 = LayerScale(dim) if config.layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, config.mlp_dim, config.activation, gated=False)
        self.ls2 = LayerScale(dim) if config.layer_scale else nn.Identity()

    def forward(self, x: Tensor, shared: Tensor | None) -> Tensor:
        """(B, L, E) to (B, L, E).

        Args:
            x: Tokens.
            shared: What all blocks add to their logits, shape (1, heads or 1, L or 1, L).
        """
        own = None if self.position_bias is None else self.position_bias()
        bias = own if shared is None else shared if own is None else own + shared
        x = x + self._drop(self.ls1(self.attn(self.norm1(x), bias)), 0)
        return x + self._drop(self.ls2(self.mlp(self.norm2(x))), 1)
