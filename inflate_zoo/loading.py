"""Loading a network of ours, whichever it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from inflate_zoo.backbones import Backbone
from inflate_zoo.nets.segmenter import SegmenterConfig
from inflate_zoo.network_files import folder_of, read_config
from inflate_zoo.segmentation import Segmenter

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


def load(
    source: str | Path,
    *,
    volume: Sequence[int] | None = None,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
) -> Backbone | Segmenter:
    """Load a folder or a Hub repo: `registry.load`, which takes zoo names too, says the rest."""
    folder = folder_of(source)
    if isinstance(read_config(folder, source), SegmenterConfig):
        return Segmenter.from_pretrained(folder, volume=volume, dtype=dtype, device=device)
    return Backbone.from_pretrained(folder, volume=volume, dtype=dtype, device=device)
