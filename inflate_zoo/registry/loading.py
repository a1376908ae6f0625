"""Loading a network of ours, whichever it is and wherever."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from inflate_zoo.errors import UnknownNameError
from inflate_zoo.hub.addresses import is_local
from inflate_zoo.networks.backbone import Backbone
from inflate_zoo.networks.files import folder_of, read_config
from inflate_zoo.registry.listing import find_card
from inflate_zoo.registry.obtaining import kept
from inflate_zoo.segmentation.network import SegmenterConfig
from inflate_zoo.segmentation.segmenter import Segmenter, kinds

if TYPE_CHECKING:
    import torch


_LOG = logging.getLogger(__name__)


Kind = Literal["backbone", "segmenter"]
LOADERS: dict[str, type[Backbone] | type[Segmenter]] = {
    "backbone": Backbone,
    "segmenter": Segmenter,
}


def load_network(
    source: str | Path,
    *,
    kind: Kind | None = None,
    volume: Sequence[int] | None = None,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    dynamic_img_size: bool = False,
) -> Backbone | Segmenter:
    """Load a folder or a Hub repo: `registry.load`, which takes zoo names too, says the rest."""
    if kind is not None and kind not in LOADERS:
        raise UnknownNameError("kind of network", kind, LOADERS)
    folder = folder_of(source, *kinds())
    found = read_config(folder, source, *kinds())
    there = "segmenter" if isinstance(found, SegmenterConfig) else "backbone"
    return LOADERS[kind or there].from_pretrained(
        folder, volume=volume, dtype=dtype, device=device, dynamic_img_size=dynamic_img_size
    )


@overload
def load(
    source: str | Path,
    *,
    kind: Literal["backbone"],
    volume: Sequence[int] | None = None,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    dynamic_img_size: bool = False,
) -> Backbone: ...


@overload
def load(
    source: str | Path,
    *,
    kind: Literal["segmenter"],
    volume: Sequence[int] | None = None,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    dynamic_img_size: bool = False,
) -> Segmenter: ...


@overload
def load(
    source: str | Path,
    *,
    kind: Kind | None = None,
    volume: Sequence[int] | None = None,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    dynamic_img_size: bool = False,
) -> Backbone | Segmenter: ...


def load(
    source: str | Path,
    *,
    kind: Kind | None = None,
    volume: Sequence[int] | None = None,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    dynamic_img_size: bool = False,
) -> Backbone | Segmenter:
    """Load converted weights, or a segmenter that was trained on them, strictly.

    Args:
        source: A folder, or a Hub repo (`org/name` or `org/name@revision`), of converted weights
            or of a saved segmenter; or the name of a zoo entry, which is fetched or made at its
            first use and kept in the user's cache.
        kind: `backbone` or `segmenter`: what it has to be, which type checkers then know;
            `None` takes either.
        volume: Volume (depth, height, width) in voxels the network is to take; position tables
            are resized to its token grid. `None` takes the one in the config.
        dtype: `float32` (also `None`), `float16` or `bfloat16`.
        device: Where the weights go; `None` is the CPU.
        dynamic_img_size: Take volumes of any size that the patch divides. The tables are then
            those of the file, and resized in every pass. On CUDA their gradients are not the same,
            to the bit, each time.

    Returns:
        What config.json says, the backbone or the segmenter, in training mode as any new module;
        call `.eval()` for inference.

    Raises:
        UnknownNameError: No such folder, and no such zoo entry; or no such type.
        UsageError: No such folder or repo, a volume that the patch does not divide, or a device
            that is not there.
        ConfigError: The config is malformed, or is not that of a network of ours or of the kind.
        AccountingError: Tensors are missing, left over or of another shape.
        CheckpointError: The file is damaged.
        WorkError: A zoo entry could not be fetched or made.
    """
    if isinstance(source, str) and "/" not in source and not is_local(source):
        source = kept(find_card(source)[0], _LOG.warning)
    return load_network(
        source,
        kind=kind,
        volume=volume,
        dtype=dtype,
        device=device,
        dynamic_img_size=dynamic_img_size,
    )
