"""The 2D originals, as timm or transformers build them, for the proof."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from inflate_zoo.files.dtypes import FLOATS
from inflate_zoo.files.foreign import parsing
from inflate_zoo.inflation.recipe import Recipe
from inflate_zoo.inflation.tensors import network_in_memory
from inflate_zoo.naming.patterns import bare_name, match_header, sources_of
from inflate_zoo.naming.timm_models import create_timm

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from inflate_zoo.files.checkpoints import Checkpoint
    from inflate_zoo.naming.plan import Kept, Plan
    from inflate_zoo.naming.understanding import Understood


State = Mapping[str, "Tensor"]


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


class _CannotError(Exception):
    """A library cannot take tensors and fields that are in order."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A 2D original.

    Attributes:
        built_by: Library, version and class.
        tokens: Images [batch, channels, height, width] to tokens [batch, prefix + patches, dim].
        pooled: Tokens to the pooled vector [batch, dim], or `None` where the original's is dropped.
        table: The position table, as the library holds it.
    """

    built_by: str
    tokens: Callable[[Tensor], Tensor]
    pooled: Callable[[Tensor], Tensor] | None
    table: Tensor


def timm_reference(
    plan: Plan, state: State, grid: tuple[int, int], arch: str, arguments: Mapping[str, Any]
) -> Reference | None:
    """The original of a timm or DINO checkpoint; `None` where timm cannot take its tensors.

    Args:
        plan: The plan of the source.
        state: Source name without prefix to float32 tensor, the table already at `grid`.
        grid: Token grid (height, width) the reference is to take.
        arch: timm's architecture name; empty for DINO's own files.
        arguments: Arguments of `timm.create_model`.
    """
    import torch
    from timm.models.vision_transformer import VisionTransformer

    form = plan.architecture
    size = [grid[0] * form.patch_size[0], grid[1] * form.patch_size[1]]
    if arch:
        model = create_timm(arch, {**arguments, "num_classes": 0, "img_size": size})
    else:
        norm = partial(torch.nn.LayerNorm, eps=form.norm_eps)
        with torch.device("meta"):
            model = VisionTransformer(
                img_size=size, patch_size=form.patch_size, in_chans=form.in_channels,
                num_classes=0, embed_dim=form.embed_dim, depth=form.depth,
                num_heads=form.num_heads, mlp_ratio=form.mlp_dim / form.embed_dim,
                qkv_bias=form.qkv_bias, norm_layer=norm, reg_tokens=form.reg_tokens,
                no_embed_class=form.reg_tokens > 0, init_values=1.0 if form.layer_scale else None,
            )  # fmt: skip
    wanted = model.state_dict()
    state = _folded(state, wanted)
    if any(name not in state for name in wanted):
        return None
    model.load_state_dict({name: state[name] for name in wanted}, strict=True, assign=True)
    model.eval()
    return Reference(
        f"timm {version('timm')} {type(model).__name__}",
        model.forward_features,
        None if plan.repooled else partial(model.forward_head, pre_logits=True),
        state["pos_embed"],
    )


def _folded(state: State, wanted: State) -> State:
    """The cls token's row of the table added to the token, where timm's table has none for it."""
    table, token = state["pos_embed"], state.get("cls_token")
    if token is None or table.shape[1] != wanted["pos_embed"].shape[1] + 1:
        return state
    return {**state, "cls_token": token + table[:, :1], "pos_embed": table[:, 1:]}


def transformers_reference(
    plan: Plan, state: State, grid: tuple[int, int], raw: Mapping[str, Any]
) -> Reference | None:
    """The original of a transformers checkpoint; `None` where transformers cannot take its tensors.

    Args:
        plan: The plan of the source.
        state: Source name without prefix to float32 tensor, the table already at `grid`.
        grid: Token grid (height, width) the reference is to take.
        raw: Of the config's part on the image tower, what the gate admits.
    """
    import torch
    import transformers

    form, kind = plan.architecture, getattr(transformers, plan.scheme.reference)
    size = tuple(side * step for side, step in zip(grid, form.patch_size, strict=True))
    fields = {**raw, "image_size": size[0] if size[0] == size[1] else size}
    unused = ("pooler.", "head.", "embeddings.mask_token")
    names = [kept.sources[0] for kept in plan.kept if kept.name == "pos_embed"]
    table = state[bare_name(plan.prefix, names[0])]
    encoder = {name: tensor for name, tensor in state.items() if not name.startswith(unused)}
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        with parsing(lambda _: _CannotError()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = kind.config_class(**fields)
            model, info = kind.from_pretrained(
                None, config=config, state_dict=encoder, dtype=torch.float32,
                attn_implementation="eager", output_loading_info=True,
            )  # fmt: skip
    except _CannotError:
        return None
    finally:
        transformers.logging.set_verbosity(verbosity)
        if bars:
            transformers.utils.logging.enable_progress_bar()
    lacking = [name for name in info["missing_keys"] if not name.startswith(unused)]
    if lacking or info["mismatched_keys"] or info.get("error_msgs"):
        return None
    return Reference(
        f"transformers {version('transformers')} {plan.scheme.reference}",
        partial(_transformers_tokens, model.eval(), grid[0] * grid[1]),
        None,
        table,
    )


def _transformers_tokens(model: Any, patches: int, images: torch.Tensor) -> torch.Tensor:
    import torch

    kind, extra = type(model).__name__, {}
    if kind == "ViTMAEModel":  # it would mask and shuffle: keep every patch, in order
        model.config.mask_ratio = 0.0
        extra["noise"] = torch.arange(float(patches)).expand(images.shape[0], -1)
    tokens: torch.Tensor = model(images, **extra).last_hidden_state
    if kind == "CLIPVisionModel":  # it norms the pooled token only; ours norm all of them
        tokens = getattr(model, "vision_model", model).post_layernorm(tokens)
    return tokens
