"""What timm says of its SwinTransformer and SwinTransformerV2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inflate_zoo.naming.configs.timm_network import (
    TimmNetwork,
    activation_of,
    refuse_special,
    require_class,
)

if TYPE_CHECKING:
    from inflate_zoo.naming.patterns import Matching

NEAREST_V2 = "nearest supported: timm_swinv2, e.g. --arch swinv2_base_window8_256"
NEAREST = "nearest supported: timm_swin, e.g. --arch swin_base_patch4_window7_224"


def _describe(arch: str, model: Any) -> dict[str, Any]:
    """Fields that `converters/timm_swin.toml` reads.

    Raises:
        UnsupportedModelError: It is no SwinTransformer, or a special one.
    """
    from timm.models.swin_transformer import SwinTransformer, SwinTransformerBlock, WindowAttention
    from torch import nn

    require_class(arch, model, (SwinTransformer,), "a SwinTransformer", NEAREST)
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
        **_fields(arch, model),
        "windows": [list(block.attn.window_size) for block in first],
        "qkv_bias": first[0].attn.qkv.bias is not None,
        "stem_norm": bool(stem),
    }


def _describe_v2(arch: str, model: Any) -> dict[str, Any]:
    """Fields that `converters/timm_swinv2.toml` reads.

    Raises:
        UnsupportedModelError: It is no SwinTransformerV2, or a special one.
    """
    from timm.models.swin_transformer_v2 import (
        SwinTransformerV2,
        SwinTransformerV2Block,
        WindowAttention,
    )
    from torch import nn

    require_class(arch, model, (SwinTransformerV2,), "a SwinTransformerV2", NEAREST_V2)
    blocks = [block for stage in model.layers for block in stage.blocks]
    first = [stage.blocks[0] for stage in model.layers]
    merges = [stage.downsample.norm for stage in model.layers[1:]]
    norms = [model.norm, model.patch_embed.norm, *merges]
    norms += [n for b in first for n in (b.norm1, b.norm2)]
    odd = [
        what
        for what, plain in (
            ("blocks", all(type(block) is SwinTransformerV2Block for block in blocks)),
            ("attention", all(type(block.attn) is WindowAttention for block in first)),
            ("windows larger than their grid", not any(b.always_partition for b in blocks)),
            ("norm", all(isinstance(norm, nn.LayerNorm) for norm in norms)),
            ("norm epsilons", len({getattr(norm, "eps", None) for norm in norms}) == 1),
        )
        if not plain
    ]
    refuse_special(arch, "SwinV2 that is converted", odd, NEAREST_V2)
    return {
        **_fields(arch, model),
        "windows": [list(block.attn.window_size) for block in first],
        "pretrained_windows": [list(block.attn.pretrained_window_size) for block in first],
        "qv_bias": first[0].attn.q_bias is not None,
    }


def _fields(arch: str, model: Any) -> dict[str, Any]:
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


def _nothing(_: Matching) -> dict[str, Any]:
    """Fine-tuning changes nothing of the encoder."""
    return {}


SWIN = TimmNetwork({}, _describe, _nothing, NEAREST)
SWINV2 = TimmNetwork({}, _describe_v2, _nothing, NEAREST_V2)
