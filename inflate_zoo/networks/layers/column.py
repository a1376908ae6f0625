"""Transformers of equal blocks, one after another, on tokens of one width.

Dimensions: B batch, L tokens, E embed_dim.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from inflate_zoo.networks.layers.residual import ResidualBlock, ResidualNetwork

_BLOCK = re.compile(r"blocks\.(\d+)\.")


class Column(ResidualNetwork):
    """A stem, `blocks`, and a final norm on the tokens (`norm`) or the pooled vector (`fc_norm`).

    Whoever derives from it makes these three, and says what enters the first block, what each block
    is told beside the tokens, and how tokens are pooled.
    """

    blocks: nn.ModuleList
    norm: nn.Module
    fc_norm: nn.Module

    @abstractmethod
    def _tokens(self, x: Tensor) -> Tensor:
        """The sequence that enters the first block, shape (B, L, E), of a volume of the size."""

    @abstractmethod
    def _beside(self) -> tuple[Any, ...]:
        """What every block is told beside the tokens."""

    def _end(self, tokens: Tensor) -> Tensor:
        """From the last block's tokens, (B, L, E), to final ones: the norm, unless overridden."""
        return self.norm(tokens)  # type: ignore[no-any-return]

    @abstractmethod
    def _pool(self, tokens: Tensor) -> Tensor:
        """(B, L, E) to (B, E), as the original does."""

    def _start(self, x: Tensor) -> Tensor:
        self._require_volume(x)
        return self._tokens(x)

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
            ValueError: The volume is not of the size the backbone was loaded for.
        """
        x, beside = self._start(x), self._beside()
        for block in self.blocks:
            x = self._run(block, x, beside)
        return self._end(x)

    def forward_intermediates(self, x: Tensor, indices: Sequence[int]) -> list[Tensor]:
        """Patch tokens after chosen blocks, un-normed, as feature maps for a decoder.

        Args:
            x: Volumes, shape [batch, channels, depth, height, width] in voxels.
            indices: Block indices from 0; negative ones count from the last block.

        Returns:
            One tensor [batch, embed_dim, grid_depth, grid_height, grid_width] per index, in the
            order given.

        Raises:
            ValueError: An index is out of range, or the volume is of another size.
        """
        count = len(self.blocks)
        wrong = [index for index in indices if not -count <= index < count]
        if wrong:
            raise ValueError(f"block indices {wrong} are out of range for {count} blocks")
        wanted = [index % count for index in indices]
        x, beside = self._start(x), self._beside()
        maps: dict[int, Tensor] = {}
        for index, block in enumerate(self.blocks):
            if index > max(wanted, default=-1):
                break
            x = self._run(block, x, beside)
            if index in wanted:
                patches = x[:, self.num_prefix_tokens :]
                maps[index] = patches.mT.view(x.shape[0], -1, *self.grid_size)
        return [maps[index] for index in wanted]

    def forward(self, x: Tensor) -> Tensor:
        """One vector per volume, pooled (and normed) as the original does.

        Args:
            x: Volumes, shape [batch, channels, depth, height, width] in voxels.

        Returns:
            Shape [batch, embed_dim].

        Raises:
            ValueError: The volume is not of the size the backbone was loaded for.
        """
        return self.fc_norm(self._pool(self.forward_features(x)))  # type: ignore[no-any-return]

    def layer_of(self, name: str) -> int:
        """0 in the stem, tokens, tables and a norm before the blocks; the blocks; final norms."""
        if block := _BLOCK.match(name):
            return int(block.group(1)) + 1
        return len(self.blocks) + 1 if name.startswith(("norm.", "fc_norm.")) else 0

    def unread(self, *, maps: bool) -> Sequence[nn.Module]:
        """The pooled vector's norm, and that of the tokens where maps are read."""
        return (self.fc_norm, self.norm) if maps else (self.fc_norm,)
