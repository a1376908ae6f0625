"""What timm says of its Eva, which is DINOv3 and EVA-02."""

from __future__ import annotations

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

NEAREST = (
    "nearest supported: timm_dinov3 and timm_eva02, e.g. --arch vit_base_patch16_dinov3 or "
    "eva02_base_patch14_224"
)


def _describe(arch: str, model: Any) -> dict[str, Any]:
    """Fields that `converters/timm_dinov3.toml` and `timm_eva02*.toml` read.

    Raises:
        UnsupportedModelError: It is no Eva, or neither of the two.
    """
    from timm.models.eva import Eva
    from torch import nn

    require_class(arch, model, (Eva,), "an Eva", NEAREST)
    refuse_special(arch, "DINOv3 or EVA-02", _odd(model), NEAREST)
    block = model.blocks[0]
    mlp = block.mlp
    pools = {"token": "cls", "avg": "mean"}
    return {
        "embed_dim": model.embed_dim,
        "depth": len(model.blocks),
        "num_heads": block.attn.num_heads,
        "in_chans": model.patch_embed.proj.in_channels,
        "patch_size": list(model.patch_embed.patch_size),
        "img_size": list(model.patch_embed.img_size),
        "reg_tokens": 0 if model.reg_token is None else model.reg_token.shape[1],
        "gated": type(mlp).__name__ != "Mlp",
        "mlp_dim": mlp.fc2.in_features,
        "activation": activation_of(arch, mlp.act),
        "norm_eps": block.norm1.eps,
        "attn_norm": isinstance(block.attn.norm, nn.LayerNorm),
        "mlp_norm": isinstance(mlp.norm, nn.LayerNorm),
        "qv_bias": block.attn.q_bias is not None
        or getattr(block.attn.q_proj, "bias", None) is not None,
        "rotary_theta": float(model.rope.temperature),
        "rotary_grid": _reference(model.rope),
        "final_norm": final_norm_of(model),
        "pool": pools.get(model.global_pool, "mean"),
        "pool_dropped": model.global_pool not in pools,
    }


def _reference(rope: Any) -> list[int] | None:
    shape = getattr(rope, "ref_feat_shape", None)
    return None if shape is None else list(shape)


def _odd(model: Any) -> list[str]:
    """What is neither DINOv3's nor EVA-02's."""
    from timm.layers import LayerNorm, PatchEmbed
    from timm.models.eva import EvaAttention, EvaBlock
    from torch import nn

    block = model.blocks[0]
    attention = getattr(block, "attn", None)
    inner = [getattr(attention, name, nn.Identity()) for name in ("norm", "q_norm", "k_norm")]
    norms = [model.norm, model.fc_norm, block.norm1, block.norm2, inner[0]]
    norms = [n for n in [*norms, block.mlp.norm] if not isinstance(n, nn.Identity)]
    plain = {
        "stem": type(model.patch_embed) is PatchEmbed,
        "rotary positions": _is_dinov3(model) or _is_eva02(model),
        "tokens": model.cls_token is not None and not model.no_embed_class,
        "blocks": type(block) is EvaBlock,
        "attention": type(attention) is EvaAttention
        and all(isinstance(norm, nn.Identity) for norm in inner[1:])
        and getattr(attention, "gate", None) is None,
        "norm before the blocks": isinstance(model.norm_pre, nn.Identity),
        "norm": all(type(norm) in (LayerNorm, nn.LayerNorm) for norm in norms),
        "norm epsilons": len({getattr(norm, "eps", None) for norm in norms}) == 1,
    }
    return [what for what, is_plain in plain.items() if not is_plain]


def _is_dinov3(model: Any) -> bool:
    """Centres on each axis by itself, halves of a head paired, no table, both branches scaled."""
    from timm.layers import RotaryEmbeddingDinoV3

    rope, block = model.rope, model.blocks[0]
    return (
        type(rope) is RotaryEmbeddingDinoV3
        and (rope.normalize_coords, rope.grid_offset, rope.grid_indexing) == ("separate", 0.0, "ij")
        and None in (rope.min_period, rope.max_period)
        and rope.rotate_half
        and block.attn.rotate_half
        and model.pos_embed is None
        and None not in (block.gamma_1, block.gamma_2)
        and type(block.mlp).__name__ in ("Mlp", "SwiGLU")
        and block.mlp.norm.__class__.__name__ == "Identity"
        and block.attn.norm.__class__.__name__ == "Identity"
    )


def _is_eva02(model: Any) -> bool:
    """Counted in tokens of a grid, neighbours in a head paired, beside a table, nothing scaled."""
    from timm.layers import RotaryEmbeddingCat

    rope, block = model.rope, model.blocks[0]
    return (
        type(rope) is RotaryEmbeddingCat
        and (rope.in_pixels, rope.grid_offset, rope.grid_indexing) == (False, 0.0, "ij")
        and rope.ref_feat_shape is not None
        and not block.attn.rotate_half
        and model.pos_embed is not None
        and model.reg_token is None
        and (block.gamma_1, block.gamma_2) == (None, None)
        and type(block.mlp).__name__ in ("GluMlp", "SwiGLU")
        and not getattr(block.mlp, "gate_last", False)
    )


def _finetuned(matching: Matching) -> dict[str, Any]:
    """What differs in a bare architecture: the norm on all tokens, or on their mean."""
    if "fc_norm.weight" in matching.kept:
        return {"global_pool": "avg", "use_fc_norm": True}
    return {"use_fc_norm": False} if "norm.weight" in matching.kept else {}


EVA = TimmNetwork({}, _describe, _finetuned, NEAREST, "use_fc_norm")
