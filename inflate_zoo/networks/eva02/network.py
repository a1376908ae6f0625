"""EVA-02 on volumes.

Dimensions: B batch, D H W voxels, L tokens, E embed_dim.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from inflate_zoo.networks.base import Triple
from inflate_zoo.networks.eva02.config import Eva02Config
from inflate_zoo.networks.layers.column import Column
from inflate_zoo.networks.layers.parts import ACTIVATIONS, PatchEmbed, initialise
from inflate_zoo.networks.layers.positions import resize_depth, resize_in_plane
from inflate_zoo.networks.layers.residual import ResidualBlock
from inflate_zoo.networks.layers.rotary import Axis, RotaryAttention, Rotation


class Eva02(Column):
    """EVA-02 on volumes.

    In the plane positions are rotary, beside a table that is added at the stem. Depth has a table
    alone: it is zero after a conversion and learns.

    Args:
        config: The architecture; where `config.position_grid` is not the volume's, the position
            table is resized in each pass.

    Attributes:
        config: As given.
    """

    config: Eva02Config
    tables = frozenset({"cls_token", "pos_embed", "depth_embed"})

    def __init__(self, config: Eva02Config) -> None:
        super().__init__(config)
        dim, eps = config.embed_dim, config.norm_eps
        depth, (height, width) = config.depth_rows, config.position_grid

        self.patch_embed = PatchEmbed(config.in_channels, dim, config.patch, bias=True)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + height * width, dim))
        self.depth_embed = nn.Parameter(torch.zeros(1, depth, dim))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        final = config.final_norm
        self.norm = nn.LayerNorm(dim, eps=eps) if final == "tokens" else nn.Identity()
        self.fc_norm = nn.LayerNorm(dim, eps=eps) if final == "pooled" else nn.Identity()
        initialise(self, self.cls_token, self.pos_embed)

    def _tokens(self, x: Tensor, grid: Triple) -> Tensor:
        plane = resize_in_plane(self.pos_embed, 1, self.config.position_grid, grid[1:])
        line = resize_depth(self.depth_embed, grid[0])
        positions = plane[:, 1:].unsqueeze(1) + line.unsqueeze(2)
        patches = self.patch_embed(x) + positions.flatten(1, 2)
        front = (self.cls_token + plane[:, :1]).expand(x.shape[0], -1, -1)
        return torch.cat([front.to(patches.dtype), patches], dim=1)

    def _beside(self, grid: Triple) -> tuple[Any, ...]:
        depth, *plane = grid
        config = self.config
        down, across = map(stretched, plane, config.rotary_grid)
        theta = config.rotary_theta
        return (Rotation(self.num_prefix_tokens, depth, down, across, theta, interleaved=True),)

    def _pool(self, tokens: Tensor) -> Tensor:
        return tokens[:, 0] if self.config.pool == "cls" else tokens[:, 1:].mean(dim=1)


def stretched(tokens: int, reference: int) -> Axis:
    """Tokens counted from 0, stretched over an axis of `reference` tokens."""
    return Axis(tokens, 0.0, reference / tokens)


class Block(ResidualBlock):
    """Pre-norm transformer block with rotary attention."""

    def __init__(self, config: Eva02Config) -> None:
        super().__init__()
        dim, eps = config.embed_dim, config.norm_eps
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = RotaryAttention(
            dim, config.num_heads, qv_bias=True, norm_eps=eps if config.attn_norm else None
        )
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = NormedGlu(
            dim, config.mlp_dim, config.activation, norm_eps=eps if config.mlp_norm else None
        )

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:
        """(B, L, E) to (B, L, E)."""
        x = x + self._drop(self.attn(self.norm1(x), rotation), 0)
        return x + self._drop(self.mlp(self.norm2(x)), 1)


class NormedGlu(nn.Module):
    """Gate and value packed in fc1, the gate first; their product may be normed before fc2."""

    def __init__(self, dim: int, hidden: int, activation: str, *, norm_eps: float | None) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.fc1 = nn.Linear(dim, 2 * hidden)
        self.norm = nn.Identity() if norm_eps is None else nn.LayerNorm(hidden, eps=norm_eps)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., E) to (..., E)."""
        gate, value = self.fc1(x).chunk(2, dim=-1)
        return self.fc2(self.norm(self.activation(gate) * value))  # type: ignore[no-any-return]
