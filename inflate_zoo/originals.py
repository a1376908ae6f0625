"""What a proof compares: the 2D original of a source, and its 3D network before any rounding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inflate_zoo.backbones import Backbone, assemble, fitted_config, fitted_tensors
from inflate_zoo.inflate import Recipe, backbone_config, compute, outputs, stacked
from inflate_zoo.naming import bare_name, match_header, sources_of
from inflate_zoo.plan import FLOATS
from inflate_zoo.references import Reference, timm_reference, transformers_reference

if TYPE_CHECKING:
    from torch import Tensor

    from inflate_zoo.checkpoints import Checkpoint
    from inflate_zoo.plan import Kept, Plan
    from inflate_zoo.preparation import Understood


def original_of(understood: Understood, checkpoint: Checkpoint, grid: tuple[int, int]) -> Reference:
    """The 2D original of a source, its position table resized to a grid by timm.

    Args:
        understood: The source, understood.
        checkpoint: The source's tensors.
        grid: Token grid (height, width).

    Returns:
        Built by transformers or timm; where neither can, the 2D form of our own network, which its
        `built_by` then says.
    """
    plan = understood.plan
    form = plan.architecture
    state = _state(plan, checkpoint)
    name = _library_name(plan, next(kept for kept in plan.kept if kept.name == "pos_embed"))
    native = state[name]
    state[name] = _resized_by_timm(native, form.position_prefix, form.position_grid, grid)
    built = None
    if plan.scheme.library == "transformers":
        built = transformers_reference(plan, state, grid, understood.raw)
    else:
        built = timm_reference(plan, state, grid, understood.arch, understood.arguments)
    if built is None:
        return _own_reference(understood, checkpoint, grid, native)
    return Reference(built.built_by, built.tokens, built.pooled, native)


def _state(plan: Plan, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The tower's tensors in float32, under the names its library has for them."""
    inside = match_header(plan.scheme, plan.prefix, checkpoint.header, plan.copies)
    names = [*inside.dropped, *(name for sources in inside.kept.values() for name in sources)]
    state = {
        bare_name(plan.prefix, name): checkpoint.read(name).float()
        for name in names
        if checkpoint.header[name].dtype in FLOATS
    }
    if plan.scheme.library != "transformers":
        for kept in plan.kept:  # originals that timm reads under names of their own
            state[_library_name(plan, kept)] = checkpoint.read(kept.sources[0]).float()
    return state


def _library_name(plan: Plan, kept: Kept) -> str:
    """What the library calls a tensor that is kept; of a joined one the first part."""
    if plan.scheme.library == "transformers":
        return bare_name(plan.prefix, kept.sources[0])
    return sources_of(plan.scheme, "", kept.name)[0]


def _resized_by_timm(
    table: Tensor, prefix: int, old: tuple[int, int], new: tuple[int, int]
) -> Tensor:
    if old == new:
        return table
    from timm.layers import resample_abs_pos_embed

    flat = table.reshape(1, -1, table.shape[-1])
    resized: Tensor = resample_abs_pos_embed(flat, list(new), list(old), num_prefix_tokens=prefix)
    return resized.reshape(*table.shape[:-2], -1, table.shape[-1])


def _own_reference(
    understood: Understood, checkpoint: Checkpoint, grid: tuple[int, int], native: Tensor
) -> Reference:
    """The 2D form of our own network, for what neither library can build."""
    form = understood.plan.architecture
    library = "transformers" if understood.plan.scheme.library == "transformers" else "timm"
    height, width = (n * step for n, step in zip(grid, form.patch_size, strict=True))
    native_size = [n * s for n, s in zip(form.position_grid, form.patch_size, strict=True)]
    flat = Recipe("center", 1, (1, native_size[0], native_size[1]), form.in_channels)
    network = network_in_memory(understood, checkpoint, flat, (1, height, width)).eval()
    return Reference(
        f"inflate-zoo's own 2D form ({library} cannot build this source)",
        lambda images: network.forward_features(images.unsqueeze(2)),
        None,
        native,
    )


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
