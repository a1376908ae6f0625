"""The gate before timm and transformers: what of a stranger's config may reach a constructor.

Every field is one of three kinds. What shapes an encoder is admitted, with a type and a range. What
real configs hold besides (labels, dropout, how to generate text) is known and left out; the library
never sees it. All others are refused by name: an argument nobody knows may open a file, fetch one
or name a function. The ranges keep what a few bytes can cost below two seconds and 300 MB.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inflate_zoo.errors import ConfigError
from inflate_zoo.naming.configs import known_fields as known
from inflate_zoo.naming.configs import rules
from inflate_zoo.naming.configs.from_config import short
from inflate_zoo.naming.configs.normalization import OPEN_CLIP_CONFIG

GATED = '"mlp_layer": "SwiGLUPacked", "act_layer": "silu"'
_MOST_SHOWN = 5

Fields = Mapping[str, Any]


def timm_arguments(config: Fields) -> dict[str, Any]:
    """What of a timm model's config.json may reach `timm.create_model`.

    Args:
        config: config.json; empty for a bare architecture's name.

    Returns:
        Arguments: those of a VisionTransformer, and `pretrained_cfg` with what it says of one.

    Raises:
        ConfigError: A field is unknown, of the wrong type or out of its range, or the gate of a
            feed-forward part is named without its activation.
    """
    _admit("", config, {}, known.TIMM_TOP)
    args = _without_null(config.get("model_args") or {})
    arguments = _admit("model_args.", args, known.TIMM_ADMITTED, known.TIMM_LEFT_OUT)
    if "mlp_layer" in arguments and "act_layer" not in arguments:  # timm would take GELU
        raise ConfigError(
            "config.json: model_args.mlp_layer stands without model_args.act_layer",
            hint=f"state both as code passes them to timm.create_model, e.g. {GATED}",
        )
    stated = _without_null(config.get("pretrained_cfg") or {})
    if cfg := _admit("pretrained_cfg.", stated, known.CFG_ADMITTED, known.CFG_LEFT_OUT):
        arguments["pretrained_cfg"] = cfg
    return arguments


def transformers_fields(
    config: Fields, part: Fields, section: str, *, foreign: bool = False
) -> dict[str, Any]:
    """What of a transformers model's config.json may reach the encoder's config class.

    Args:
        config: config.json.
        part: Its part on the image tower, or the whole.
        section: What to put before the part's fields in messages, e.g. `vision_config.`.
        foreign: Whether the whole is a model of a kind that is not known, whose own fields are its
            own business: of them no code may be asked for.

    Returns:
        The part's fields that shape an encoder.

    Raises:
        ConfigError: A field is unknown, of the wrong type or out of its range.
    """
    if section:
        nested = section.count(".") > 1  # SAM 2's: what is around its part is no encoder's either
        judged = (*known.CODE, *known.TOWERS) if foreign or nested else tuple(config)
        whole = {name: config[name] for name in judged if name in config}
        _admit("", whole, {}, {**known.ENCODER, **known.AROUND, **known.TOWERS})
        for name, other in config.items():  # another tower's own fields are nobody's business here
            if isinstance(other, Mapping):
                _admit(f"{name}.", {key: other.get(key) for key in known.CODE}, {}, known.COMMON)
    return _admit(section, part, known.ENCODER, known.AROUND)


def open_clip_fields(config: Fields) -> dict[str, Any]:
    """What of an OpenCLIP config says what its image tower is, timm's or one of OpenCLIP's own.

    Args:
        config: open_clip_config.json, of which `model_cfg.vision_cfg` is there.

    Returns:
        The fields of its image tower that shape an encoder; `quick_gelu` among them where that is
        OpenCLIP's own.

    Raises:
        ConfigError: A field is unknown, of the wrong type or out of its range.
    """
    file = OPEN_CLIP_CONFIG
    _admit("", config, {}, known.OPEN_CLIP_TOP, file)
    model, fed = config["model_cfg"], config.get("preprocess_cfg") or {}
    _admit("model_cfg.", model, {}, known.OPEN_CLIP_AROUND, file)
    _admit("preprocess_cfg.", fed, {}, known.OPEN_CLIP_FED, file)
    section, vision = "model_cfg.vision_cfg.", model["vision_cfg"]
    if vision.get("timm_model_name"):
        return _admit(section, vision, known.OPEN_CLIP_ADMITTED, known.OPEN_CLIP_LEFT_OUT, file)
    fields = _admit(section, vision, known.OPEN_CLIP_OWN, known.OPEN_CLIP_OWN_LEFT_OUT, file)
    return {**fields, "quick_gelu": model.get("quick_gelu") is True}


def correct(file: str) -> str:
    """The next step where a config is wrong."""
    return f"correct {file}, or take it from the repo the weights came from"


def _without_null(fields: Fields) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _admit(
    section: str,
    fields: Fields,
    admitted: Mapping[str, rules.Rule],
    left_out: Mapping[str, rules.Rule],
    file: str = "config.json",
) -> dict[str, Any]:
    """The admitted fields, all of them checked.

    Raises:
        ConfigError: See `transformers_fields`.
    """
    unknown = [name for name in fields if name not in admitted and name not in left_out]
    if unknown:
        raise _refused(section, unknown, file)
    for name, value in fields.items():
        rule = admitted.get(name) or left_out[name]
        if not rule.holds(value):
            raise ConfigError(
                f"{file}: {section}{name} must be {rule.expected}, found {short(value)}",
                hint=correct(file),
            )
    return {name: value for name, value in fields.items() if name in admitted}


def _refused(section: str, unknown: list[str], file: str) -> ConfigError:
    shown = ", ".join(section + short(name).strip("'\"") for name in unknown[:_MOST_SHOWN])
    rest = len(unknown) - _MOST_SHOWN
    more = f" and {rest} more" if rest > 0 else ""
    return ConfigError(
        f"{file}: fields that shape no encoder are refused: {shown}{more}",
        hint=f"if the encoder is a stock one without them, remove them from a copy of {file}",
    )
