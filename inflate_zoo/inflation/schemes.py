"""How a 2D kernel becomes a 3D one. Tensor methods only: importing this module loads no torch.

Dimensions: O out, I in, D depth, H height, W width.
"""

from __future__ import annotations

import decimal
import inspect
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor


AS_IT_IS = "as it is"


def center(kernel_oihw: Tensor, depth: int) -> Tensor:
    """Put the 2D kernel into the middle slice, zeros elsewhere: equal slices give the 2D response.

    "Centering" in Zhang et al. 2022 (arXiv 2302.04303), central-frame initialisation in ViViT
    (Arnab et al. 2021, section 3.4).

    Args:
        kernel_oihw: 2D kernel, shape (O, I, H, W), any float dtype.
        depth: D, slices of the 3D kernel, at least 1; an even depth takes the slice after the
            midpoint, D // 2.

    Returns:
        3D kernel, shape (O, I, D, H, W), same dtype and device.
    """
    out_channels, in_channels, height, width = kernel_oihw.shape
    inflated = kernel_oihw.new_zeros(out_channels, in_channels, depth, height, width)
    inflated[:, :, depth // 2] = kernel_oihw
    return inflated


def average(kernel_oihw: Tensor, depth: int) -> Tensor:
    """Spread the 2D kernel evenly over all slices: equal slices give the 2D response.

    "Inflation" in Zhang et al. 2022 and in I3D (Carreira and Zisserman 2017, section 2.4).

    Args:
        kernel_oihw: 2D kernel, shape (O, I, H, W), any float dtype.
        depth: D, slices of the 3D kernel, at least 1.

    Returns:
        3D kernel, shape (O, I, D, H, W), each slice the 2D kernel divided by D.
    """
    return repeat(kernel_oihw / depth, depth)


def repeat(kernel_oihw: Tensor, depth: int) -> Tensor:
    """Copy the 2D kernel into every slice: equal slices give D times the 2D response, bias aside.

    Args:
        kernel_oihw: 2D kernel, shape (O, I, H, W), any float dtype.
        depth: D, slices of the 3D kernel, at least 1.

    Returns:
        3D kernel, shape (O, I, D, H, W).
    """
    return kernel_oihw.unsqueeze(2).repeat(1, 1, depth, 1, 1)


def taper(kernel_oihw: Tensor, depth: int) -> Tensor:
    """Weigh the 2D kernel by a Gaussian over the slices: equal slices give the 2D response.

    Its standard deviation is a quarter of the depth, its weights sum to 1: most comes from the
    middle, and neighbours are seen from the start.

    Args:
        kernel_oihw: 2D kernel, shape (O, I, H, W), any float dtype.
        depth: D, slices of the 3D kernel, at least 1; an even depth has two middle slices.

    Returns:
        3D kernel, shape (O, I, D, H, W), each slice the 2D kernel times its weight.
    """
    weights_d = kernel_oihw.new_tensor(_gaussian(depth))
    return kernel_oihw.unsqueeze(2) * weights_d.view(depth, 1, 1)


@dataclass(frozen=True, slots=True)
class Scheme:
    """One way in which a kernel gains depth; called, it inflates.

    Attributes:
        inflate: From a 2D kernel (O, I, H, W) and a depth D to a 3D one (O, I, D, H, W), linear in
            the kernel.
        weights: The scheme's law, D factors for a depth D: on any volume the 3D kernel gives, bias
            aside, what the 2D one gives on the sum of the slices, each times its factor.
        slice_name: What that sum is called where the proof is told.
    """

    inflate: Callable[[Tensor, int], Tensor]
    weights: Callable[[int], tuple[float, ...]]
    slice_name: str

    @property
    def summary(self) -> str:
        """What it does, in one line."""
        return (inspect.getdoc(self.inflate) or "").partition("\n")[0]

    def __call__(self, kernel_oihw: Tensor, depth: int) -> Tensor:
        """Inflate a kernel: `inflate` with its arguments and result."""
        return self.inflate(kernel_oihw, depth)


def scheme_text(scheme: str | None) -> str:
    """How a stem gained depth, for people; `None` of a source that is 3D already."""
    return scheme or AS_IT_IS


def _middle(depth: int) -> tuple[float, ...]:
    return tuple(float(index == depth // 2) for index in range(depth))


def _gaussian(depth: int) -> tuple[float, ...]:
    """Of each slice, in float64: decimals are rounded alike on every machine, `exp` is not."""
    with decimal.localcontext(decimal.Context(prec=40)):
        # (x / (depth / 4))^2 / 2, x from the middle in slices: twice x is whole.
        steps = [decimal.Decimal(2 * index + 1 - depth) / depth for index in range(depth)]
        heights = [(-2 * step * step).exp() for step in steps]
        whole = sum(heights, decimal.Decimal())
        return tuple(float(height / whole) for height in heights)


SCHEMES: Mapping[str, Scheme] = MappingProxyType(
    {
        "average": Scheme(average, lambda depth: (1 / depth,) * depth, "mean slice"),
        "center": Scheme(center, _middle, "centre slice"),
        "repeat": Scheme(repeat, lambda depth: (1.0,) * depth, "mean slice"),
        "taper": Scheme(taper, _gaussian, "tapered slice"),
    }
)
