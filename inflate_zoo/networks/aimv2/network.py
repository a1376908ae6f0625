"""AIMv2 on volumes.

Dimensions: B batch, D H W voxels, L tokens, E embed_dim.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from inflate_zoo.networks.aimv2.config import Aimv2Config
from inflate_zoo.networks.base import Triple
from inflate_zoo.networks.layers.attention import Attention
from inflate_zoo.networks.layers.column import Column
from inflate_zoo.networks.layers.parts import Mlp, PatchEmbed, initialise
from inflate_zoo.networks.layers.positions import resize_depth, resize_in_plane, sincos_plane
from inflate_zoo.networks.layers.residual import ResidualBlock


class Aimv2(Column):
    """AIMv2 on volumes.

    In the plane positions are a table, or computed for any grid. Depth has a table of its own: it
    is zero after a conversion and learns.

    Args:
        config: The architecture; where `config.position_grid` is not the volume's, a position
            table is resized in each pass.

    Attributes:
        config: As given.
    """

    config: Aimv2Config
    tables = frozenset({"pos_embed", "depth_embed"})

    def __init__(self, config: Aimv2Config) -> None:
        super().__init__(config)
        dim, eps = config.embed_dim, config.norm_eps
        depth, (height, width) = config.depth_rows, config.position_grid

        self.patch_embed = PatchEmbed(config.in_channels, dim, config.patch, bias=True)
        self.patch_norm = nn.RMSNorm(dim, eps=eps)
        table = config.positions == "learned"
        self.pos_embed = nn.Parameter(torch.zeros(1, height * width, dim)) if table else None
        self.depth_embed = nn.Parameter(torch.zeros(1, depth, dim))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.RMSNorm(dim, eps=eps)
        self.fc_norm = nn.Identity()
        initialise(self, self.pos_embed)

    def _tokens(self, x: Tensor, grid: Triple) -> Tensor:
        line = resize_depth(self.depth_embed, grid[0])
        positions = (self._plane(*grid[1:]).unsqueeze(1) + line.unsqueeze(2)).flatten(1, 2)
        return self.patch_norm(self.patch_embed(x)) + positions  # type: ignore[no-any-return]

    def _plane(self, height: int, width: int) -> Tensor:
        if self.pos_embed is not None:
            made_for = self.config.position_grid
            return resize_in_plane(self.pos_embed, 0, made_for, (height, width))
        waves = sincos_plane(height, width, self.embed_dim, self.depth_embed.device)
        return waves.to(self.depth_embed.dtype)

    def _beside(self, grid: Triple) -> tuple[Any, ...]:  # noqa: ARG002 - nothing depends on it
        return ()

    def _pool(self, tokens: Tensor) -> Tensor:
        return tokens.mean(dim=1)


class Block(ResidualBlock):
    """Pre-norm transformer block with RMS norms, a gate, and no bias."""

    def __init__(self, config: Aimv2Config) -> None:
        super().__init__()
        dim, eps = config.embed_dim, config.norm_eps
        self.norm1 = nn.RMSNorm(dim, eps=eps)
        self.attn = Attention(dim, config.num_heads, qkv_bias=False, proj_bias=False)
        self.norm2 = nn.RMSNorm(dim, eps=eps)
        self.mlp = Mlp(dim, config.mlp_dim, config.activation, gated=True, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, E) to (B, L, E)."""
        x = x + self._drop(self.attn(self.norm1(x), 0, 1), 0)
        return x + self._drop(self.mlp(self.norm2(x)), 1)
