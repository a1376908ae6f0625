"""What every 3D backbone can do.

Dimensions: B batch, C channels, D H W voxels, P prefix tokens, E width of the final tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from inflate_zoo.networks.base import BackboneConfig


class Network3D(nn.Module, ABC):
    """A 3D backbone for volumes of one size.

    Attributes:
        config: What it was made of.
        embed_dim: Width of a final token.
        grid_size: Grid (depth, height, width) of the final tokens.
        num_prefix_tokens: Tokens before the patch tokens.
        tables: Names of parameters that are tokens or tables, on which no weight decay falls.
    """

    config: BackboneConfig
    tables: frozenset[str] = frozenset()

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_dim = config.final_width
        self.grid_size = config.grid_size
        self.num_prefix_tokens = config.num_prefix_tokens

    @abstractmethod
    def forward_features(self, x: Tensor) -> Tensor:
        """All tokens, where the original's token sequence ends.

        Args:
            x: Volumes, shape [batch, channels, depth, height, width] in voxels.

        Returns:
            Shape [batch, prefix + tokens, embed_dim]: the prefix tokens, then the patch tokens in
            depth, height, width order.

        Raises:
            ValueError: The volume is not of the size the backbone was loaded for.
        """

    @abstractmethod
    def forward_intermediates(self, x: Tensor, indices: Sequence[int]) -> list[Tensor]:
        """Feature maps for a decoder.

        Args:
            x: Volumes, shape [batch, channels, depth, height, width] in voxels.
            indices: Of `config.levels`; negative ones count from the last.

        Returns:
            One tensor [batch, width, depth, height, width] per index, in the order given, of the
            level's width and stride.

        Raises:
            ValueError: An index is out of range, or the volume is of another size.
        """

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """One vector per volume, pooled as the original does.

        Args:
            x: Volumes, shape [batch, channels, depth, height, width] in voxels.

        Returns:
            Shape [batch, embed_dim].

        Raises:
            ValueError: The volume is not of the size the backbone was loaded for.
        """

    @property
    def layers(self) -> int:
        """Blocks with a learning rate of their own, from the stem to the head: one a level."""
        return len(self.config.levels)

    @abstractmethod
    def layer_of(self, name: str) -> int:
        """Depth of a parameter, for layer-wise learning rates.

        Args:
            name: A parameter's name.

        Returns:
            0 in the stem, index + 1 in block `index` of `layers`, and one more after the last.
        """

    @abstractmethod
    def unread(self, *, maps: bool) -> Sequence[nn.Module]:
        """What a decoder does not read of the network.

        Args:
            maps: Whether it reads `forward_intermediates`, instead of `forward_features`.
        """

    @abstractmethod
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each block in the backward pass: less memory, about a third more time."""

    @abstractmethod
    def set_drop_path(self, rate: float) -> None:
        """Stochastic depth while training, growing linearly from 0 to `rate` over the blocks.

        Args:
            rate: Probability, at least 0 and below 1, of dropping a branch of the last block.

        Raises:
            ValueError: `rate` is out of range.
        """

    @property
    @abstractmethod
    def drop_shape(self) -> tuple[int, ...]:
        """Shape of the draws that decide what a sample drops; empty where nothing is."""

    @abstractmethod
    def fix_drops(self, draws: Tensor) -> None:
        """Decide what the next forward passes drop.

        Args:
            draws: Uniform, shape (*drop_shape, B).
        """
