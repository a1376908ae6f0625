"""The 2D originals, built by timm or transformers themselves, and what timm says of a model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from inflate_zoo import gate
from inflate_zoo.errors import ConfigError, UnknownNameError, UnsupportedModelError
from inflate_zoo.foreign import parsing, reason_of
from inflate_zoo.naming import bare_name

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from inflate_zoo.plan import Plan

_NEAREST = "nearest supported: timm_vit, e.g. --arch vit_base_patch16_224"
_PLAIN_MODULES = ("vision_transformer", "deit")  # of timm.models, where plain ones are registered
_LONGEST_NAME = 200  # characters


class _CannotError(Exception):
    """A library cannot take tensors and fields that are in order."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A 2D original.

    Attributes:
        built_by: Library, version and class.
        tokens: Images [batch, channels, height, width] to tokens [batch, prefix + patches, dim].
        pooled: Tokens to the pooled vector [batch, dim], or `None` where the original's is dropped.
        table: The position table, as the library holds it.
    """

    built_by: str
    tokens: Callable[[Tensor], Tensor]
    pooled: Callable[[Tensor], Tensor] | None
    table: Tensor


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


State = Mapping[str, "Tensor"]


def timm_reference(
    plan: Plan, state: State, grid: tuple[int, int], arch: str, arguments: Mapping[str, Any]
) -> Reference | None:
    """The original of a timm or DINO checkpoint; `None` where timm cannot take its tensors.

    Args:
        plan: The plan of the source.
        state: Source name without prefix to float32 tensor, the table already at `grid`.
        grid: Token grid (height, width) the reference is to take.
        arch: timm's architecture name; empty for DINO's own files.
        arguments: Arguments of `timm.create_model`.
    """
    import torch
    from timm.models.vision_transformer import VisionTransformer

    form = plan.architecture
    size = [grid[0] * form.patch_size[0], grid[1] * form.patch_size[1]]
    if arch:
        model = create_timm(arch, {**arguments, "num_classes": 0, "img_size": size})
    else:
        norm = partial(torch.nn.LayerNorm, eps=form.norm_eps)
        with torch.device("meta"):
            model = VisionTransformer(
                img_size=size, patch_size=form.patch_size, in_chans=form.in_channels,
                num_classes=0, embed_dim=form.embed_dim, depth=form.depth,
                num_heads=form.num_heads, mlp_ratio=form.mlp_dim / form.embed_dim,
                qkv_bias=form.qkv_bias, norm_layer=norm, reg_tokens=form.reg_tokens,
                no_embed_class=form.reg_tokens > 0, init_values=1.0 if form.layer_scale else None,
            )  # fmt: skip
    wanted = model.state_dict()
    state = _folded(state, wanted)
    if any(name not in state for name in wanted):
        return None
    model.load_state_dict({name: state[name] for name in wanted}, strict=True, assign=True)
    model.eval()
    noted = any("mean of the patch tokens" in note for note in plan.notes)
    return Reference(
        f"timm {version('timm')} {type(model).__name__}",
        model.forward_features,
        None if noted else partial(model.forward_head, pre_logits=True),
        state["pos_embed"],
    )


def _folded(state: State, wanted: State) -> State:
    """The cls token's row of the table added to the token, where timm's table has none for it."""
    table, token = state["pos_embed"], state.get("cls_token")
    if token is None or table.shape[1] != wanted["pos_embed"].shape[1] + 1:
        return state
    return {**state, "cls_token": token + table[:, :1], "pos_embed": table[:, 1:]}


def transformers_reference(
    plan: Plan, state: State, grid: tuple[int, int], raw: Mapping[str, Any]
) -> Reference | None:
    """The original of a transformers checkpoint; `None` where transformers cannot take its tensors.

    Args:
        plan: The plan of the source.
        state: Source name without prefix to float32 tensor, the table already at `grid`.
        grid: Token grid (height, width) the reference is to take.
        raw: Of the config's part on the image tower, what the gate admits.
    """
    import torch
    import transformers

    form, kind = plan.architecture, getattr(transformers, plan.scheme.reference)
    size = tuple(side * step for side, step in zip(grid, form.patch_size, strict=True))
    fields = {**raw, "image_size": size[0] if size[0] == size[1] else size}
    unused = ("pooler.", "head.", "embeddings.mask_token")
    names = [kept.sources[0] for kept in plan.kept if kept.name == "pos_embed"]
    table = state[bare_name(plan.prefix, names[0])]
    encoder = {name: tensor for name, tensor in state.items() if not name.startswith(unused)}
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        with parsing(lambda _: _CannotError()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = kind.config_class(**fields)
            model, info = kind.from_pretrained(
                None, config=config, state_dict=encoder, dtype=torch.float32,
                attn_implementation="eager", output_loading_info=True,
            )  # fmt: skip
    except _CannotError:
        return None
    finally:
        transformers.logging.set_verbosity(verbosity)
        if bars:
            transformers.utils.logging.enable_progress_bar()
    lacking = [name for name in info["missing_keys"] if not name.startswith(unused)]
    if lacking or info["mismatched_keys"] or info.get("error_msgs"):
        return None
    return Reference(
        f"transformers {version('transformers')} {plan.scheme.reference}",
        partial(_transformers_tokens, model.eval(), grid[0] * grid[1]),
        None,
        table,
    )


def _transformers_tokens(model: Any, patches: int, images: torch.Tensor) -> torch.Tensor:
    import torch

    kind, extra = type(model).__name__, {}
    if kind == "ViTMAEModel":  # it would mask and shuffle: keep every patch, in order
        model.config.mask_ratio = 0.0
        extra["noise"] = torch.arange(float(patches)).expand(images.shape[0], -1)
    tokens: torch.Tensor = model(images, **extra).last_hidden_state
    if kind == "CLIPVisionModel":  # it norms the pooled token only; ours norm all of them
        tokens = getattr(model, "vision_model", model).post_layernorm(tokens)
    return tokens
