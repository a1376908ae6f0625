"""Hiera as data: what its tensors are called in our files, and their shapes.

Ryali et al. 2023; SAM 2's image encoder is one, with positions by Bolya et al. 2023. It has stages:
the first block of each but the first pools its queries in the plane. Names follow the plain vision
transformer's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from math import prod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from inflate_zoo.files import budgets
from inflate_zoo.networks.base import (
    Activation,
    Count,
    Level,
    Pair,
    Shapes,
    Triple,
    Width,
    Windows,
)
from inflate_zoo.networks.columns import ColumnConfig
from inflate_zoo.networks.layers.grids import MOST_WINDOW, Sides, Widths, stage_tokens, unshifted
from inflate_zoo.networks.staged import StagesForm, norm_shapes

if TYPE_CHECKING:
    from torch import Tensor

Blocks = Annotated[tuple[Count, ...], Field(strict=False, max_length=budgets.MOST_BLOCKS)]


class HieraForm(StagesForm):
    """A 2D Hiera: stages of pre-norm blocks, some of them in windows, called mask units.

    Attributes:
        embed_dim: Width of a token of the first stage; each stage doubles it.
        depths: Blocks of each stage.
        num_heads: Attention heads of each stage.
        mlp_dims: Width inside the feed-forward part, of each stage.
        norm_eps: Epsilon of the norms; there is none after the last block.
        patch_size: Stride (height, width) of the stem, in pixels.
        kernel: Height and width of the stem's kernel, in pixels, odd: what it reaches beyond a
            patch is padded with zeros.
        image_size: Images (height, width) it was trained on, in pixels.
        position_grid: Grid (height, width) of the position table, which is resized to any.
        window_positions: Whether a second table holds positions inside windows of the first stage.
        windows: Side of the windows of each stage, in tokens. The first block of a stage has those
            of the one before.
        global_blocks: Indices of the blocks whose tokens all see one another, ascending.
    """

    patch_fixed: ClassVar[str] = "its stem's kernel overlaps its neighbours"

    embed_dim: Width
    depths: Sides
    num_heads: Widths
    mlp_dims: Sides
    activation: Activation
    norm_eps: float = Field(gt=0, allow_inf_nan=False)
    in_channels: Width
    patch_size: Pair = Field(strict=False)
    kernel: Pair = Field(strict=False)
    image_size: Pair = Field(strict=False)
    position_grid: Pair = Field(strict=False)
    window_positions: bool
    windows: Sides
    global_blocks: Blocks

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self.require_stages()
        if max(self.windows) > MOST_WINDOW:
            raise ValueError(f"a window is larger than {MOST_WINDOW} tokens")
        if any(side % 2 for side in self.windows[:-1]):
            raise ValueError(f"windows {self.windows} cannot be halved where queries are pooled")
        if not all(side % 2 for side in self.kernel):
            raise ValueError(f"the stem's kernel {self.kernel} has no middle")
        self._require_global_blocks()
        if prod(self.position_grid) > budgets.MOST_TOKENS:
            raise ValueError(f"position_grid has more than {budgets.MOST_TOKENS:,} places")
        if 0 in self.native_grid:
            raise ValueError(f"image_size {self.image_size} leaves no token in the last stage")
        return self

    def _require_global_blocks(self) -> None:
        blocks = sum(self.depths)
        if list(self.global_blocks) != [i for i in range(blocks) if i in self.global_blocks]:
            raise ValueError(f"global_blocks are not ascending indices of {blocks} blocks")

    @property
    def first_blocks(self) -> tuple[int, ...]:
        """Index of the first block of each stage."""
        return (0, *accumulate(self.depths[:-1]))

    @property
    def stage_of(self) -> tuple[int, ...]:
        """The stage of each block."""
        return tuple(stage for stage, depth in enumerate(self.depths) for _ in range(depth))

    @property
    def window(self) -> int:
        """Side of the windows of the first stage, in tokens."""
        return self.windows[0]

    def shapes(self) -> Shapes:
        """Names and shapes of all tensors, in the order of the forward pass."""
        return tensor_shapes(self)

    def inflated(
        self, *, channels: int, patch_depth: int, volume: tuple[int, int, int], stem_bias: bool
    ) -> HieraConfig:
        """The 3D backbone of this form; arguments as `Form2D` has them."""
        form = self.model_dump() | {"in_channels": channels}
        return HieraConfig(
            **form, patch_depth=patch_depth, volume=volume, depth_window=self.window,
            stem_shift=stem_bias,
        )  # fmt: skip

    def described(self) -> str:
        """The network in a few words."""
        blocks, heads, windows = (
            "+".join(map(str, each)) for each in (self.depths, self.num_heads, self.windows)
        )
        free = spans(self.global_blocks) or "none"
        return (
            f"{blocks} blocks of width {self.embed_dim} to {self.widths[-1]}, {heads} heads, "
            f"windows of {windows} (global: {free}), mlp {self.activation}, eps {self.norm_eps:g}"
        )


class HieraConfig(ColumnConfig, HieraForm):
    """A 3D Hiera: what `config.json` of a conversion holds.

    Attributes:
        depth_window: Depth of all windows, in tokens.
        stem_shift: Whether a normalisation is folded into the stem: what pads an image is zero
            after it, so the fold takes from each token what its kernel sees of the image.
    """

    stem_pads: ClassVar[bool] = True

    model_type: Literal["inflated_hiera"] = "inflated_hiera"
    depth_window: int = Field(gt=0, le=MOST_WINDOW)
    stem_shift: bool = False

    @property
    def levels(self) -> tuple[Level, ...]:
        """One level per stage."""
        depth, height, width = self.patch
        return tuple(
            Level(dim, (depth, height * 2**stage, width * 2**stage))
            for stage, dim in enumerate(self.widths)
        )

    def window_of(self, index: int) -> Triple | None:
        """Window (depth, height, width) of a block, in tokens; `None` of a global one."""
        if index in self.global_blocks:
            return None
        stage = self.stage_of[index]
        side = self.windows[stage - 1 if self.pools(index) else stage]
        return (self.depth_window, side, side)

    def pools(self, index: int) -> bool:
        """Whether a block pools its queries: the first of each stage but the first."""
        return index in self.first_blocks[1:]

    def shapes(self) -> Shapes:
        """Names and shapes of the tensors in the file."""
        return tensor_shapes(self, self.patch_depth, shift=self.stem_shift) | self.depth_shapes()

    def with_windows(self, windows: Windows) -> Self:
        """The same network with other windows over depth."""
        return type(self)(**{**self.model_dump(), "depth_window": windows.depth})

    def fit(self, tensors: Mapping[str, Tensor], target: Self) -> dict[str, Tensor]:
        """Tensors of the file for another volume: the table of depth made, or resized.

        Those of the plane stay as they are: they are resized and laid out in every pass, as the
        original does on images of any size.
        """
        from inflate_zoo.networks.layers.positions import depth_table

        line = tensors.get("depth_embed")
        made = depth_table(line, target.depth_rows, tensors["patch_embed.bias"])
        return {**tensors, "depth_embed": made}

    def summary(self) -> str:
        """The backbone in a few words."""
        patch = "x".join(map(str, self.patch))
        blocks = "+".join(map(str, self.depths))
        width = f"{self.embed_dim} to {self.widths[-1]}"
        return f"Hiera, {blocks} blocks of width {width}, patch {patch}"

    def geometry(self) -> str:
        """Patch and windows."""
        window = "x".join(map(str, (self.depth_window, self.windows[0], self.windows[0])))
        return f"{super().geometry()}, windows {window} in the first stage"

    def memory(self, tokens: int) -> tuple[int, int]:
        """Bytes of inference at its widest, and bytes that training keeps.

        Kept for the backward pass of one block: of each token that it takes the norm's input; of
        each in a window, what pads it included, the normed token, query, key and value, and what
        attention gives, twice; of each that it gives two norms, and its feed-forward part before
        and after the activation.
        """
        widest, kept = 0, 0
        counts = stage_tokens(self, tokens)
        for index, stage in enumerate(self.stage_of):
            taken = stage - 1 if self.pools(index) else stage
            dim, hidden, count = self.widths[stage], self.mlp_dims[stage], counts[stage]
            before, placed = self.widths[taken], self._placed(index, taken, counts[taken])
            widest = max(widest, 4 * placed * 4 * dim, 4 * count * (2 * hidden + dim))
            kept += 4 * (counts[taken] * before + placed * (before + 5 * dim))
            kept += 4 * count * 2 * (dim + hidden)
        return widest, kept

    def _placed(self, index: int, stage: int, tokens: int) -> int:
        """Tokens that a block sees, with what pads its windows."""
        window, step = self.window_of(index), 2 ** (len(self.depths) - 1 - stage)
        if window is None:
            return tokens
        depth, height, width = self.grid_size
        grid = (depth, height * step, width * step)
        padded = sum(prod(part.padded) for part in unshifted(grid, window))
        return -(-tokens * padded // prod(grid))

    def without_weights(self) -> Self:
        """Without what weights alone bring, and what a segmenter does not use."""
        stride = self.levels[-1].stride
        free = {"depth_positions": 0, "volume": stride, "image_size": stride[1:]}
        return self.model_copy(update={**free, "norm_eps": 1e-6, "stem_shift": False})


def spans(indices: Sequence[int]) -> str:
    """Ascending indices in words, those that follow one another as a span: `3, 5-7`."""
    parts: list[list[int]] = []
    for index in indices:
        if parts and parts[-1][-1] == index - 1:
            parts[-1][1:] = [index]
        else:
            parts.append([index])
    return ", ".join("-".join(map(str, part)) for part in parts)


def tensor_shapes(
    form: HieraForm, patch_depth: int | None = None, *, shift: bool = False
) -> Shapes:
    """Names and shapes of all tensors of a network, in the order of the forward pass.

    Args:
        form: The architecture.
        patch_depth: Depth of the 3D stem kernel; `None` gives the 2D network.
        shift: Whether its stem has a shift.

    Returns:
        Name to shape. The depth table is not among them.
    """
    dim, (height, width) = form.embed_dim, form.kernel
    deep = () if patch_depth is None else (patch_depth,)
    shapes: Shapes = {"patch_embed.weight": (dim, form.in_channels, *deep, height, width)}
    shapes["patch_embed.bias"] = (dim,)
    if shift:
        shapes["patch_embed.shift"] = (dim, height, width)
    if form.window_positions:  # each as its kind has it
        shapes["pos_embed"] = (1, dim, *form.position_grid)
        shapes["pos_embed_window"] = (1, dim, form.windows[0], form.windows[0])
    else:
        shapes["pos_embed"] = (1, prod(form.position_grid), dim)
    for index, stage in enumerate(form.stage_of):
        pools = index in form.first_blocks[1:]
        block = _block_shapes(form.widths[stage - pools], form.widths[stage], form.mlp_dims[stage])
        shapes |= {f"blocks.{index}.{name}": shape for name, shape in block.items()}
    return shapes


def _block_shapes(before: int, dim: int, hidden: int) -> Shapes:
    shapes = norm_shapes("norm1", before)
    if before != dim:
        shapes |= {"proj.weight": (dim, before), "proj.bias": (dim,)}
    shapes |= {"attn.qkv.weight": (3 * dim, before), "attn.qkv.bias": (3 * dim,)}
    shapes |= {"attn.proj.weight": (dim, dim), "attn.proj.bias": (dim,)}
    shapes |= norm_shapes("norm2", dim)
    shapes |= {"mlp.fc1.weight": (hidden, dim), "mlp.fc1.bias": (hidden,)}
    return shapes | {"mlp.fc2.weight": (dim, hidden), "mlp.fc2.bias": (dim,)}
