"""From the tensors of a 2D network to those of the 3D one. Pure: tensors in, tensors out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inflate_zoo.files.dtypes import DTYPES
from inflate_zoo.inflation.channels import fold_scale, fold_shift, to_channels
from inflate_zoo.inflation.recipe import Recipe, backbone_config
from inflate_zoo.inflation.schemes import SCHEMES
from inflate_zoo.naming.definition import Normalization
from inflate_zoo.networks.backbone import Backbone, assemble, fitted_config, fitted_tensors
from inflate_zoo.networks.vit.config import tensor_shapes

if TYPE_CHECKING:
    from torch import Tensor

    from inflate_zoo.files.checkpoints import Checkpoint
    from inflate_zoo.naming.plan import Kept, Plan
    from inflate_zoo.naming.understanding import Understood


_COMPUTED = ("stem_kernel", "stem_bias")


@dataclass(frozen=True, slots=True)
class Output:
    """One tensor of the 3D network, and the tensors of the 2D one it is made of."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    inputs: tuple[Kept, ...]


def outputs(plan: Plan, recipe: Recipe) -> tuple[Output, ...]:
    """Names, types and shapes of the 3D network's tensors, sorted by name."""
    config = backbone_config(plan, recipe)
    inputs: dict[str, tuple[Kept, ...]] = {kept.name: (kept,) for kept in plan.kept}
    kernel = inputs["patch_embed.weight"]
    if recipe.normalization is not None:
        inputs["patch_embed.bias"] = kernel + inputs.get("patch_embed.bias", ())
    made = []
    for name, shape in tensor_shapes(config, recipe.patch_depth).items():
        computed = inputs[name][0].role in _COMPUTED
        kept_type = "F32" if computed else inputs[name][0].dtype
        dtype = DTYPES[recipe.dtype] if recipe.dtype else kept_type
        made.append(Output(name, dtype, shape, inputs[name]))
    return tuple(sorted(made, key=lambda output: output.name))


def stacked(kept: Kept, parts: Sequence[Tensor]) -> Tensor:
    """One tensor of the 2D network from its source tensors, under its own shape.

    Args:
        kept: What the parts make up.
        parts: One per entry of `kept.sources`.

    Returns:
        Shape `kept.shape`, the source's type; a view where there is one part.
    """
    import torch

    joined = parts[0] if len(parts) == 1 else torch.cat(list(parts))
    return joined.reshape(kept.shape)


def compute(output: Output, recipe: Recipe, read: Callable[[Kept], Tensor]) -> Tensor:
    """Make one tensor of the 3D network, before it is rounded to `output.dtype`.

    Args:
        output: What to make.
        recipe: The recipe.
        read: Gives a tensor of the 2D network under its own shape.

    Returns:
        Shape `output.shape`; the source's own bits for a copied tensor, float64 for a computed one.
    """
    if output.name == "patch_embed.weight":
        return _kernel(read(output.inputs[0]), recipe)
    if output.name == "patch_embed.bias":
        return _bias(output, recipe, read)
    return read(output.inputs[0])


def _kernel(kernel_oihw: Tensor, recipe: Recipe) -> Tensor:
    if recipe.normalization is None:
        # Schemes are linear: fewer channels first is the smaller tensor.
        summed = to_channels(kernel_oihw.double(), recipe.channels)
        return SCHEMES[recipe.scheme](summed, recipe.patch_depth)
    return to_channels(_folded(kernel_oihw, recipe, recipe.normalization), recipe.channels)


def _folded(kernel_oihw: Tensor, recipe: Recipe, normalization: Normalization) -> Tensor:
    # The shift is taken after inflation: with `repeat` every slice adds its own.
    inflated = SCHEMES[recipe.scheme](kernel_oihw.double(), recipe.patch_depth)
    return fold_scale(inflated, normalization.std)


def _bias(output: Output, recipe: Recipe, read: Callable[[Kept], Tensor]) -> Tensor:
    if recipe.normalization is None:
        return read(output.inputs[0]).double()
    folded = _folded(read(output.inputs[0]), recipe, recipe.normalization)
    bias = read(output.inputs[1]) if len(output.inputs) > 1 else None
    return fold_shift(folded, bias, recipe.normalization.mean)


def network_in_memory(
    understood: Understood, checkpoint: Checkpoint, recipe: Recipe, volume: tuple[int, int, int]
) -> Backbone:
    """The 3D network in float32, straight from the source, never rounded to a file's type."""
    config = backbone_config(understood.plan, recipe)
    target = fitted_config(config, volume)

    def read(kept: Kept) -> Tensor:
        return stacked(kept, [checkpoint.read(source) for source in kept.sources])

    tensors = {
        output.name: compute(output, recipe, read).float()
        for output in outputs(understood.plan, recipe)
    }
    return assemble(Backbone, target, fitted_tensors(tensors, config, target))
