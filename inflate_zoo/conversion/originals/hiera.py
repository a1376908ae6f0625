"""The 2D originals of Hiera and of SAM 2's image encoder, as timm builds them, for the proof."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from inflate_zoo.conversion.originals.references import library_name, named_by_timm
from inflate_zoo.conversion.originals.staged import taken
from inflate_zoo.naming.configs.timm_models import create_timm
from inflate_zoo.networks.hiera.config import HieraForm

if TYPE_CHECKING:
    from inflate_zoo.conversion.originals.references import Asked


def timm_hiera(asked: Asked) -> Any | None:
    """Timm's Hiera; `None` where timm cannot take the tensors.

    It takes images of the size alone that it was built for, so its table is resized to that here,
    as transformers does it.
    """
    import torch
    import torch.nn.functional as F  # noqa: N812 - the name everybody uses
    from timm.models.hiera import Hiera

    form = asked.plan.architecture
    if not isinstance(form, HieraForm):
        return None
    (table,) = (kept for kept in asked.plan.kept if kept.name == "pos_embed")
    held = asked.held(table).reshape(1, *form.position_grid, -1).permute(0, 3, 1, 2)
    grid = [side // step for side, step in zip(asked.size, form.patch_size, strict=True)]
    resized = F.interpolate(held, size=grid, mode="bicubic").flatten(2).mT
    told = replace(asked, state={**asked.state, library_name(asked.plan, table): resized})
    if asked.understood.arch:
        model = named_by_timm(told)
    else:
        starts = [*form.first_blocks[1:], sum(form.depths) - 1]
        with torch.device("meta"):
            model = Hiera(
                **_sizes(form), img_size=asked.size, mask_unit_size=(form.window, form.window),
                mask_unit_attn=[block not in form.global_blocks for block in starts],
            )  # fmt: skip
    model.head = torch.nn.Identity()  # it stands behind the tokens
    return taken(told, model, "timm_hiera")


def timm_hieradet(asked: Asked) -> Any | None:
    """Timm's HieraDet; `None` where timm cannot take the tensors. It takes images of any size."""
    from torch import nn

    form, understood = asked.plan.architecture, asked.understood
    if not isinstance(form, HieraForm):
        return None
    if understood.arch:
        fields = {**understood.arguments, "num_classes": 0}
        model = create_timm(asked.plan.family, understood.arch, fields)
    else:
        model = _of_form(form)
    model.head = nn.Identity()  # it stands behind the tokens
    return taken(asked, model, "timm_sam2")


def _of_form(form: HieraForm) -> Any:
    import torch
    from timm.models.hieradet_sam2 import HieraDet

    with torch.device("meta"):
        return HieraDet(
            **_sizes(form), global_pos_size=form.position_grid, window_spec=form.windows,
            global_att_blocks=form.global_blocks,
        )  # fmt: skip


def _sizes(form: HieraForm) -> dict[str, Any]:
    """Arguments that are the same for both."""
    from torch import nn

    return {
        "in_chans": form.in_channels,
        "num_classes": 0,
        "embed_dim": form.embed_dim,
        "num_heads": form.num_heads[0],
        "stages": form.depths,
        "q_pool": len(form.depths) - 1,
        "patch_kernel": form.kernel,
        "patch_stride": form.patch_size,
        "patch_padding": tuple(side // 2 for side in form.kernel),
        "norm_layer": partial(nn.LayerNorm, eps=form.norm_eps),
        "weight_init": "skip",
        "fix_init": False,
    }
