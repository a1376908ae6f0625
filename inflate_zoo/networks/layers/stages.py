"""Hierarchical transformers: stages of residual blocks, tokens merged between them.

Dimensions: B batch, d h w grid of tokens of a stage, E width.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate

from torch import Tensor, nn

from inflate_zoo.networks.layers.grids import stage_grids
from inflate_zoo.networks.layers.parts import PatchEmbed
from inflate_zoo.networks.layers.residual import ResidualBlock, ResidualNetwork

_PLACE = re.compile(r"stages\.(\d+)\.blocks\.(\d+)\.|merges\.(\d+)\.")


class Stage(nn.Module):
    """Blocks on one grid."""

    def __init__(self, blocks: Sequence[ResidualBlock]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def each(self) -> list[ResidualBlock]:
        """The blocks, in order."""
        return [block for block in self.blocks if isinstance(block, ResidualBlock)]


class StagedNetwork(ResidualNetwork):
    """A stem, `stages` with `merges` between them, and a norm of the last tokens.

    Whoever derives from it makes these five. Blocks take tokens (B, d h w, E); merges take a grid
    of them (B, d, h, w, E) to the next stage's.
    """

    patch_embed: PatchEmbed
    norm_pre: nn.Module
    stages: nn.ModuleList
    merges: nn.ModuleList
    norm: nn.Module

    def _stages(self) -> list[Stage]:
        return [stage for stage in self.stages if isinstance(stage, Stage)]

    def _blocks(self) -> list[ResidualBlock]:
        return [block for stage in self._stages() for block in stage.each()]

    def _maps(self, x: Tensor, last: int) -> list[Tensor]:
        """What the stages up to the last that is asked for end with, each (B, d, h, w, E)."""
        self._require_volume(x)
        grids = stage_grids(self.config)
        x = self.norm_pre(self.patch_embed(x))
        maps: list[Tensor] = []
        for index, stage in enumerate(self._stages()[: last + 1]):
            if index:
                x = self.merges[index - 1](maps[-1]).flatten(1, 3)
            for block in stage.each():
                x = self._run(block, x)
            maps.append(x.reshape(x.shape[0], *grids[index], -1))
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        """The last stage's tokens, normed.

        Args:
            x: Volumes, shape [batch, channels, depth, height, width] in voxels.

        Returns:
            Shape [batch, depth * height * width, embed_dim], in depth, height, width order.

        Raises:
            ValueError: The volume is not of the size the backbone was loaded for.
        """
        last = self._maps(x, len(self.stages) - 1)[-1]
        return self.norm(last.flatten(1, 3))  # type: ignore[no-any-return]

    def forward_intermediates(self, x: Tensor, indices: Sequence[int]) -> list[Tensor]:
        """Tokens after chosen stages, un-normed and before they are merged.

        Args:
            x: Volumes, shape [batch, channels, depth, height, width] in voxels.
            indices: Of stages, from 0; negative ones count from the last.

        Returns:
            One tensor [batch, width, depth, height, width] per index, in the order given, each of
            the width and stride that `config.levels` states.

        Raises:
            ValueError: An index is out of range, or the volume is of another size.
        """
        count = len(self.stages)
        wrong = [index for index in indices if not -count <= index < count]
        if wrong:
            raise ValueError(f"stage indices {wrong} are out of range for {count} stages")
        wanted = [index % count for index in indices]
        maps = self._maps(x, max(wanted, default=-1))
        return [maps[index].movedim(-1, 1) for index in wanted]

    def forward(self, x: Tensor) -> Tensor:
        """The mean of the last tokens, normed.

        Args:
            x: Volumes, shape [batch, channels, depth, height, width] in voxels.

        Returns:
            Shape [batch, embed_dim].

        Raises:
            ValueError: The volume is not of the size the backbone was loaded for.
        """
        return self.forward_features(x).mean(dim=1)

    @property
    def layers(self) -> int:
        """The blocks of all stages."""
        return len(self._blocks())

    def layer_of(self, name: str) -> int:
        """0 in the stem; the blocks of all stages, merges with the block after; the norm."""
        before = [0, *accumulate(len(stage.blocks) for stage in self._stages())]
        if place := _PLACE.match(name):
            stage, block, merge = place.groups()
            return before[int(merge) + 1] + 1 if merge else before[int(stage)] + int(block) + 1
        return before[-1] + 1 if name.startswith("norm.") else 0

    def unread(self, *, maps: bool) -> Sequence[nn.Module]:
        """The last norm, where maps are read."""
        return (self.norm,) if maps else ()


def merge_parts(x: Tensor, *, depth: bool) -> Tensor:
    """Tokens of 2 x 2 places, or 2 x 2 x 2, side by side in one.

    Args:
        x: Shape (B, d, h, w, E).
        depth: Whether depth halves too.

    Returns:
        Shape (B, d or d / 2, h / 2, w / 2, 4 E or 8 E): depth outermost, then width, then height,
        as Liu et al. 2021 order the plane.
    """
    batch, d, h, w, dim = x.shape
    deep = 2 if depth else 1
    parts = x.reshape(batch, d // deep, deep, h // 2, 2, w // 2, 2, dim)
    return parts.permute(0, 1, 3, 5, 2, 6, 4, 7).flatten(4)
