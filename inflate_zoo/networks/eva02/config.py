"""EVA-02 as data: what its tensors are called in our files, and their shapes.

Names follow the plain vision transformer's, and so does its position table.
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


class Eva02Form(Form2D):
    """A 2D EVA-02 encoder: pre-norm blocks with rotary attention and a gate, after a cls token.

    Attributes:
        embed_dim: Width of a token.
        depth: Number of blocks.
        num_heads: Attention heads, each of a multiple of 4 channels.
        mlp_dim: Width inside the feed-forward part, of its gate and of its value.
        activation: Of the gate.
        attn_norm: Whether there is a norm before the attention's last projection.
        mlp_norm: Whether there is a norm before the feed-forward part's last projection.
        norm_eps: Epsilon of every LayerNorm.
        rotary_theta: Largest wavelength of the rotary positions, in units of the smallest.
        rotary_grid: Grid (height, width) on which rotary positions count in tokens; another one is
            stretched over it.
        position_grid: Grid (height, width) of the position table in the file, in tokens.
        final_norm: Norm on all `tokens`, on the `pooled` vector, or `none`.
        pool: What `forward` returns: the cls token, or the mean of the patch tokens.
    """

    patch_fixed: ClassVar[str] = ""

    embed_dim: Width
    depth: int = Field(gt=0, le=budgets.MOST_BLOCKS)
    num_heads: Width
    mlp_dim: Side
    activation: Activation
    attn_norm: bool
    mlp_norm: bool
    norm_eps: float = Field(gt=0, allow_inf_nan=False)
    rotary_theta: float = Field(gt=0, allow_inf_nan=False)
    rotary_grid: Pair = Field(strict=False)
    in_channels: Width
    patch_size: Pair = Field(strict=False)
    position_grid: Pair = Field(strict=False)
    final_norm: Literal["tokens", "pooled", "none"]
    pool: Literal["cls", "mean"]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if prod(self.position_grid) > budgets.MOST_TOKENS:
            raise ValueError(f"position_grid has more than {budgets.MOST_TOKENS:,} places")
        if self.embed_dim % (4 * self.num_heads):
            raise ValueError(
                f"embed_dim {self.embed_dim} is not divisible by num_heads {self.num_heads} times "
                "4: a head's channels are turned in pairs along two axes"
            )
        return self

    @property
    def native_grid(self) -> tuple[int, int]:
        """Grid (height, width) of the position table."""
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
    ) -> Eva02Config:
        """The 3D backbone of this form; arguments as `Form2D` has them."""
        form = self.model_dump() | {"in_channels": channels}
        return Eva02Config(**form, patch_depth=patch_depth, volume=volume)

    def described(self) -> str:
        """The network in a few words."""
        norms = {"attention": self.attn_norm, "mlp": self.mlp_norm}
        inside = " and ".join(part for part, there in norms.items() if there)
        return (
            f"{self.depth} blocks of width {self.embed_dim}, {self.num_heads} heads, rotary "
            f"positions beside a table, gated mlp {self.mlp_dim} {self.activation}, "
            f"{f'norms inside {inside}, ' if inside else ''}eps {self.norm_eps:g}"
        )


class Eva02Config(TableConfig, Eva02Form):
    """A 3D EVA-02: what `config.json` of a conversion holds."""

    model_type: Literal["inflated_eva02"] = "inflated_eva02"

    @property
    def num_prefix_tokens(self) -> int:
        """The cls token."""
        return 1

    def shapes(self) -> Shapes:
        """Names and shapes of the tensors in the file."""
        return tensor_shapes(self, self.patch_depth) | self.depth_shapes()

    def fit(self, tensors: Mapping[str, Tensor], target: Self) -> dict[str, Tensor]:
        """Tensors of the file for another volume: tables resized, that of depth made."""
        from inflate_zoo.networks.layers.positions import depth_table, resize_in_plane

        table, depth = tensors["pos_embed"], target.depth_rows
        plane = resize_in_plane(table, 1, self.position_grid, target.position_grid)
        line = depth_table(tensors.get("depth_embed"), depth, table)
        return {**tensors, "pos_embed": plane, "depth_embed": line}

    def memory(self, tokens: int) -> tuple[int, int]:
        """Bytes of inference at its widest, and bytes that training keeps.

        Kept for the backward pass of one block, in values per token: two norms, qkv, turned query
        and key, attention, projection, both sums, a norm inside attention, and of the feed-forward
        part all but its output.
        """
        hidden = self.mlp_dim * (5 if self.mlp_norm else 4)
        widest = tokens * max(6 * self.embed_dim, hidden + self.embed_dim) * 4
        kept = (11 + self.attn_norm) * self.embed_dim + hidden
        return widest, tokens * self.depth * kept * 4


def tensor_shapes(form: Eva02Form, patch_depth: int | None = None) -> Shapes:
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
        "cls_token": (1, 1, dim),
        "pos_embed": (1, 1 + prod(form.position_grid), dim),
    }
    block = _block_shapes(form)
    for index in range(form.depth):
        shapes |= {f"blocks.{index}.{name}": shape for name, shape in block.items()}
    if form.final_norm != "none":
        final = "norm" if form.final_norm == "tokens" else "fc_norm"
        shapes |= {f"{final}.weight": (dim,), f"{final}.bias": (dim,)}
    return shapes


def _block_shapes(form: Eva02Form) -> Shapes:
    dim, hidden = form.embed_dim, form.mlp_dim
    shapes: Shapes = {
        "norm1.weight": (dim,),
        "norm1.bias": (dim,),
        "attn.q_bias": (dim,),
        "attn.v_bias": (dim,),
        "attn.qkv.weight": (3 * dim, dim),
    }
    if form.attn_norm:
        shapes |= {"attn.norm.weight": (dim,), "attn.norm.bias": (dim,)}
    shapes |= {
        "attn.proj.weight": (dim, dim),
        "attn.proj.bias": (dim,),
        "norm2.weight": (dim,),
        "norm2.bias": (dim,),
        "mlp.fc1.weight": (2 * hidden, dim),
        "mlp.fc1.bias": (2 * hidden,),
    }
    if form.mlp_norm:
        shapes |= {"mlp.norm.weight": (hidden,), "mlp.norm.bias": (hidden,)}
    return shapes | {"mlp.fc2.weight": (dim, hidden), "mlp.fc2.bias": (dim,)}
