"""A network with all that turns a volume into probabilities."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from inflate_zoo.bench.data.resampling import crop
from inflate_zoo.bench.definitions.protocols import Evaluation, Voxels, mirrors_depth
from inflate_zoo.errors import UsageError, out_of_memory
from inflate_zoo.segmentation.segmenter import Segmenter

_SLAB = 2**20  # voxels; a multiple of any vector width, or slabs would round unlike the whole


@dataclass(frozen=True, slots=True)
class SlidingWindowPredictor:
    """A network with all that turns a volume into probabilities.

    Attributes:
        network: The segmenter, on `device`.
        window: Voxels (depth, height, width).
        settings: Overlap and windows at a time.
        device: Where the network is.
        autocast: Context of the precision it was trained in.
    """

    network: Segmenter
    window: Voxels
    settings: Evaluation
    device: torch.device
    autocast: Callable[[], AbstractContextManager[Any]]

    @property
    def sees_depth_mirrored(self) -> bool:
        """Whether a volume may be mirrored along depth: whether its training did."""
        return mirrors_depth(self.window, centre=self.network.centre_slice)

    def probabilities(self, image: np.ndarray) -> Tensor:
        """Class probabilities of a volume, by sliding windows with Gaussian weights.

        Where a window tells its centre slice alone, each slice is the centre of one.

        The device holds a batch of windows and nothing that grows with the volume. Where it has no
        room for the batch, half as many windows are taken at a time.

        Args:
            image: Shape [channels, depth, height, width], in [0, 1].

        Returns:
            Shape [classes, depth, height, width], float32, on the CPU.

        Raises:
            RuntimeError: Not even one window fits on the device, as `errors.out_of_memory` knows.
            UsageError: A window tells its centre slice, and slices are larger than it.
        """
        return _softmax(self.logits(image))

    def logits(self, image: np.ndarray) -> Tensor:
        """What `probabilities` takes the softmax of; arguments and errors are the same."""
        self.network.eval()
        volume = torch.from_numpy(np.asarray(image, dtype=np.float32)).unsqueeze(0)
        at_once = self.settings.batch
        while (logits := self._attempt(volume, at_once)) is None:
            # Not where the error is caught: until then it holds what did not fit.
            at_once //= 2
            torch.cuda.empty_cache()
        return logits

    def _attempt(self, volume: Tensor, at_once: int) -> Tensor | None:
        """Logits on the CPU, or `None` where the device does not hold so many windows at once."""
        from monai.inferers import sliding_window_inference

        try:
            with torch.inference_mode(), self.autocast():
                if self.network.centre_slice:
                    return self._by_slices(volume[0], at_once)
                logits = sliding_window_inference(
                    volume,
                    self.window,
                    at_once,
                    lambda windows: self.network(windows).float(),
                    overlap=self.settings.overlap,
                    mode="gaussian",
                    sw_device=self.device,
                    device="cpu",
                )
        except Exception as error:
            if at_once == 1 or not out_of_memory(error):
                raise
            return None
        return cast("Tensor", logits)[0]

    def _by_slices(self, volume: Tensor, at_once: int) -> Tensor:
        """Logits of whole slices [channels, depth, height, width], outer slices repeated."""
        depth, image = volume.shape[1], volume.numpy()
        size = self.window
        if image.shape[2] > size[1] or image.shape[3] > size[2]:
            raise UsageError(
                f"slices of {image.shape[2]} x {image.shape[3]} pixels do not fit into windows of "
                f"{size[1]} x {size[2]}: each window sees a whole slice",
                hint="resize the slices to the size that the network was trained on",
            )
        # Patches may reach beyond the slice; what they say of there is cut off.
        top, left = ((own - wide) // 2 for own, wide in zip(image.shape[2:], size[1:], strict=True))
        inner = [slice(-at, own - at) for at, own in zip((top, left), image.shape[2:], strict=True)]
        found: Tensor | None = None
        for first in range(0, depth, at_once):
            corners = [(z - size[0] // 2, top, left) for z in range(first, depth)[:at_once]]
            windows = np.stack([crop(image, corner, size, repeat=True) for corner in corners])
            logits = self.network(torch.from_numpy(windows).to(self.device)).float()
            part = logits[:, :, 0, *inner].cpu()
            if found is None:
                found = part.new_empty(part.shape[1], depth, *part.shape[2:])
            found[:, first : first + len(corners)] = part.transpose(0, 1)
        if found is None:
            raise ValueError("a volume without slices")
        return found


def _softmax(logits: Tensor) -> Tensor:
    """Class probabilities in the memory of the logits: of a whole CT these are gigabytes.

    Args:
        logits: Shape [classes, depth, height, width]; overwritten.
    """
    with torch.inference_mode():
        flat = logits.flatten(1)  # a copy where windows reached beyond the volume
        for part in torch.split(flat, _SLAB, dim=1):
            part.copy_(torch.softmax(part, dim=0))
        return flat.view(logits.shape)
