"""What timm says of its SwinTransformer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inflate_zoo.errors import UnsupportedModelError
from inflate_zoo.naming.configs.timm_network import TimmNetwork, activation_of, refuse_special

if TYPE_CHECKING:
    from inflate_zoo.naming.patterns import Matching

NEAREST = "nearest supported: timm_swin, e.g. --arch swin_base_patch4_window7_224"


def _describe(arch: str, model: Any) -> dict[str, Any]:
    """Fields that `converters/timm_swin.toml` reads.

    Raises:
        UnsupportedModelError: It is no SwinTransformer, or a special one.
    """
    from timm.models.swin_transformer import SwinTransformer, SwinTransformerBlock, WindowAttention
    from torch import nn

    if type(model) is not SwinTransformer:
        raise UnsupportedModelError(
            f"'{arch}' is timm's {type(model).__name__}, not a SwinTransformer", hint=NEAREST
        )
    blocks = [block for stage in model.layers for block in stage.blocks]
    first = [stage.blocks[0] for stage in model.layers]
    narrow = any(b.attn.qkv.out_features != 3 * b.attn.qkv.in_features for b in first)
    merges = [stage.downsample.norm for stage in model.layers[1:]]
    stem = [n for n in (model.patch_embed.norm,) if not isinstance(n, nn.Identity)]
    norms = [model.norm, *stem, *merges, *(n for b in first for n in (b.norm1, b.norm2))]
    odd = [
        what
        for what, plain in (
            ("blocks", all(type(block) is SwinTransformerBlock for block in blocks)),
            ("attention", all(type(block.attn) is WindowAttention for block in first)),
            ("windows larger than their grid", not any(b.always_partition for b in blocks)),
            ("width of heads", not narrow),
            ("norm", all(isinstance(norm, nn.LayerNorm) for norm in norms)),
            ("norm epsilons", len({getattr(norm, "eps", None) for norm in norms}) == 1),
        )
        if not plain
    ]
    refuse_special(arch, "Swin that is converted", odd, NEAREST)
    return {
        **staged_fields(arch, model),
        "windows": [list(block.attn.window_size) for block in first],
        "qkv_bias": first[0].attn.qkv.bias is not None,
        "stem_norm": bool(stem),
    }


def staged_fields(arch: str, model: Any) -> dict[str, Any]:
    """What timm's Swin and SwinV2 are described by alike."""
    first = [stage.blocks[0] for stage in model.layers]
    return {
        "embed_dim": model.patch_embed.proj.out_channels,
        "depths": [len(stage.blocks) for stage in model.layers],
        "num_heads": [block.attn.num_heads for block in first],
        "mlp_dims": [block.mlp.fc1.out_features for block in first],
        "in_chans": model.patch_embed.proj.in_channels,
        "patch_size": list(model.patch_embed.patch_size),
        "img_size": list(model.patch_embed.img_size),
        "activation": activation_of(arch, first[0].mlp.act),
        "norm_eps": model.norm.eps,
        "pool_dropped": model.head.global_pool.pool_type != "avg",
    }


def nothing_finetuned(_: Matching) -> dict[str, Any]:
    """Fine-tuning changes nothing of the encoder."""
    return {}


SWIN = TimmNetwork({}, _describe, nothing_finetuned, NEAREST)
