"""From the tensors of a 2D network to those of the 3D one. Pure: tensors in, tensors out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inflate_zoo.files.dtypes import DTYPES
from inflate_zoo.inflation.recipe import Recipe, backbone_config
from inflate_zoo.inflation.roles import ROLES, Becoming
from inflate_zoo.networks.backbone import Backbone, assemble

if TYPE_CHECKING:
    from torch import Tensor

    from inflate_zoo.files.checkpoints import Checkpoint
    from inflate_zoo.naming.plan import Plan, TensorPlan
    from inflate_zoo.naming.understanding import Understood


@dataclass(frozen=True, slots=True)
class InflatedTensor:
    """One tensor of the 3D network, and the tensors of the 2D one it is made of."""

    name: str
    role: Becoming
    dtype: str
    shape: tuple[int, ...]
    inputs: tuple[TensorPlan, ...]


def outputs(plan: Plan, recipe: Recipe) -> tuple[InflatedTensor, ...]:
    """Names, types and shapes of the 3D network's tensors, sorted by name."""
    config = backbone_config(plan, recipe)
    parts: dict[str, tuple[Becoming, tuple[TensorPlan, ...]]] = {
        kept.name: (kept.role, (kept,)) for kept in plan.kept
    }
    if recipe.normalization is not None:
        (kernel,) = (kept for kept in plan.kept if kept.role == "stem_kernel")
        bias = tuple(kept for kept in plan.kept if kept.role == "stem_bias")
        stem = kernel.name.removesuffix("weight")
        if config.stem_pads:
            parts[f"{stem}shift"] = ("stem_shift", (kernel,))
        else:
            parts[bias[0].name if bias else f"{stem}bias"] = ("stem_bias", (kernel, *bias))
    made = []
    for name, shape in config.shapes().items():
        role, inputs = parts[name]
        own = "F32" if ROLES[role].computed else inputs[0].dtype
        dtype = DTYPES[recipe.dtype] if recipe.dtype else own
        made.append(InflatedTensor(name, role, dtype, shape, inputs))
    return tuple(sorted(made, key=lambda output: output.name))


def stacked(kept: TensorPlan, parts: Sequence[Tensor]) -> Tensor:
    """One tensor of the 2D network from its source tensors, under its own shape.

    Args:
        kept: What the parts make up.
        parts: One per entry of `kept.sources`, each whole.

    Returns:
        Shape `kept.shape`, the source's type; a view where there is one part.
    """
    import torch

    if not parts:
        return torch.empty(kept.shape)
    joined = parts[0] if len(parts) == 1 else torch.cat(list(parts))
    joined = joined.chunk(kept.share.of)[kept.share.place]
    if kept.channels_last:
        out, channels, height, width = kept.shape
        return joined.reshape(out, height, width, channels).permute(0, 3, 1, 2)
    return joined.reshape(kept.shape)


def compute(output: InflatedTensor, recipe: Recipe, read: Callable[[TensorPlan], Tensor]) -> Tensor:
    """Make one tensor of the 3D network, before it is rounded to `output.dtype`.

    Args:
        output: What to make.
        recipe: The recipe.
        read: Gives a tensor of the 2D network under its own shape.

    Returns:
        Shape `output.shape`; the source's own bits for a copied tensor, float64 for a computed one.
    """
    return ROLES[output.role].make([read(kept) for kept in output.inputs], recipe)


def network_in_memory(
    understood: Understood, checkpoint: Checkpoint, recipe: Recipe, volume: tuple[int, int, int]
) -> Backbone:
    """The 3D network in float32, straight from the source, never rounded to a file's type."""
    config = backbone_config(understood.plan, recipe)
    target = config.for_volume(volume)

    def read(kept: TensorPlan) -> Tensor:
        return stacked(kept, [checkpoint.read(source) for source in kept.sources])

    tensors = {
        output.name: compute(output, recipe, read).float()
        for output in outputs(understood.plan, recipe)
    }
    return assemble(Backbone, target, config.fit(tensors, target))
