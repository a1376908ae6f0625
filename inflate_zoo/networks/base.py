"""What every network brings as data: its 2D form, and the config of its 3D backbone. No torch.

A network of ours is a folder here; whoever uses one sees these classes and `Network3D` alone. A new
one brings its folder, a reader in `naming/readers`, its definitions in `converters`, and an entry
in each of `CONFIGS`, `KINDS` and `READERS`; a class of a library that no definition named before
brings one in `ORIGINALS`, and a class of timm's one in `TIMM_NETWORKS`.
`tests/support/pyramid.py` is a whole one.
"""

from __future__ import annotations

import json
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from inflate_zoo.errors import UsageError
from inflate_zoo.files import budgets
from inflate_zoo.texts import message_of

if TYPE_CHECKING:
    from torch import Tensor

Width = Annotated[int, Field(gt=0, le=budgets.MOST_WIDTH)]
Side = Annotated[int, Field(gt=0, le=budgets.MOST_SIDE)]
Count = Annotated[int, Field(ge=0, le=budgets.MOST_SIDE)]
Pair = tuple[Side, Side]
Triple = tuple[Side, Side, Side]
_TRIPLE: TypeAdapter[Triple] = TypeAdapter(Triple)
Shapes = dict[str, tuple[int, ...]]
Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "silu", "relu"]

FORMAT_VERSION: Final = 1
SEGMENTER_TYPE: Final = "inflated_vit_segmenter"
_SAY_VOLUME: Final = "give depth, height, width in voxels, each a multiple of the patch"


def whole(value: Any) -> Any:
    """A whole number of another library as Python's own; all else as it is, to be refused."""
    try:
        return operator.index(value)
    except TypeError:
        return value


def triple_of(volume: object) -> Triple:
    """Depth, height and width of a volume, in voxels.

    Raises:
        UsageError: They are not three whole numbers above 0.
    """
    if isinstance(volume, str) or not isinstance(volume, Iterable):
        raise UsageError(f"volume {volume!r} does not fit", hint=_SAY_VOLUME)
    sides = tuple(whole(side) for side in volume)
    try:
        return _TRIPLE.validate_python(sides, strict=True)
    except ValidationError as error:
        raise _unfit(sides, error) from error


def _unfit(sides: Iterable[object], error: ValidationError) -> UsageError:
    found = "; ".join(message_of(entry) for entry in error.errors())
    return UsageError(f"volume {'x'.join(map(str, sides))} does not fit: {found}", hint=_SAY_VOLUME)


class Level(NamedTuple):
    """A feature map that a backbone can hand to a decoder.

    Attributes:
        width: Its channels.
        stride: Voxels (depth, height, width) from one of its tokens to the next.
    """

    width: int
    stride: tuple[int, int, int]


class Windows(NamedTuple):
    """What a network of windows, merged between stages, becomes over depth.

    Attributes:
        depth: Depth of its windows, in tokens.
        merge_depth: Whether merging halves depth too.
    """

    depth: int
    merge_depth: bool


class Depth(NamedTuple):
    """What a 3D network has along depth.

    Attributes:
        patch: Depth of its stem's kernel, in voxels.
        volume: Depth of its default volume, in voxels.
        windows: Its windows over depth; `None` where it has none.
    """

    patch: int
    volume: int
    windows: Windows | None


class Form2D(BaseModel, ABC):
    """A 2D encoder, as it is read off a header and a config; or one that is 3D already.

    Attributes:
        in_channels: Channels of the input.
        patch_size: In-plane patch (height, width) of the stem, in pixels.
        patch_fixed: Why its stem takes no other patch; empty where all it has counts in tokens.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    patch_fixed: ClassVar[str] = "its stem is not known to be a kernel over whole patches"

    if TYPE_CHECKING:  # fields of every form, each at its place: keys of caches depend on the order
        in_channels: int
        patch_size: tuple[int, int]

    @property
    @abstractmethod
    def native_grid(self) -> tuple[int, int]:
        """Grid (height, width) of the final tokens, on images of the size it was trained on."""

    @property
    def stride(self) -> tuple[int, int]:
        """Pixels (height, width) from one final token to the next: the patch, unless overridden."""
        return self.patch_size

    @property
    def window(self) -> int | None:
        """Height of the windows in which its tokens see one another; `None` where all see all."""
        return None

    @property
    def own_depth(self) -> Depth | None:
        """What it has along depth, where it is 3D already; `None` of a 2D encoder."""
        return None

    @property
    def merges(self) -> bool:
        """Whether its tokens are merged between stages."""
        return False

    @abstractmethod
    def shapes(self) -> Shapes:
        """Names and shapes of all tensors, in the order of the forward pass."""

    @abstractmethod
    def inflated(
        self, *, channels: int, patch_depth: int, volume: tuple[int, int, int], stem_bias: bool
    ) -> BackboneConfig:
        """The 3D backbone of this form.

        Args:
            channels: Its input channels.
            patch_depth: Depth of its stem's kernel, in voxels.
            volume: Its default volume (depth, height, width), in voxels.
            stem_bias: Whether its stem needs a bias, even where this one has none.
        """

    def with_patch(self, patch: tuple[int, int]) -> Self:
        """The same encoder behind a stem of another patch, if it is not fixed.

        Its grids, in tokens, stay as they are, so the images that it is made for change with it.
        """
        return type(self)(**{**self.model_dump(), "patch_size": patch})

    @abstractmethod
    def described(self) -> str:
        """The network in a few words, for people."""


class NetworkConfig(BaseModel):
    """A `config.json` of ours: `model_type` says of which kind.

    Attributes:
        noun: What to call such a network.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    noun: ClassVar[str]

    model_type: str
    format_version: Literal[1] = FORMAT_VERSION

    def to_dict(self) -> dict[str, Any]:
        """Its fields, as JSON values; trainers of other libraries ask for them by this name."""
        return self.model_dump(mode="json")

    def to_json_string(self) -> str:
        """`to_dict` as text; likewise."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse to change what it says; keep what a trainer notes down, which no file has.

        The Trainer of transformers does so: it sets `use_cache`.
        """
        if name in type(self).model_fields or hasattr(type(self), name):
            super().__setattr__(name, value)
        else:
            self.__dict__[name] = value

    @classmethod
    def kind(cls) -> str:
        """The `model_type` of all configs of this class."""
        return str(cls.model_fields["model_type"].default)


class BackboneConfig(NetworkConfig, ABC):
    """What `config.json` of every 3D backbone holds, and what follows from it.

    Attributes:
        stem: Name of the tensor that is the stem's kernel.
        stem_pads: Whether that reaches beyond the volume, where zeros stand for what it would see;
            a folded normalisation is then a shift of each of its places, not a bias.
        in_channels: Channels of the input.
        patch_size: In-plane patch (height, width) of the stem, in voxels.
        patch_depth: Patch size along depth, in voxels.
        volume: Default volume (depth, height, width) in voxels.
    """

    noun: ClassVar[str] = "backbone"
    stem: ClassVar[str]
    stem_pads: ClassVar[bool] = False

    in_channels: Width
    patch_size: Pair = Field(strict=False)
    patch_depth: Side
    volume: Triple = Field(strict=False)

    @model_validator(mode="after")
    def _divides(self) -> Self:
        for axis, extent, step in zip(
            ("depth", "height", "width"), self.volume, self.levels[-1].stride, strict=True
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
    def patch(self) -> tuple[int, int, int]:
        """The stem's patch (depth, height, width), in voxels."""
        return (self.patch_depth, *self.patch_size)

    @property
    def grid_size(self) -> tuple[int, int, int]:
        """Grid (depth, height, width) of the final tokens of the volume."""
        depth, height, width = self.levels[-1].stride
        return self.volume[0] // depth, self.volume[1] // height, self.volume[2] // width

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens before the patch tokens; none, by default."""
        return 0

    @property
    @abstractmethod
    def levels(self) -> tuple[Level, ...]:
        """What `forward_intermediates` gives, by index; the last has the final tokens' stride."""

    @property
    def final_width(self) -> int:
        """Width of the final tokens: that of the last level, unless overridden."""
        return self.levels[-1].width

    @abstractmethod
    def shapes(self) -> Shapes:
        """Names and shapes of the tensors in the file."""

    def with_volume(self, volume: Sequence[int] | None) -> Self:
        """The config with another default volume and the same tables; `None` is its own volume.

        Raises:
            UsageError: It is no volume, or the patch does not divide it.
        """
        chosen = self.volume if volume is None else triple_of(volume)
        try:
            return type(self)(**{**self.model_dump(), "volume": chosen})
        except ValidationError as error:
            raise _unfit(chosen, error) from error

    def keeping_tables(self, volume: Sequence[int] | None) -> Self:
        """The config of a network that takes another volume with the tables that it has by now.

        `with_volume` says what a file holds, where those that it does not hold follow the volume.

        Raises:
            UsageError: It is no volume, or the patch does not divide it.
        """
        return self.with_volume(volume)

    def for_volume(self, volume: Sequence[int] | None) -> Self:
        """The config of the same network for a volume; `None` is its own.

        Tables whose size depends on the volume's are then those of that volume: `fit` makes them.

        Raises:
            UsageError: It is no volume, or the patch does not divide it.
        """
        return self.with_volume(volume)

    def with_windows(self, windows: Windows) -> Self:
        """The same network with other windows over depth; of a network whose form has some.

        Raises:
            NotImplementedError: It has none.
        """
        raise NotImplementedError(f"{self.kind()} has no windows for {windows}")

    def fit(self, tensors: Mapping[str, Tensor], target: Self) -> dict[str, Tensor]:  # noqa: ARG002
        """Tensors of the file for a network of another volume: tables resized, if there are any.

        Args:
            tensors: With the shapes of `shapes`.
            target: What `for_volume` gave.
        """
        return dict(tensors)

    def stored(self, tensors: Mapping[str, Tensor]) -> tuple[Self, dict[str, Tensor]]:
        """Config and tensors as files hold them, of a network's own."""
        return self, dict(tensors)

    @abstractmethod
    def summary(self) -> str:
        """The backbone in a few words."""

    def geometry(self) -> str:
        """Sizes that a card tells, beside the volume."""
        return f"patch {'x'.join(map(str, self.patch))}"

    @abstractmethod
    def memory(self, tokens: int) -> tuple[int, int]:
        """What activations take in float32 at batch 1, estimated.

        Args:
            tokens: Final tokens, those of the prefix included.

        Returns:
            Bytes of inference at its widest, and bytes that training keeps for the backward pass.
        """

    @abstractmethod
    def without_weights(self) -> Self:
        """The network without what weights alone bring, and what a segmenter does not use."""
