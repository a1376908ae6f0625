"""A 3D backbone: from its files to a network, and back, whichever network it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import torch
from torch import Tensor, nn

from inflate_zoo.errors import UsageError
from inflate_zoo.networks.aimv2.config import Aimv2Config
from inflate_zoo.networks.aimv2.network import Aimv2
from inflate_zoo.networks.base import BackboneConfig
from inflate_zoo.networks.beit.config import BeitConfig
from inflate_zoo.networks.beit.network import Beit
from inflate_zoo.networks.config_json import fields_to_write
from inflate_zoo.networks.dinov3.config import Dinov3Config
from inflate_zoo.networks.dinov3.network import Dinov3
from inflate_zoo.networks.eva02.config import Eva02Config
from inflate_zoo.networks.eva02.network import Eva02
from inflate_zoo.networks.files import folder_of, read_config, read_tensors, write_network
from inflate_zoo.networks.hiera.config import HieraConfig
from inflate_zoo.networks.hiera.network import Hiera
from inflate_zoo.networks.known import CONFIGS
from inflate_zoo.networks.network import Network3D
from inflate_zoo.networks.sam.config import SamConfig
from inflate_zoo.networks.sam.network import Sam
from inflate_zoo.networks.swin.config import SwinConfig
from inflate_zoo.networks.swin.network import SwinTransformer
from inflate_zoo.networks.swinv2.config import SwinV2Config
from inflate_zoo.networks.swinv2.network import SwinTransformerV2
from inflate_zoo.networks.tables import FileTables, as_in_file, file_tables, without_wrappers
from inflate_zoo.networks.vit.config import VitConfig
from inflate_zoo.networks.vit.network import VisionTransformer

if TYPE_CHECKING:
    from collections.abc import Sequence

Net = TypeVar("Net", bound=nn.Module)
Config = TypeVar("Config")


class Backbone(Network3D):
    """A 3D backbone with its files; what `load` returns of converted weights.

    Of a config it becomes the network of that `model_type`, with random weights.

    Attributes:
        file: Tables of the file it was loaded from, where others are shown.
    """

    def __new__(cls, config: BackboneConfig | None = None) -> Self:
        """An object of the config's kind; without a config, as copying asks for it, of this."""
        if cls is Backbone and config is not None:
            return super().__new__(KINDS[config.kind()])  # type: ignore[return-value]
        return super().__new__(cls)

    file: FileTables | None = None
    _noted: Mapping[str, Any] | None = None

    if TYPE_CHECKING:

        def __init__(self, config: BackboneConfig) -> None: ...

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
        """Load converted weights; the arguments, results and errors are those of `load`."""
        folder = folder_of(source, *CONFIGS.values())
        config = read_backbone_config(folder, source)
        target = config.with_volume(volume) if dynamic_img_size else config.for_volume(volume)
        tensors = read_tensors(folder, config.shapes(), dtype, device)
        fitted = config.fit(tensors, target)
        network = assemble(cls, target, fitted)
        network.file = file_tables(config, tensors, fitted)
        network.dynamic_img_size = dynamic_img_size
        return network

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write `config.json` and `model.safetensors`, as `from_pretrained` takes them.

        Position tables that were resized for the volume are written as the file had them, unless
        they were trained since: then as they are. What adds nothing is left out. Our two files are
        replaced, others are left alone.

        Args:
            folder: Where to; made if need be.

        Returns:
            The folder.

        Raises:
            UsageError: It has a classifier, or tensors that no backbone of ours has, as adapters.
            WriteError: It cannot be written.
            ConfigError: The weights are of a type other than float32, float16 or bfloat16.
        """
        self.require_bare()
        form, tensors = self.as_in_file()
        write_network(Path(folder), form, tensors, form.shapes())
        return Path(folder)

    def require_bare(self) -> None:
        """Refuse what our files have no place for.

        Raises:
            UsageError: It has a classifier.
        """
        if self.num_classes:
            raise UsageError(
                f"a classifier of {self.num_classes} classes has no place in a backbone's files",
                hint="save head.state_dict() beside them, then call reset_classifier(0)",
            )

    def as_in_file(self) -> tuple[BackboneConfig, dict[str, Tensor]]:
        """Config and tensors as `save_pretrained` writes them; a classifier is left out."""
        tensors = without_wrappers(self.state_dict())
        own = {n: tensor for n, tensor in tensors.items() if not n.startswith("head.")}
        return as_in_file(self.config, own, self.file)

    def set_input_size(self, volume: Sequence[int]) -> None:
        """Take volumes of another size from now on.

        What follows is as if the backbone had been saved and loaded for that volume: position
        tables are resized from the file's own grid, unless they were trained since; then from the
        present one. Parameters of another shape are new ones: make the optimizer afterwards.

        Args:
            volume: Depth, height, width in voxels.

        Raises:
            UsageError: The patch does not divide it.
        """
        if self.dynamic_img_size:  # its tables stay
            self.set_config(self.config.keeping_tables(volume))
        else:
            config, tensors = self.as_in_file()
            target = config.for_volume(volume)
            fitted = config.fit(tensors, target)
            for name, tensor in fitted.items():
                self._show(name, tensor)
            self.set_config(target)
            self.file = file_tables(config, tensors, fitted)

    @property
    def _model_args(self) -> dict[str, Any]:
        """What timm builds it from again: the network as it is, with all tables that are shown.

        timm notes there what it was asked for, a `config` of the file it read among it.

        Raises:
            AttributeError: timm did not build it.
        """
        if self._noted is None:
            raise AttributeError("timm did not build it")
        own = ("config", "volume", "img_size")
        kept = {name: value for name, value in self._noted.items() if name not in own}
        return {**kept, "config": fields_to_write(self.config.keeping_tables(None))}

    @_model_args.setter
    def _model_args(self, noted: Mapping[str, Any]) -> None:
        self._noted = noted

    @torch.no_grad()
    def _show(self, name: str, tensor: Tensor) -> None:
        """Let a parameter be a tensor, of whatever shape; an optimizer keeps one of the same."""
        present = self.get_parameter(name)
        if present.shape == tensor.shape:
            present.copy_(tensor)
            return
        holder, _, own = name.rpartition(".")
        made = nn.Parameter(tensor.to(present, copy=True), present.requires_grad)
        setattr(self.get_submodule(holder), own, made)


class VitBackbone(Backbone, VisionTransformer):
    """A plain vision transformer with its files."""


class BeitBackbone(Backbone, Beit):
    """A BEiT with its files."""


class Dinov3Backbone(Backbone, Dinov3):
    """A DINOv3 with its files."""


class Eva02Backbone(Backbone, Eva02):
    """An EVA-02 with its files."""


class SwinBackbone(Backbone, SwinTransformer):
    """A Swin transformer with its files."""


class SwinV2Backbone(Backbone, SwinTransformerV2):
    """A SwinV2 with its files."""


class Aimv2Backbone(Backbone, Aimv2):
    """An AIMv2 with its files."""


class SamBackbone(Backbone, Sam):
    """SAM's image encoder with its files."""


class HieraBackbone(Backbone, Hiera):
    """SAM's image encoder with its files."""


KINDS: dict[str, type[Backbone]] = {
    VitConfig.kind(): VitBackbone,
    BeitConfig.kind(): BeitBackbone,
    Dinov3Config.kind(): Dinov3Backbone,
    Eva02Config.kind(): Eva02Backbone,
    SwinConfig.kind(): SwinBackbone,
    SwinV2Config.kind(): SwinV2Backbone,
    Aimv2Config.kind(): Aimv2Backbone,
    SamConfig.kind(): SamBackbone,
    HieraConfig.kind(): HieraBackbone,
}


def read_backbone_config(folder: Path, source: str | Path) -> BackboneConfig:
    """`read_config`, for a backbone.

    Raises:
        ConfigError: Names the field, or says that it is a segmenter's.
    """
    return read_config(folder, source, *CONFIGS.values())


def assemble(kind: Callable[[Config], Net], config: Config, tensors: Mapping[str, Tensor]) -> Net:
    """Build a network around its tensors, without initialising anything first."""
    with torch.device("meta"):
        network = kind(config)
    network.load_state_dict(dict(tensors), strict=True, assign=True)
    return network
