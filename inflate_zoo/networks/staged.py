"""What every network of stages and windows has as data: its 2D form and its 3D config. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from inflate_zoo.files import budgets
from inflate_zoo.networks.base import (
    Activation,
    BackboneConfig,
    Form2D,
    Level,
    Pair,
    Shapes,
    Width,
    Windows,
)
from inflate_zoo.networks.layers.grids import (
    MOST_WINDOW,
    Clipping,
    Padding,
    Pairs,
    Sides,
    Widths,
    stage_tokens,
)


class StagesForm(Form2D):
    """A 2D encoder of stages, each of tokens twice as wide and twice as far apart."""

    if TYPE_CHECKING:  # fields of every such form
        embed_dim: int
        depths: tuple[int, ...]
        num_heads: tuple[int, ...]
        image_size: tuple[int, int]

    def require_stages(self) -> None:
        """Refuse lists that are not of one number of stages, and a network that is too large.

        Raises:
            ValueError: It is such a one, or heads do not divide a width.
        """
        stages = len(self.depths)
        for name in ("num_heads", "mlp_dims", "windows"):
            if len(getattr(self, name)) != stages:
                raise ValueError(f"{name} are not those of {stages} stages")
        if sum(self.depths) > budgets.MOST_BLOCKS:
            raise ValueError(f"depths are more than {budgets.MOST_BLOCKS:,} blocks")
        if self.widths[-1] > budgets.MOST_WIDTH:
            raise ValueError(f"the last stage is wider than {budgets.MOST_WIDTH:,}")
        for width, heads in zip(self.widths, self.num_heads, strict=True):
            if width % heads:
                raise ValueError(f"width {width} is not divisible by {heads} heads")

    @property
    def widths(self) -> tuple[int, ...]:
        """Width of a token of each stage."""
        return tuple(self.embed_dim * 2**stage for stage in range(len(self.depths)))

    @property
    def stride(self) -> tuple[int, int]:
        """Pixels (height, width) from one token of the last stage to the next."""
        height, width = (side * 2 ** (len(self.depths) - 1) for side in self.patch_size)
        return height, width

    @property
    def native_grid(self) -> tuple[int, int]:
        """Grid (height, width) of the last stage."""
        height, width = (n // step for n, step in zip(self.image_size, self.stride, strict=True))
        return height, width


class StagedForm(StagesForm):
    """A 2D encoder of stages, its attention inside windows.

    Attributes:
        embed_dim: Width of a token of the first stage; each stage doubles it.
        depths: Blocks of each stage.
        num_heads: Attention heads of each stage.
        mlp_dims: Width inside the feed-forward part, of each stage.
        norm_eps: Epsilon of the norms in blocks and of the last one.
        outer_eps: Epsilon of the norms of the stem and of merging.
        image_size: Images (height, width) it was trained on, in pixels.
        windows: Window (height, width) of each stage, in tokens, as its table has it.
        clipping: What happens to a window that reaches over a side of the grid: see `place`.
        padding: Whether a grid is padded to whole windows before or after it is shifted.
        stem_bias: Whether the stem has a bias.
    """

    patch_fixed: ClassVar[str] = "its stages count their strides from the patch it was made with"

    embed_dim: Width
    depths: Sides
    num_heads: Widths
    mlp_dims: Sides
    activation: Activation
    norm_eps: float = Field(gt=0, allow_inf_nan=False)
    outer_eps: float = Field(gt=0, allow_inf_nan=False)
    in_channels: Width
    patch_size: Pair = Field(strict=False)
    image_size: Pair = Field(strict=False)
    windows: Pairs
    clipping: Clipping
    padding: Padding
    stem_bias: bool

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self.require_stages()
        if max(max(window) for window in self.windows) > MOST_WINDOW:
            raise ValueError(f"a window is larger than {MOST_WINDOW} tokens")
        if 0 in (size // step for size, step in zip(self.image_size, self.stride, strict=True)):
            raise ValueError(f"image_size {self.image_size} leaves no token in the last stage")
        return self

    @property
    def merges(self) -> bool:
        """Between every two stages."""
        return True

    @property
    def window(self) -> int:
        """The window's height in the first stage, in tokens."""
        return self.windows[0][0]

    def described(self) -> str:
        """The network in a few words."""
        blocks, heads = ("+".join(map(str, each)) for each in (self.depths, self.num_heads))
        windows = "x".join(map(str, self.windows[0]))
        return (
            f"{blocks} blocks of width {self.embed_dim} to {self.widths[-1]}, {heads} heads, "
            f"windows {windows}, mlp {self.activation}, eps {self.norm_eps:g}"
        )


class StagedConfig(BackboneConfig, StagedForm):
    """What `config.json` of every 3D network of stages and windows holds.

    Attributes:
        depth_window: Depth of all windows, in tokens.
        merge_depth: Whether merging halves depth too.
    """

    stem: ClassVar[str] = "patch_embed.weight"
    title: ClassVar[str]

    depth_window: int = Field(gt=0, le=MOST_WINDOW)
    merge_depth: bool = False

    @property
    def levels(self) -> tuple[Level, ...]:
        """One level per stage."""
        depth, height, width = self.patch
        deep = 2 if self.merge_depth else 1
        return tuple(
            Level(dim, (depth * deep**stage, height * 2**stage, width * 2**stage))
            for stage, dim in enumerate(self.widths)
        )

    def with_windows(self, windows: Windows) -> Self:
        """The same network with other windows over depth."""
        changed = {"depth_window": windows.depth, "merge_depth": windows.merge_depth}
        return type(self)(**{**self.model_dump(), **changed})

    def summary(self) -> str:
        """The backbone in a few words."""
        patch = "x".join(map(str, self.patch))
        blocks = "+".join(map(str, self.depths))
        width = f"{self.embed_dim} to {self.widths[-1]}"
        return f"{self.title}, {blocks} blocks of width {width}, patch {patch}"

    def geometry(self) -> str:
        """Patch and windows."""
        window = "x".join(map(str, (self.depth_window, *self.windows[0])))
        merging = "over depth too" if self.merge_depth else "in the plane"
        return f"{super().geometry()}, windows {window}, merging {merging}"

    def memory(self, tokens: int) -> tuple[int, int]:
        """Bytes of inference at its widest, and bytes that training keeps.

        Kept for the backward pass of one block, in values per token: two norms, qkv, attention,
        projection, both sums, the feed-forward part before and after its activation, and the
        logits of its window before and after their softmax.
        """
        widest, kept = 0, 0
        counts = stage_tokens(self, tokens)
        stages = zip(counts, self.widths, self.mlp_dims, self.depths, strict=True)
        for stage, (count, dim, hidden, depth) in enumerate(stages):
            high, wide = self.windows[stage]
            logits = 2 * self.num_heads[stage] * self.depth_window * high * wide
            widest = max(widest, count * max(4 * dim, 2 * hidden + dim) * 4)
            kept += count * depth * (9 * dim + 2 * hidden + logits) * 4
        return widest, kept

    def without_weights(self) -> Self:
        """Without what weights alone bring, and what a segmenter does not use."""
        stride = self.levels[-1].stride
        free = {"volume": stride, "image_size": stride[1:]}
        return self.model_copy(update={**free, "norm_eps": 1e-5, "outer_eps": 1e-5})


def norm_shapes(name: str, dim: int) -> Shapes:
    """Weight and bias of a norm."""
    return {f"{name}.weight": (dim,), f"{name}.bias": (dim,)}
