"""The 2D original of DINOv3's own files, as timm builds it and reads their names, for the proof."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from inflate_zoo.conversion.originals.references import filled
from inflate_zoo.errors import VerificationError
from inflate_zoo.networks.dinov3.config import Dinov3Form

if TYPE_CHECKING:
    from inflate_zoo.conversion.originals.references import Asked, State

# Published files hold periods rounded to bfloat16, of 8 bits; timm and transformers compute them.
_ROUNDED = 1e-2
_MASK = ".attn.qkv.bias_mask"


def timm_dinov3(asked: Asked) -> Any | None:
    """Timm's Eva; `None` where timm cannot take the tensors.

    Raises:
        VerificationError: The source has another rotary base, or masks other biases than the keys'.
    """
    from timm.models.eva import checkpoint_filter_fn

    form = asked.plan.architecture
    if not isinstance(form, Dinov3Form):
        return None
    _compare_periods(asked.state, form)
    _compare_masks(asked.state)
    model = _of_form(form, asked.size)
    wanted = model.state_dict()
    state: State = checkpoint_filter_fn(asked.state, model)
    if any(name not in state or state[name].shape != wanted[name].shape for name in wanted):
        return None
    return filled(model, {name: state[name] for name in wanted})


def _of_form(form: Dinov3Form, size: tuple[int, int]) -> Any:
    import torch
    from timm.models.eva import Eva

    with torch.device("meta"):
        return Eva(
            img_size=size, patch_size=form.patch_size, in_chans=form.in_channels, num_classes=0,
            global_pool="avg" if form.pool == "mean" else "token", embed_dim=form.embed_dim,
            depth=form.depth, num_heads=form.num_heads, qkv_bias=form.qv_bias,
            # timm rounds its product down; a gate of its own has another alignment than none.
            mlp_ratio=(form.mlp_dim + 0.5) / form.embed_dim, swiglu_mlp=form.gated,
            swiglu_align_to=1, init_values=1.0,
            norm_layer=partial(torch.nn.LayerNorm, eps=form.norm_eps), use_fc_norm=False,
            num_reg_tokens=form.reg_tokens, use_abs_pos_emb=False, use_rot_pos_emb=True,
            rope_type="dinov3", rope_temperature=form.rotary_theta, rope_rotate_half=True,
        )  # fmt: skip


def _compare_periods(state: State, form: Dinov3Form) -> None:
    """Hold the rotary periods in a file against those of the base that is taken for granted.

    Raises:
        VerificationError: They are others.
    """
    import torch

    name = "rope_embed.periods"
    if (held := state.get(name)) is None:
        return
    ranks = torch.arange(len(held), dtype=torch.float32)
    own = form.rotary_theta ** (ranks / len(held))
    if not torch.allclose(held, own, rtol=_ROUNDED, atol=0):
        raise VerificationError(
            f"the source's rotary periods are not those of base {form.rotary_theta:g}, which all "
            "published DINOv3 have: it was trained with another one",
            details=[f"'{name}' goes from {held.min():.4g} to {held.max():.4g}, where that base "
                     f"goes from {own.min():.4g} to {own.max():.4g}"],
            hint="save it with transformers' DINOv3ViTModel, whose config.json states rope_theta, "
            "and convert that folder",
        )  # fmt: skip


def _compare_masks(state: State) -> None:
    """Hold the masks of packed biases against 1 for query and value and 0 for the key.

    Raises:
        VerificationError: One is another, as of keys that have a bias.
    """
    import torch

    for name, held in state.items():
        if not name.endswith(_MASK):
            continue
        query, key, value = torch.ones_like(held).chunk(3)
        if not torch.equal(held, torch.cat([query, 0 * key, value])):
            raise VerificationError(
                "the source does not mask the bias of keys, and of these alone",
                details=[f"'{name}' is not 1 for query and value and 0 for the key"],
                hint="a DINOv3 whose keys have a bias is not converted; masks that hold NaN were "
                "never initialised: take a checkpoint of a training that began",
            )
