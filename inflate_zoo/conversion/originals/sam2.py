"""The 2D original of SAM 2's image encoder, as timm builds it, for the proof."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from inflate_zoo.conversion.originals.staged import taken
from inflate_zoo.naming.configs.timm_models import create_timm
from inflate_zoo.networks.sam2.config import Sam2Form

if TYPE_CHECKING:
    from inflate_zoo.conversion.originals.references import Asked


def timm_hiera(asked: Asked) -> Any | None:
    """Timm's HieraDet; `None` where timm cannot take the tensors. It takes images of any size."""
    from torch import nn

    form, understood = asked.plan.architecture, asked.understood
    if not isinstance(form, Sam2Form):
        return None
    if understood.arch:
        fields = {**understood.arguments, "num_classes": 0}
        model = create_timm(asked.plan.family, understood.arch, fields)
    else:
        model = _of_form(form)
    model.head = nn.Identity()  # it stands behind the tokens
    return taken(asked, model, "timm_sam2")


def _of_form(form: Sam2Form) -> Any:
    import torch
    from timm.models.hieradet_sam2 import HieraDet

    height, width = form.kernel
    with torch.device("meta"):
        return HieraDet(
            in_chans=form.in_channels, num_classes=0, embed_dim=form.embed_dim,
            num_heads=form.num_heads[0], patch_kernel=form.kernel, patch_stride=form.patch_size,
            patch_padding=(height // 2, width // 2), q_pool=len(form.depths) - 1,
            stages=form.depths, global_pos_size=form.position_grid, window_spec=form.windows,
            global_att_blocks=form.global_blocks, weight_init="skip", fix_init=False,
            norm_layer=partial(torch.nn.LayerNorm, eps=form.norm_eps),
        )  # fmt: skip
