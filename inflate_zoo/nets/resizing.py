"""Between grids of positions, as products of matrices.

On CUDA the gradient of torch's own functions depends on the order in which threads add; that of a
product does not.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from torch import Tensor


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Trilinear interpolation of (B, C, D, H, W) to `size`, voxels being boxes, not corners.

    As one product per axis; on a CPU torch's own takes twice as long (one core of an AMD EPYC,
    torch 2.15).
    """
    if tuple(x.shape[2:]) == tuple(size):
        return x
    depth, height, width = (
        _weights(old, new, x) for old, new in zip(x.shape[2:], size, strict=True)
    )
    x = (depth @ x.flatten(3)).reshape(*x.shape[:2], size[0], *x.shape[3:])
    return height @ x @ width.mT


def _weights(old: int, new: int, like: Tensor) -> Tensor:
    """Linear interpolation along one axis as a matrix (new, old)."""
    exact = torch.promote_types(like.dtype, torch.float32)
    lines = torch.eye(old, dtype=exact, device=like.device).unsqueeze(0)
    return F.interpolate(lines, size=new, mode="linear")[0].mT.to(like.dtype)


def resize_plane(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear interpolation of (B, C, H, W) to `size`, pixels being boxes, not corners."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    height, width = (_weights(old, new, x) for old, new in zip(x.shape[2:], size, strict=True))
    return height @ x @ width.mT


def pool_plane(x: Tensor, parts: int) -> Tensor:
    """Means of (B, C, H, W) over `parts` times `parts` boxes, as torch's adaptive pooling."""
    height, width = (_means(old, parts, x) for old in x.shape[2:])
    return height @ x @ width.mT


def _means(old: int, parts: int, like: Tensor) -> Tensor:
    """Means along one axis as a matrix (parts, old); boxes overlap where `parts` divides not."""
    exact = torch.promote_types(like.dtype, torch.float32)
    lines = torch.eye(old, dtype=exact, device=like.device).unsqueeze(0)
    return F.adaptive_avg_pool1d(lines, parts)[0].mT.to(like.dtype)
