"""What timm says of its plain vision transformer."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from inflate_zoo.naming.configs.rules import MOST_REGISTERS
from inflate_zoo.naming.configs.timm_network import (
    TimmNetwork,
    activation_of,
    final_norm_of,
    refuse_special,
    require_class,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inflate_zoo.files.header import Header
    from inflate_zoo.naming.patterns import Matching

NEAREST = "nearest supported: timm_vit, e.g. --arch vit_base_patch16_224"
DISTILLED = "nearest supported: timm_vit, e.g. --arch deit_base_distilled_patch16_224"


def _describe(arch: str, model: Any) -> dict[str, Any]:
    """Fields that `converters/timm_vit.toml` reads.

    Raises:
        UnsupportedModelError: It is no plain VisionTransformer.
    """
    from timm.models.deit import VisionTransformerDistilled
    from timm.models.vision_transformer import VisionTransformer
    from torch import nn

    kinds = (VisionTransformer, VisionTransformerDistilled)
    require_class(arch, model, kinds, "a plain VisionTransformer", NEAREST)
    _require_plain(arch, model)
    distilled = type(model) is VisionTransformerDistilled
    if distilled:
        _require_two_tokens(arch, model)
    block = model.blocks[0]
    gated = type(block.mlp).__name__ == "GluMlp"
    pools = {"token": "cls", "avg": "mean"}
    prefix = model.num_prefix_tokens
    return {
        "embed_dim": model.embed_dim,
        "depth": len(model.blocks),
        "num_heads": block.attn.num_heads,
        "in_chans": model.patch_embed.proj.in_channels,
        "patch_size": list(model.patch_embed.patch_size),
        "img_size": list(model.patch_embed.img_size),
        "mlp": "swiglu" if gated else "mlp",
        "mlp_dim": block.mlp.fc2.in_features,
        "activation": activation_of(arch, block.mlp.act),
        "norm_eps": block.norm1.eps,
        "qkv_bias": block.attn.qkv.bias is not None,
        "layer_scale": not isinstance(block.ls1, nn.Identity),
        "class_token": model.cls_token is not None,
        "distillation_token": distilled,
        "reg_tokens": 0 if model.reg_token is None else model.reg_token.shape[1],
        "position_prefix": 0 if model.no_embed_class else prefix,
        "pre_norm": isinstance(model.norm_pre, nn.LayerNorm),
        "final_norm": final_norm_of(model),
        "pool": "cls_dist" if distilled else pools.get(model.global_pool, "mean"),
        "pool_dropped": not distilled
        and (model.global_pool not in pools or (model.pool_include_prefix and prefix > 0)),
    }


def _require_plain(arch: str, model: Any) -> None:
    """Refuse what has the names of a plain transformer but other arithmetic.

    Raises:
        UnsupportedModelError: Names the part.
    """
    from timm.layers import PatchEmbed
    from timm.models.vision_transformer import Attention, Block
    from torch import nn

    first = model.blocks[0]
    norms = [m for n, m in model.named_modules() if n.endswith(("norm1", "norm2", "norm_pre"))]
    norms = [m for m in [*norms, model.norm, model.fc_norm] if not isinstance(m, nn.Identity)]
    odd = [
        what
        for what, plain in (
            ("stem", type(model.patch_embed) is PatchEmbed),
            ("norm in the stem", isinstance(getattr(model.patch_embed, "norm", None), nn.Identity)),
            ("position table", model.pos_embed is not None),
            ("blocks", all(type(block) is Block for block in model.blocks)),
            ("attention", type(getattr(first, "attn", None)) is Attention),
            ("norm", all(isinstance(norm, nn.LayerNorm) for norm in norms)),
            ("norm epsilons", len({getattr(norm, "eps", None) for norm in norms}) == 1),
        )
        if not plain
    ]
    if not odd:
        inner = [getattr(first.attn, name, None) for name in ("q_norm", "k_norm", "norm")]
        inner.append(getattr(first.mlp, "norm", None))
        if not all(part is None or isinstance(part, nn.Identity) for part in inner):
            odd.append("norm inside attention or MLP")
        gate_last = getattr(first.mlp, "gate_last", False)
        if type(first.mlp).__name__ not in ("Mlp", "GluMlp") or gate_last:
            odd.append("MLP")
    refuse_special(arch, "plain vision transformer", odd, NEAREST)


def _require_two_tokens(arch: str, model: Any) -> None:
    """Refuse what timm's distilled one is built with, but not made for.

    It holds registers without ever reading them, and adds positions to cls and distillation token
    also where its table has none for them, which it cannot.

    Raises:
        UnsupportedModelError: Names the part.
    """
    plain = {
        "registers, which timm never reads": model.reg_token is None,
        "positions of patches alone, which timm cannot run": not model.no_embed_class,
    }
    odd = [what for what, is_plain in plain.items() if not is_plain]
    refuse_special(arch, "distilled vision transformer that is converted", odd, DISTILLED)


def _finetuned(matching: Matching) -> dict[str, Any]:
    """What fine-tuning changed of a bare architecture: MAE's norms the mean of the tokens."""
    pooled = "fc_norm.weight" in matching.kept and "norm.weight" not in matching.kept
    return {"global_pool": "avg", "fc_norm": True} if pooled else {}


def _passed_in_code(
    matching: Matching, header: Header, described: Mapping[str, Any]
) -> dict[str, Any]:
    """LayerScale, registers, positions of patches alone: passed as a model's page has it."""
    found: dict[str, Any] = {}
    if not described["layer_scale"] and "blocks.0.ls1.gamma" in matching.kept:
        found["init_values"] = 1.0  # whatever it began with: the file has what became of it
    registers = _shape(matching, header, "reg_token")
    if not described["reg_tokens"] and len(registers) == 3 and registers[1] <= MOST_REGISTERS:
        found["reg_tokens"] = registers[1]
    table = _shape(matching, header, "pos_embed")
    grid = [n // p for n, p in zip(described["img_size"], described["patch_size"], strict=True)]
    registers_alone = "reg_tokens" in found and not described["class_token"]
    prefixed = described["position_prefix"] > 0 or registers_alone
    if prefixed and len(table) == 3 and table[1] == prod(grid):
        found["no_embed_class"] = True
    return found


def _shape(matching: Matching, header: Header, name: str) -> tuple[int, ...]:
    """The shape of one of our tensors in the file; empty where it has none or several."""
    sources = matching.kept.get(name, ())
    return header[sources[0]].shape if len(sources) == 1 else ()


VIT = TimmNetwork(
    {"weight_init": "skip"}, _describe, _finetuned, NEAREST, "fc_norm", _passed_in_code
)
