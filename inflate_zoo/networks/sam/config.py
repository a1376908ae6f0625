"""SAM's image encoder as data: what its tensors are called in our files, and their shapes.

Names follow the plain vision transformer's; `attn.rel_pos_h` is a table of offsets of one axis.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from inflate_zoo.files import budgets
from inflate_zoo.networks.base import (
    Activation,
    Count,
    Form2D,
    Pair,
    Shapes,
    Side,
    Triple,
    Width,
    Windows,
)
from inflate_zoo.networks.columns import TableConfig
from inflate_zoo.networks.layers.grids import MOST_WINDOW, unshifted

if TYPE_CHECKING:
    from torch import Tensor

_AXES = ("d", "h", "w")
Blocks = Annotated[tuple[Count, ...], Field(strict=False, max_length=budgets.MOST_BLOCKS)]


class SamForm(Form2D):
    """SAM's 2D image encoder: pre-norm blocks, most of them in windows, and a neck.

    Attributes:
        embed_dim: Width of a token in the blocks.
        depth: Number of blocks.
        num_heads: Attention heads; divides `embed_dim`.
        mlp_dim: Width inside the feed-forward part.
        norm_eps: Epsilon of the norms in blocks.
        neck_eps: Epsilon of the norms in the neck.
        neck_dim: Width of a token after the neck.
        position_grid: Grid (height, width) of the position table in the file, in tokens; also that
            of the tables of offsets in the global blocks.
        window_size: Side of the windows of all other blocks, in tokens.
        global_blocks: Indices of the blocks whose tokens all see one another, ascending.
        qkv_bias: Whether query, key and value have a bias.
    """

    patch_fixed: ClassVar[str] = "its neck makes maps of that stride, for which it was trained"

    embed_dim: Width
    depth: int = Field(gt=0, le=budgets.MOST_BLOCKS)
    num_heads: Width
    mlp_dim: Side
    activation: Activation
    norm_eps: float = Field(gt=0, allow_inf_nan=False)
    neck_eps: float = Field(gt=0, allow_inf_nan=False)
    neck_dim: Width
    in_channels: Width
    patch_size: Pair = Field(strict=False)
    position_grid: Pair = Field(strict=False)
    window_size: int = Field(gt=0, le=MOST_WINDOW)
    global_blocks: Blocks
    qkv_bias: bool

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if prod(self.position_grid) > budgets.MOST_TOKENS:
            raise ValueError(f"position_grid has more than {budgets.MOST_TOKENS:,} places")
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f"embed_dim {self.embed_dim} is not divisible by num_heads {self.num_heads}"
            )
        known = [index for index in range(self.depth) if index in self.global_blocks]
        if list(self.global_blocks) != known:
            raise ValueError(f"global_blocks are not ascending indices of {self.depth} blocks")
        return self

    @property
    def native_grid(self) -> tuple[int, int]:
        """Grid (height, width) of the position table."""
        return self.position_grid

    @property
    def window(self) -> int:
        """Side of the windows, in tokens."""
        return self.window_size

    def shapes(self) -> Shapes:
        """Names and shapes of all tensors, in the order of the forward pass."""
        return tensor_shapes(self)

    def inflated(
        self,
        *,
        channels: int,
        patch_depth: int,
        volume: tuple[int, int, int],
        stem_bias: bool,  # noqa: ARG002 - there is one anyway
    ) -> SamConfig:
        """The 3D backbone of this form; arguments as `Form2D` has them."""
        form = self.model_dump() | {"in_channels": channels}
        return SamConfig(
            **form, patch_depth=patch_depth, volume=volume, depth_window=self.window_size
        )

    def described(self) -> str:
        """The network in a few words."""
        free = ", ".join(map(str, self.global_blocks)) or "none"
        return (
            f"{self.depth} blocks of width {self.embed_dim}, {self.num_heads} heads, windows "
            f"{self.window_size}x{self.window_size} (global: {free}), mlp {self.mlp_dim} "
            f"{self.activation}, eps {self.norm_eps:g}, neck {self.neck_dim}"
        )


class SamConfig(TableConfig, SamForm):
    """SAM's 3D image encoder: what `config.json` of a conversion holds.

    Attributes:
        depth_window: Depth of all windows, in tokens.
    """

    depth_table: ClassVar[str | tuple[str, ...]] = ("depth_embed", "attn.rel_pos_d")

    model_type: Literal["inflated_sam"] = "inflated_sam"
    depth_window: int = Field(gt=0, le=MOST_WINDOW)

    @property
    def final_width(self) -> int:
        """The neck's."""
        return self.neck_dim

    def table_sides(self, index: int) -> Triple:
        """Tokens (depth, height, width) that the tables of a block are made for."""
        if index in self.global_blocks:
            return (self.depth_rows, *self.position_grid)
        return (self.depth_window, self.window_size, self.window_size)

    def shapes(self) -> Shapes:
        """Names and shapes of the tensors in the file."""
        return tensor_shapes(self, self.patch_depth) | self.depth_shapes()

    def depth_shapes(self) -> Shapes:
        """The tables of depth in the file, if any: at the stem, and of offsets in each block."""
        shapes = super().depth_shapes()
        for index in range(self.depth if shapes else 0):
            side = self.depth_positions if index in self.global_blocks else self.depth_window
            rows = (2 * side - 1, self.embed_dim // self.num_heads)
            shapes[f"blocks.{index}.attn.rel_pos_d"] = rows
        return shapes

    def with_windows(self, windows: Windows) -> Self:
        """The same network with other windows over depth."""
        return type(self)(**{**self.model_dump(), "depth_window": windows.depth})

    def fit(self, tensors: Mapping[str, Tensor], target: Self) -> dict[str, Tensor]:
        """Tensors of the file for another volume: tables resized, those of depth made.

        Tables of offsets are resized linearly, as the original's code does.
        """
        from inflate_zoo.networks.layers.positions import (
            depth_table,
            resize_in_plane,
            resize_offsets,
        )

        table, line = tensors["pos_embed"], tensors.get("depth_embed")
        fitted = dict(tensors)
        fitted["pos_embed"] = resize_in_plane(table, 0, self.position_grid, target.position_grid)
        fitted["depth_embed"] = depth_table(line, target.depth_rows, table)
        for index in range(self.depth):
            name = f"blocks.{index}.attn.rel_pos_"
            like = tensors.get(f"{name}h")
            if like is None:  # pruned
                continue
            for axis, side in zip(_AXES, target.table_sides(index), strict=True):
                line = tensors.get(name + axis)
                fitted[name + axis] = (
                    like.new_zeros(2 * side - 1, like.shape[1])
                    if line is None
                    else resize_offsets(line, side)
                )
        return fitted

    def geometry(self) -> str:
        """Patch, position grid and windows."""
        window = "x".join(map(str, (self.depth_window, self.window_size, self.window_size)))
        return f"{super().geometry()}, windows {window}"

    def memory(self, tokens: int) -> tuple[int, int]:
        """Bytes of inference at its widest, and bytes that training keeps.

        As of a plain vision transformer; besides, query, key, value and what comes of them are
        longer by the sides of the grid that a block's tokens see, and windows are padded.
        """
        widest, kept = tokens * (2 * self.mlp_dim + self.embed_dim), 0
        for index in range(self.depth):
            placed, seen = self._seen(index, tokens)
            longer = self.embed_dim + self.num_heads * seen
            widest = max(
                widest, tokens * self.embed_dim + placed * (3 * self.embed_dim + 4 * longer)
            )
            block = tokens * (5 * self.embed_dim + 2 * self.mlp_dim)
            kept += block + placed * (4 * self.embed_dim + 4 * longer)
        return widest * 4, (kept + tokens * 4 * self.neck_dim) * 4

    def _seen(self, index: int, tokens: int) -> tuple[int, int]:
        """Tokens of a block with what pads its windows, and the sides of its grids, summed."""
        if index in self.global_blocks:
            return tokens, sum(self.grid_size)
        parts = unshifted(self.grid_size, self.table_sides(index))
        padded = sum(prod(part.padded) for part in parts)
        return -(-tokens * padded // prod(self.grid_size)), sum(parts[0].window)

    def without_weights(self) -> Self:
        """Without what weights alone bring, and what a segmenter does not use."""
        free = {"depth_positions": 0, "volume": self.patch, "position_grid": (1, 1)}
        return self.model_copy(update={**free, "norm_eps": 1e-6, "neck_eps": 1e-6})


def tensor_shapes(form: SamForm, patch_depth: int | None = None) -> Shapes:
    """Names and shapes of all tensors of a network, in the order of the forward pass.

    Args:
        form: The architecture.
        patch_depth: Depth of the 3D stem kernel; `None` gives the 2D network.

    Returns:
        Name to shape. Depth tables are not among them.
    """
    dim, neck, (height, width) = form.embed_dim, form.neck_dim, form.position_grid
    flat = patch_depth is None
    kernel = form.patch_size if flat else (patch_depth, *form.patch_size)
    axes = 2 if flat else 3
    shapes: Shapes = {
        "patch_embed.weight": (dim, form.in_channels, *kernel),
        "patch_embed.bias": (dim,),
        "pos_embed": (1, height * width, dim),
    }
    for index in range(form.depth):
        window = (form.window_size, form.window_size)
        sides = form.position_grid if index in form.global_blocks else window
        block = _block_shapes(form, sides)
        shapes |= {f"blocks.{index}.{name}": shape for name, shape in block.items()}
    shapes["neck.conv1.weight"] = (neck, dim, *(1,) * axes)
    shapes |= {"neck.norm1.weight": (neck,), "neck.norm1.bias": (neck,)}
    shapes["neck.conv2.weight"] = (neck, neck, *(3,) * axes)
    return shapes | {"neck.norm2.weight": (neck,), "neck.norm2.bias": (neck,)}


def _block_shapes(form: SamForm, sides: tuple[int, int]) -> Shapes:
    dim, hidden, channels = form.embed_dim, form.mlp_dim, form.embed_dim // form.num_heads
    shapes: Shapes = {"norm1.weight": (dim,), "norm1.bias": (dim,)}
    shapes["attn.qkv.weight"] = (3 * dim, dim)
    if form.qkv_bias:
        shapes["attn.qkv.bias"] = (3 * dim,)
    for axis, side in zip(("h", "w"), sides, strict=True):
        shapes[f"attn.rel_pos_{axis}"] = (2 * side - 1, channels)
    shapes |= {"attn.proj.weight": (dim, dim), "attn.proj.bias": (dim,)}
    shapes |= {"norm2.weight": (dim,), "norm2.bias": (dim,)}
    shapes |= {"mlp.fc1.weight": (hidden, dim), "mlp.fc1.bias": (hidden,)}
    return shapes | {"mlp.fc2.weight": (dim, hidden), "mlp.fc2.bias": (dim,)}
