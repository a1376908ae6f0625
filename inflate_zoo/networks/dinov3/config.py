"""DINOv3 as data: what its tensors are called in our files, and their shapes.

Names follow the plain vision transformer's; nothing in a file says where a token stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from inflate_zoo.files import budgets
from inflate_zoo.networks.base import (
    Activation,
    Count,
    Form2D,
    Pair,
    Shapes,
    Side,
    Width,
)
from inflate_zoo.networks.columns import ColumnConfig

if TYPE_CHECKING:
    from torch import Tensor


class Dinov3Form(Form2D):
    """A 2D DINOv3 encoder: pre-norm blocks with rotary attention, after a cls token and registers.

    Attributes:
        embed_dim: Width of a token.
        depth: Number of blocks.
        num_heads: Attention heads, each of a multiple of 4 channels.
        gated: Whether the feed-forward part has a gate: activation(gate) * fc1, then fc2.
        mlp_dim: Width inside the feed-forward part.
        norm_eps: Epsilon of every LayerNorm.
        rotary_theta: Largest wavelength of the rotary positions, in units of the smallest.
        image_grid: Grid (height, width) of the images that the original is made for, in tokens.
        reg_tokens: Register tokens, after the cls token; a file without any holds an empty tensor.
        qv_bias: Whether query and value have a bias; the key has none.
        pool: What `forward` returns: the cls token, or the mean of the patch tokens.
    """

    patch_fixed: ClassVar[str] = ""

    embed_dim: Width
    depth: int = Field(gt=0, le=budgets.MOST_BLOCKS)
    num_heads: Width
    gated: bool
    mlp_dim: Side
    activation: Activation
    norm_eps: float = Field(gt=0, allow_inf_nan=False)
    rotary_theta: float = Field(gt=0, allow_inf_nan=False)
    in_channels: Width
    patch_size: Pair = Field(strict=False)
    image_grid: Pair = Field(strict=False)
    reg_tokens: Count
    qv_bias: bool
    pool: Literal["cls", "mean"]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if prod(self.image_grid) > budgets.MOST_TOKENS:
            raise ValueError(f"image_grid has more than {budgets.MOST_TOKENS:,} places")
        if self.embed_dim % (4 * self.num_heads):
            raise ValueError(
                f"embed_dim {self.embed_dim} is not divisible by num_heads {self.num_heads} times "
                "4: a head's channels are turned in pairs along two axes"
            )
        return self

    @property
    def native_grid(self) -> tuple[int, int]:
        """Grid (height, width) of the images that the original is made for."""
        return self.image_grid

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
    ) -> Dinov3Config:
        """The 3D backbone of this form; arguments as `Form2D` has them."""
        form = self.model_dump() | {"in_channels": channels}
        return Dinov3Config(**form, patch_depth=patch_depth, volume=volume)

    def described(self) -> str:
        """The network in a few words."""
        return (
            f"{self.depth} blocks of width {self.embed_dim}, {self.num_heads} heads, rotary "
            f"positions, {'gated mlp' if self.gated else 'mlp'} {self.mlp_dim} {self.activation}, "
            f"eps {self.norm_eps:g}"
        )


class Dinov3Config(ColumnConfig, Dinov3Form):
    """A 3D DINOv3: what `config.json` of a conversion holds."""

    model_type: Literal["inflated_dinov3"] = "inflated_dinov3"

    @property
    def num_prefix_tokens(self) -> int:
        """The cls token and the registers."""
        return 1 + self.reg_tokens

    def shapes(self) -> Shapes:
        """Names and shapes of the tensors in the file."""
        return tensor_shapes(self, self.patch_depth) | self.depth_shapes()

    def fit(self, tensors: Mapping[str, Tensor], target: Self) -> dict[str, Tensor]:
        """Tensors of the file for another volume: the depth table resized, or made."""
        from inflate_zoo.networks.layers.positions import depth_table

        line, depth = tensors.get("depth_embed"), target.depth_rows
        return {**tensors, "depth_embed": depth_table(line, depth, tensors["cls_token"])}

    def memory(self, tokens: int) -> tuple[int, int]:
        """Bytes of inference at its widest, and bytes that training keeps.

        Kept for the backward pass of one block, in values per token: two norms, qkv, turned query
        and key, attention, projection, both scaled branches and sums, and of the feed-forward part
        all but its output.
        """
        hidden = self.mlp_dim * (4 if self.gated else 2)
        widest = tokens * max(6 * self.embed_dim, hidden + self.embed_dim) * 4
        return widest, tokens * self.depth * (13 * self.embed_dim + hidden) * 4

    def without_weights(self) -> Self:
        """Without what weights alone bring, and what a segmenter does not use."""
        return super().without_weights().model_copy(update={"image_grid": (1, 1)})


def tensor_shapes(form: Dinov3Form, patch_depth: int | None = None) -> Shapes:
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
        "reg_token": (1, form.reg_tokens, dim),
    }
    block = _block_shapes(form)
    for index in range(form.depth):
        shapes |= {f"blocks.{index}.{name}": shape for name, shape in block.items()}
    return shapes | {"norm.weight": (dim,), "norm.bias": (dim,)}


def _block_shapes(form: Dinov3Form) -> Shapes:
    dim, hidden = form.embed_dim, form.mlp_dim
    shapes: Shapes = {"norm1.weight": (dim,), "norm1.bias": (dim,)}
    if form.qv_bias:
        shapes |= {"attn.q_bias": (dim,), "attn.v_bias": (dim,)}
    shapes |= {
        "attn.qkv.weight": (3 * dim, dim),
        "attn.proj.weight": (dim, dim),
        "attn.proj.bias": (dim,),
        "ls1.gamma": (dim,),
        "norm2.weight": (dim,),
        "norm2.bias": (dim,),
    }
    if form.gated:
        shapes |= {"mlp.gate.weight": (hidden, dim), "mlp.gate.bias": (hidden,)}
    return shapes | {
        "mlp.fc1.weight": (hidden, dim),
        "mlp.fc1.bias": (hidden,),
        "mlp.fc2.weight": (dim, hidden),
        "mlp.fc2.bias": (dim,),
        "ls2.gamma": (dim,),
    }
