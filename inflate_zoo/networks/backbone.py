"""A 3D backbone: from its files to a network, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from inflate_zoo.errors import UsageError
from inflate_zoo.networks.files import folder_of, read_backbone_config, read_tensors, write_network
from inflate_zoo.networks.positions import resize_depth, resize_in_plane
from inflate_zoo.networks.vit.config import BackboneConfig, tensor_shapes
from inflate_zoo.networks.vit.network import VisionTransformer
from inflate_zoo.texts import message_of

if TYPE_CHECKING:
    from collections.abc import Sequence

Net = TypeVar("Net", bound=nn.Module)
Config = TypeVar("Config")


class Backbone(VisionTransformer):
    """A 3D backbone with its files; what `load` returns of converted weights."""

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        volume: Sequence[int] | None = None,
        dtype: str | torch.dtype | None = None,
        device: str | torch.device | None = None,
    ) -> Self:
        """Load converted weights; the arguments, results and errors are those of `load`."""
        folder = folder_of(source, BackboneConfig)
        config = read_backbone_config(folder, source)
        target = fitted_config(config, volume)
        tensors = read_tensors(folder, stored_shapes(config), dtype, device)
        return assemble(cls, target, fitted_tensors(tensors, config, target))

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write `config.json` and `model.safetensors`, as `from_pretrained` takes them.

        The position table is written at the present grid; the depth table only where it is not
        zero. Our two files are replaced, others are left alone.

        Args:
            folder: Where to; made if need be.

        Returns:
            The folder.

        Raises:
            WriteError: It cannot be written.
            ConfigError: The weights are of a type other than float32, float16 or bfloat16.
        """
        write_network(Path(folder), *stored_form(self))
        return Path(folder)


def stored_form(backbone: VisionTransformer) -> tuple[BackboneConfig, dict[str, Tensor]]:
    """A backbone as its files hold it: a depth table of zeros is left out."""
    tensors, config = backbone.state_dict(), backbone.config
    if bool(tensors["depth_embed"].any()):
        config = config.model_copy(update={"depth_positions": backbone.grid_size[0]})
    else:
        config = config.model_copy(update={"depth_positions": 0})
        del tensors["depth_embed"]
    return config, tensors


def stored_shapes(config: BackboneConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in a backbone's file."""
    shapes = tensor_shapes(config, config.patch_depth)
    if config.depth_positions:
        shapes["depth_embed"] = (1, config.depth_positions, config.embed_dim)
    return shapes


def fitted_config(config: BackboneConfig, volume: Sequence[int] | None) -> BackboneConfig:
    """A config for a volume, its position grid equal to the volume's.

    Raises:
        UsageError: The patch does not divide the volume.
    """
    chosen = config.volume if volume is None else tuple(volume)
    try:
        sized = BackboneConfig(**{**config.model_dump(), "volume": chosen})
    except ValidationError as error:
        raise UsageError(
            f"volume {'x'.join(map(str, chosen))} does not fit: "
            + "; ".join(message_of(entry) for entry in error.errors()),
            hint="give depth, height, width in voxels, each a multiple of the patch",
        ) from error
    return sized.model_copy(update={"position_grid": sized.grid_size[1:]})


def fitted_tensors(
    tensors: dict[str, Tensor], config: BackboneConfig, target: BackboneConfig
) -> dict[str, Tensor]:
    """Tensors of one config for another volume: tables resized, the depth table made."""
    table = tensors["pos_embed"]
    prefix, grid = config.position_prefix, config.position_grid
    tensors["pos_embed"] = resize_in_plane(table, prefix, grid, target.position_grid)
    depth = target.grid_size[0]
    line = tensors.get("depth_embed")
    tensors["depth_embed"] = (
        table.new_zeros(1, depth, config.embed_dim) if line is None else resize_depth(line, depth)
    )
    return tensors


def assemble(kind: Callable[[Config], Net], config: Config, tensors: Mapping[str, Tensor]) -> Net:
    """Build a network around its tensors, without initialising anything first."""
    with torch.device("meta"):
        network = kind(config)
    network.load_state_dict(dict(tensors), strict=True, assign=True)
    return network
