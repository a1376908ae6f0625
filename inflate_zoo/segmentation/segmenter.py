"""Segmenters: a backbone with a decoder, its making and its files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

import torch
from pydantic import ValidationError

from inflate_zoo.errors import ConfigError, UnknownNameError, UsageError
from inflate_zoo.networks.backbone import Backbone, assemble
from inflate_zoo.networks.base import NetworkConfig, Shapes, triple_of, whole
from inflate_zoo.networks.files import folder_of, read_config, read_tensors, write_network
from inflate_zoo.networks.known import CONFIGS
from inflate_zoo.networks.tables import file_tables, without_wrappers
from inflate_zoo.segmentation.decoders import DECODERS
from inflate_zoo.segmentation.network import SegmentationNetwork, SegmenterConfig
from inflate_zoo.segmentation.upernet import Norm
from inflate_zoo.texts import problems_of

if TYPE_CHECKING:
    from collections.abc import Sequence


Kind = TypeVar("Kind", bound="Segmenter")


def kinds() -> tuple[type[NetworkConfig], ...]:
    """The configs of all networks of ours."""
    return (*CONFIGS.values(), SegmenterConfig)


class Segmenter(SegmentationNetwork):
    """A segmentation network with its files; what `segmenter` makes and `load` gives back."""

    backbone: Backbone

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        volume: Sequence[int] | None = None,
        dtype: str | torch.dtype | None = None,
        device: str | torch.device | None = None,
        dynamic_img_size: bool = False,
    ) -> Self:
        """Load a saved segmenter; the arguments, results and errors are those of `load`."""
        folder = folder_of(source, *kinds())
        config = read_config(folder, source, *kinds())
        if not isinstance(config, SegmenterConfig):
            raise ConfigError(
                "config.json is that of a backbone, not of a segmenter",
                hint="make one: inflate_zoo.segmenter(inflate_zoo.load(...), classes=...)",
            )
        old = config.backbone
        chosen = None if volume is None else triple_of(volume)
        inner = None if chosen is None else config.inner(chosen)
        form = old.with_volume(inner) if dynamic_img_size else old.for_volume(inner)
        target = config.model_copy(update={"backbone": form})
        tensors = read_tensors(folder, _shapes(config), dtype, device)
        stored = {name: tensors.pop(f"backbone.{name}") for name in old.shapes()}
        fitted = old.fit(stored, target.backbone)
        tensors |= {f"backbone.{name}": tensor for name, tensor in fitted.items()}
        network = assemble(lambda form: _network(cls, form), target, tensors)
        network.backbone.file = file_tables(old, stored, fitted)
        network.backbone.dynamic_img_size = dynamic_img_size
        if chosen is not None:
            network.volume = chosen
        return network

    def set_input_size(self, volume: Sequence[int]) -> None:
        """Take volumes of another size from now on, as `Backbone.set_input_size` does.

        Args:
            volume: Depth, height, width in voxels.

        Raises:
            UsageError: It is no volume, or the patch does not divide it.
        """
        chosen = triple_of(volume)
        self.backbone.set_input_size(self.config.inner(chosen))
        self.config = self.config.model_copy(update={"backbone": self.backbone.config})
        self.volume = chosen

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write `config.json` and `model.safetensors`, as `load` takes them.

        Tables are written as `Backbone.save_pretrained` does. Our two files are replaced, others
        are left alone.

        Args:
            folder: Where to; made if need be.

        Returns:
            The folder.

        Raises:
            UsageError: Its backbone has a classifier, or it has tensors that no segmenter of ours
                has, as adapters.
            WriteError: It cannot be written.
            ConfigError: The weights are of a type other than float32, float16 or bfloat16.
        """
        self.backbone.require_bare()
        form, backbone = self.backbone.as_in_file()
        decoder = without_wrappers(self.decoder.state_dict())
        tensors = {f"backbone.{name}": tensor for name, tensor in backbone.items()}
        tensors |= {f"decoder.{name}": tensor for name, tensor in decoder.items()}
        config = self.config.model_copy(update={"backbone": form})
        write_network(Path(folder), config, tensors, _shapes(config))
        return Path(folder)


def segmenter(
    backbone: Backbone,
    *,
    classes: int,
    decoder: str = "unetr",
    features: int = 16,
    norm: Norm = "group",
    image_path: bool = True,
    slice_wise: bool = False,
) -> Segmenter:
    """Put a segmentation decoder on a backbone.

    Args:
        backbone: As `load` gives it; it is trained on, not copied. Norms that the decoder does not
            read are frozen, those that only a decoder before it did not read are trained again.
        classes: Classes with the background, at least 2.
        decoder: `unetr` (3D convolutions with skips from four depths and from the volume, after
            Hatamizadeh et al. 2022), `linear` (one layer on the final tokens) or `upernet` (2D,
            after Xiao et al. 2018: logits of the centre slice alone, from the tokens that hold it).
        features: Channels of `unetr` at full resolution, a multiple of 8; of `upernet` throughout,
            768 in Zhang et al. (2022).
        norm: Of `upernet`: `group`, or `batch`.
        image_path: Of `unetr`: whether it has convolutions on the volume itself. Without, the
            decoder sees the image only through the backbone.
        slice_wise: Take each slice for a volume of its own, one slice deep, so that nothing mixes
            slices; the backbone then has patch depth 1 and was loaded for such volumes.

    Returns:
        Takes volumes [batch, channels, depth, height, width] with intensities in [0, 1], gives
        logits [batch, classes, depth, height, width]; `upernet` gives [batch, classes, 1, height,
        width], unless `slice_wise`. The decoder is initialised from torch's
        global random state.

    Raises:
        UnknownNameError: No such decoder.
        UsageError: Another argument does not fit, or MONAI, which `unetr` needs, is missing.
    """
    if not isinstance(backbone, Backbone):
        raise UsageError(
            f"a segmenter is made of a backbone, not of {type(backbone).__name__}",
            hint="make it of what load(...) gave, and wrap the segmenter",
        )
    if backbone.num_classes:
        raise UsageError(
            f"the backbone ends in a classifier of {backbone.num_classes} classes",
            hint="take it off: reset_classifier(0)",
        )
    if not isinstance(decoder, str) or decoder not in DECODERS:
        raise UnknownNameError("decoder", str(decoder), DECODERS)
    try:
        config = SegmenterConfig(
            backbone=backbone.config,
            classes=whole(classes),
            decoder=decoder,  # type: ignore[arg-type]
            features=whole(features),
            norm=norm,
            image_path=image_path,
            slice_wise=slice_wise,
        )
    except ValidationError as error:
        raise UsageError(
            f"no segmenter can be made so: {'; '.join(problems_of(error))}",
            hint="for slice_wise: convert with --patch-depth 1, then load(..., volume=(1, H, W))"
            if slice_wise
            else "see help(inflate_zoo.segmenter)",
        ) from error
    return Segmenter(backbone, config)


def _shapes(config: SegmenterConfig) -> Shapes:
    """Names and shapes of the tensors in a segmenter's file."""
    with torch.device("meta"):
        decoder = _network(Segmenter, config).decoder.state_dict()
    shapes = {f"backbone.{name}": shape for name, shape in config.backbone.shapes().items()}
    return shapes | {f"decoder.{name}": tuple(tensor.shape) for name, tensor in decoder.items()}


def _network(kind: type[Kind], config: SegmenterConfig) -> Kind:
    return kind(Backbone(config.backbone), config)  # type: ignore[abstract]  # becomes its kind
