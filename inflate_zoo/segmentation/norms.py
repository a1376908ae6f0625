"""Group norm where a group holds millions of voxels.

Dimensions: B batch, C channels, G groups.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

# Up to here one processor is through with a group in the time of a few launches.
FEW_VALUES = 1 << 16


class GroupNorm(nn.GroupNorm):
    """Group norm (Wu and He 2018), quick on a GPU.

    There torch's gives each group of each sample to one of the chip's hundred processors, so that a
    few groups of a whole volume leave most of them idle (35 of the 80 ms that a training step of a
    ViT-B with a UNETR decoder took on an H200, torch 2.11); and under autocast it makes copies in
    float32. For large groups this one reduces as torch sums, by all of them, and stays in the type
    of its input.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...), same shape; statistics in float32 at least."""
        if not by_all(x, self.num_groups):
            return super().forward(x)
        return normalise(x, self.num_groups, self.weight, self.bias, self.eps)


def by_all(x: Tensor, groups: int) -> bool:
    """Whether a group of (B, C, ...) is worth the whole chip and the launches that this takes."""
    return x.is_cuda and math.prod(x.shape[1:]) // groups > FEW_VALUES


def normalise(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Group norm of (B, C, ...) by reductions that all of a GPU shares.

    Args:
        x: Shape (B, C, ...).
        groups: G, a divisor of C.
        weight: Shape (C,); likewise `bias`.
        bias: Added after `weight` has multiplied.
        eps: Added to variances.

    Returns:
        Shape and type of `x`.
    """
    out: Tensor = _Normalise.apply(x, groups, weight, bias, eps)
    return out


class _Normalise(torch.autograd.Function):
    # Channels are apart, (B, G, C / G, ...); what holds for them is (B, G, C / G) or (B, G, 1).

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float
    ) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            parts = _apart(x, groups)
            variance, mean = _moments(parts)
            rstd = (variance + eps).rsqrt()
            scale = rstd * weight.view(groups, -1)
            ctx.save_for_backward(x, weight, mean, rstd)
            shift = torch.addcmul(bias.view(groups, -1), mean, scale, value=-1)
            return _line(shift, x, scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, rstd = ctx.saved_tensors
        with torch.autocast(x.device.type, enabled=False):
            groups, axes = mean.shape[1], tuple(range(3, x.ndim + 1))
            parts, grads, factors = _apart(x, groups), _apart(grad, groups), weight.view(groups, -1)
            biases = grads.sum(axes, dtype=mean.dtype)
            products = torch.mul(grads, parts, out=torch.empty_like(parts, dtype=mean.dtype))
            weights = torch.addcmul(products.sum(axes), mean, biases, value=-1) * rstd
            both = torch.stack([biases, weights])
            # What `weight` multiplies keeps mean 0 and variance 1, whatever one voxel does.
            shares = factors * (-1 / math.prod(parts.shape[2:]))
            first, second = (both * shares).sum(-1, keepdim=True)
            slope = rstd.square() * second
            start = torch.addcmul(rstd * first, mean, slope, value=-1)
            found = _line(_line(start, x, slope), grad, rstd * factors)
            of_bias, of_weight = both.sum(1).flatten(1)
        return found, None, of_weight, of_bias, None


def _apart(x: Tensor, groups: int) -> Tensor:
    """(B, C, ...) to (B, G, C / G, ...), without a copy."""
    return x.view(len(x), groups, x.shape[1] // groups, *x.shape[2:])


def _moments(parts: Tensor) -> tuple[Tensor, Tensor]:
    """Variance and mean of each group, shape (B, G, 1), in float32 at least."""
    axes = tuple(range(2, parts.ndim))
    if parts.dtype in (torch.float16, torch.bfloat16):  # torch would round what it gives to these
        count = math.prod(parts.shape[2:])
        total = parts.sum(axes, dtype=torch.float32)
        length = torch.linalg.vector_norm(parts, 2, axes, dtype=torch.float32)
        mean = total / count
        variance = torch.addcmul(length.square(), mean, total, value=-1).clamp(min=0) / count
    else:
        variance, mean = torch.var_mean(parts, axes, correction=0)
    return variance[..., None], mean[..., None]


def _line(start: Tensor, x: Tensor, slope: Tensor) -> Tensor:
    """Start + x * slope in the shape and type of `x`; what is (B, G, ...) holds for its voxels."""
    # No view of anything: what comes next may change it in place.
    terms = _wide(start, x), x, _wide(slope, x)
    if torch.compiler.is_compiling():
        found = torch.addcmul(*terms)
        # torch 2.11 compiles a step that changes nothing into one without a gradient.
        return found if found.dtype == x.dtype else found.to(x.dtype)
    return torch.addcmul(*terms, out=torch.empty_like(x))


def _wide(part: Tensor, x: Tensor) -> Tensor:
    """(B, G, C / G) or (B, G, 1) as (B, C, 1, ...); what has the shape of `x` as it is."""
    if part.shape == x.shape:
        return part
    channels = part.expand(-1, -1, x.shape[1] // part.shape[1]).flatten(1)
    return channels[(..., *(None,) * (x.ndim - 2))]
