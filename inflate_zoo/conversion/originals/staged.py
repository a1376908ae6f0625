"""The 2D originals of networks of windows, as timm builds them, for the proof."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from inflate_zoo.conversion.originals.references import filled, named_by_timm
from inflate_zoo.errors import VerificationError
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.patterns import sources_of
from inflate_zoo.networks.staged import StagedForm
from inflate_zoo.networks.swin.config import SwinForm
from inflate_zoo.networks.swinv2.config import SwinV2Form

if TYPE_CHECKING:
    from torch import Tensor

    from inflate_zoo.conversion.originals.references import Asked

_COORDINATES = "relative_coords_table"


def timm_swin(asked: Asked) -> Any | None:
    """Timm's SwinTransformer; `None` where timm cannot take the tensors."""
    import torch
    from timm.models.swin_transformer import SwinTransformer

    form = asked.plan.architecture
    if not isinstance(form, SwinForm):
        return None
    if asked.understood.arch:
        return taken(asked, named_by_timm(asked), "timm_swin")
    with torch.device("meta"):
        model = SwinTransformer(
            **_sizes(asked, form), window_size=form.windows, qkv_bias=form.qkv_bias,
            norm_layer=partial(torch.nn.LayerNorm, eps=form.norm_eps),
        )  # fmt: skip
    return taken(asked, model, "timm_swin")


def timm_swinv2(asked: Asked) -> Any | None:
    """Timm's SwinTransformerV2; `None` where timm cannot take the tensors.

    Raises:
        VerificationError: The source measures offsets by other windows than it was taken to.
    """
    import torch
    from timm.models.swin_transformer_v2 import SwinTransformerV2

    form = asked.plan.architecture
    if not isinstance(form, SwinV2Form):
        return None
    if asked.understood.arch:
        return taken(asked, named_by_timm(asked), "timm_swinv2")
    with torch.device("meta"):
        model = SwinTransformerV2(
            **_sizes(asked, form), window_size=form.windows, qkv_bias=form.qv_bias,
            pretrained_window_sizes=form.pretrained_windows,
            norm_layer=partial(torch.nn.LayerNorm, eps=form.norm_eps),
        )  # fmt: skip
    made = taken(asked, model, "timm_swinv2")
    if made is not None:
        _compare_coordinates(asked, made)
    return made


def _compare_coordinates(asked: Asked, model: Any) -> None:
    """Hold the coordinates of offsets in a file against the model's own.

    Raises:
        VerificationError: They are others.
    """
    import torch

    for name, buffer in model.named_buffers():
        held = asked.state.get(name)
        if held is None or not name.endswith(_COORDINATES) or held.shape != buffer.shape:
            continue
        if not torch.allclose(held, buffer, atol=1e-4):
            raise VerificationError(
                "the source measures offsets by other windows than its own: it was fine-tuned",
                details=[f"differs: '{name}'"],
                hint="take the same weights as transformers or timm hold them, which state those "
                "windows, e.g. microsoft/swinv2-base-patch4-window12to16-192to256-22kto1k-ft",
            )


def _sizes(asked: Asked, form: StagedForm) -> dict[str, Any]:
    """Arguments that are the same for every network of stages."""
    return {
        "img_size": list(asked.size),
        "patch_size": form.patch_size,
        "in_chans": form.in_channels,
        "num_classes": 0,
        "embed_dim": form.embed_dim,
        "depths": form.depths,
        "num_heads": form.num_heads,
        "mlp_ratio": form.mlp_dims[0] / form.embed_dim,
    }


def taken(asked: Asked, model: Any, family: str) -> Any | None:
    """A model with the tensors under timm's own names; `None` where they are not its own."""
    spelled = families_by_name()[family]
    state = {sources_of(spelled, "", kept.name)[0]: asked.held(kept) for kept in asked.plan.kept}
    wanted = model.state_dict()
    if any(name not in state or state[name].shape != wanted[name].shape for name in wanted):
        return None
    return filled(model, {name: state[name] for name in wanted})


def tokens_of(model: Any, images: Tensor) -> Tensor:
    """The last grid (B, h, w, E), or its tokens, as tokens (B, h w, E)."""
    tokens: Tensor = model.forward_features(images).flatten(1, -2)
    return tokens
