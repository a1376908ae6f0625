"""What timm says of its HieraDet, SAM 2's image encoder."""

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

NEAREST = "nearest supported: timm_sam2, e.g. --arch sam2_hiera_tiny"


def _describe(arch: str, model: Any) -> dict[str, Any]:
    """Fields that `converters/timm_sam2.toml` reads.

    Raises:
        UnsupportedModelError: It is no HieraDet, or a special one.
    """
    from timm.layers import Mlp
    from timm.models.hieradet_sam2 import HieraDet, HieraPatchEmbed, MultiScaleAttention
    from torch import nn

    require_class(arch, model, (HieraDet,), "a HieraDet", NEAREST)
    blocks, ends = list(model.blocks), model.stage_ends
    first = [blocks[0], *(blocks[end + 1] for end in ends[:-1])]
    last = [blocks[end] for end in ends]
    norms = [norm for block in blocks for norm in (block.norm1, block.norm2)]
    odd = [
        what
        for what, plain in (
            ("stem", type(model.patch_embed) is HieraPatchEmbed),
            ("attention", all(type(block.attn) is MultiScaleAttention for block in blocks)),
            ("layer scale", all(isinstance(block.ls1, nn.Identity) for block in blocks)),
            (
                "MLP",
                all(type(b.mlp) is Mlp and isinstance(b.mlp.norm, nn.Identity) for b in blocks),
            ),
            ("norm", all(isinstance(norm, nn.LayerNorm) for norm in norms)),
            ("pooling", model.q_pool_blocks == [end + 1 for end in ends[:-1]]),
        )
        if not plain
    ]
    refuse_special(arch, "HieraDet that is converted", odd, NEAREST)
    stem = model.patch_embed.proj
    return {
        "embed_dim": stem.out_channels,
        "widths": [block.dim_out for block in last],
        "depths": [end - before for before, end in zip([-1, *ends], ends, strict=False)],
        "num_heads": [block.attn.num_heads for block in first],
        "mlp_dims": [block.mlp.fc1.out_features for block in first],
        "in_chans": stem.in_channels,
        "patch_size": list(stem.stride),
        "img_size": list(model.pretrained_cfg["input_size"][1:]),  # it takes any
        "kernel": list(stem.kernel_size),
        "padding": list(stem.padding),
        "query_stride": list(model.q_stride),
        "position_grid": list(model.global_pos_size),
        "windows": list(model.window_spec),
        "global_blocks": list(model.global_att_blocks),
        "activation": activation_of(arch, blocks[0].mlp.act),
        "norm_eps": norms[0].eps,
    }


def _nothing(_: Matching) -> dict[str, Any]:
    """Fine-tuning changes nothing of the encoder."""
    return {}


SAM2 = TimmNetwork({}, _describe, _nothing, NEAREST)
