"""SAM's image encoder on volumes.

Dimensions: B batch, D H W grid of tokens, L tokens, E embed_dim, F width of the neck.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from torch import Tensor, nn

from inflate_zoo.networks.base import Triple
from inflate_zoo.networks.layers.column import Column
from inflate_zoo.networks.layers.decomposed import DecomposedAttention
from inflate_zoo.networks.layers.grids import unshifted
from inflate_zoo.networks.layers.parts import Mlp, PatchEmbed, initialise
from inflate_zoo.networks.layers.positions import resize_depth, resize_in_plane
from inflate_zoo.networks.layers.residual import ResidualBlock
from inflate_zoo.networks.layers.windows import from_windows, to_windows
from inflate_zoo.networks.sam.config import SamConfig


class Sam(Column):
    """SAM's image encoder on volumes.

    Its final tokens come out of the neck, narrower than those of the blocks; `forward` means them,
    since the original does not pool.

    Args:
        config: The architecture; where `config.position_grid` is not the volume's, tables are
            resized in each pass.

    Attributes:
        config: As given.
    """

    config: SamConfig

    def __init__(self, config: SamConfig) -> None:
        super().__init__(config)
        dim, depth, (height, width) = config.embed_dim, config.depth_rows, config.position_grid

        self.patch_embed = PatchEmbed(config.in_channels, dim, config.patch, bias=True)
        self.pos_embed = nn.Parameter(torch.zeros(1, height * width, dim))
        self.depth_embed = nn.Parameter(torch.zeros(1, depth, dim))
        self.blocks = nn.ModuleList(Block(config, index) for index in range(config.depth))
        self.norm, self.fc_norm = nn.Identity(), nn.Identity()
        self.neck = Neck(dim, config.neck_dim, config.neck_eps)
        names = (name for name, _ in self.named_parameters() if ".rel_pos_" in name)
        self.tables = frozenset({"pos_embed", "depth_embed", *names})
        initialise(self, self.pos_embed)

    def _tokens(self, x: Tensor, grid: Triple) -> Tensor:
        plane = resize_in_plane(self.pos_embed, 0, self.config.position_grid, grid[1:])
        line = resize_depth(self.depth_embed, grid[0])
        positions = (plane.unsqueeze(1) + line.unsqueeze(2)).flatten(1, 2)
        return self.patch_embed(x) + positions  # type: ignore[no-any-return]

    def _beside(self, grid: Triple) -> tuple[Any, ...]:
        return (grid,)

    def _end(self, tokens: Tensor, grid: Triple) -> Tensor:
        return self.neck(tokens, grid)  # type: ignore[no-any-return]

    def _pool(self, tokens: Tensor) -> Tensor:
        return tokens.mean(dim=1)

    def layer_of(self, name: str) -> int:
        """0 in the stem and its tables; the blocks with theirs; the neck."""
        return len(self.blocks) + 1 if name.startswith("neck.") else super().layer_of(name)

    def unread(self, *, maps: bool) -> Sequence[nn.Module]:
        """The neck, where maps of blocks are read."""
        return (self.neck,) if maps else ()


class Block(ResidualBlock):
    """Pre-norm transformer block, its attention inside windows or, in a global one, everywhere.

    What pads the plane to whole windows takes part in attention, as in the original: it is the
    same in every slice. Depth is not padded: where windows do not divide it, the last ones are
    less deep.
    """

    def __init__(self, config: SamConfig, index: int) -> None:
        super().__init__()
        dim, eps = config.embed_dim, config.norm_eps
        sides = config.table_sides(index)
        self.window = None if index in config.global_blocks else sides
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = DecomposedAttention(dim, config.num_heads, sides, qkv_bias=config.qkv_bias)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, config.mlp_dim, config.activation, gated=False)

    def forward(self, x: Tensor, grid: Triple) -> Tensor:
        """(B, L, E) to (B, L, E), tokens of a grid."""
        x = x + self._drop(self._mixed(self.norm1(x), grid), 0)
        return x + self._drop(self.mlp(self.norm2(x)), 1)

    def _mixed(self, x: Tensor, grid: Triple) -> Tensor:
        if self.window is None:
            return self.attn(x, grid, whole=True)  # type: ignore[no-any-return]
        placements = unshifted(grid, self.window)
        depths = [placement.grid[0] for placement in placements]
        parts = torch.split(x.reshape(x.shape[0], *grid, x.shape[-1]), depths, dim=1)
        mixed = [
            from_windows(self.attn(to_windows(part, at), at.window, whole=False), at)
            for part, at in zip(parts, placements, strict=True)
        ]
        whole = mixed[0] if len(mixed) == 1 else torch.cat(mixed, dim=1)
        return whole.flatten(1, 3)


class Neck(nn.Module):
    """Two convolutions without bias, to fewer channels and with the neighbours, each normed."""

    def __init__(self, dim: int, width: int, eps: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(dim, width, 1, bias=False)
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.conv2 = nn.Conv3d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.LayerNorm(width, eps=eps)

    def forward(self, x: Tensor, grid: Triple) -> Tensor:
        """(B, L, E) to (B, L, F), tokens of a grid."""
        narrow = self.norm1(self._narrow(x, grid))
        mixed = self.conv2(narrow.mT.unflatten(2, grid))
        return self.norm2(mixed.flatten(2).mT)  # type: ignore[no-any-return]

    def _narrow(self, x: Tensor, grid: Triple) -> Tensor:
        if type(self.conv1) is nn.Conv3d:
            return F.linear(x, self.conv1.weight.flatten(1))
        maps = x.mT.reshape(x.shape[0], -1, *grid)
        narrow: Tensor = self.conv1(maps)  # what stands for it, as LoRA
        return narrow.flatten(2).mT
