"""DINOv3 on volumes.

Dimensions: B batch, D H W voxels, P prefix tokens, L tokens, E embed_dim.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from inflate_zoo.networks.base import Triple
from inflate_zoo.networks.dinov3.config import Dinov3Config
from inflate_zoo.networks.layers.column import Column
from inflate_zoo.networks.layers.parts import GatedMlp, LayerScale, Mlp, PatchEmbed, initialise
from inflate_zoo.networks.layers.positions import resize_depth
from inflate_zoo.networks.layers.residual import ResidualBlock
from inflate_zoo.networks.layers.rotary import Axis, RotaryAttention, Rotation


class Dinov3(Column):
    """DINOv3 on volumes.

    In the plane positions are rotary. Depth has a table that is added at the stem: it is zero after
    a conversion and learns.

    Args:
        config: The architecture.

    Attributes:
        config: As given.
    """

    config: Dinov3Config
    tables = frozenset({"cls_token", "reg_token", "depth_embed"})

    def __init__(self, config: Dinov3Config) -> None:
        super().__init__(config)
        dim, eps = config.embed_dim, config.norm_eps

        self.patch_embed = PatchEmbed(config.in_channels, dim, config.patch, bias=True)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.reg_token = nn.Parameter(torch.zeros(1, config.reg_tokens, dim))
        self.depth_embed = nn.Parameter(torch.zeros(1, config.depth_rows, dim))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(dim, eps=eps)
        self.fc_norm = nn.Identity()
        initialise(self, self.cls_token, self.reg_token)

    def _tokens(self, x: Tensor, grid: Triple) -> Tensor:
        patches = self.patch_embed(x).unflatten(1, (grid[0], -1))
        patches = (patches + resize_depth(self.depth_embed, grid[0]).unsqueeze(2)).flatten(1, 2)
        front = torch.cat([self.cls_token, self.reg_token], dim=1).expand(x.shape[0], -1, -1)
        return torch.cat([front.to(patches.dtype), patches], dim=1)

    def _beside(self, grid: Triple) -> tuple[Any, ...]:
        depth, height, width = grid
        axes = centres(height), centres(width)
        theta = self.config.rotary_theta
        return (Rotation(self.num_prefix_tokens, depth, *axes, theta, interleaved=False),)

    def _pool(self, tokens: Tensor) -> Tensor:
        if self.config.pool == "cls":
            return tokens[:, 0]
        return tokens[:, self.num_prefix_tokens :].mean(dim=1)


def centres(tokens: int) -> Axis:
    """The centres of tokens along an axis of whatever length, from -2 pi to 2 pi."""
    step = 4 * math.pi / tokens
    return Axis(tokens, step / 2 - 2 * math.pi, step)


class Block(ResidualBlock):
    """Pre-norm transformer block with rotary attention, both branches scaled."""

    def __init__(self, config: Dinov3Config) -> None:
        super().__init__()
        dim, eps, hidden = config.embed_dim, config.norm_eps, config.mlp_dim
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = RotaryAttention(dim, config.num_heads, qv_bias=config.qv_bias)
        self.ls1 = LayerScale(dim)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = (
            GatedMlp(dim, hidden, config.activation)
            if config.gated
            else Mlp(dim, hidden, config.activation, gated=False)
        )
        self.ls2 = LayerScale(dim)

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:
        """(B, L, E) to (B, L, E)."""
        x = x + self._drop(self.ls1(self.attn(self.norm1(x), rotation)), 0)
        return x + self._drop(self.ls2(self.mlp(self.norm2(x))), 1)
