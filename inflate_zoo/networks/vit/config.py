"""The plain vision transformer as data: what its tensors are called in our files, and their shapes.

Names follow timm. Dimensions in comments: O embed_dim, I channels, D depth, H height, W width.
"""

from __future__ import annotations

from math import prod
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from inflate_zoo.files import budgets

Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "silu", "relu"]
Pool = Literal["cls", "mean", "cls_dist"]
Width = Annotated[int, Field(gt=0, le=budgets.MOST_WIDTH)]
Side = Annotated[int, Field(gt=0, le=budgets.MOST_SIDE)]
Count = Annotated[int, Field(ge=0, le=budgets.MOST_SIDE)]
Pair = tuple[Side, Side]
Triple = tuple[Side, Side, Side]

MODEL_TYPE: Final = "inflated_vit"
SEGMENTER_TYPE: Final = "inflated_vit_segmenter"
FORMAT_VERSION: Final = 1


class Architecture(BaseModel):
    """A plain 2D vision transformer encoder.

    Attributes:
        embed_dim: Width of a token.
        depth: Number of blocks.
        num_heads: Attention heads; divides `embed_dim`.
        mlp: `mlp` (fc1, activation, fc2) or `swiglu` (silu(first half of fc1) * second half, fc2).
        mlp_dim: Width inside the feed-forward part (of one half for `swiglu`).
        norm_eps: Epsilon of every LayerNorm.
        in_channels: Channels of the input.
        patch_size: In-plane patch (height, width) in pixels.
        position_grid: Grid (height, width) of the position table in the file, in tokens.
        position_prefix: Leading rows of the position table that belong to prefix tokens.
        final_norm: Norm on all `tokens`, on the `pooled` vector, or `none`.
        pool: What `forward` returns: the cls token, the mean of the patch tokens, or the mean of
            the cls and the distillation token.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

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
        if self.position_prefix > self.num_prefix_tokens:
            raise ValueError(
                f"position_prefix {self.position_prefix} exceeds the {self.num_prefix_tokens} "
                "prefix tokens"
            )
        return self

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens before the patch tokens: cls, distillation, registers, in this order."""
        return self.cls_token + self.dist_token + self.reg_tokens


class BackboneConfig(Architecture):
    """A 3D backbone: what `config.json` of a conversion holds.

    Attributes:
        patch_depth: Patch size along depth, in voxels.
        volume: Default volume (depth, height, width) in voxels.
        depth_positions: Rows of the depth table in the file; 0 where it holds none, as after a
            conversion (the table then starts at zero).
    """

    model_type: Literal["inflated_vit"] = MODEL_TYPE
    format_version: Literal[1] = FORMAT_VERSION
    patch_depth: Side
    volume: Triple = Field(strict=False)
    depth_positions: Count = 0

    @model_validator(mode="after")
    def _divides(self) -> Self:
        patch = (self.patch_depth, *self.patch_size)
        for axis, extent, step in zip(
            ("depth", "height", "width"), self.volume, patch, strict=True
        ):
            if extent % step:
                near = max(step, round(extent / step) * step)
                raise ValueError(
                    f"volume {axis} {extent} is not divisible by the patch's {step}; "
                    f"nearest: {near}"
                )
        if prod(self.grid_size) > budgets.MOST_TOKENS:
            raise ValueError(f"volume {self.volume} makes more than {budgets.MOST_TOKENS:,} tokens")
        return self

    @property
    def grid_size(self) -> tuple[int, int, int]:
        """Token grid (depth, height, width) of the volume."""
        depth, height, width = self.volume
        return depth // self.patch_depth, height // self.patch_size[0], width // self.patch_size[1]


def tensor_shapes(form: Architecture, patch_depth: int | None = None) -> dict[str, tuple[int, ...]]:
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
    shapes: dict[str, tuple[int, ...]] = {"patch_embed.weight": (dim, form.in_channels, *kernel)}
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


def _block_shapes(form: Architecture) -> dict[str, tuple[int, ...]]:
    dim, hidden = form.embed_dim, form.mlp_dim * (2 if form.mlp == "swiglu" else 1)
    shapes: dict[str, tuple[int, ...]] = {"norm1.weight": (dim,), "norm1.bias": (dim,)}
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


def one_line(config: BackboneConfig) -> str:
    """A backbone in a few words."""
    patch = "x".join(map(str, (config.patch_depth, *config.patch_size)))
    return f"{config.depth} blocks of width {config.embed_dim}, patch {patch}"


def network_of(config: BackboneConfig) -> BackboneConfig:
    """A backbone without what weights alone bring, and what a segmenter does not use."""
    patch = (config.patch_depth, *config.patch_size)
    free = {"position_grid": (1, 1), "depth_positions": 0, "volume": patch}
    return config.model_copy(update={**free, "pool": "mean", "norm_eps": 1e-6})
