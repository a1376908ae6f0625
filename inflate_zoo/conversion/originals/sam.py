"""The 2D originals of SAM's image encoder, as timm and transformers build them, for the proof.

Both are built at the size of their tables and take smaller images: they resize the tables of
relative positions themselves in every pass. The position table comes at the grid that is asked for.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from inflate_zoo.conversion.originals.references import filled
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.configs.timm_models import create_timm
from inflate_zoo.naming.patterns import sources_of
from inflate_zoo.networks.sam.config import SamForm

if TYPE_CHECKING:
    from torch import Tensor

    from inflate_zoo.conversion.originals.references import Asked, State


def timm_sam(asked: Asked) -> Any | None:
    """Timm's VisionTransformerSAM; `None` where timm cannot take the tensors."""
    form, understood = asked.plan.architecture, asked.understood
    if not isinstance(form, SamForm):
        return None
    if understood.arch:
        fields = {**understood.arguments, "num_classes": 0}
        model = create_timm(asked.plan.family, understood.arch, fields)
    else:
        model = _of_form(form)
    spelled = families_by_name()["timm_sam"]
    state = {sources_of(spelled, "", kept.name)[0]: asked.held(kept) for kept in asked.plan.kept}
    return _with_tensors(model, state)


def _of_form(form: SamForm) -> Any:
    import torch
    from timm.models.vision_transformer_sam import VisionTransformerSAM

    sides = [grid * step for grid, step in zip(form.position_grid, form.patch_size, strict=True)]
    with torch.device("meta"):
        return VisionTransformerSAM(
            img_size=sides, patch_size=form.patch_size, in_chans=form.in_channels, num_classes=0,
            embed_dim=form.embed_dim, depth=form.depth, num_heads=form.num_heads,
            mlp_ratio=form.mlp_dim / form.embed_dim, qkv_bias=form.qkv_bias,
            norm_layer=partial(torch.nn.LayerNorm, eps=form.norm_eps), use_rel_pos=True,
            window_size=form.window_size, global_attn_indexes=form.global_blocks,
            neck_chans=form.neck_dim,
        )  # fmt: skip


def _with_tensors(model: Any, state: State) -> Any | None:
    """A model of timm's with its tensors, the position table of whatever grid it is."""
    from torch import nn

    wanted = model.state_dict()
    others = [name for name in wanted if name != "pos_embed"]
    if any(name not in state or state[name].shape != wanted[name].shape for name in others):
        return None
    model.pos_embed = nn.Parameter(state["pos_embed"], requires_grad=False)
    return filled(model, {name: state[name] for name in wanted})


def tokens_of(embeddings: Tensor) -> Tensor:
    """The neck's map (B, F, h, w) as tokens (B, h w, F)."""
    return embeddings.flatten(2).mT
