"""What timm says of a model: its arguments, its parts, its published weights."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from inflate_zoo.errors import ConfigError, UnknownNameError, UnsupportedModelError
from inflate_zoo.files.foreign import parsing, reason_of
from inflate_zoo.naming.configs import gate

if TYPE_CHECKING:
    from torch import nn


_NEAREST = "nearest supported: timm_vit, e.g. --arch vit_base_patch16_224"
_PLAIN_MODULES = ("vision_transformer", "deit")  # of timm.models, where plain ones are registered
_LONGEST_NAME = 200  # characters


def timm_arguments(arch: str, config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Architecture name and create_model's arguments, from timm's config.json or a bare name.

    Raises:
        UnknownNameError: timm has no such architecture.
        UnsupportedModelError: It is no vision transformer.
        ConfigError: The gate refuses a field of config.json.
    """
    from timm.models import is_model, is_model_in_modules, list_models, model_entrypoint

    arch = arch.removeprefix("timm/")
    base = arch.split(".")[0]
    if len(base) > _LONGEST_NAME or not is_model(base):
        raise UnknownNameError("timm architecture", arch[:_LONGEST_NAME], list_models("*vit*"))
    if not is_model_in_modules(base, _PLAIN_MODULES):
        raise UnsupportedModelError(
            f"'{base}' is of timm's {model_entrypoint(base).__module__.rpartition('.')[2]}, "
            "not a plain VisionTransformer",
            hint=_NEAREST,
        )
    return base, gate.timm_arguments(config)


def create_timm(arch: str, arguments: Mapping[str, Any]) -> Any:
    """Build timm's model without memory for its weights.

    Args:
        arch: Architecture name, and
        arguments: what `timm_arguments` gave with it.

    Raises:
        ConfigError: timm cannot build it.
    """
    import timm
    import torch

    def refused(error: Exception) -> ConfigError:
        return ConfigError(
            f"timm cannot build '{arch}': {reason_of(error)}",
            hint="correct model_args in config.json, or name another --arch",
        )

    with parsing(refused), torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return timm.create_model(arch, pretrained=False, weight_init="skip", **arguments)


def describe_timm(arch: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What timm itself says of a model, from one built without memory.

    Args:
        arch: Architecture name.
        arguments: Arguments of `timm.create_model`.

    Returns:
        Fields that `converters/timm_vit.toml` reads.

    Raises:
        ConfigError: timm cannot build it.
        UnsupportedModelError: It is no plain VisionTransformer.
    """
    from timm.models.deit import VisionTransformerDistilled
    from timm.models.vision_transformer import VisionTransformer
    from torch import nn

    # All blocks are alike, and a thousand take nine seconds: one stands for as many as are stated.
    one = {"depth": 1} if "depth" in arguments else {}
    model = create_timm(arch, {**arguments, **one})
    distilled = type(model) is VisionTransformerDistilled
    if type(model) is not VisionTransformer and not distilled:
        raise UnsupportedModelError(
            f"'{arch}' is timm's {type(model).__name__}, not a plain VisionTransformer",
            hint=_NEAREST,
        )
    _require_plain(arch, model)
    block = model.blocks[0]
    gated = type(block.mlp).__name__ == "GluMlp"
    pools = {"token": "cls", "avg": "mean"}
    has_norm, has_fc_norm = (isinstance(n, nn.LayerNorm) for n in (model.norm, model.fc_norm))
    prefix = model.num_prefix_tokens
    return {
        "embed_dim": model.embed_dim,
        "depth": arguments.get("depth", len(model.blocks)),
        "num_heads": block.attn.num_heads,
        "in_chans": model.patch_embed.proj.in_channels,
        "patch_size": list(model.patch_embed.patch_size),
        "img_size": list(model.patch_embed.img_size),
        "mlp": "swiglu" if gated else "mlp",
        "mlp_dim": block.mlp.fc2.in_features,
        "activation": _activation(arch, block.mlp.act),
        "norm_eps": block.norm1.eps,
        "qkv_bias": block.attn.qkv.bias is not None,
        "layer_scale": not isinstance(block.ls1, nn.Identity),
        "class_token": model.cls_token is not None,
        "distillation_token": distilled,
        "reg_tokens": 0 if model.reg_token is None else model.reg_token.shape[1],
        "position_prefix": 0 if model.no_embed_class else prefix,
        "pre_norm": isinstance(model.norm_pre, nn.LayerNorm),
        "final_norm": "tokens" if has_norm else "pooled" if has_fc_norm else "none",
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
    if odd:
        raise UnsupportedModelError(
            f"'{arch}' is no plain vision transformer: special {', '.join(odd)}",
            hint=_NEAREST,
        )


def _activation(arch: str, act: nn.Module) -> str:
    kind = type(act).__name__
    if kind == "GELU":
        return "gelu" if getattr(act, "approximate", "none") == "none" else "gelu_tanh"
    known = {"GELUTanh": "gelu_tanh", "QuickGELU": "quick_gelu", "SiLU": "silu", "ReLU": "relu"}
    if kind not in known:
        raise UnsupportedModelError(
            f"'{arch}' has the activation {kind}", hint=f"known: GELU, {', '.join(known)}"
        )
    return known[kind]


def published_cfg(name: str) -> tuple[Mapping[str, Any], str, bool] | None:
    """The pretrained_cfg that timm has for an architecture.

    Args:
        name: `architecture.tag`, or `architecture` for the tag that timm takes by itself.

    Returns:
        The cfg, what it is called in full, and whether the name is that of the very weights;
        `None` where timm has published none.

    Raises:
        UnknownNameError: No such tag or architecture.
        UnsupportedModelError: It is no vision transformer, and timm would have to build it.
    """
    import timm

    arch, _, tag = name.removeprefix("timm/").partition(".")
    known = {found.partition(".")[2] for found in timm.list_models(f"{arch}.*", include_tags=True)}
    if tag and tag not in known:
        if not known:
            return None
        raise UnknownNameError(f"pretrained tag of timm's {arch}", tag, known)
    found = timm.get_pretrained_cfg(f"{arch}.{tag}" if tag else arch)
    cfg: Mapping[str, Any] = vars(found) if found is not None else _of_old_name(arch)
    if not cfg:
        return None
    told = bool(tag) or found is None  # an old name stands for one tag
    full = ".".join(filter(None, (cfg.get("architecture") or arch, cfg.get("tag"))))
    return cfg, f"timm's pretrained_cfg of {full}", told


def _of_old_name(arch: str) -> Mapping[str, Any]:
    """The cfg behind a name of earlier releases, which the registry does not hold itself."""
    admitted, arguments = timm_arguments(arch, {})
    model = create_timm(admitted, arguments)
    cfg: Mapping[str, Any] = getattr(model, "pretrained_cfg", {})
    return cfg if cfg.get("tag") else {}
