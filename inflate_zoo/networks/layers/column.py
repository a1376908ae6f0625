"""Transformers of equal blocks, one after another, on tokens of one width.

Dimensions: B batch, D H W the grid of tokens, L tokens, E embed_dim.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from inflate_zoo.networks.base import Triple
from inflate_zoo.networks.layers.features import Layout, laid_out, require_layout, taken
from inflate_zoo.networks.layers.residual import ResidualBlock, ResidualNetwork
from inflate_zoo.networks.network import Maps, Matcher

_BLOCK = re.compile(r"blocks\.(\d+)\.")
_END = ("norm.", "fc_norm.", "head.")
_WITH_LAST = (99999,)  # timm's mark of what goes with the block before


class Column(ResidualNetwork):
    """A stem, `blocks`, and a final norm on the tokens (`norm`) or the pooled vector (`fc_norm`).

    Whoever derives from it makes these three, and says what enters the first block, what each block
    is told beside the tokens, and how tokens are pooled.
    """

    blocks: nn.ModuleList
    norm: nn.Module
    fc_norm: nn.Module

    @abstractmethod
    def _tokens(self, x: Tensor, grid: Triple) -> Tensor:
        """The sequence that enters the first block, shape (B, L, E), of volumes of a grid."""

    @abstractmethod
    def _beside(self, grid: Triple) -> tuple[Any, ...]:
        """What every block is told beside the tokens of a grid."""

    def _end(self, tokens: Tensor, grid: Triple) -> Tensor:  # noqa: ARG002
        """From the last block's tokens, (B, L, E), to final ones: the norm, unless overridden."""
        return self.norm(tokens)  # type: ignore[no-any-return]

    @abstractmethod
    def _pool(self, tokens: Tensor) -> Tensor:
        """(B, L, E) to (B, E), as the original does."""

    def _blocks(self) -> list[ResidualBlock]:
        return [block for block in self.blocks if isinstance(block, ResidualBlock)]

    def forward_features(self, x: Tensor) -> Tensor:
        """All tokens, where the original's token sequence ends.

        Args:
            x: Volumes, shape [batch, channels, depth, height, width] in voxels.

        Returns:
            Shape [batch, prefix + tokens, embed_dim]: the prefix tokens, then the patch tokens in
            depth, height, width order; after the final norm where the original has one on tokens.

        Raises:
            ValueError: The volume is not of the size the backbone was loaded for, or of another
                type than the weights.
        """
        grid = self._grid_of(x)
        x, beside = self._tokens(x, grid), self._beside(grid)
        for block in self.blocks:
            x = self._run(block, x, beside)
        return self._end(x, grid)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        return_prefix_tokens: bool = False,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: Layout = "NCHW",
        intermediates_only: bool = False,
    ) -> Maps | tuple[Tensor, Maps]:
        """Patch tokens after chosen blocks, as timm's `VisionTransformer` gives them.

        Args:
            x: Volumes, shape [batch, channels, depth, height, width] in voxels.
            indices: Of blocks: `None` for all, a number for so many of the last, or each; negative
                ones count from the last.
            return_prefix_tokens: Give pairs of a map and its prefix tokens, where there are any.
            norm: Maps after what ends the tokens of the last block.
            stop_early: Run no block more than the last map needs.
            output_fmt: `NCHW` for [batch, width, depth, height, width], `NLC` for [batch, tokens,
                width].
            intermediates_only: Leave the final tokens out.

        Returns:
            The final tokens, prefix first, and a list of maps, each block once, from the stem
            upwards; or the list alone.

        Raises:
            ValueError: An index is out of range, or the volume does not fit.
        """
        require_layout(output_fmt)
        wanted = taken(indices, len(self.blocks), "block")
        last = max(wanted, default=-1) if stop_early else len(self.blocks) - 1
        grid, prefix = self._grid_of(x), self.num_prefix_tokens
        x, beside = self._tokens(x, grid), self._beside(grid)
        states: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            if index > last:
                break
            x = self._run(block, x, beside)
            if index in wanted:
                states.append(self._end(x, grid) if norm else x)
        maps = [laid_out(state[:, prefix:], grid, output_fmt) for state in states]
        given: Maps = maps
        if return_prefix_tokens and prefix:
            given = [(m, state[:, :prefix]) for m, state in zip(maps, states, strict=True)]
        return given if intermediates_only else (self._end(x, grid), given)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool tokens, norm the vector where the original does, and classify.

        Args:
            x: As `forward_features` gives them.
            pre_logits: Leave the classifier out.

        Returns:
            Shape [batch, embed_dim], with a classifier [batch, num_classes]; tokens, where they are
            not pooled.
        """
        pooled = self.fc_norm(self._pooled(x))
        return pooled if pre_logits else self.head(pooled)  # type: ignore[no-any-return]

    def _pooled(self, tokens: Tensor) -> Tensor:
        if self.global_pool == "avg":
            return tokens[:, self.num_prefix_tokens :].mean(dim=1)
        if self.global_pool == "token":
            return tokens[:, 0]
        return self._pool(tokens) if self.global_pool else tokens

    def drop_levels(self, last: int) -> None:
        """Drop the blocks after one."""
        self.blocks = self.blocks[: last + 1]

    def level_modules(self) -> list[str]:
        """The blocks."""
        return [f"blocks.{index}" for index in range(len(self.blocks))]

    def group_matcher(self, coarse: bool = False) -> Matcher:  # noqa: ARG002 - both are the same
        """As timm's `VisionTransformer` has it: the final norm goes with the last block."""
        stem = r"^(?!blocks\.|norm\.|fc_norm\.|neck\.|head\.)"
        return {"stem": stem, "blocks": [(r"^blocks\.(\d+)", None), (r"^norm\.", _WITH_LAST)]}

    def layer_of(self, name: str) -> int:
        """0 in the stem, tokens, tables and a norm before the blocks; the blocks; what ends."""
        if block := _BLOCK.match(name):
            return int(block.group(1)) + 1
        return len(self.blocks) + 1 if name.startswith(_END) else 0

    def unread(self, *, maps: bool) -> Sequence[nn.Module]:
        """The pooled vector's norm, and that of the tokens where maps are read."""
        return (self.fc_norm, self.norm) if maps else (self.fc_norm,)
