"""CIFAR-10 as tensors, and random views of it made on the device."""

import functools
import io
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from PIL import Image
from torch import Tensor

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures [count, 3, 32, 32] in uint8 and their classes [count]."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True)
class View:
    """How a view is made: its side, the share of the area it shows, how strongly colours change."""

    size: int = 32
    area: tuple[float, float] = (0.3, 1.0)
    colour: float = 0.4
    grey: float = 0.2  # the share of grey views: what volumes look like


def load(file: Path, device: torch.device) -> tuple[Pictures, Pictures]:
    """Training and test pictures from an archive of JPEG bytes with offsets and labels."""
    with np.load(file) as archive:
        parts = [
            Pictures(
                torch.from_numpy(_decoded(archive[f"jpeg_{part}"], archive[f"offsets_{part}"])),
                torch.from_numpy(archive[f"y_{part}"].astype(np.int64)),
            )
            for part in ("train", "test")
        ]
    train, test = (Pictures(p.images.to(device), p.labels.to(device)) for p in parts)
    return train, test


def _decoded(data: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    raw = data.tobytes()
    images = [Image.open(io.BytesIO(raw[a:b])) for a, b in pairwise(offsets)]
    return np.stack([np.asarray(image.convert("RGB")) for image in images]).transpose(0, 3, 1, 2)


def normalized(images: Tensor) -> Tensor:
    """Pictures as the networks take them: float32, CIFAR-10's mean and deviation taken out."""
    mean, std = _statistics(images.device)
    return (images.float() / 255 - mean) / std


@functools.cache  # a CUDA graph may not copy from the host
def _statistics(device: torch.device) -> tuple[Tensor, ...]:
    return tuple(torch.tensor(values, device=device).view(3, 1, 1) for values in (MEAN, STD))


def views(images: Tensor, how: View, generator: torch.Generator) -> Tensor:
    """Random crops [batch, 3, size, size], mirrored, changed in colour, normalised."""
    count = len(images)

    def draw(low: float, high: float) -> Tensor:
        return torch.rand(count, device=images.device, generator=generator) * (high - low) + low

    share, ratio = draw(*how.area).sqrt(), draw(math.log(3 / 4), math.log(4 / 3)).exp().sqrt()
    wide, high = (share * ratio).clamp(max=1), (share / ratio).clamp(max=1)
    mirror = draw(-1, 1).sign()
    theta = torch.zeros(count, 2, 3, device=images.device)
    theta[:, 0, 0], theta[:, 1, 1] = wide * mirror, high
    theta[:, 0, 2], theta[:, 1, 2] = (1 - wide) * draw(-1, 1), (1 - high) * draw(-1, 1)
    grid = F.affine_grid(theta, [count, 3, how.size, how.size], align_corners=False)
    seen = F.grid_sample(images.float() / 255, grid, padding_mode="reflection", align_corners=False)

    def strength() -> Tensor:
        return draw(1 - how.colour, 1 + how.colour).view(-1, 1, 1, 1)

    seen = seen * strength()
    middle = seen.mean((1, 2, 3), keepdim=True)
    seen = (seen - middle) * strength() + middle
    grey = seen.mean(1, keepdim=True)
    seen = (seen - grey) * strength() + grey
    seen = torch.where((draw(0, 1) < how.grey).view(-1, 1, 1, 1), grey.expand_as(seen), seen)
    return normalized(seen.clamp(0, 1) * 255)
