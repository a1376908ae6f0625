"""What timm says of its Beit."""

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

NEAREST = "nearest supported: timm_beit, e.g. --arch beit_base_patch16_224"


def _describe(arch: str, model: Any) -> dict[str, Any]:
    """Fields that `converters/timm_beit.toml` reads.

    Raises:
        UnsupportedModelError: It is no Beit, or a special one.
    """
    from timm.layers import Mlp, PatchEmbed
    from timm.models.beit import Attention, Beit
    from torch import nn

    require_class(arch, model, (Beit,), "a Beit", NEAREST)
    block = model.blocks[0]
    norms = [n for n in (model.norm, model.fc_norm) if not isinstance(n, nn.Identity)]
    norms += [block.norm1, block.norm2]
    odd = [
        what
        for what, plain in (
            ("stem", type(model.patch_embed) is PatchEmbed),
            ("absolute positions", model.pos_embed is None),
            ("attention", type(block.attn) is Attention),
            ("MLP", type(block.mlp) is Mlp and isinstance(block.mlp.norm, nn.Identity)),
            ("norm", all(isinstance(norm, nn.LayerNorm) for norm in norms)),
            ("norm epsilons", len({getattr(norm, "eps", None) for norm in norms}) == 1),
        )
        if not plain
    ]
    refuse_special(arch, "BEiT that is converted", odd, NEAREST)
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
        "block_tables": block.attn.relative_position_bias_table is not None,
        "shared_table": model.rel_pos_bias is not None,
        "qv_bias": block.attn.q_bias is not None,
        "layer_scale": block.gamma_1 is not None,
        "final_norm": final_norm_of(model),
        "pool": "cls" if model.global_pool == "token" else "mean",
        "pool_dropped": model.global_pool == "",
    }


def _finetuned(matching: Matching) -> dict[str, Any]:
    """What differs in a bare architecture: pre-trained files norm all tokens and take the cls."""
    whole = "norm.weight" in matching.kept and "fc_norm.weight" not in matching.kept
    tables = any(name.endswith("blocks.0.position_bias.plane") for name in matching.kept)
    shared = "position_bias.plane" in matching.kept
    changed: dict[str, Any] = {"global_pool": "token"} if whole else {}
    if shared and not tables:
        changed |= {"use_rel_pos_bias": False, "use_shared_rel_pos_bias": True}
    return changed


BEIT = TimmNetwork({}, _describe, _finetuned, NEAREST, "use_fc_norm")
