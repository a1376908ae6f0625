"""Between grids of positions, as products of matrices.

On CUDA the gradient of torch's own functions depends on the order in which threads add; that of a
product does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from torch import Tensor

from inflate_zoo.networks.layers.constants import made_once

Matrix = Callable[[int, int, torch.dtype, torch.device], Tensor]


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Trilinear interpolation of (B, C, D, H, W) to `size`, voxels being boxes, not corners.

    As one product per axis; on a CPU torch's own takes twice as long (one core of an AMD EPYC,
    torch 2.15).
    """
    if tuple(x.shape[2:]) == tuple(size):
        return x
    depth, height, width = _each(_weights, x, size)
    x = (depth @ x.flatten(3)).reshape(*x.shape[:2], size[0], *x.shape[3:])
    return height @ x @ width.mT


def _each(matrix: Matrix, x: Tensor, size: Sequence[int]) -> Iterator[Tensor]:
    """The matrix of each axis of (B, C, ...), in the type of `x`."""
    for old, new in zip(x.shape[2:], size, strict=True):
        yield matrix(old, new, x.dtype, x.device)


@made_once
def _weights(old: int, new: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Linear interpolation along one axis as a matrix (new, old)."""
    lines = _lines(old, dtype, device)
    return F.interpolate(lines, size=new, mode="linear")[0].mT.to(dtype)


def _lines(count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The identity, one channel per line, exact enough to be worked on."""
    exact = torch.promote_types(dtype, torch.float32)
    return torch.eye(count, dtype=exact, device=device).unsqueeze(0)


def resize_plane(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear interpolation of (B, C, H, W) to `size`, pixels being boxes, not corners."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return _plane(x, *_each(_weights, x, size))


def pool_plane(x: Tensor, parts: int) -> Tensor:
    """Means of (B, C, H, W) over `parts` times `parts` boxes, as torch's adaptive pooling."""
    return _plane(x, *_each(_means, x, (parts, parts)))


def _plane(x: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """(B, C, H, W) times a matrix (H', H) and one (W', W); channels stay last where they are."""
    if not x.is_contiguous(memory_format=torch.channels_last):
        return height @ x @ width.mT
    batch, channels, rows, columns = x.shape
    lines = height @ x.permute(0, 2, 3, 1).reshape(batch, rows, columns * channels)
    return (width @ lines.view(batch, len(height), columns, channels)).permute(0, 3, 1, 2)


def convolve_planes(maps: Sequence[Tensor], weight: Tensor, size: Sequence[int]) -> Tensor:
    """Convolution of maps that are resized to `size` and joined, with zeros around them.

    Weights and interpolation both are sums, over channels and over positions, whose order is free:
    a smaller map is multiplied by the weights of all offsets at its own size, then interpolated and
    shifted at once. With four maps that halve, 3 x 3 takes 36 % of the multiplications.

    Args:
        maps: Each (B, C, h, w), with channels and size of its own.
        weight: (F, sum of C, kh, kw), both odd.
        size: H and W.

    Returns:
        (B, F, H, W).
    """
    parts = torch.split(weight, [x.shape[1] for x in maps], dim=1)
    each = [_convolved(x, part, size) for x, part in zip(maps, parts, strict=True)]
    return reduce(torch.add, each)


def _convolved(x: Tensor, weight: Tensor, size: Sequence[int]) -> Tensor:
    """Convolution of (B, C, h, w) resized to (B, F, H, W); then channels are last in memory."""
    outer, inner, *kernel = weight.shape
    if tuple(x.shape[2:]) == tuple(size):
        return F.conv2d(x, weight, padding=[extent // 2 for extent in kernel])
    batch, _, height, width = x.shape
    # Offsets stand beside the axis that they shift when its turn comes.
    taps = weight.permute(3, 2, 0, 1).reshape(-1, inner)
    z = F.linear(x.permute(0, 2, 3, 1), taps)
    rows, columns = (
        _shifted(old, new, extent, z.dtype, z.device)
        for old, new, extent in zip(x.shape[2:], size, kernel, strict=True)
    )
    z = columns @ z.reshape(batch, height, width * kernel[1], kernel[0] * outer)
    z = z.view(batch, height, size[1], kernel[0], outer).transpose(2, 3)
    z = rows @ z.reshape(batch, height * kernel[0], size[1] * outer)
    return z.view(batch, size[0], size[1], outer).permute(0, 3, 1, 2)


@made_once
def _shifted(old: int, new: int, extent: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """`_weights` seen from each offset of a kernel, zeros outside: (new, old * extent)."""
    pad = extent // 2
    padded = F.pad(_weights(old, new, dtype, device), (0, 0, pad, pad))
    return padded.unfold(0, new, 1).permute(2, 1, 0).reshape(new, -1)


@made_once
def _means(old: int, parts: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Means along one axis as a matrix (parts, old); boxes overlap where `parts` divides not."""
    return F.adaptive_avg_pool1d(_lines(old, dtype, device), parts)[0].mT.to(dtype)
