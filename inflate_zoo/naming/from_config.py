"""What config.json claims of the architecture, read with types and the library's defaults."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from inflate_zoo.errors import ConfigError
from inflate_zoo.naming.definition import ConfigEntry, ConfigField, NamingScheme, Rule

_WHOLE = frozenset({"embed_dim", "depth", "num_heads", "in_channels", "mlp_dim"})
_COUNTS = frozenset({"reg_tokens", "position_prefix"})
_PAIRS = frozenset({"patch_size", "image_size"})
_FLAGS = frozenset({"qkv_bias", "layer_scale", "cls_token", "dist_token", "pre_norm"})
_LARGEST = 1 << 20  # above any real width, grid or depth; keeps products small

ACTIVATION_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "gelu": "gelu",
        "gelu_python": "gelu",
        "gelu_new": "gelu_tanh",
        "gelu_fast": "gelu_tanh",
        "gelu_pytorch_tanh": "gelu_tanh",
        "gelu_tanh": "gelu_tanh",
        "quick_gelu": "quick_gelu",
        "relu": "relu",
        "silu": "silu",
        "swish": "silu",
    }
)


@dataclass(frozen=True, slots=True)
class Statement:
    """What states the claims.

    Attributes:
        name: What to call it in a message.
        hint: What to do where it and the tensors disagree.
    """

    name: str
    hint: str


CONFIG_FILE = Statement("config.json", "take both files from the same repo and revision")


@dataclass(frozen=True, slots=True)
class Claims:
    """The values claimed, by field of the architecture, and what to call each in a message."""

    values: Mapping[str, Any]
    labels: Mapping[str, str]


Raw = Mapping[str, Any]


def _flag(raw: Raw, path: str, default: bool) -> bool:
    value = raw.get(path, default)
    if not isinstance(value, bool):
        raise _wrong(path, value, "true or false")
    return value


def _number(raw: Raw, path: str, default: float) -> float:
    value = raw.get(path, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _LARGEST:
        raise _wrong(path, value, "a positive number")
    return value


def _wrong(path: str, value: Any, expected: str) -> ConfigError:
    return ConfigError(
        f"config.json: {path} must be {expected}, found {short(value)}",
        hint="correct config.json, or take it from the repo the weights came from",
    )


def short(value: Any) -> str:
    """A stranger's value for a message, at most 60 characters."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # ValueError: a whole number of thousands of digits
        text = f"a {type(value).__name__} too large to show"
    return text if len(text) <= 60 else text[:57] + "..."


def _dinov2_mlp(raw: Raw, _: int) -> str:
    return "swiglu" if _flag(raw, "use_swiglu_ffn", False) else "mlp"


def _dinov2_mlp_dim(raw: Raw, embed_dim: int) -> int:
    hidden = int(_number(raw, "hidden_size", embed_dim) * _number(raw, "mlp_ratio", 4))
    if _dinov2_mlp(raw, embed_dim) == "mlp":
        return hidden
    return (int(hidden * 2 / 3) + 7) // 8 * 8  # Dinov2SwiGLUFFN: two thirds, up to a multiple of 8


def _dinov2_activation(raw: Raw, embed_dim: int) -> Any:
    # The gate is silu whatever hidden_act says.
    gated = _dinov2_mlp(raw, embed_dim) == "swiglu"
    return "silu" if gated else raw.get("hidden_act", "gelu")


def _heads_of_width_64(_: Raw, embed_dim: int) -> int:
    if embed_dim % 64 and embed_dim > 64:
        raise ConfigError(
            f"the tensors are {embed_dim} wide, no multiple of 64: the number of heads is unknown",
            hint="name the architecture: --arch NAME",
        )
    return max(1, embed_dim // 64)


RULES: Mapping[Rule, Callable[[Raw, int], Any]] = MappingProxyType(
    {
        "dinov2_activation": _dinov2_activation,
        "dinov2_mlp": _dinov2_mlp,
        "dinov2_mlp_dim": _dinov2_mlp_dim,
        "heads_of_width_64": _heads_of_width_64,
    }
)

# What a message calls a value that a rule computed.
_RULE_LABELS: Mapping[Rule, str] = MappingProxyType(
    {
        "dinov2_activation": "hidden_act",
        "dinov2_mlp": "use_swiglu_ffn",
        "dinov2_mlp_dim": "hidden_size * mlp_ratio, as a width,",
        "heads_of_width_64": "the number of heads",
    }
)


def _whole(value: Any, least: int) -> bool:
    return type(value) is int and least <= value <= _LARGEST


def _pair(label: str, value: Any) -> tuple[int, int]:
    pair = value if isinstance(value, list | tuple) else (value, value)
    if len(pair) != 2 or not all(_whole(side, 1) for side in pair):
        raise _wrong(label, value, "a positive whole number or [height, width]")
    return (pair[0], pair[1])


def _small(label: str, value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < 1:
        raise _wrong(label, value, "a small positive number")
    return float(value)


def _activation(label: str, value: Any) -> str:
    if not isinstance(value, str) or value not in ACTIVATION_NAMES:
        raise _wrong(label, value, f"one of {', '.join(sorted(ACTIVATION_NAMES))}")
    return ACTIVATION_NAMES[value]


def _typed(field: str, label: str, value: Any) -> Any:
    if field in _PAIRS:
        return _pair(label, value)
    if field == "norm_eps":
        return _small(label, value)
    if field == "activation":
        return _activation(label, value)
    if field in _WHOLE and not _whole(value, 1):
        raise _wrong(label, value, "a positive whole number")
    if field in _COUNTS and not _whole(value, 0):
        raise _wrong(label, value, "a whole number from 0")
    if field in _FLAGS and not isinstance(value, bool):
        raise _wrong(label, value, "true or false")
    return value


def _label(field: ConfigField, entry: ConfigEntry) -> str:
    return _RULE_LABELS[entry.rule] if entry.rule is not None else entry.path or field


def _claim(entry: ConfigEntry, raw: Raw, embed_dim: int) -> Any:
    if entry.rule is not None:
        return RULES[entry.rule](raw, embed_dim)
    if entry.path is None:
        return entry.default
    return raw.get(entry.path, entry.default)


def read_claims(
    scheme: NamingScheme,
    raw: Raw,
    section: str,
    embed_dim: int,
    statement: Statement = CONFIG_FILE,
) -> Claims:
    """Read the fields a scheme takes from a config.

    Args:
        scheme: The naming scheme.
        raw: The part of config.json that describes the image tower, or timm's own description.
        section: What to put before a field in messages, e.g. `vision_config.`.
        embed_dim: Width as the tensors have it, for rules on sources without a config.
        statement: What made the claims, for messages.

    Returns:
        Typed values; activations under our names.

    Raises:
        ConfigError: A value has the wrong type or is out of range; names its path.
    """
    values: dict[str, Any] = {}
    labels: dict[str, str] = {}
    for field, entry in scheme.config.items():
        labels[field] = f"{section}{_label(field, entry)}"
        value = _claim(entry, raw, embed_dim)
        unstated = entry.path is not None and entry.path not in raw  # timm: the tensors decide
        if value is not None or not unstated:
            values[field] = _typed(field, labels[field], value)
    silent = [field for field in ("num_heads", "norm_eps", "pool") if field not in values]
    if silent:
        raise ConfigError(
            f"nothing says what {', '.join(silent)} of this {scheme.name} source are",
            hint="name the architecture, e.g. --arch vit_base_patch16_224",
        )
    width, heads = values.get("embed_dim", embed_dim), values["num_heads"]
    if width % heads:
        raise ConfigError(
            f"{statement.name}: {labels.get('embed_dim', 'embed_dim')} {width} is not divisible by "
            f"{labels['num_heads']} {heads}",
            hint=statement.hint,
        )
    return Claims(values, labels)


def plain(value: Any) -> str:
    """A value as a message shows it: sides as 224x224."""
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)
