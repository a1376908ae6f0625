"""The library's own way from pixels to what the 2D original takes, without resizing or cropping.

It reads the source's fields anew, by the library's code: where they were misread, the proof fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from inflate_zoo.files.foreign import parsing, quiet
from inflate_zoo.naming.configs.normalization import PROCESSORS, Feeding, Processor

if TYPE_CHECKING:
    from torch import Tensor

    from inflate_zoo.naming.definition import Normalization

_NEEDED = ("torchvision", "PIL")
# Classes that give patches, channels last, instead of pictures: they are asked for single pixels.
_PATCHED = frozenset({"Siglip2ImageProcessor"})


class _CannotError(Exception):
    """A foreign processor cannot take settings or pictures that are in order."""


@dataclass(frozen=True, slots=True)
class Feeder:
    """Pixels to what the original takes.

    Attributes:
        images: From [batch, channels, height, width], uint8, to the same shape, float32.
        built_by: Library, version and class; `None` where mean and std are replayed.
        replayed: Why they are.
    """

    images: Callable[[Tensor], Tensor]
    built_by: str | None
    replayed: str | None


def feeder_of(fed: Feeding, normalization: Normalization, channels: int) -> Feeder:
    """What feeds the original: its library's processor, or where there is none mean and std.

    Args:
        fed: How the original is fed.
        normalization: The same as mean and std, one value per channel: what was folded.
        channels: The original's input channels.
    """
    why = "the mean and std are given" if fed.basis == "given" else "no library feeds it"
    if fed.processor is not None:
        built, why = _built(fed.processor, channels)
        if built is not None:
            return Feeder(built, _name(fed.processor), None)
    return Feeder(lambda pixels: _replayed(pixels, normalization), None, why)


def _replayed(pixels: Tensor, normalization: Normalization) -> Tensor:
    intensities = pixels.double() / 255
    mean, std = (
        intensities.new_tensor(values).view(1, -1, 1, 1)
        for values in (normalization.mean, normalization.std)
    )
    return ((intensities - mean) / std).float()


def _name(processor: Processor) -> str:
    return f"{processor.library} {version(processor.library)} {processor.kind}"


def _built(processor: Processor, channels: int) -> tuple[Callable[[Tensor], Tensor] | None, str]:
    """The library's own, tried on one picture; else why there is none."""
    import torch

    absent = [name for name in _NEEDED if find_spec(name) is None]
    if absent:
        return None, f"{' and '.join(absent)} is not installed"
    if processor.library == "transformers" and processor.kind not in PROCESSORS:
        named = f"'{processor.kind}'" if processor.kind else "its processor"
        return None, f"{named} is none that the proof builds"
    make = _of_timm if processor.library == "timm" else _of_transformers
    picture = torch.zeros(1, channels, 8, 12, dtype=torch.uint8)
    with quiet():
        try:
            with parsing(_CannotError):
                images = make(processor, channels)
                taken = images(picture).shape == picture.shape
        except _CannotError as error:
            why = type(error.__cause__).__name__
            return None, f"{_name(processor)} cannot be used ({why})"
    if not taken:
        return None, f"{_name(processor)} gives another shape"

    def run(pixels: Tensor) -> Tensor:
        with quiet():
            return images(pixels)

    return run, ""


def _of_transformers(processor: Processor, _: int) -> Callable[[Tensor], Tensor]:
    import torch

    plain = {"do_resize": False, "do_center_crop": False, "do_convert_rgb": False}
    plain |= {"do_pad": False}  # SAM's processor pads to its own size
    feed = _made(processor.kind, {**processor.settings, **plain})
    patched = processor.kind in _PATCHED

    def images(pixels: Tensor) -> Tensor:
        pictures = [picture.numpy() for picture in pixels]
        single = {"patch_size": 1, "max_num_patches": pixels[0, 0].numel()} if patched else {}
        made = feed(pictures, return_tensors="np", input_data_format="channels_first", **single)
        values = torch.from_numpy(_array(made["pixel_values"])).float()
        return (values.mT if patched else values).reshape(pixels.shape)

    return images


def _made(kind: str, settings: Mapping[str, Any]) -> Any:
    import transformers

    for ending in ("", "Fast", "Pil"):  # early releases have some as Fast alone
        with suppress(AttributeError, ImportError):
            return getattr(transformers, f"{kind}{ending}")(**settings)
    raise ImportError(f"transformers has no {kind}")


def _array(values: Any) -> Any:
    import numpy as np

    return np.stack([np.asarray(value) for value in values])


def _of_timm(processor: Processor, channels: int) -> Callable[[Tensor], Tensor]:
    import torch
    from PIL import Image
    from timm.data import create_transform, resolve_data_config

    if channels not in (1, 3):
        raise ValueError("pictures have 1 or 3 channels")

    def images(pixels: Tensor) -> Tensor:
        shape = tuple(pixels.shape[1:])
        config = resolve_data_config(
            {"input_size": shape, "crop_pct": 1.0, "crop_mode": "center"},
            pretrained_cfg=dict(processor.settings),
        )
        transform = create_transform(**config, is_training=False)
        made = [
            transform(Image.fromarray(picture.squeeze(0).numpy()))
            if channels == 1
            else transform(Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy()))
            for picture in pixels
        ]
        return torch.stack(made).float()

    return images
