"""UPerNet (Xiao et al. 2018): from tokens of one plane to one logit per pixel and class.

Dimensions: B batch, E embed_dim, h w tokens, F features, H W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from torch import Tensor, nn

from inflate_zoo.networks.base import BackboneConfig
from inflate_zoo.segmentation.norms import GroupNorm
from inflate_zoo.segmentation.resizing import convolve_planes, pool_plane, resize_plane

Norm = Literal["group", "batch"]
POOLS = (1, 2, 3, 6)
_GROUPS, _FEWEST = 32, 8
_DROPOUT = 0.1


def tapped_blocks(depth: int) -> tuple[int, ...]:
    """The blocks after a third, a half, two thirds and all of `depth` blocks, from 0."""
    return tuple(max(0, round(depth * part) - 1) for part in (1 / 3, 1 / 2, 2 / 3, 1))


class BatchNorm(nn.Module):
    """Batch norm over pixels and pictures; torch's counts its calls, which weight files cannot."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), same shape."""
        mean, var = self.running_mean, self.running_var
        return F.batch_norm(x, mean, var, self.weight, self.bias, self.training)  # type: ignore[arg-type]


def make_norm(kind: Norm, channels: int) -> nn.Module:
    """A norm of (B, C, H, W): over at most 32 groups of 8 channels or more, or over the batch."""
    if kind == "batch":
        return BatchNorm(channels)
    # Fewer channels would have no variance where pooling leaves a single position.
    fitting = [n for n in range(1, _GROUPS + 1) if channels % n == 0 and channels // n >= _FEWEST]
    return GroupNorm(max(fitting, default=1), channels)


class ConvNorm(nn.Sequential):
    """Convolution, norm, ReLU."""

    def __init__(self, inner: int, outer: int, size: int, norm: Norm) -> None:
        conv = nn.Conv2d(inner, outer, size, padding=size // 2, bias=False)
        super().__init__(conv, make_norm(norm, outer), nn.ReLU())

    def of_joined(self, maps: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """What `forward` makes of maps (B, C, h, w) that are resized to `size` and joined."""
        conv, *after = self
        x = convolve_planes(maps, conv.weight, size)  # type: ignore[arg-type]
        for layer in after:
            x = layer(x)
        return x


class UpernetDecoder(nn.Module):
    """Pyramid pooling on the last tap, a feature pyramid over all four; tells the centre slice.

    As Zhang et al. (2022) put it on a plain vision transformer: outputs of four blocks, scaled by
    4, 2, 1 and 1/2. Grids that do not halve are rounded down, and resized to one another. Maps of a
    hierarchical backbone are taken as they are. Of several tokens along depth it reads the one that
    holds the centre slice, which has seen the others.

    Args:
        config: The backbone's.
        classes: K, with the background.
        features: F.
        norm: `group`, or `batch`, over all that one process sees at a time.

    Attributes:
        blocks: Blocks whose output is decoded.
        drop_draws: Uniform draws (B, F) of whoever wants them reproducible; `None` draws anew.
    """

    def __init__(
        self, config: BackboneConfig, classes: int, features: int, norm: Norm = "group"
    ) -> None:
        super().__init__()
        self.blocks: tuple[int, ...] | None = tapped_blocks(len(config.levels))
        taps = [config.levels[index] for index in self.blocks]
        self.patch = taps[0].stride[1:]
        dims = [tap.width for tap in taps]
        # A hierarchical backbone brings the pyramid that a plain one lacks.
        is_pyramid = taps[0].stride != taps[3].stride
        self.rescale = nn.ModuleList(
            [nn.Identity() for _ in taps] if is_pyramid else _rescaled(dims, norm)
        )
        self.pools = nn.ModuleList(ConvNorm(dims[3], features, 1, norm) for _ in POOLS)
        self.bottleneck = ConvNorm(dims[3] + len(POOLS) * features, features, 3, norm)
        self.lateral = nn.ModuleList(ConvNorm(dim, features, 1, norm) for dim in dims[:3])
        self.smooth = nn.ModuleList(ConvNorm(features, features, 3, norm) for _ in range(3))
        self.fuse = ConvNorm(4 * features, features, 3, norm)
        self.head = nn.Conv2d(features, classes, 1)
        self.drop_draws: Tensor | None = None

    def forward(self, maps: Sequence[Tensor], x: Tensor | None) -> Tensor:  # noqa: ARG002
        """Four (B, E, d, h, w) to (B, K, 1, H, W); the volume `x` is not looked at."""
        _, height, width = maps[0].shape[2:]
        centres = [each[:, :, each.shape[2] // 2] for each in maps]
        levels = [scale(each) for scale, each in zip(self.rescale, centres, strict=True)]
        top = levels[3]
        pooled = [
            conv(pool_plane(top, parts)) for parts, conv in zip(POOLS, self.pools, strict=True)
        ]
        pyramid = [conv(level) for conv, level in zip(self.lateral, levels, strict=False)]
        pyramid.append(self.bottleneck.of_joined([top, *pooled], top.shape[2:]))
        for at in (2, 1, 0):
            pyramid[at] = pyramid[at] + resize_plane(pyramid[at + 1], pyramid[at].shape[2:])
        smooth = [conv(level) for conv, level in zip(self.smooth, pyramid, strict=False)]
        fused = self.fuse.of_joined([*smooth, pyramid[3]], smooth[0].shape[2:])
        logits = self.head(self._drop(fused))
        plane = (height * self.patch[0], width * self.patch[1])
        return resize_plane(logits, plane).unsqueeze(2)

    def _drop(self, x: Tensor) -> Tensor:
        """Leave out whole channels of a picture in training, the others rescaled."""
        if not self.training:
            return x
        draws = self.drop_draws
        if draws is None:
            draws = torch.rand(x.shape[:2], device=x.device)
        kept = (draws >= _DROPOUT).to(x.device, x.dtype)
        return x * (kept / (1 - _DROPOUT))[:, :, None, None]


def _rescaled(dims: Sequence[int], norm: Norm) -> list[nn.Module]:
    """From four maps of one grid to a pyramid."""
    twice = nn.Sequential(
        nn.ConvTranspose2d(dims[0], dims[0], 2, 2),
        make_norm(norm, dims[0]),
        nn.GELU(),
        nn.ConvTranspose2d(dims[0], dims[0], 2, 2),
    )
    return [twice, nn.ConvTranspose2d(dims[1], dims[1], 2, 2), nn.Identity(), _Halve()]


class _Halve(nn.Module):
    """The greatest of 2 x 2; a grid of one position stays."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, E, h, w) to (B, E, h // 2, w // 2), at least 1."""
        window = [2 if extent > 1 else 1 for extent in x.shape[2:]]
        return F.max_pool2d(x, window, window)
