"""The plain vision transformer as data: what its tensors are called in our files, and their shapes.

Names follow timm. Dimensions in comments: O embed_dim, I channels, D depth, H height, W width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

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
from inflate_zoo.networks.columns import TableConfig

if TYPE_CHECKING:
    from torch import Tensor

Pool = Literal["cls", "mean", "cls_dist", "prefix"]

MODEL_TYPE: Final = "inflated_vit"


class VitForm(Form2D):
    """A plain 2D vision transformer encoder.

    Attributes:
        embed_dim: Width of a token.
        depth: Number of blocks.
        num_heads: Attention heads; divides `embed_dim`.
        mlp: `mlp` (fc1, activation, fc2) or `swiglu` (silu(first half of fc1) * second half, fc2).
        mlp_dim: Width inside the feed-forward part (of one half for `swiglu`).
        norm_eps: Epsilon of every LayerNorm.
        position_grid: Grid (height, width) of the position table in the file, in tokens.
        position_prefix: Leading rows of the position table that belong to prefix tokens.
        reg_tokens: Learned tokens after those: registers, or class tokens where there are several.
        position_resizing: How the table is resized for another grid, as the original does: a name
            in `positions.RESIZINGS`.
        final_norm: Norm on all `tokens`, on the `pooled` vector, or `none`.
        pool: What `forward` returns: the cls token, the mean of the patch tokens, that of the cls
            and the distillation token, or that of all prefix tokens.
    """

    patch_fixed: ClassVar[str] = ""

    embed_dim: Width
    depth: int = Field(gt=0, le=budgets.MOST_BLOCKS)
    num_heads: Width
    mlp: Literal["mlp", "swiglu"]
    mlp_dim: Side
    activation: Activation
    norm_eps: float = Field(gt=0, allow_inf_nan=False)
    in_channels: Width
    patch_size: Pair = Field(strict=False)
    position_grid: Pair = Field(strict=False)
    position_prefix: Count
    position_resizing: Literal["bicubic", "bilinear", "cropped"] = "bicubic"
    cls_token: bool
    dist_token: bool
    reg_tokens: Count
    qkv_bias: bool
    layer_scale: bool
    stem_bias: bool
    pre_norm: bool
    final_norm: Literal["tokens", "pooled", "none"]
    pool: Pool

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if prod(self.position_grid) > budgets.MOST_TOKENS:
            raise ValueError(f"position_grid has more than {budgets.MOST_TOKENS:,} places")
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f"embed_dim {self.embed_dim} is not divisible by num_heads {self.num_heads}"
            )
        if self.pool == "cls" and not self.cls_token:
            raise ValueError("pool 'cls' needs cls_token")
        if self.pool == "cls_dist" and not (self.cls_token and self.dist_token):
            raise ValueError("pool 'cls_dist' needs cls_token and dist_token")
        if self.pool == "prefix" and not self.num_prefix_tokens:
            raise ValueError("pool 'prefix' needs prefix tokens")
        if self.position_prefix > self.num_prefix_tokens:
            raise ValueError(
                f"position_prefix {self.position_prefix} exceeds the {self.num_prefix_tokens} "
                "prefix tokens"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_the_usual(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The usual resizing is not said, as it was not when there was no other."""
        said: dict[str, Any] = dump(self)
        if self.position_resizing == "bicubic":
            said.pop("position_resizing", None)
        return said

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens before the patch tokens: cls, distillation, registers, in this order."""
        return self.cls_token + self.dist_token + self.reg_tokens

    @property
    def native_grid(self) -> tuple[int, int]:
        """Grid (height, width) of the position table."""
        return self.position_grid

    def shapes(self) -> Shapes:
        """Names and shapes of all tensors, in the order of the forward pass."""
        return tensor_shapes(self)

    def inflated(
        self, *, channels: int, patch_depth: int, volume: tuple[int, int, int], stem_bias: bool
    ) -> VitConfig:
        """The 3D backbone of this form; arguments as `Form2D` has them."""
        form = self.model_dump()
        form |= {"in_channels": channels, "stem_bias": self.stem_bias or stem_bias}
        return VitConfig(**form, patch_depth=patch_depth, volume=volume)

    def described(self) -> str:
        """The network in a few words."""
        return (
            f"{self.depth} blocks of width {self.embed_dim}, {self.num_heads} heads, "
            f"{self.mlp} {self.mlp_dim} {self.activation}, eps {self.norm_eps:g}"
        )


class CroppedForm(VitForm):
    """One whose table is of larger images than those it was trained on.

    Attributes:
        image_grid: Grid (height, width) of the images it was trained on, in tokens.
    """

    image_grid: Pair = Field(strict=False)

    @property
    def native_grid(self) -> tuple[int, int]:
        """Grid (height, width) of the images it was trained on."""
        return self.image_grid

    def inflated(
        self, *, channels: int, patch_depth: int, volume: tuple[int, int, int], stem_bias: bool
    ) -> VitConfig:
        """The 3D backbone of this form; arguments as `Form2D` has them."""
        form = VitForm(**{name: getattr(self, name) for name in VitForm.model_fields})
        return form.inflated(
            channels=channels, patch_depth=patch_depth, volume=volume, stem_bias=stem_bias
        )


class VitConfig(TableConfig, VitForm):
    """A plain 3D vision transformer: what `config.json` of a conversion holds."""

    model_type: Literal["inflated_vit"] = MODEL_TYPE

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens before the patch tokens: cls, distillation, registers, in this order."""
        return self.cls_token + self.dist_token + self.reg_tokens

    def shapes(self) -> Shapes:
        """Names and shapes of the tensors in the file."""
        return tensor_shapes(self, self.patch_depth) | self.depth_shapes()

    def for_volume(self, volume: Sequence[int] | None) -> Self:
        """The config for a volume, its position grid equal to the volume's.

        Raises:
            UsageError: The patch does not divide the volume.
        """
        sized = super().for_volume(volume)
        if self.position_resizing == "cropped" and sized.position_grid != self.position_grid:
            # What was cropped is no table of the largest images any more, of which to crop again.
            return sized.model_copy(update={"position_resizing": "bilinear"})
        return sized

    def fit(self, tensors: Mapping[str, Tensor], target: Self) -> dict[str, Tensor]:
        """Tensors of the file for another volume: tables resized, the depth table made."""
        from inflate_zoo.networks.layers.positions import depth_table, resize_in_plane

        table, line = tensors["pos_embed"], tensors.get("depth_embed")
        prefix, grid = self.position_prefix, self.position_grid
        depth = target.depth_rows
        fitted = depth_table(line, depth, table)
        plane = resize_in_plane(table, prefix, grid, target.position_grid, self.position_resizing)
        return {**tensors, "pos_embed": plane, "depth_embed": fitted}

    def without_weights(self) -> Self:
        """Without what weights alone bring, and what a segmenter does not use."""
        return super().without_weights().model_copy(update={"position_resizing": "bicubic"})

    def memory(self, tokens: int) -> tuple[int, int]:
        """Bytes of inference at its widest, and bytes that training keeps.

        Kept for the backward pass of one block, in values per token: two norms, qkv, attention,
        projection, both sums, and the feed-forward part before and after its activation.
        """
        hidden = self.mlp_dim * (3 if self.mlp == "swiglu" else 2)
        widest = tokens * max(4 * self.embed_dim, hidden + self.embed_dim) * 4
        return widest, tokens * self.depth * (9 * self.embed_dim + hidden) * 4


def tensor_shapes(form: VitForm, patch_depth: int | None = None) -> Shapes:
    """Names and shapes of all tensors of a network, in the order of the forward pass.

    Args:
        form: The architecture.
        patch_depth: Depth of the 3D stem kernel; `None` gives the 2D network.

    Returns:
        Name to shape. A depth table is not among them.
    """
    dim = form.embed_dim
    kernel = form.patch_size if patch_depth is None else (patch_depth, *form.patch_size)
    rows = form.position_prefix + form.position_grid[0] * form.position_grid[1]
    shapes: Shapes = {"patch_embed.weight": (dim, form.in_channels, *kernel)}
    if form.stem_bias:
        shapes["patch_embed.bias"] = (dim,)
    if form.cls_token:
        shapes["cls_token"] = (1, 1, dim)
    if form.dist_token:
        shapes["dist_token"] = (1, 1, dim)
    if form.reg_tokens:
        shapes["reg_token"] = (1, form.reg_tokens, dim)
    shapes["pos_embed"] = (1, rows, dim)
    norm = {"weight": (dim,), "bias": (dim,)}
    if form.pre_norm:
        shapes |= {f"norm_pre.{part}": shape for part, shape in norm.items()}
    block = _block_shapes(form)
    for index in range(form.depth):
        shapes |= {f"blocks.{index}.{name}": shape for name, shape in block.items()}
    if form.final_norm != "none":
        final = "norm" if form.final_norm == "tokens" else "fc_norm"
        shapes |= {f"{final}.{part}": shape for part, shape in norm.items()}
    return shapes


def _block_shapes(form: VitForm) -> Shapes:
    dim, hidden = form.embed_dim, form.mlp_dim * (2 if form.mlp == "swiglu" else 1)
    shapes: Shapes = {"norm1.weight": (dim,), "norm1.bias": (dim,)}
    shapes["attn.qkv.weight"] = (3 * dim, dim)
    if form.qkv_bias:
        shapes["attn.qkv.bias"] = (3 * dim,)
    shapes |= {"attn.proj.weight": (dim, dim), "attn.proj.bias": (dim,)}
    if form.layer_scale:
        shapes["ls1.gamma"] = (dim,)
    shapes |= {"norm2.weight": (dim,), "norm2.bias": (dim,)}
    shapes |= {"mlp.fc1.weight": (hidden, dim), "mlp.fc1.bias": (hidden,)}
    shapes |= {"mlp.fc2.weight": (dim, form.mlp_dim), "mlp.fc2.bias": (dim,)}
    if form.layer_scale:
        shapes["ls2.gamma"] = (dim,)
    return shapes
