"""SwinV2 (Liu et al. 2022) as data: what its tensors are called in our files, and their shapes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from inflate_zoo.networks.base import Count, Shapes
from inflate_zoo.networks.staged import StagedConfig, StagedForm, norm_shapes

BIAS_WIDTH = 512  # inside the part that makes biases of offsets, in every published model
Pretrained = Annotated[
    tuple[Annotated[tuple[Count, Count], Field(strict=False)], ...], Field(strict=False)
]


class SwinV2Form(StagedForm):
    """A 2D SwinV2 encoder.

    Attributes:
        pretrained_windows: Windows (height, width) of each stage by which offsets are measured, in
            tokens; 0 for those of the network itself.
        qv_bias: Whether query and value have a bias; a key never has.
    """

    pretrained_windows: Pretrained
    qv_bias: bool

    @model_validator(mode="after")
    def _measured(self) -> Self:
        if len(self.pretrained_windows) != len(self.depths):
            raise ValueError(f"pretrained_windows are not those of {len(self.depths)} stages")
        return self

    def units(self, stage: int) -> tuple[int, int]:
        """The greatest offsets (height, width) of a stage, as which 1 is measured."""
        sides = zip(self.pretrained_windows[stage], self.windows[stage], strict=True)
        height, width = (max(1, (trained or own) - 1) for trained, own in sides)
        return height, width

    def shapes(self) -> Shapes:
        """Names and shapes of all tensors, in the order of the forward pass."""
        return tensor_shapes(self, self.patch_size, 2, merge_depth=False)

    def inflated(
        self, *, channels: int, patch_depth: int, volume: tuple[int, int, int], stem_bias: bool
    ) -> SwinV2Config:
        """The 3D backbone of this form; arguments as `Form2D` has them."""
        form = self.model_dump()
        form |= {"in_channels": channels, "stem_bias": self.stem_bias or stem_bias}
        return SwinV2Config(
            **form, patch_depth=patch_depth, volume=volume, depth_window=self.window
        )


class SwinV2Config(StagedConfig, SwinV2Form):
    """A 3D SwinV2: what `config.json` of a conversion holds."""

    title: ClassVar[str] = "SwinV2"

    model_type: Literal["inflated_swinv2"] = "inflated_swinv2"

    def shapes(self) -> Shapes:
        """Names and shapes of the tensors in the file, in the order of the forward pass."""
        return tensor_shapes(self, self.patch, 3, merge_depth=self.merge_depth)


def tensor_shapes(
    form: SwinV2Form, kernel: tuple[int, ...], axes: int, *, merge_depth: bool
) -> Shapes:
    """Names and shapes of all tensors of a network, in the order of the forward pass.

    Args:
        form: The architecture.
        kernel: The stem's kernel, in pixels or voxels.
        axes: Of an offset: 2 in the plane, 3 with depth.
        merge_depth: Whether merging halves depth too.
    """
    shapes: Shapes = {"patch_embed.weight": (form.embed_dim, form.in_channels, *kernel)}
    if form.stem_bias:
        shapes["patch_embed.bias"] = (form.embed_dim,)
    shapes |= norm_shapes("norm_pre", form.embed_dim)
    parts = 8 if merge_depth else 4
    for stage, dim in enumerate(form.widths):
        if stage:
            before, name = form.widths[stage - 1], f"merges.{stage - 1}"
            shapes[f"{name}.reduction.weight"] = (dim, parts * before)
            shapes |= norm_shapes(f"{name}.norm", dim)
        block = _block_shapes(form, stage, dim, axes)
        for index in range(form.depths[stage]):
            shapes |= {f"stages.{stage}.blocks.{index}.{n}": s for n, s in block.items()}
    return shapes | norm_shapes("norm", form.widths[-1])


def _block_shapes(form: SwinV2Form, stage: int, dim: int, axes: int) -> Shapes:
    heads, hidden = form.num_heads[stage], form.mlp_dims[stage]
    shapes: Shapes = {
        "attn.logit_scale": (heads, 1, 1),
        "attn.bias_of_offset.fc1.weight": (BIAS_WIDTH, axes),
        "attn.bias_of_offset.fc1.bias": (BIAS_WIDTH,),
        "attn.bias_of_offset.fc2.weight": (heads, BIAS_WIDTH),
        "attn.qkv.weight": (3 * dim, dim),
    }
    if form.qv_bias:
        shapes |= {"attn.q_bias": (dim,), "attn.v_bias": (dim,)}
    shapes |= {"attn.proj.weight": (dim, dim), "attn.proj.bias": (dim,)}
    shapes |= norm_shapes("norm1", dim)
    shapes |= {"mlp.fc1.weight": (hidden, dim), "mlp.fc1.bias": (hidden,)}
    shapes |= {"mlp.fc2.weight": (dim, hidden), "mlp.fc2.bias": (dim,)}
    return shapes | norm_shapes("norm2", dim)
