"""What a proof compares: random inputs, and how far apart two results are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from inflate_zoo.errors import VerificationError

if TYPE_CHECKING:
    from torch import Tensor

    from inflate_zoo.inflation.recipe import Recipe
    from inflate_zoo.networks.backbone import Backbone

INSPECT = "'inflate-zoo inspect' shows how the source was understood"
Build = Callable[[tuple[int, int, int]], "Backbone"]
"""From a volume (depth, height, width) in voxels to the network for it."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A network and its original, side by side.

    Attributes:
        original: What built the original.
        grid: Token grid (depth, height, width) of the greatest volume.
        measure: From what builds the network to the errors by case.
    """

    original: str
    grid: tuple[int, int, int]
    measure: Callable[[Build], dict[str, float]]


def random_values(shape: tuple[int, ...], recipe: Recipe) -> Tensor:
    """Pixels of 0 to 255 where a normalisation is folded, else normal values."""
    generator = torch.Generator().manual_seed(0)
    if recipe.normalization is not None:
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def for_network(values: Tensor, recipe: Recipe) -> Tensor:
    """What the 3D network sees: intensities in [0, 1] where a normalisation is folded."""
    return (values.double() / 255 if recipe.normalization is not None else values).float()


def rms(expected: Tensor) -> Tensor:
    """The root mean square of what is expected, on whose scale errors are told."""
    return expected.square().mean().sqrt()


def error(got: Tensor, expected: Tensor, scale: Tensor) -> float:
    """Greatest absolute difference, over a scale."""
    worst = ((got - expected).abs().max() / scale).item()
    return worst if worst == worst else float("inf")  # NaN must not pass


def error_to_original(got: Tensor, expected: Tensor, scale: Tensor) -> float:
    """The error of what the 3D network gives, where the original gives values like it.

    Raises:
        VerificationError: Theirs have another shape, which torch would spread or say no more of.
    """
    if got.shape != expected.shape:
        raise VerificationError(
            f"the 3D network gives values of shape {list(got.shape)}, the original of "
            f"{list(expected.shape)}",
            hint=INSPECT,
        )
    return error(got, expected, scale)
