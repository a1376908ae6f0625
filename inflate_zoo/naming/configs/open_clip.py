"""What open_clip_config.json says of an image tower: which network it is, and how it is fed.

Most towers are timm's, named by an architecture, which is all that OpenCLIP builds them by. Where a
projection of its own follows, the tower is built as timm has it and its pooling is changed
afterwards, so that its norms stay where they were; else the pooling is an argument of the
architecture, which moves them. The others are OpenCLIP's own transformer, as OpenAI published it:
timm's plain one in other words, but for the activation, of which the config alone tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from inflate_zoo.errors import ConfigError, UnknownNameError, UnsupportedModelError
from inflate_zoo.naming.configs import gate
from inflate_zoo.naming.configs.from_config import Statement
from inflate_zoo.naming.configs.normalization import OPEN_CLIP_CONFIG
from inflate_zoo.naming.configs.timm_models import describe_timm, network_of, timm_arguments
from inflate_zoo.naming.definition import Family

OPEN_CLIP_FILE = Statement(OPEN_CLIP_CONFIG, "take both files from the same repo and revision")
SECTION = "model_cfg.vision_cfg"
_PROJECTIONS = ("linear", "mlp")


@dataclass(frozen=True, slots=True)
class TimmTower:
    """A timm image tower as OpenCLIP's config states it.

    Attributes:
        architecture: timm's name of it, with its tag if any.
        pool: What its pooling is to be; empty or `None` as OpenCLIP has them.
        projected: Whether a projection of OpenCLIP's own follows it.
        image_size: Side or [height, width] in pixels, or `None` for the architecture's.
        preprocess: How pictures are fed: the fields of preprocess_cfg.
    """

    architecture: str
    pool: str | None
    projected: bool
    image_size: Any
    preprocess: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OwnTower:
    """An image tower of OpenCLIP's own, as its config states it.

    Attributes:
        described: What timm would say of the same network.
        preprocess: How pictures are fed: the fields of preprocess_cfg.
    """

    described: Mapping[str, Any]
    preprocess: Mapping[str, Any]


OpenClip = TimmTower | OwnTower


def is_needed(config: Mapping[str, Any] | None) -> bool:
    """Whether config.json leaves open what the source is."""
    stated = config or {}
    return stated.get("architecture") is None and stated.get("model_type") is None


def read_tower(config: Mapping[str, Any]) -> OpenClip | None:
    """The image tower that an OpenCLIP config states.

    Args:
        config: Content of open_clip_config.json.

    Returns:
        `None` where it states none.

    Raises:
        ConfigError: A field is unknown, of the wrong type or out of its range.
        UnsupportedModelError: It is another network than the plain transformer.
    """
    stated = _object("model_cfg", config.get("model_cfg")).get("vision_cfg")
    if stated is None:
        return None
    vision = _object(SECTION, stated)
    of_timm = bool(vision.get("timm_model_name"))
    if not of_timm:
        _require_transformer(vision)
    fields = gate.open_clip_fields(config)
    preprocess = config.get("preprocess_cfg") or {}
    if not of_timm:
        return OwnTower(_described(fields), preprocess)
    return TimmTower(
        architecture=fields["timm_model_name"].removeprefix("timm/"),
        pool=fields.get("timm_pool", "avg"),
        projected=fields.get("timm_proj", "linear") in _PROJECTIONS,
        image_size=fields.get("image_size"),
        preprocess=preprocess,
    )


def _object(path: str, value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"{OPEN_CLIP_CONFIG}: {path} must be an object, found {type(value).__name__}",
            hint=gate.correct(OPEN_CLIP_CONFIG),
        )
    return value


def _require_transformer(vision: Mapping[str, Any]) -> None:
    """Refuse OpenCLIP's other networks by what they are.

    Raises:
        UnsupportedModelError: Names the field that tells.
    """
    mean_first = vision.get("final_ln_after_pool") and (
        vision.get("pool_type") == "avg" or vision.get("global_average_pool")
    )
    others = {
        "layers": (isinstance(vision.get("layers"), list | tuple), "a CNN (CLIP's ResNet)"),
        "attentional_pool": (vision.get("attentional_pool"), "CoCa's, pooled by attention"),
        "final_ln_after_pool": (mean_first, "normed after the mean of its tokens (CLIPA)"),
    }
    for field, (stated, what) in others.items():
        if stated:
            raise UnsupportedModelError(
                f"the image tower is {what}, not yet supported",
                details=[f"{OPEN_CLIP_CONFIG}: {SECTION}.{field}"],
                hint="nearest supported: open_clip; 'inflate-zoo families' lists all with examples",
            )


def _described(fields: Mapping[str, Any]) -> dict[str, Any]:
    """OpenCLIP's own tower in the words that timm has for it, with OpenCLIP's defaults.

    Raises:
        ConfigError: The width is no multiple of that of a head.
    """
    width, head_width = fields.get("width", 768), fields.get("head_width", 64)
    if width % head_width:
        raise ConfigError(
            f"{OPEN_CLIP_CONFIG}: {SECTION}.width {width} is no multiple of head_width "
            f"{head_width}",
            hint=gate.correct(OPEN_CLIP_CONFIG),
        )
    mean = fields.get("global_average_pool") or fields.get("pool_type") == "avg"
    return {
        "embed_dim": width,
        "depth": fields.get("layers", 12),
        "num_heads": width // head_width,
        "in_chans": 3,
        "patch_size": fields.get("patch_size", 16),
        "img_size": fields.get("image_size", 224),
        "mlp": "mlp",
        "mlp_dim": int(width * fields.get("mlp_ratio", 4.0)),
        "activation": "quick_gelu" if fields["quick_gelu"] else "gelu",
        "norm_eps": 1e-5,
        "qkv_bias": True,
        "layer_scale": fields.get("ls_init_value") is not None,
        "class_token": True,
        "distillation_token": False,
        "reg_tokens": 0,
        "position_prefix": 1,
        "pre_norm": not fields.get("no_ln_pre", False),
        "final_norm": "tokens",
        "pool": "mean" if mean else "cls",
    }


def timm_tower(family: Family, tower: TimmTower) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The timm model that a tower is.

    Args:
        family: That of its tensors.
        tower: What OpenCLIP's config says.

    Returns:
        Architecture name, arguments of `timm.create_model`, and what timm says of the model.

    Raises:
        UnknownNameError: timm has no such architecture.
        UnsupportedModelError: It is none of the family.
        ConfigError: timm cannot build it with that pooling.
    """
    with _naming_the_file():
        arch, arguments = timm_arguments(family, tower.architecture, {})
        if tower.image_size is not None:
            arguments["img_size"] = tower.image_size
        if tower.pool and tower.projected:
            arguments["global_pool"] = tower.pool
            if norm := network_of(family).pooled_norm:
                arguments[norm] = describe_timm(family, arch, {})["final_norm"] == "pooled"
        elif tower.pool is not None and not tower.projected:
            arguments["global_pool"] = tower.pool
        return arch, arguments, describe_timm(family, arch, arguments)


@contextmanager
def _naming_the_file() -> Iterator[None]:
    """Say of what timm does not take where it stands."""
    try:
        yield
    except (UnknownNameError, UnsupportedModelError) as error:
        told = f"named by {OPEN_CLIP_CONFIG}: {SECTION}.timm_model_name"
        error.details = (*error.details, told)
        raise
    except ConfigError as error:
        raise ConfigError(
            f"{OPEN_CLIP_CONFIG}: {SECTION}: {error.message}",
            hint=gate.correct(OPEN_CLIP_CONFIG),
        ) from error
