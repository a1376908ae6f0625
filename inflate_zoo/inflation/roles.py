"""What becomes of a tensor, by its role in the 2D network and never by its name.

Dimensions: O out, I in, D depth, H height, W width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from inflate_zoo.inflation.channels import (
    fold_scale,
    fold_shift,
    fold_shift_by_place,
    to_channels,
)
from inflate_zoo.inflation.patches import resize_patch
from inflate_zoo.inflation.schemes import SCHEMES
from inflate_zoo.naming.definition import Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from inflate_zoo.inflation.recipe import Recipe
    from inflate_zoo.naming.definition import Normalization

# Roles of tensors that a source has, and of one that it lacks.
Becoming = Role | Literal["copy", "stem_shift"]


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of the tensors of a role.

    Attributes:
        make: From the tensors that one of the 3D network is made of, and the recipe, to that
            tensor. They are the 2D tensor itself; for the stem's bias, where a normalisation is
            folded, the stem's kernel and then the bias, if there is one.
        computed: Whether it is made in float64 and rounded at the end, to a half type by way of
            float32; what is copied keeps its bits.
    """

    make: Callable[[Sequence[Tensor], Recipe], Tensor]
    computed: bool


def _copied(tensors: Sequence[Tensor], _: Recipe) -> Tensor:
    return tensors[0]


def _own_kernel(kernel: Tensor, recipe: Recipe) -> Tensor:
    """The source's kernel in float64; a 2D one of the patch that the recipe asks for."""
    exact = kernel.double()
    return exact if recipe.patch_size is None else resize_patch(exact, recipe.patch_size)


def _stem_kernel(tensors: Sequence[Tensor], recipe: Recipe) -> Tensor:
    (kernel,) = tensors
    if recipe.normalization is None:
        # Schemes are linear: fewer channels first is the smaller tensor.
        summed = to_channels(_own_kernel(kernel, recipe), recipe.channels)
        return _inflated(summed, recipe)
    return to_channels(_folded(kernel, recipe, recipe.normalization), recipe.channels)


def _inflated(kernel: Tensor, recipe: Recipe) -> Tensor:
    """A kernel (O, I, H, W), or (O, I, D, H, W) of a source that is 3D already, as the latter."""
    if recipe.scheme is None:
        return kernel
    return SCHEMES[recipe.scheme].inflate(kernel, recipe.patch_depth)


def _folded(kernel: Tensor, recipe: Recipe, normalization: Normalization) -> Tensor:
    # The shift is taken after inflation: with `repeat` every slice adds its own.
    return fold_scale(_inflated(_own_kernel(kernel, recipe), recipe), normalization.std)


def _stem_bias(tensors: Sequence[Tensor], recipe: Recipe) -> Tensor:
    if recipe.normalization is None:
        return tensors[0].double()
    kernel, *bias = tensors
    folded = _folded(kernel, recipe, recipe.normalization)
    return fold_shift(folded, bias[0] if bias else None, recipe.normalization.mean)


def _stem_shift(tensors: Sequence[Tensor], recipe: Recipe) -> Tensor:
    (kernel,) = tensors
    if recipe.normalization is None:
        raise ValueError("without a normalisation that is folded, a stem has no shift")
    mean = recipe.normalization.mean
    return fold_shift_by_place(_folded(kernel, recipe, recipe.normalization), mean)


def _window_table(tensors: Sequence[Tensor], recipe: Recipe) -> Tensor:
    # The same bias at every distance in depth: equal slices are equal keys.
    (table,) = tensors
    return table if recipe.windows is None else table.repeat(2 * recipe.windows.depth - 1, 1)


def _merge_norm(tensors: Sequence[Tensor], recipe: Recipe) -> Tensor:
    # Of equal slices both halves are alike, and so are their mean and variance.
    return tensors[0].repeat(2) if _merges_depth(recipe) else tensors[0]


def _merge_kernel(tensors: Sequence[Tensor], recipe: Recipe) -> Tensor:
    half = tensors[0] / 2
    return half.repeat(1, 2) if _merges_depth(recipe) else tensors[0]


def _merges_depth(recipe: Recipe) -> bool:
    return recipe.windows is not None and recipe.windows.merge_depth


def _offset_kernel(tensors: Sequence[Tensor], _: Recipe) -> Tensor:
    # Columns are depth, height, width of an offset: depth has no say at first.
    (kernel,) = tensors
    return kernel.new_zeros(len(kernel), 3).index_copy_(1, kernel.new_tensor([1, 2]).long(), kernel)


def _neck_kernel(tensors: Sequence[Tensor], _: Recipe) -> Tensor:
    # As deep as it is high, and `center` whatever the scheme: where depth ends there are zeros, of
    # which an average would take its share.
    (kernel,) = tensors
    return SCHEMES["center"].inflate(kernel, kernel.shape[2])


_COPY = Fate(_copied, computed=False)
ROLES: Mapping[Becoming, Fate] = MappingProxyType(
    {
        "copy": _COPY,
        "position_table": _COPY,
        "bias_table": _COPY,
        "token": _COPY,
        "window_table": Fate(_window_table, computed=False),
        "offset_kernel": Fate(_offset_kernel, computed=False),
        "merge_norm": Fate(_merge_norm, computed=False),
        "merge_kernel": Fate(_merge_kernel, computed=False),
        "neck_kernel": Fate(_neck_kernel, computed=False),
        "stem_kernel": Fate(_stem_kernel, computed=True),
        "stem_bias": Fate(_stem_bias, computed=True),
        "stem_shift": Fate(_stem_shift, computed=True),
    }
)
