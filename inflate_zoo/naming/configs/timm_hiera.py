"""What timm says of its Hiera, and of its HieraDet, SAM 2's image encoder."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from inflate_zoo.naming.configs.timm_network import (
    TimmNetwork,
    activation_of,
    refuse_special,
    require_class,
)

if TYPE_CHECKING:
    from inflate_zoo.naming.patterns import Matching

NEAREST = "nearest supported: timm_hiera, e.g. --arch hiera_tiny_224"
NEAREST_DET = "nearest supported: timm_sam2, e.g. --arch sam2_hiera_tiny"


def _describe(arch: str, model: Any) -> dict[str, Any]:
    """Fields that `converters/timm_hiera.toml` reads.

    Raises:
        UnsupportedModelError: It is no Hiera, or a special one.
    """
    from timm.models.hiera import Hiera, MaskUnitAttention, PatchEmbed

    require_class(arch, model, (Hiera,), "a Hiera", NEAREST)
    blocks, depths = list(model.blocks), _depths(model)
    units = [2 ** (len(depths) - 1 - stage) for stage in range(len(depths))]
    of_blocks = [unit for unit, depth in zip(units, depths, strict=True) for _ in range(depth)]
    plain = {
        "stem": type(model.patch_embed) is PatchEmbed,
        "attention": all(type(block.attn) is MaskUnitAttention for block in blocks),
        "expansion": all(b.proj is not None for b in blocks if b.dim != b.dim_out),
        "positions": model.pos_embed is not None and model.pos_embed_win is None,
        "pooling": model.q_pool == len(depths) - 1,
        "mask unit": set(model.mask_unit_size) == {units[0]}
        and [block.attn.window_size for block in blocks] == [unit**2 for unit in of_blocks],
    }
    refuse_special(arch, "Hiera that is converted", _odd(model, plain), NEAREST)
    sides = zip(model.tokens_spatial_shape, model.patch_stride, strict=True)
    return _parts(arch, model) | {
        "num_heads": [blocks[first].attn.heads for first in _firsts(model)],
        "img_size": [tokens * stride for tokens, stride in sides],
        "position_grid": list(model.tokens_spatial_shape),
        "windows": units,
        "global_blocks": [i for i, b in enumerate(blocks) if not b.attn.use_mask_unit_attn],
    }


def _describe_det(arch: str, model: Any) -> dict[str, Any]:
    """Fields that `converters/timm_sam2.toml` reads.

    Raises:
        UnsupportedModelError: It is no HieraDet, or a special one.
    """
    from timm.models.hieradet_sam2 import HieraDet, HieraPatchEmbed, MultiScaleAttention

    require_class(arch, model, (HieraDet,), "a HieraDet", NEAREST_DET)
    blocks = list(model.blocks)
    plain = {
        "stem": type(model.patch_embed) is HieraPatchEmbed,
        "attention": all(type(block.attn) is MultiScaleAttention for block in blocks),
        "pooling": model.q_pool_blocks == _firsts(model)[1:],
    }
    refuse_special(arch, "HieraDet that is converted", _odd(model, plain), NEAREST_DET)
    return _parts(arch, model) | {
        "num_heads": [blocks[first].attn.num_heads for first in _firsts(model)],
        "img_size": list(model.pretrained_cfg["input_size"][1:]),  # it takes any
        "position_grid": list(model.global_pos_size),
        "windows": list(model.window_spec),
        "global_blocks": list(model.global_att_blocks),
    }


def _firsts(model: Any) -> list[int]:
    """The first block of each stage."""
    return [0, *(end + 1 for end in model.stage_ends[:-1])]


def _depths(model: Any) -> list[int]:
    """Blocks of each stage."""
    return [end - before for before, end in pairwise([-1, *model.stage_ends])]


def _odd(model: Any, plain: dict[str, bool]) -> list[str]:
    """What is other than it is converted: of one class as told, and of both."""
    from timm.layers import Mlp
    from torch import nn

    blocks = list(model.blocks)
    norms = [norm for block in blocks for norm in (block.norm1, block.norm2)]
    of_both = {
        "layer scale": all(isinstance(block.ls1, nn.Identity) for block in blocks),
        "MLP": all(type(b.mlp) is Mlp and isinstance(b.mlp.norm, nn.Identity) for b in blocks),
        "norm": all(isinstance(norm, nn.LayerNorm) for norm in norms),
    }
    return [what for what, is_plain in (plain | of_both).items() if not is_plain]


def _parts(arch: str, model: Any) -> dict[str, Any]:
    """The fields that are read off both alike."""
    blocks, stem = list(model.blocks), model.patch_embed.proj
    return {
        "embed_dim": stem.out_channels,
        "widths": [blocks[end].dim_out for end in model.stage_ends],
        "depths": _depths(model),
        "mlp_dims": [blocks[first].mlp.fc1.out_features for first in _firsts(model)],
        "in_chans": stem.in_channels,
        "patch_size": list(stem.stride),
        "kernel": list(stem.kernel_size),
        "padding": list(stem.padding),
        "query_stride": list(model.q_stride),
        "activation": activation_of(arch, blocks[0].mlp.act),
        "norm_eps": blocks[0].norm1.eps,
    }


def _nothing(_: Matching) -> dict[str, Any]:
    """Fine-tuning changes nothing of the encoder."""
    return {}


HIERA = TimmNetwork({}, _describe, _nothing, NEAREST)
HIERA_DET = TimmNetwork({}, _describe_det, _nothing, NEAREST_DET)
