"""What configs of networks of equal blocks share; no torch until tensors are looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from inflate_zoo.networks.base import BackboneConfig, Count, Level, Shapes

if TYPE_CHECKING:
    from torch import Tensor


class ColumnConfig(BackboneConfig):
    """A column of equal blocks with tables of depth positions: its form says how wide and deep.

    Attributes:
        depth_table: How the name of each depth table ends; several where there are several kinds.
        depth_positions: Depth tokens that the depth tables in the file are of; 0 where it holds
            none, as after a conversion (they then start at zero).
    """

    stem: ClassVar[str] = "patch_embed.weight"
    depth_table: ClassVar[str | tuple[str, ...]] = "depth_embed"
    if TYPE_CHECKING:  # fields of the form
        embed_dim: int
        depth: int

    depth_positions: Count = 0

    @property
    def levels(self) -> tuple[Level, ...]:
        """After each block: all are alike."""
        return (Level(self.embed_dim, self.patch),) * self.depth

    @property
    def depth_rows(self) -> int:
        """Depth tokens that the network's depth tables are of: the file's, else the volume's."""
        return self.depth_positions or self.grid_size[0]

    def for_volume(self, volume: Sequence[int] | None) -> Self:
        """The config for a volume, its depth tables, if the file holds any, as deep as that.

        Raises:
            UsageError: It is no volume, or the patch does not divide it.
        """
        sized = super().for_volume(volume)
        depth = sized.grid_size[0] if self.depth_positions else 0
        return sized.model_copy(update={"depth_positions": depth})

    def keeping_tables(self, volume: Sequence[int] | None) -> Self:
        """The config of a network that takes another volume with the depth tables that it has.

        Raises:
            UsageError: It is no volume, or the patch does not divide it.
        """
        sized = super().keeping_tables(volume)
        return sized.model_copy(update={"depth_positions": self.depth_rows})

    def depth_shapes(self) -> Shapes:
        """Name and shape of the table of depth positions at the stem, if the file holds one."""
        if not self.depth_positions:
            return {}
        return {"depth_embed": (1, self.depth_positions, self.embed_dim)}

    def stored(self, tensors: Mapping[str, Tensor]) -> tuple[Self, dict[str, Tensor]]:
        """Config and tensors as files hold them: depth tables are left out if all are zero."""
        lines = [name for name in tensors if name.endswith(self.depth_table)]
        if any(bool(tensors[name].any()) for name in lines):
            return self.model_copy(update={"depth_positions": self.depth_rows}), dict(tensors)
        kept = {name: tensor for name, tensor in tensors.items() if name not in lines}
        return self.model_copy(update={"depth_positions": 0}), kept

    def summary(self) -> str:
        """The backbone in a few words."""
        patch = "x".join(map(str, self.patch))
        return f"{self.depth} blocks of width {self.embed_dim}, patch {patch}"

    def without_weights(self) -> Self:
        """Without what weights alone bring, and what a segmenter does not use."""
        free = {"depth_positions": 0, "volume": self.patch, "pool": "mean", "norm_eps": 1e-6}
        own = free.keys() & type(self).model_fields.keys()
        return self.model_copy(update={field: free[field] for field in own})


class TableConfig(ColumnConfig):
    """A column with tables in the plane, which its form has for a `position_grid`."""

    if TYPE_CHECKING:  # a field of the form
        position_grid: tuple[int, int]

    def for_volume(self, volume: Sequence[int] | None) -> Self:
        """The config for a volume, its position grid equal to the volume's.

        Raises:
            UsageError: It is no volume, or the patch does not divide it.
        """
        sized = super().for_volume(volume)
        return sized.model_copy(update={"position_grid": sized.grid_size[1:]})

    def geometry(self) -> str:
        """Patch and position grid."""
        height, width = self.position_grid
        return f"{super().geometry()}, position grid {height}x{width}"

    def without_weights(self) -> Self:
        """Without what weights alone bring, and what a segmenter does not use."""
        return super().without_weights().model_copy(update={"position_grid": (1, 1)})
