"""The 2D originals as timm builds them, for the proof."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from inflate_zoo.conversion.originals import dinov3, sam, staged
from inflate_zoo.conversion.originals.references import (
    Asked,
    CannotError,
    Reference,
    State,
    called,
    filled,
    mean_of_tokens,
    named_by_timm,
)
from inflate_zoo.files.foreign import parsing
from inflate_zoo.networks.aimv2.config import Aimv2Form
from inflate_zoo.networks.beit.config import BeitForm
from inflate_zoo.networks.vit.config import VitForm


def timm_vit(asked: Asked) -> Reference | None:
    """A vision transformer of timm's; `None` where timm cannot take its tensors."""
    import torch
    from timm.models.vision_transformer import VisionTransformer

    form, arch = asked.plan.architecture, asked.understood.arch
    if isinstance(form, Aimv2Form):
        return timm_as_named(asked)
    if not isinstance(form, VitForm):
        return None
    if arch:
        model = named_by_timm(asked)
    else:
        norm = partial(torch.nn.LayerNorm, eps=form.norm_eps)
        with torch.device("meta"):
            model = VisionTransformer(
                img_size=list(asked.size), patch_size=form.patch_size, in_chans=form.in_channels,
                num_classes=0, embed_dim=form.embed_dim, depth=form.depth,
                num_heads=form.num_heads, mlp_ratio=form.mlp_dim / form.embed_dim,
                qkv_bias=form.qkv_bias, norm_layer=norm, reg_tokens=form.reg_tokens,
                no_embed_class=form.reg_tokens > 0, init_values=1.0 if form.layer_scale else None,
                pre_norm=form.pre_norm, act_layer=form.activation,
                global_pool="avg" if form.pool == "mean" else "token", fc_norm=False,
            )  # fmt: skip
    wanted = model.state_dict()
    state = _folded(_as_timm_reads(asked.state, model), wanted)
    if any(name not in state for name in wanted):
        return None
    model.load_state_dict({name: state[name] for name in wanted}, strict=True, assign=True)
    return _of_timm(model.eval(), asked)


def _as_timm_reads(state: State, model: Any) -> State:
    """Tensors under OpenCLIP's names as timm itself reads such files; all others as they are."""
    from timm.models.vision_transformer import checkpoint_filter_fn

    if "class_embedding" not in state:
        return state
    # The table is at the grid already: timm, which goes by published grids, might resize it.
    table = "positional_embedding"
    others = {
        f"visual.{name}".replace(".ls_", ".ls"): held  # layer scale, which timm does not rename
        for name, held in state.items()
        if name != table
    }
    read: State = checkpoint_filter_fn(others, model)
    return {**read, "pos_embed": state[table].unsqueeze(0)}


def _folded(state: State, wanted: State) -> State:
    """The cls token's row of the table added to the token, where timm's table has none for it."""
    table, token = state["pos_embed"], state.get("cls_token")
    if token is None or table.shape[1] != wanted["pos_embed"].shape[1] + 1:
        return state
    return {**state, "cls_token": token + table[:, :1], "pos_embed": table[:, 1:]}


def timm_beit(asked: Asked) -> Reference | None:
    """BEiT of timm's, its bias tables resized by timm; `None` where it cannot take its tensors."""
    import torch
    from timm.models.beit import Beit

    form, arch, size = asked.plan.architecture, asked.understood.arch, list(asked.size)
    if not isinstance(form, BeitForm):
        return None
    if arch:
        model = named_by_timm(asked)
    else:
        with torch.device("meta"):
            model = Beit(
                img_size=size, patch_size=form.patch_size, in_chans=form.in_channels,
                num_classes=0, global_pool="avg" if form.pool == "mean" else "token",
                embed_dim=form.embed_dim, depth=form.depth, num_heads=form.num_heads,
                qkv_bias=form.qv_bias, mlp_ratio=form.mlp_dim / form.embed_dim,
                norm_layer=partial(torch.nn.LayerNorm, eps=form.norm_eps),
                init_values=1.0 if form.layer_scale else None, use_abs_pos_emb=False,
                use_rel_pos_bias=form.block_tables, use_shared_rel_pos_bias=form.shared_table,
                use_fc_norm=form.final_norm == "pooled",
            )  # fmt: skip
    wanted = model.state_dict()
    state = _tables_by_timm(asked, wanted)
    if state is None or any(name not in state for name in wanted):
        return None
    return _of_timm(filled(model, {name: state[name] for name in wanted}), asked)


def timm_as_named(asked: Asked) -> Reference | None:
    """A model of timm's that the source names; `None` where it cannot take its tensors."""
    model = named_by_timm(asked)
    wanted = model.state_dict()
    if any(name not in asked.state for name in wanted):
        return None
    return _of_timm(filled(model, {name: asked.state[name] for name in wanted}), asked)


def timm_eva(asked: Asked) -> Reference | None:
    """DINOv3 or EVA-02 of timm's; `None` where timm cannot take its tensors."""
    if asked.understood.arch:
        return timm_as_named(asked)
    model = dinov3.timm_dinov3(asked)
    return None if model is None else _of_timm(model, asked)


def _of_timm(model: Any, asked: Asked) -> Reference:
    return Reference(
        called(model, "timm"),
        model.forward_features,
        None if asked.plan.repooled else partial(model.forward_head, pre_logits=True),
    )


def _tables_by_timm(asked: Asked, wanted: State) -> State | None:
    """The tensors, bias tables at the grid; `None` where timm resizes none, as of no square."""
    from timm.layers import resize_rel_pos_bias_table

    native, grid = asked.plan.architecture.native_grid, asked.grid
    if native == grid:
        return asked.state
    if native[0] != native[1]:
        return None
    resize = partial(resize_rel_pos_bias_table, new_window_size=grid)
    with warnings.catch_warnings():  # of how timm calls torch
        warnings.simplefilter("ignore")
        try:
            with parsing(lambda _: CannotError()):
                tables = {
                    name: resize(table, new_bias_shape=tuple(wanted[name].shape))
                    for name, table in asked.state.items()
                    if name.endswith("relative_position_bias_table") and name in wanted
                }
        except CannotError:
            return None
    return {**asked.state, **tables}


def timm_staged(asked: Asked, build: Callable[[Asked], Any | None]) -> Reference | None:
    """Swin of timm's; `None` where it cannot take its tensors."""
    model = build(asked)
    if model is None:
        return None
    pooled = None if asked.plan.repooled else mean_of_tokens
    return Reference(called(model, "timm"), partial(staged.tokens_of, model), pooled)


def timm_sam(asked: Asked) -> Reference | None:
    """SAM's encoder of timm, which pools by a mean; `None` where it cannot take its tensors."""
    model = sam.timm_sam(asked)
    if model is None:
        return None
    by_timm = asked.plan.family.library == "timm" and not asked.plan.repooled
    return Reference(
        called(model, "timm"),
        lambda images: sam.tokens_of(model.forward_features(images)),
        mean_of_tokens if by_timm else None,
    )
