"""The 2D original of a source, for the proof: built by its library, from its own tensors."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from inflate_zoo.conversion.originals.known import ORIGINALS
from inflate_zoo.conversion.originals.references import Asked, Reference, State, library_name
from inflate_zoo.files.dtypes import FLOATS
from inflate_zoo.inflation.recipe import Recipe
from inflate_zoo.inflation.tensors import network_in_memory, stacked
from inflate_zoo.naming.patterns import bare_name, match_header
from inflate_zoo.networks.base import Windows

if TYPE_CHECKING:
    from torch import Tensor

    from inflate_zoo.files.checkpoints import Checkpoint
    from inflate_zoo.naming.plan import Plan
    from inflate_zoo.naming.understanding import Understood

# Classes that resize their position table themselves, in every pass.
_RESIZING = frozenset({"NaFlexVit", "RadioModel", "Siglip2VisionModel"})


def original_of(understood: Understood, checkpoint: Checkpoint, grid: tuple[int, int]) -> Reference:
    """The 2D original of a source at a grid.

    Position tables are resized by timm, whose rule ours is, unless the original does it itself, as
    with bias tables.

    Args:
        understood: The source, understood.
        checkpoint: The source's tensors.
        grid: Token grid (height, width).

    Returns:
        Built by its library; where that cannot, the 2D form of our own network, which its
        `built_by` then says.
    """
    plan = understood.plan
    state, native = _state(plan, checkpoint), plan.architecture.native_grid
    for kept in plan.kept:
        if kept.role == "position_table" and plan.family.reference not in _RESIZING:
            name = library_name(plan, kept)
            state[name] = _resized_by_timm(state[name], native, grid)
    built = ORIGINALS[plan.family.reference](Asked(understood, state, grid))
    return built or _own_reference(understood, checkpoint, grid)


def tables_of(plan: Plan, checkpoint: Checkpoint) -> State:
    """The position and bias tables of a source in float32, under our names and shapes."""
    tables = [kept for kept in plan.kept if kept.role in ("position_table", "bias_table")]
    return {
        kept.name: stacked(kept, [checkpoint.read(name) for name in kept.sources]).float()
        for kept in tables
    }


def _state(plan: Plan, checkpoint: Checkpoint) -> State:
    """The tower's tensors in float32, under the names its library has for them."""
    inside = match_header(plan.family, plan.prefix, checkpoint.header, plan.copies)
    names = [*inside.dropped, *(name for sources in inside.kept.values() for name in sources)]
    state = {
        bare_name(plan.prefix, name): checkpoint.read(name).float()
        for name in names
        if checkpoint.header[name].dtype in FLOATS
    }
    if plan.family.library != "transformers":
        for kept in plan.kept:  # originals that timm reads under names of their own
            name = library_name(plan, kept)
            # What holds no value and is not in the file has its name all the same.
            held = checkpoint.read(kept.sources[0]) if kept.sources else stacked(kept, [])
            state[name] = held.float()
    return state


def _resized_by_timm(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    if old == new:
        return table
    from timm.layers import resample_abs_pos_embed

    flat = table.reshape(1, -1, table.shape[-1])
    prefix = flat.shape[1] - prod(old)
    resized: Tensor = resample_abs_pos_embed(flat, list(new), list(old), num_prefix_tokens=prefix)
    if table.ndim == 4:  # height and width apart
        return resized.reshape(1, *new, table.shape[-1])
    return resized.reshape(*table.shape[:-2], -1, table.shape[-1])


def _own_reference(
    understood: Understood, checkpoint: Checkpoint, grid: tuple[int, int]
) -> Reference:
    """The 2D form of our own network, for what its library cannot build."""
    form = understood.plan.architecture
    library = "transformers" if understood.plan.family.library == "transformers" else "timm"
    height, width = (n * step for n, step in zip(grid, form.stride, strict=True))
    native_size = [n * s for n, s in zip(form.native_grid, form.stride, strict=True)]
    windows = None if form.window is None else Windows(1, merge_depth=False)
    volume = (1, native_size[0], native_size[1])
    flat = Recipe("center", 1, volume, form.in_channels, windows=windows)
    network = network_in_memory(understood, checkpoint, flat, (1, height, width)).eval()
    return Reference(
        f"inflate-zoo's own 2D form ({library} cannot build this source)",
        lambda images: network.forward_features(images.unsqueeze(2)),
        None,
    )
