"""Hiera on volumes: stages whose first block pools its queries in the plane.

Dimensions: B batch, D H W grid of tokens, L tokens, E and F widths before and after a block, n
windows, N tokens of a window, M of them after pooling.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import prod

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from torch import Tensor, nn

from inflate_zoo.networks.base import Triple
from inflate_zoo.networks.hiera.config import HieraConfig
from inflate_zoo.networks.layers.attention import attend, heads_of, joined
from inflate_zoo.networks.layers.grids import Placement, stage_grids, unshifted
from inflate_zoo.networks.layers.parts import Mlp, PatchEmbed, initialise
from inflate_zoo.networks.layers.positions import resize_depth
from inflate_zoo.networks.layers.residual import ResidualBlock
from inflate_zoo.networks.layers.stages import StageMaps
from inflate_zoo.networks.layers.windows import from_windows, to_windows
from inflate_zoo.networks.network import Matcher


class Hiera(StageMaps):
    """Hiera on volumes: of SAM 2 the image encoder, without its neck.

    Its final tokens are those of the last stage, as they are: the original norms none of them.

    Args:
        config: The architecture.

    Attributes:
        config: As given.
    """

    config: HieraConfig

    def __init__(self, config: HieraConfig) -> None:
        super().__init__(config)
        dim, side = config.embed_dim, config.windows[0]
        self.patch_embed = OverlappingPatchEmbed(config)
        tiled, grid = config.window_positions, config.position_grid
        self.pos_embed = nn.Parameter(
            torch.zeros(1, dim, *grid) if tiled else torch.zeros(1, prod(grid), dim)
        )
        tile = nn.Parameter(torch.zeros(1, dim, side, side)) if tiled else None
        self.pos_embed_window = tile
        self.depth_embed = nn.Parameter(torch.zeros(1, config.depth_rows, dim))
        self.blocks = nn.ModuleList(Block(config, index) for index in range(len(config.stage_of)))
        self.norm = nn.Identity()
        tables = {"pos_embed", "pos_embed_window", "depth_embed", "patch_embed.shift"}
        self.tables = frozenset(tables & {name for name, _ in self.named_parameters()})
        initialise(self, self.pos_embed, self.pos_embed_window)

    def _blocks(self) -> list[ResidualBlock]:
        return [block for block in self.blocks if isinstance(block, ResidualBlock)]

    def _entering(self, x: Tensor) -> Tensor:
        grid = stage_grids(self.config, self._grid_of(x))[0]
        line = resize_depth(self.depth_embed, grid[0])
        positions = self._plane(grid[1], grid[2]).unsqueeze(1) + line.unsqueeze(2)
        return self.patch_embed(x) + positions.flatten(1, 2)  # type: ignore[no-any-return]

    def _plane(self, height: int, width: int) -> Tensor:
        """Positions in the plane, shape (1, H W, E): a resized table, and one laid out as tiles."""
        table: Tensor = self.pos_embed
        tile = self.pos_embed_window
        if table.dim() == 3:
            table = table.mT.reshape(1, -1, *self.config.position_grid)
        plane = F.interpolate(table.float(), size=(height, width), mode="bicubic").to(table.dtype)
        if tile is None:
            return plane.flatten(2).mT
        rows, columns = -(-height // tile.shape[2]), -(-width // tile.shape[3])
        tiles = tile.tile(rows, columns)[:, :, :height, :width]
        return (plane + tiles).flatten(2).mT

    def _maps(self, x: Tensor, last: int) -> list[Tensor]:
        grids = stage_grids(self.config, self._grid_of(x))
        x = self._entering(x)
        maps: list[Tensor] = []
        ends = list(accumulate(self.config.depths))[: last + 1]
        for index, block in enumerate(self._blocks()[: ends[-1] if ends else 0]):
            stage = self.config.stage_of[index]
            x = self._run(block, x, (grids[stage - self.config.pools(index)],))
            if index + 1 == ends[stage]:
                maps.append(x.reshape(x.shape[0], *grids[stage], x.shape[-1]))
        return maps

    def drop_levels(self, last: int) -> None:
        """Drop the blocks after those of a stage."""
        self.blocks = self.blocks[: list(accumulate(self.config.depths))[last]]

    def level_modules(self) -> list[str]:
        """The last block of each stage that is there."""
        ends = list(accumulate(self.config.depths))
        return [f"blocks.{end - 1}" for end in ends if end <= len(self.blocks)]

    def group_matcher(self, coarse: bool = False) -> Matcher:  # noqa: ARG002 - both are the same
        """As timm's `HieraDet` has it."""
        stem = r"^(?:pos_embed|depth_embed|patch_embed)"
        return {"stem": stem, "blocks": [(r"^blocks\.(\d+)", None)]}

    @property
    def layers(self) -> int:
        """The blocks."""
        return len(self.blocks)

    def layer_of(self, name: str) -> int:
        """0 in the stem and its tables; the blocks; a classifier."""
        if name.startswith("blocks."):
            return int(name.split(".")[1]) + 1
        return len(self.blocks) + 1 if name.startswith("head.") else 0

    def unread(self, *, maps: bool) -> Sequence[nn.Module]:  # noqa: ARG002 - of either all is read
        """Nothing: no norm follows the last block."""
        return ()


class OverlappingPatchEmbed(PatchEmbed):
    """The stem: a convolution whose kernel reaches beyond the patch in the plane, not in depth.

    What lies outside of the plane is zero after the original's normalisation. Where that is folded
    into the kernel, the mean is to be taken from what the kernel sees of the image alone: `shift`
    holds for each place of the kernel what it takes, summed over depth and channels.

    Args:
        config: The architecture.
    """

    def __init__(self, config: HieraConfig) -> None:
        super().__init__(config.in_channels, config.embed_dim, config.patch, bias=True)
        self.padding = [side // 2 for side in config.kernel]
        shape = (config.embed_dim, config.in_channels, config.patch_depth, *config.kernel)
        self.weight = nn.Parameter(torch.empty(shape))
        shift = torch.zeros(config.embed_dim, *config.kernel) if config.stem_shift else None
        self.shift = None if shift is None else nn.Parameter(shift)
        nn.init.trunc_normal_(self.weight.view(len(self.weight), -1), std=0.02)

    def forward(self, volume: Tensor) -> Tensor:
        """(B, C, D, H, W) to (B, tokens, E), tokens in depth, height, width order."""
        batch, channels, depth, *plane = volume.shape
        deep = self.patch[0]
        # Patches do not overlap in depth, so each slab is an image of more channels.
        slabs = volume.reshape(batch, channels, depth // deep, deep, *plane).transpose(1, 2)
        images = slabs.reshape(-1, channels * deep, *plane)
        kernel, step = self.weight.flatten(1, 2), self.patch[1:]
        maps = F.conv2d(images, kernel, self.bias, stride=step, padding=self.padding)
        if self.shift is not None:
            seen = volume.new_ones(1, 1, *plane)
            taken = F.conv2d(seen, self.shift.unsqueeze(1), stride=step, padding=self.padding)
            maps = maps - taken
        count = depth // deep * maps.shape[2] * maps.shape[3]
        return maps.flatten(2).mT.reshape(batch, count, len(kernel))


class Block(ResidualBlock):
    """Pre-norm transformer block, its attention inside windows or, in a global one, everywhere.

    The first of a stage pools its queries, and what stands beside attention, 2 x 2 in the plane.
    What pads the plane to whole windows takes part in attention, as in the original: it is the
    same in every slice. Depth is not padded: where windows do not divide it, the last ones are
    less deep.
    """

    def __init__(self, config: HieraConfig, index: int) -> None:
        super().__init__()
        stage, eps = config.stage_of[index], config.norm_eps
        self.pools, self.window = config.pools(index), config.window_of(index)
        before, dim = config.widths[stage - self.pools], config.widths[stage]
        self.norm1 = nn.LayerNorm(before, eps=eps)
        self.proj = nn.Linear(before, dim) if self.pools else None
        self.attn = PooledAttention(before, dim, config.num_heads[stage])
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, config.mlp_dims[stage], config.activation, gated=False)

    def forward(self, x: Tensor, grid: Triple) -> Tensor:
        """(B, L, E) to (B, L, E), or (B, L / 4, F) where it pools; tokens of a grid."""
        normed = self.norm1(x)
        if self.proj is not None:
            x = pooled(self.proj(normed), grid)
        x = x + self._drop(self._mixed(normed, grid), 0)
        return x + self._drop(self.mlp(self.norm2(x)), 1)

    def _mixed(self, x: Tensor, grid: Triple) -> Tensor:
        if self.window is None:
            return self.attn(x, grid if self.pools else None)  # type: ignore[no-any-return]
        placements = unshifted(grid, self.window)
        depths = [placement.grid[0] for placement in placements]
        parts = torch.split(x.reshape(x.shape[0], *grid, x.shape[-1]), depths, dim=1)
        mixed = [
            from_windows(
                self.attn(to_windows(part, at), at.window if self.pools else None),
                halved(at) if self.pools else at,
            )
            for part, at in zip(parts, placements, strict=True)
        ]
        whole = mixed[0] if len(mixed) == 1 else torch.cat(mixed, dim=1)
        return whole.flatten(1, 3)


class PooledAttention(nn.Module):
    """Multi-head self-attention whose queries may be pooled, to tokens of another width."""

    def __init__(self, before: int, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(before, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, grid: Triple | None) -> Tensor:
        """(B n, N, E) to (B n, N, F); to (B n, M, F) with the grid of tokens that are pooled."""
        query, key, value = heads_of(self.qkv(x), self.heads)
        if grid is not None:
            query = pooled(query, grid)
        return self.proj(joined(attend(query, key, value, 0, 1)))  # type: ignore[no-any-return]


def pooled(tokens: Tensor, grid: Triple) -> Tensor:
    """The greatest of 2 x 2 tokens in the plane: (..., D H W, E) to (..., D H W / 4, E)."""
    depth, height, width = grid
    *before, _, dim = tokens.shape
    # As torch reads it, with channels last in memory: reducing two axes takes nine times as long.
    planes = tokens.reshape(-1, height, width, dim).permute(0, 3, 1, 2)
    count = depth * (height // 2) * (width // 2)
    return F.max_pool2d(planes, 2).permute(0, 2, 3, 1).reshape(*before, count, dim)


def halved(placement: Placement) -> Placement:
    """Where windows lie after their tokens were pooled in the plane."""
    (depth, height, width), (deep, high, wide) = placement.grid, placement.window
    grid, window = (depth, height // 2, width // 2), (deep, high // 2, wide // 2)
    return Placement(grid, window, placement.early, placement.late)
