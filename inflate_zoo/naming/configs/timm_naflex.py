"""What timm says of its NaFlexVit."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from inflate_zoo.naming.configs.timm_network import (
    TimmNetwork,
    activation_of,
    final_norm_of,
    refuse_special,
    require_class,
)

if TYPE_CHECKING:
    from inflate_zoo.naming.patterns import Matching

NEAREST = "nearest supported: timm_naflex, e.g. --arch naflexvit_base_patch16_siglip"


def _describe(arch: str, model: Any) -> dict[str, Any]:
    """Fields that `converters/timm_naflex.toml` reads.

    Raises:
        UnsupportedModelError: It is no NaFlexVit of equal plain blocks with one table of positions.
    """
    from timm.models.naflexvit import NaFlexVit
    from torch import nn

    require_class(arch, model, (NaFlexVit,), "a NaFlexVit", NEAREST)
    refuse_special(arch, "NaFlexVit that is converted", _odd(model), _nearest(arch))
    embeds, block = model.embeds, model.blocks[0]
    pools = {"token": "cls", "avg": "mean"}
    return {
        "embed_dim": model.embed_dim,
        "depth": len(model.blocks),
        "num_heads": block.attn.num_heads,
        "in_chans": embeds.in_chans,
        "patch_size": list(embeds.patch_size),
        "position_rows": prod(embeds.pos_embed.shape[1:3]),
        "position_resizing": _resizing(embeds),
        "mlp_dim": block.mlp.fc2.in_features,
        "activation": activation_of(arch, block.mlp.act),
        "norm_eps": block.norm1.eps,
        "qkv_bias": block.attn.qkv.bias is not None,
        "layer_scale": not isinstance(block.ls1, nn.Identity),
        "class_token": model.has_class_token,
        "reg_tokens": model.num_reg_tokens,
        "pre_norm": isinstance(model.norm_pre, nn.LayerNorm),
        "final_norm": final_norm_of(model),
        "pool": pools.get(model.global_pool, "mean"),
        "pool_dropped": model.global_pool not in pools
        or (model.pool_include_prefix and model.num_prefix_tokens > 0),
    }


def _nearest(arch: str) -> str:
    """What to do instead: of RADIO, timm has the same weights with the table of one grid."""
    from timm.models import get_pretrained_cfg

    plain = arch.removeprefix("naflex")
    published = get_pretrained_cfg(plain) if "radio" in arch and plain != arch else None
    if published is None or not published.hf_hub_id:
        return NEAREST
    return f"take the same weights with positions of one grid: {published.hf_hub_id}"


def _resizing(embeds: Any) -> str | None:
    """Our name of how it resizes its table; `None` where we have none."""
    # What early releases do not tell they do not do otherwise.
    if getattr(embeds, "pos_embed_align_corners", False):
        return None
    smooth = getattr(embeds, "pos_embed_antialias", True)
    told = (embeds.pos_embed_interp_mode, smooth, embeds.pos_embed_ar_preserving)
    known = {("bicubic", True, False): "bicubic", ("bilinear", True, False): "bilinear"}
    return {**known, ("bilinear", False, True): "cropped"}.get(told)


def _resized(embeds: Any) -> str:
    """How it resizes its table, as timm calls it."""
    told = ("ar_preserving", "antialias", "align_corners")
    flags = [name for name in told if getattr(embeds, f"pos_embed_{name}", False)]
    return ", ".join([embeds.pos_embed_interp_mode, *(f"{name}=True" for name in flags)])


def _odd(model: Any) -> list[str]:
    """What is not plain in it."""
    from timm.models.vision_transformer import Attention, Block
    from torch import nn

    embeds, first = model.embeds, model.blocks[0]
    attention, mlp = getattr(first, "attn", None), getattr(first, "mlp", None)
    inner = [getattr(attention, name, None) for name in ("q_norm", "k_norm", "norm")]
    inner.append(getattr(mlp, "norm", None))
    norms = [getattr(first, name, None) for name in ("norm1", "norm2")]
    norms += [norm for norm in (model.norm_pre, model.norm, model.fc_norm) if norm]
    norms = [norm for norm in norms if not isinstance(norm, nn.Identity)]
    plain = {
        "stem": embeds.is_linear
        and getattr(embeds, "channels_last", True)
        and embeds.norm_input is None,
        "norm in the stem": isinstance(embeds.norm, nn.Identity),
        "position table": embeds.pos_embed is not None and model.rope is None,
        f"resizing of its table of positions ({_resized(embeds)})": embeds.pos_embed is None
        or _resizing(embeds) is not None,
        "blocks": all(type(block) is Block for block in model.blocks),
        "attention": type(attention) is Attention,
        "norm inside attention or MLP": all(
            part is None or isinstance(part, nn.Identity) for part in inner
        ),
        "MLP": type(mlp).__name__ == "Mlp",
        "norm": all(isinstance(norm, nn.LayerNorm) for norm in norms),
        "norm epsilons": len({getattr(norm, "eps", None) for norm in norms}) == 1,
    }
    return [what for what, is_plain in plain.items() if not is_plain]


def _finetuned(matching: Matching) -> dict[str, Any]:
    """What fine-tuning changed of a bare architecture: it norms the mean of the tokens."""
    pooled = "fc_norm.weight" in matching.kept and "norm.weight" not in matching.kept
    return {"global_pool": "avg", "fc_norm": True} if pooled else {}


NAFLEX = TimmNetwork({}, _describe, _finetuned, NEAREST, "fc_norm")
