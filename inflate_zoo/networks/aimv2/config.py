"""AIMv2 as data: what its tensors are called in our files, and their shapes.

Names follow the plain vision transformer's; `patch_norm` norms the patches before positions are
added.
"""

from __future__ import annotations

from collections.abc import Mapping
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

if TYPE_CHECKING:
    from torch import Tensor


class Aimv2Form(Form2D):
    """A 2D AIMv2 encoder: pre-norm blocks with a gate, RMS norms and no bias but the stem's.

    It has no prefix tokens, and `forward` returns the mean of all.

    Attributes:
        embed_dim: Width of a token.
        depth: Number of blocks.
        num_heads: Attention heads; divides `embed_dim`.
        mlp_dim: Width inside the feed-forward part, of its gate and of its value.
        activation: Of the gate.
        norm_eps: Epsilon of every norm.
        positions: `learned`, a table in the file, or `sincos`, waves that follow from the place.
        position_grid: Grid (height, width) of the table in tokens, or, of waves, of the images it
            was trained on.
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
    positions: Literal["learned", "sincos"]
    position_grid: Pair = Field(strict=False)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if prod(self.position_grid) > budgets.MOST_TOKENS:
            raise ValueError(f"position_grid has more than {budgets.MOST_TOKENS:,} places")
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f"embed_dim {self.embed_dim} is not divisible by num_heads {self.num_heads}"
            )
        if self.positions == "sincos" and self.embed_dim % 4:
            raise ValueError(
                f"embed_dim {self.embed_dim} is not divisible by 4: positions are sines and "
                "cosines along two axes"
            )
        return self

    @property
    def native_grid(self) -> tuple[int, int]:
        """Grid (height, width) of the images it was trained on."""
        return self.position_grid

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
    ) -> Aimv2Config:
        """The 3D backbone of this form; arguments as `Form2D` has them."""
        form = self.model_dump() | {"in_channels": channels}
        return Aimv2Config(**form, patch_depth=patch_depth, volume=volume)

    def described(self) -> str:
        """The network in a few words."""
        positions = {"learned": "a table of positions", "sincos": "computed positions"}
        return (
            f"{self.depth} blocks of width {self.embed_dim}, {self.num_heads} heads, RMS norms, "
            f"{positions[self.positions]}, gated mlp {self.mlp_dim} {self.activation}, "
            f"eps {self.norm_eps:g}"
        )


class Aimv2Config(TableConfig, Aimv2Form):
    """A 3D AIMv2: what `config.json` of a conversion holds."""

    model_type: Literal["inflated_aimv2"] = "inflated_aimv2"

    def shapes(self) -> Shapes:
        """Names and shapes of the tensors in the file."""
        return tensor_shapes(self, self.patch_depth) | self.depth_shapes()

    def fit(self, tensors: Mapping[str, Tensor], target: Self) -> dict[str, Tensor]:
        """Tensors of the file for another volume: a table resized, that of depth made."""
        from inflate_zoo.networks.layers.positions import depth_table, resize_in_plane

        fitted = dict(tensors)
        if self.positions == "learned":
            table = tensors["pos_embed"]
            grids = self.position_grid, target.position_grid
            fitted["pos_embed"] = resize_in_plane(table, 0, *grids)
        depth, like = target.depth_rows, tensors["patch_embed.bias"]
        fitted["depth_embed"] = depth_table(tensors.get("depth_embed"), depth, like)
        return fitted

    def memory(self, tokens: int) -> tuple[int, int]:
        """Bytes of inference at its widest, and bytes that training keeps.

        Kept for the backward pass of one block, in values per token: two norms before and after
        their scale, qkv, attention, both sums, and of the feed-forward part gate and value, the
        activated gate and the product.
        """
        hidden = 4 * self.mlp_dim
        widest = tokens * max(4 * self.embed_dim, hidden + self.embed_dim) * 4
        return widest, tokens * self.depth * (10 * self.embed_dim + hidden) * 4


def tensor_shapes(form: Aimv2Form, patch_depth: int | None = None) -> Shapes:
    """Names and shapes of all tensors of a network, in the order of the forward pass.

    Args:
        form: The architecture.
        patch_depth: Depth of the 3D stem kernel; `None` gives the 2D network.

    Returns:
        Name to shape. A depth table is not among them.
    """
    dim = form.embed_dim
    kernel = form.patch_size if patch_depth is None else (patch_depth, *form.patch_size)
    shapes: Shapes = {
        "patch_embed.weight": (dim, form.in_channels, *kernel),
        "patch_embed.bias": (dim,),
        "patch_norm.weight": (dim,),
    }
    if form.positions == "learned":
        shapes["pos_embed"] = (1, prod(form.position_grid), dim)
    block: Shapes = {
        "norm1.weight": (dim,),
        "attn.qkv.weight": (3 * dim, dim),
        "attn.proj.weight": (dim, dim),
        "norm2.weight": (dim,),
        "mlp.fc1.weight": (2 * form.mlp_dim, dim),
        "mlp.fc2.weight": (dim, form.mlp_dim),
    }
    for index in range(form.depth):
        shapes |= {f"blocks.{index}.{name}": shape for name, shape in block.items()}
    shapes["norm.weight"] = (dim,)
    return shapes
