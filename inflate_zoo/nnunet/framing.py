"""A segmenter in nnU-Net's patches, which need not be whole multiples of the backbone's."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from torch import Tensor, nn

from inflate_zoo.segmentation.segmenter import Segmenter


def padded(patch_size: Sequence[int], stride: Sequence[int]) -> tuple[int, int, int]:
    """The least volume (depth, height, width) that holds a patch and that the stride divides."""
    sides = zip(patch_size, stride, strict=True)
    depth, height, width = (-(-extent // step) * step for extent, step in sides)
    return depth, height, width


class Framed(nn.Module):
    """Patches padded with zeros to the segmenter's volume, its logits cut back to the patch.

    Zero is what nnU-Net pads its volumes with too: the mean intensity, after its normalisation.

    Args:
        segmenter: Its volume is at least `patch_size` along each axis.
        patch_size: Patch (depth, height, width) in voxels.
    """

    def __init__(self, segmenter: Segmenter, patch_size: Sequence[int]) -> None:
        super().__init__()
        self.segmenter = segmenter
        depth, height, width = patch_size
        self.patch_size = (depth, height, width)
        missing = [full - n for full, n in zip(segmenter.volume, self.patch_size, strict=True)]
        # As torch has it: the last axis first, and of each its beginning and its end.
        self._padding = [side for extent in reversed(missing) for side in (0, extent)]

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *patch_size) to logits (B, classes, *patch_size)."""
        depth, height, width = self.patch_size
        logits: Tensor = self.segmenter(F.pad(x, self._padding))
        return logits[:, :, :depth, :height, :width]
