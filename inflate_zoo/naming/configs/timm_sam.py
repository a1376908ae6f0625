"""What timm says of its VisionTransformerSAM."""

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

NEAREST = "nearest supported: timm_sam, e.g. --arch samvit_base_patch16"


def _describe(arch: str, model: Any) -> dict[str, Any]:
    """Fields that `converters/timm_sam.toml` reads.

    Which blocks have windows is left out where one block stands for as many as are stated.

    Raises:
        UnsupportedModelError: It is no VisionTransformerSAM, or a special one.
    """
    from timm.layers import LayerNorm2d, Mlp, PatchEmbed
    from timm.models.vision_transformer_sam import Attention, VisionTransformerSAM
    from torch import nn

    require_class(arch, model, (VisionTransformerSAM,), "a VisionTransformerSAM", NEAREST)
    block, neck = model.blocks[0], list(model.neck.children())
    norms = [block.norm1, block.norm2]
    odd = [
        what
        for what, plain in (
            ("stem", type(model.patch_embed) is PatchEmbed),
            ("norm before the blocks", isinstance(model.norm_pre, nn.Identity)),
            ("absolute positions", model.pos_embed is not None),
            ("relative positions", block.attn.use_rel_pos),
            ("attention", type(block.attn) is Attention),
            ("norm of queries", isinstance(block.attn.q_norm, nn.Identity)),
            ("layer scale", isinstance(block.ls1, nn.Identity)),
            ("MLP", type(block.mlp) is Mlp and isinstance(block.mlp.norm, nn.Identity)),
            ("norm", all(isinstance(norm, nn.LayerNorm) for norm in norms)),
            ("neck", len(neck) == 4 and all(type(norm) is LayerNorm2d for norm in neck[1::2])),
        )
        if not plain
    ]
    refuse_special(arch, "SAM that is converted", odd, NEAREST)
    sides = [each.window_size for each in model.blocks]
    free = [index for index, side in enumerate(sides) if not side]
    return {
        **({"window_size": max(sides)} if any(sides) else {}),
        **({"global_attn_indexes": free} if len(sides) > 1 else {}),
        "embed_dim": model.embed_dim,
        "depth": len(model.blocks),
        "num_heads": block.attn.num_heads,
        "in_chans": model.patch_embed.proj.in_channels,
        "patch_size": list(model.patch_embed.patch_size),
        "img_size": list(model.patch_embed.img_size),
        "mlp_dim": block.mlp.fc1.out_features,
        "activation": activation_of(arch, block.mlp.act),
        "norm_eps": block.norm1.eps,
        "neck_eps": neck[1].eps,
        "neck_dim": neck[0].out_channels,
        "qkv_bias": block.attn.qkv.bias is not None,
        "pool_dropped": model.head.global_pool.pool_type != "avg",
    }


def _nothing(_: Matching) -> dict[str, Any]:
    """Fine-tuning changes nothing of the encoder."""
    return {}


SAM = TimmNetwork({}, _describe, _nothing, NEAREST)
