"""The plain vision transformer on volumes.

Dimensions: B batch, C channels, D H W voxels, P prefix tokens, E embed_dim.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from inflate_zoo.networks.base import Triple
from inflate_zoo.networks.layers.attention import Attention
from inflate_zoo.networks.layers.column import Column
from inflate_zoo.networks.layers.parts import LayerScale, Mlp, PatchEmbed, initialise
from inflate_zoo.networks.layers.positions import resize_depth, resize_in_plane
from inflate_zoo.networks.layers.residual import ResidualBlock
from inflate_zoo.networks.vit.config import VitConfig


class VisionTransformer(Column):
    """A plain vision transformer on volumes.

    Args:
        config: The architecture; where `config.position_grid` is not the volume's, the position
            table is resized in each pass.

    Attributes:
        config: As given.
    """

    config: VitConfig
    tables = frozenset({"cls_token", "dist_token", "reg_token", "pos_embed", "depth_embed"})

    def __init__(self, config: VitConfig) -> None:
        super().__init__(config)
        dim, eps = config.embed_dim, config.norm_eps
        depth, (height, width) = config.depth_rows, config.position_grid

        self.patch_embed = PatchEmbed(config.in_channels, dim, config.patch, bias=config.stem_bias)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim)) if config.cls_token else None
        self.dist_token = nn.Parameter(torch.zeros(1, 1, dim)) if config.dist_token else None
        reg = config.reg_tokens
        self.reg_token = nn.Parameter(torch.zeros(1, reg, dim)) if reg else None
        rows = config.position_prefix + height * width
        self.pos_embed = nn.Parameter(torch.zeros(1, rows, dim))
        self.depth_embed = nn.Parameter(torch.zeros(1, depth, dim))
        self.norm_pre = nn.LayerNorm(dim, eps=eps) if config.pre_norm else nn.Identity()
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        final = config.final_norm
        self.norm = nn.LayerNorm(dim, eps=eps) if final == "tokens" else nn.Identity()
        self.fc_norm = nn.LayerNorm(dim, eps=eps) if final == "pooled" else nn.Identity()
        initialise(self, self.cls_token, self.dist_token, self.reg_token, self.pos_embed)

    def _tokens(self, x: Tensor, grid: Triple) -> Tensor:
        config = self.config
        own, made_for = config.position_prefix, config.position_grid
        patches = self.patch_embed(x)
        plane = resize_in_plane(self.pos_embed, own, made_for, grid[1:], config.position_resizing)
        line = resize_depth(self.depth_embed, grid[0])
        positions = (plane[:, own:].unsqueeze(1) + line.unsqueeze(2)).flatten(1, 2)
        patches = patches + positions
        tokens = (self.cls_token, self.dist_token, self.reg_token)
        prefix: list[Tensor] = [token for token in tokens if token is not None]
        if not prefix:
            return self.norm_pre(patches)  # type: ignore[no-any-return]
        front = torch.cat(prefix, dim=1)
        if own:
            front = torch.cat([front[:, :own] + plane[:, :own], front[:, own:]], dim=1)
        sequence = torch.cat([front.expand(x.shape[0], -1, -1).to(patches.dtype), patches], dim=1)
        return self.norm_pre(sequence)  # type: ignore[no-any-return]

    def _beside(self, grid: Triple) -> tuple[Any, ...]:
        return self.num_prefix_tokens, grid[0]

    def _pool(self, tokens: Tensor) -> Tensor:
        if self.config.pool == "cls":
            return tokens[:, 0]
        if self.config.pool == "cls_dist":
            return tokens[:, :2].mean(dim=1)
        if self.config.pool == "prefix":
            return tokens[:, : self.num_prefix_tokens].mean(dim=1)
        return tokens[:, self.num_prefix_tokens :].mean(dim=1)


class Block(ResidualBlock):
    """Pre-norm transformer block."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        dim, eps = config.embed_dim, config.norm_eps
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = Attention(dim, config.num_heads, qkv_bias=config.qkv_bias)
        self.ls1 = LayerScale(dim) if config.layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, config.mlp_dim, config.activation, gated=config.mlp == "swiglu")
        self.ls2 = LayerScale(dim) if config.layer_scale else nn.Identity()

    def forward(self, x: Tensor, prefix: int, copies: int) -> Tensor:
        """(B, L, E) to (B, L, E)."""
        x = x + self._drop(self.ls1(self.attn(self.norm1(x), prefix, copies)), 0)
        return x + self._drop(self.ls2(self.mlp(self.norm2(x))), 1)
