"""A backbone with a decoder: volumes to one logit per voxel and class.

Dimensions: B batch, C channels, D H W voxels, E embed_dim, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self, cast

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from torch import Tensor, nn

from inflate_zoo.networks.base import SEGMENTER_TYPE, NetworkConfig, Triple, Width
from inflate_zoo.networks.known import AnyBackboneConfig
from inflate_zoo.networks.layers.residual import advice, require_tensor
from inflate_zoo.networks.network import Network3D, counted
from inflate_zoo.segmentation.decoders import DECODERS, GROUP, Decoder, UnetrDecoder
from inflate_zoo.segmentation.upernet import Norm, UpernetDecoder


class SegmenterConfig(NetworkConfig):
    """What `config.json` of a segmenter holds.

    Attributes:
        backbone: The backbone's config.
        classes: Classes with the background.
        decoder: Name of the decoder.
        features: Channels of the decoder at full resolution.
        norm: Of `upernet`.
        image_path: Of `unetr`: whether it has convolutions on the volume itself.
        slice_wise: Each slice of a volume is a volume of its own.
    """

    noun: ClassVar[str] = "segmenter"

    model_type: Literal["inflated_vit_segmenter"] = SEGMENTER_TYPE
    backbone: AnyBackboneConfig
    classes: int = Field(ge=2, le=256)
    decoder: Literal["linear", "unetr", "upernet"]
    features: Width
    norm: Norm = "group"
    image_path: bool = True
    slice_wise: bool

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.decoder == "unetr" and self.features % GROUP:
            raise ValueError(f"features {self.features} is not a multiple of {GROUP}")
        patch_depth, depth = self.backbone.patch_depth, self.backbone.volume[0]
        if self.norm != "group" and self.decoder != "upernet":
            raise ValueError("norm belongs to decoder 'upernet', and to no other")
        if self.slice_wise and (patch_depth, depth) != (1, 1):
            raise ValueError(
                "slice_wise needs a backbone of patch depth 1 for volumes one slice deep, this one "
                f"has patch depth {patch_depth} and volumes {depth} deep"
            )
        return self

    def inner(self, volume: Triple) -> Triple:
        """The volume that the backbone takes where the network takes this one: slices, of some."""
        return (1, *volume[1:]) if self.slice_wise else volume

    @model_serializer(mode="wrap")
    def _as_stored(self, rest: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """With `image_path` only where one is left out: other files are as older versions read."""
        table: dict[str, Any] = rest(self)
        if self.image_path or self.decoder != "unetr":
            table.pop("image_path", None)
        return table


def feature_maps(backbone: Network3D, x: Tensor, indices: Sequence[int]) -> list[Tensor]:
    """Maps [batch, width, depth, height, width] of a backbone's levels, in the order given.

    No block more than needed is run. An index may come several times, as where a network has fewer
    levels than a decoder reads.
    """
    ascending = sorted(set(indices))
    made = backbone.forward_intermediates(x, ascending, stop_early=True, intermediates_only=True)
    maps = dict(zip(ascending, cast("list[Tensor]", made), strict=True))
    return [maps[index] for index in indices]


class SegmentationNetwork(nn.Module):
    """A backbone with a decoder.

    What the decoder does not read of the backbone (the norm after the pooling; for decoders of
    inner blocks the norm after the last one too) gets no gradient and requires none, neither after
    its own `requires_grad_` nor after the backbone's: processes that share a training would wait
    for it.

    Args:
        backbone: Trained on, not copied; its unread norms are frozen.
        config: The form; its `backbone` is the backbone's own config.

    Attributes:
        config: As given.
        backbone: As given.
        decoder: The decoder; initialised from torch's global random state.
        classes: Classes with the background.
        slice_wise: Whether each slice is a volume of its own.
        volume: Volume (depth, height, width) in voxels it takes. A slice-wise network takes any
            depth, whatever stands here.
        centre_slice: Whether logits are those of the volume's centre slice alone.
    """

    def __init__(self, backbone: Network3D, config: SegmenterConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        made = (backbone.config, config.classes, config.features)
        if config.decoder == "upernet":
            self.decoder: Decoder = UpernetDecoder(*made, config.norm)
        elif config.decoder == "unetr":
            self.decoder = UnetrDecoder(*made, config.image_path)
        else:
            self.decoder = DECODERS[config.decoder](*made)
        self.centre_slice = config.decoder == "upernet" and not config.slice_wise
        self.classes = config.classes
        self.slice_wise = config.slice_wise
        self.volume: tuple[int, int, int] = backbone.config.volume
        backbone.serve_decoder(maps=self.decoder.blocks is not None)

    def extra_repr(self) -> str:
        """Volume, classes, decoder and parameters."""
        return (
            f"volume={self.volume}, classes={self.classes}, decoder={self.config.decoder}, "
            f"{counted(self)}"
        )

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Let all parameters that a decoder reads be trained, or none."""
        super().requires_grad_(requires_grad)
        self.backbone.freeze_unread()
        return self

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each block of the backbone in the backward pass."""
        self.backbone.set_grad_checkpointing(enable)

    def encode(self, x: Tensor) -> list[Tensor]:
        """What the decoder reads of the backbone.

        Args:
            x: Volumes, shape [batch, channels, depth, height, width], intensities in [0, 1].

        Returns:
            Feature maps [batch, embed_dim, grid_depth, grid_height, grid_width]; slice-wise,
            [batch * depth, embed_dim, 1, grid_height, grid_width], slices of a volume together.

        Raises:
            ValueError: The volume is of another size than `volume`.
        """
        self._require_plane(x)
        x = self._slices(x)
        blocks = self.decoder.blocks
        if blocks is not None:
            return feature_maps(self.backbone, x, blocks)
        tokens = self.backbone.forward_features(x)[:, self.backbone.num_prefix_tokens :]
        stride = self.backbone.config.levels[-1].stride
        grid = [n // step for n, step in zip(x.shape[2:], stride, strict=True)]
        return [tokens.mT.reshape(x.shape[0], tokens.shape[-1], *grid)]

    def decode(
        self, maps: Sequence[Tensor], x: Tensor | None = None, depth: int | None = None
    ) -> Tensor:
        """Logits from feature maps.

        Args:
            maps: As `encode` gives them.
            x: The volumes that were encoded; `linear`, and `unetr` without image path, do without.
            depth: Slices of a volume, for a slice-wise network without `x`; `None` is that of
                `volume`.

        Returns:
            Logits, shape [batch, classes, depth, height, width].

        Raises:
            ValueError: The decoder needs `x`.
        """
        slices = None if x is None else self._slices(x)
        logits: Tensor = self.decoder(maps, slices)
        if not self.slice_wise:
            return logits
        if x is not None:
            batch, depth = x.shape[0], x.shape[2]
        else:
            depth = depth or self.volume[0]
            batch = len(logits) // depth
        return logits.reshape(batch, depth, self.classes, *logits.shape[3:]).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of volumes.

        Args:
            x: Volumes, shape [batch, channels, depth, height, width], intensities in [0, 1].

        Returns:
            Logits, shape [batch, classes, depth, height, width]; where `centre_slice` holds,
            [batch, classes, 1, height, width].

        Raises:
            ValueError: The volume is of another size than `volume`.
        """
        return self.decode(self.encode(x), x)

    def _require_plane(self, x: Tensor) -> None:
        """Raise for a volume whose slices do not fit, of which the backbone sees slices alone."""
        require_tensor(x)
        form = self.backbone.config
        if not self.slice_wise or self.backbone.dynamic_img_size or x.ndim != 5:
            return  # the backbone says what it takes
        expected = (form.in_channels, *form.volume[1:])
        if (x.shape[1], *x.shape[3:]) != expected:
            channels, height, width = expected
            size = "load(..., volume=...) or set_input_size prepares the segmenter for another size"
            raise ValueError(
                f"expected a volume [batch, {channels}, any depth, {height}, {width}], got "
                f"{list(x.shape)}; {advice(x, channels, size)}"
            )

    def _slices(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) to (B * D, C, 1, H, W) where slices are volumes of their own."""
        if not self.slice_wise or x.ndim != 5:  # the backbone refuses other ranks
            return x
        return x.transpose(1, 2).flatten(0, 1).unsqueeze(2)
