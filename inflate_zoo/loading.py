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
    """Load converted weights, or a segmenter that was trained on them, strictly.

    Args:
        source: A folder, or a Hub repo (`org/name` or `org/name@revision`), of converted weights
            or of a saved segmenter.
        volume: Volume (depth, height, width) in voxels the network is to take; position tables
            are resized to its token grid. `None` takes the one in the config.
        dtype: `float32` (also `None`), `float16` or `bfloat16`.
        device: Where the weights go; `None` is the CPU.

    Returns:
        What config.json says, the backbone or the segmenter (`Backbone.from_pretrained` gives
        type checkers the former), in training mode as any new module; call `.eval()` for
        inference.

    Raises:
        UsageError: No such folder or repo, or a volume that the patch does not divide.
        ConfigError: The config is malformed, or is not that of a network of ours.
        AccountingError: Tensors are missing, left over or of another shape.
        CheckpointError: The file is damaged.
    """
    folder = folder_of(source)
    if isinstance(read_config(folder, source), SegmenterConfig):
        return Segmenter.from_pretrained(folder, volume=volume, dtype=dtype, device=device)
    return Backbone.from_pretrained(folder, volume=volume, dtype=dtype, device=device)
