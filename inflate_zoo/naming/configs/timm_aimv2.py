"""What timm says of AIMv2, which is one of its VisionTransformers."""

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

NEAREST = "nearest supported: timm_aimv2, e.g. --arch aimv2_large_patch14_224"


def _describe(arch: str, model: Any) -> dict[str, Any]:
    """Fields that `converters/timm_aimv2.toml` reads.

    Raises:
        UnsupportedModelError: It is no VisionTransformer of AIMv2's kind.
    """
    from timm.models.vision_transformer import VisionTransformer

    require_class(arch, model, (VisionTransformer,), "a VisionTransformer", NEAREST)
    refuse_special(arch, "AIMv2", _odd(model), NEAREST)
    block = model.blocks[0]
    return {
        "embed_dim": model.embed_dim,
        "depth": len(model.blocks),
        "num_heads": block.attn.num_heads,
        "in_chans": model.patch_embed.proj.in_channels,
        "patch_size": list(model.patch_embed.patch_size),
        "img_size": list(model.patch_embed.img_size),
        "mlp_dim": block.mlp.fc2.in_features,
        "activation": activation_of(arch, block.mlp.act),
        "norm_eps": block.norm1.eps,
        "pool_dropped": model.global_pool != "avg",
    }


def _odd(model: Any) -> list[str]:
    """What is not AIMv2's."""
    from timm.layers import PatchEmbed, RmsNorm, SwiGLU
    from timm.models.vision_transformer import Attention, Block
    from torch import nn

    block = model.blocks[0]
    attention, mlp = getattr(block, "attn", None), getattr(block, "mlp", None)
    inner = [getattr(attention, name, None) for name in ("q_norm", "k_norm", "norm")]
    inner.append(getattr(mlp, "norm", None))
    scales = [getattr(block, name, None) for name in ("ls1", "ls2")]
    norms = [getattr(model.patch_embed, "norm", None), model.norm]
    norms += [getattr(block, name, None) for name in ("norm1", "norm2")]
    linear = [m for m in block.modules() if isinstance(m, nn.Linear)]
    plain = {
        "stem": type(model.patch_embed) is PatchEmbed and model.patch_embed.proj.bias is not None,
        "norm": all(type(norm) is RmsNorm for norm in norms),
        "norm epsilons": len({getattr(norm, "eps", None) for norm in norms}) == 1,
        "norm before the blocks": isinstance(model.norm_pre, nn.Identity),
        "norm after pooling": isinstance(model.fc_norm, nn.Identity),
        "tokens": model.num_prefix_tokens == 0,
        "position table": model.pos_embed is not None,
        "blocks": all(type(each) is Block for each in model.blocks),
        "attention": type(attention) is Attention,
        "norm or scale inside a block": all(
            part is None or isinstance(part, nn.Identity) for part in (*inner, *scales)
        ),
        "MLP": type(mlp) is SwiGLU,
        "biases": all(each.bias is None for each in linear),
    }
    return [what for what, is_plain in plain.items() if not is_plain]


def _finetuned(_: Matching) -> dict[str, Any]:
    """Nothing: its norm stands on all tokens, however they are pooled."""
    return {}


AIMV2 = TimmNetwork({"weight_init": "skip"}, _describe, _finetuned, NEAREST, "fc_norm")
