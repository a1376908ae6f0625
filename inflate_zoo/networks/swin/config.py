"""Swin (Liu et al. 2021) as data: what its tensors are called in our files, and their shapes.

Video-Swin (Liu et al. 2022) is a form of it that is 3D already: the same network on volumes.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from inflate_zoo.networks.base import Depth, Shapes, Side, Windows
from inflate_zoo.networks.layers.grids import MOST_WINDOW
from inflate_zoo.networks.staged import StagedConfig, StagedForm, norm_shapes


class SwinForm(StagedForm):
    """A 2D Swin encoder.

    Attributes:
        qkv_bias: Whether query, key and value have a bias.
        stem_norm: Whether a norm follows the stem.
    """

    qkv_bias: bool
    stem_norm: bool

    def shapes(self) -> Shapes:
        """Names and shapes of all tensors, in the order of the forward pass."""
        return tensor_shapes(self, self.patch_size, Windows(1, merge_depth=False))

    def inflated(
        self, *, channels: int, patch_depth: int, volume: tuple[int, int, int], stem_bias: bool
    ) -> SwinConfig:
        """The 3D backbone of this form; arguments as `Form2D` has them."""
        form = self.model_dump()
        form |= {"in_channels": channels, "stem_bias": self.stem_bias or stem_bias}
        return SwinConfig(**form, patch_depth=patch_depth, volume=volume, depth_window=self.window)


class SwinConfig(StagedConfig, SwinForm):
    """A 3D Swin: what `config.json` of a conversion holds."""

    title: ClassVar[str] = "Swin"

    model_type: Literal["inflated_swin"] = "inflated_swin"

    def shapes(self) -> Shapes:
        """Names and shapes of the tensors in the file, in the order of the forward pass."""
        return tensor_shapes(self, self.patch, Windows(self.depth_window, self.merge_depth))


class VideoSwinForm(SwinForm):
    """A Swin that is 3D already: its stem, its windows and their tables of biases have depth.

    Attributes:
        patch_depth: Depth of the stem's kernel, in voxels.
        depth_window: Depth of all windows, in tokens.
    """

    patch_depth: Side
    depth_window: int = Field(gt=0, le=MOST_WINDOW)

    @property
    def own_depth(self) -> Depth:
        """Its windows, merged in the plane; a default volume of one window."""
        windows = Windows(self.depth_window, merge_depth=False)
        return Depth(self.patch_depth, self.depth_window * self.patch_depth, windows)

    def shapes(self) -> Shapes:
        """Names and shapes of all tensors, in the order of the forward pass."""
        windows = Windows(self.depth_window, merge_depth=False)
        return tensor_shapes(self, (self.patch_depth, *self.patch_size), windows)

    def inflated(
        self, *, channels: int, patch_depth: int, volume: tuple[int, int, int], stem_bias: bool
    ) -> SwinConfig:
        """The backbone that it is; arguments as `Form2D` has them."""
        form = self.model_dump()
        form |= {"in_channels": channels, "stem_bias": self.stem_bias or stem_bias}
        return SwinConfig(**{**form, "patch_depth": patch_depth}, volume=volume)

    def described(self) -> str:
        """The network in a few words."""
        patch = "x".join(map(str, (self.patch_depth, *self.patch_size)))
        windows = f"windows {self.depth_window} tokens deep"
        return f"3D already: {super().described()}, {windows}, patch {patch}"


def tensor_shapes(form: SwinForm, kernel: tuple[int, ...], windows: Windows) -> Shapes:
    """Names and shapes of all tensors of a network, in the order of the forward pass.

    Args:
        form: The architecture.
        kernel: The stem's kernel, in pixels or voxels.
        windows: Over depth; of the 2D network one token deep, merged in the plane.
    """
    shapes: Shapes = {"patch_embed.weight": (form.embed_dim, form.in_channels, *kernel)}
    if form.stem_bias:
        shapes["patch_embed.bias"] = (form.embed_dim,)
    if form.stem_norm:
        shapes |= norm_shapes("norm_pre", form.embed_dim)
    parts = 8 if windows.merge_depth else 4
    for stage, dim in enumerate(form.widths):
        if stage:
            before, name = form.widths[stage - 1], f"merges.{stage - 1}"
            shapes |= norm_shapes(f"{name}.norm", parts * before)
            shapes[f"{name}.reduction.weight"] = (dim, parts * before)
        block = _block_shapes(form, stage, dim, windows.depth)
        for index in range(form.depths[stage]):
            shapes |= {f"stages.{stage}.blocks.{index}.{n}": s for n, s in block.items()}
    return shapes | norm_shapes("norm", form.widths[-1])


def _block_shapes(form: SwinForm, stage: int, dim: int, depth: int) -> Shapes:
    (height, width), hidden = form.windows[stage], form.mlp_dims[stage]
    rows = (2 * depth - 1) * (2 * height - 1) * (2 * width - 1)
    shapes = norm_shapes("norm1", dim)
    shapes["attn.relative_position_bias_table"] = (rows, form.num_heads[stage])
    shapes["attn.qkv.weight"] = (3 * dim, dim)
    if form.qkv_bias:
        shapes["attn.qkv.bias"] = (3 * dim,)
    shapes |= {
        "attn.proj.weight": (dim, dim),
        "attn.proj.bias": (dim,),
        **norm_shapes("norm2", dim),
    }
    shapes |= {"mlp.fc1.weight": (hidden, dim), "mlp.fc1.bias": (hidden,)}
    return shapes | {"mlp.fc2.weight": (dim, hidden), "mlp.fc2.bias": (dim,)}
