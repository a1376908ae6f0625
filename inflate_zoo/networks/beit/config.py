"""BEiT as data: what its tensors are called in our files, and their shapes.

Names follow the plain vision transformer's; `position_bias.plane` is a table of relative positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from inflate_zoo.files import budgets
from inflate_zoo.networks.base import (
    Activation,
    Form2D,
    Pair,
    Shapes,
    Side,
    Width,
)
from inflate_zoo.networks.columns import TableConfig
from inflate_zoo.networks.layers.offsets import table_rows

if TYPE_CHECKING:
    from torch import Tensor

_PLANE, _DEPTH = "position_bias.plane", "position_bias.depth"


class BeitForm(Form2D):
    """A 2D BEiT encoder: pre-norm blocks after one cls token, without absolute positions.

    Attributes:
        embed_dim: Width of a token.
        depth: Number of blocks.
        num_heads: Attention heads; divides `embed_dim`.
        mlp_dim: Width inside the feed-forward part.
        norm_eps: Epsilon of every LayerNorm.
        position_grid: Grid (height, width) of the tables in the file, in tokens.
        block_tables: Whether each block has a table of relative positions.
        shared_table: Whether all blocks share one, beside their own if they have any.
        table_resizing: How the original's library resizes a table for another grid: a name in
            `bias_tables.RESIZINGS`.
        qv_bias: Whether query and value have a bias; the key has none.
        final_norm: Norm on all `tokens`, on the `pooled` vector, or `none`.
        pool: What `forward` returns: the cls token, or the mean of the patch tokens.
    """

    patch_fixed: ClassVar[str] = ""

    embed_dim: Width
    depth: int = Field(gt=0, le=budgets.MOST_BLOCKS)
    num_heads: Width
    mlp_dim: Side
    activation: Activation
    norm_eps: float = Field(gt=0, allow_inf_nan=False)
    in_channels: Width
    patch_size: Pair = Field(strict=False)
    position_grid: Pair = Field(strict=False)
    block_tables: bool
    shared_table: bool
    table_resizing: Literal["bilinear", "width_first", "geometric"]
    qv_bias: bool
    layer_scale: bool
    stem_bias: bool
    final_norm: Literal["tokens", "pooled", "none"]
    pool: Literal["cls", "mean"]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if prod(self.position_grid) > budgets.MOST_TOKENS:
            raise ValueError(f"position_grid has more than {budgets.MOST_TOKENS:,} places")
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f"embed_dim {self.embed_dim} is not divisible by num_heads {self.num_heads}"
            )
        return self

    @property
    def native_grid(self) -> tuple[int, int]:
        """Grid (height, width) that the tables are of."""
        return self.position_grid

    def shapes(self) -> Shapes:
        """Names and shapes of all tensors, in the order of the forward pass."""
        return tensor_shapes(self)

    def inflated(
        self, *, channels: int, patch_depth: int, volume: tuple[int, int, int], stem_bias: bool
    ) -> BeitConfig:
        """The 3D backbone of this form; arguments as `Form2D` has them."""
        form = self.model_dump()
        form |= {"in_channels": channels, "stem_bias": self.stem_bias or stem_bias}
        return BeitConfig(**form, patch_depth=patch_depth, volume=volume)

    def described(self) -> str:
        """The network in a few words."""
        tables = {
            (True, True): "a table of relative positions per block and a shared one",
            (True, False): "a table of relative positions per block",
            (False, True): "a shared table of relative positions",
            (False, False): "no positions",
        }[self.block_tables, self.shared_table]
        return (
            f"{self.depth} blocks of width {self.embed_dim}, {self.num_heads} heads, {tables}, "
            f"mlp {self.mlp_dim} {self.activation}, eps {self.norm_eps:g}"
        )


class BeitConfig(TableConfig, BeitForm):
    """A 3D BEiT: what `config.json` of a conversion holds."""

    depth_table: ClassVar[str] = _DEPTH

    model_type: Literal["inflated_beit"] = "inflated_beit"

    @property
    def num_prefix_tokens(self) -> int:
        """The cls token."""
        return 1

    def shapes(self) -> Shapes:
        """Names and shapes of the tensors in the file."""
        shapes = tensor_shapes(self, self.patch_depth)
        if self.depth_positions:
            line = (2 * self.depth_positions - 1, self.num_heads)
            shapes |= {_of_depth(name): line for name in shapes if name.endswith(_PLANE)}
        return shapes

    def for_volume(self, volume: Sequence[int] | None) -> Self:
        """The config for a volume, its position grid equal to the volume's.

        Raises:
            UsageError: The patch does not divide the volume.
        """
        # What runs width first in a file runs height first once it is resized.
        kept = "bilinear" if self.table_resizing == "width_first" else self.table_resizing
        return super().for_volume(volume).model_copy(update={"table_resizing": kept})

    def fit(self, tensors: Mapping[str, Tensor], target: Self) -> dict[str, Tensor]:
        """Tensors of the file for another volume: tables resized, those of depth made."""
        from inflate_zoo.networks.layers.bias_tables import resize_table
        from inflate_zoo.networks.layers.positions import resize_offsets

        grid, depth = self.position_grid, target.depth_rows
        fitted = dict(tensors)
        for name, table in tensors.items():
            if name.endswith(_PLANE):
                if target.table_resizing != "width_first":  # what keeps the file's tables does
                    new = target.position_grid
                    fitted[name] = resize_table(table, grid, new, self.table_resizing)
                line = tensors.get(_of_depth(name))
                fitted[_of_depth(name)] = (
                    table.new_zeros(2 * depth - 1, table.shape[1])
                    if line is None
                    else resize_offsets(line, depth)
                )
        return fitted

    def memory(self, tokens: int) -> tuple[int, int]:
        """Bytes of inference at its widest, and bytes that training keeps.

        As of a plain vision transformer; besides, a bias for every head, query and key: twice while
        it is put together. Where it is learned, each block keeps its attention weights, which no
        fused kernel of a CPU makes again.
        """
        bias = self.num_heads * tokens**2
        widest = tokens * max(4 * self.embed_dim, 2 * self.mlp_dim + self.embed_dim) + 2 * bias
        kept = tokens * self.depth * (9 * self.embed_dim + 2 * self.mlp_dim)
        kept += self.depth * bias * (self.block_tables or self.shared_table)
        return widest * 4, kept * 4

    def without_weights(self) -> Self:
        """Without what weights alone bring, and what a segmenter does not use."""
        return super().without_weights().model_copy(update={"table_resizing": "bilinear"})


def _of_depth(name: str) -> str:
    return name.removesuffix(_PLANE) + _DEPTH


def tensor_shapes(form: BeitForm, patch_depth: int | None = None) -> Shapes:
    """Names and shapes of all tensors of a network, in the order of the forward pass.

    Args:
        form: The architecture.
        patch_depth: Depth of the 3D stem kernel; `None` gives the 2D network.

    Returns:
        Name to shape. Depth tables are not among them.
    """
    dim = form.embed_dim
    kernel = form.patch_size if patch_depth is None else (patch_depth, *form.patch_size)
    shapes: Shapes = {"patch_embed.weight": (dim, form.in_channels, *kernel)}
    if form.stem_bias:
        shapes["patch_embed.bias"] = (dim,)
    shapes["cls_token"] = (1, 1, dim)
    if form.shared_table:
        shapes[_PLANE] = (table_rows(form.position_grid), form.num_heads)
    block = _block_shapes(form)
    for index in range(form.depth):
        shapes |= {f"blocks.{index}.{name}": shape for name, shape in block.items()}
    if form.final_norm != "none":
        final = "norm" if form.final_norm == "tokens" else "fc_norm"
        shapes |= {f"{final}.weight": (dim,), f"{final}.bias": (dim,)}
    return shapes


def _block_shapes(form: BeitForm) -> Shapes:
    dim, hidden = form.embed_dim, form.mlp_dim
    shapes: Shapes = {"norm1.weight": (dim,), "norm1.bias": (dim,)}
    if form.block_tables:
        shapes[_PLANE] = (table_rows(form.position_grid), form.num_heads)
    if form.qv_bias:
        shapes |= {"attn.q_bias": (dim,), "attn.v_bias": (dim,)}
    shapes["attn.qkv.weight"] = (3 * dim, dim)
    shapes |= {"attn.proj.weight": (dim, dim), "attn.proj.bias": (dim,)}
    if form.layer_scale:
        shapes["ls1.gamma"] = (dim,)
    shapes |= {"norm2.weight": (dim,), "norm2.bias": (dim,)}
    shapes |= {"mlp.fc1.weight": (hidden, dim), "mlp.fc1.bias": (hidden,)}
    shapes |= {"mlp.fc2.weight": (dim, hidden), "mlp.fc2.bias": (dim,)}
    if form.layer_scale:
        shapes["ls2.gamma"] = (dim,)
    return shapes
