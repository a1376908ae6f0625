"""What open_clip_config.json says of an image tower that is timm's: which one, and how it is fed.

OpenCLIP builds such a tower by the architecture's name alone. Where a projection of its own
follows, the tower is built as timm has it and its pooling is changed afterwards, so that its norms
stay where they were; else the pooling is an argument of the architecture, which moves them.
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
from inflate_zoo.naming.configs.timm_models import describe_timm, timm_arguments
from inflate_zoo.naming.definition import Family

OPEN_CLIP_FILE = Statement(OPEN_CLIP_CONFIG, "take both files from the same repo and revision")
_SECTION = "model_cfg.vision_cfg"
_PROJECTIONS = ("linear", "mlp")


@dataclass(frozen=True, slots=True)
class OpenClip:
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


def is_needed(config: Mapping[str, Any] | None) -> bool:
    """Whether config.json leaves open what the source is."""
    stated = config or {}
    return stated.get("architecture") is None and stated.get("model_type") is None


def read_tower(config: Mapping[str, Any]) -> OpenClip | None:
    """The timm image tower that an OpenCLIP config states.

    Args:
        config: Content of open_clip_config.json.

    Returns:
        `None` where the image tower is OpenCLIP's own.

    Raises:
        ConfigError: A field is unknown, of the wrong type or out of its range.
    """
    vision = _object(
        "model_cfg.vision_cfg", _object("model_cfg", config.get("model_cfg")).get("vision_cfg")
    )
    if not vision.get("timm_model_name"):
        return None
    fields = gate.open_clip_fields(config)
    return OpenClip(
        architecture=fields["timm_model_name"].removeprefix("timm/"),
        pool=fields.get("timm_pool", "avg"),
        projected=fields.get("timm_proj", "linear") in _PROJECTIONS,
        image_size=fields.get("image_size"),
        preprocess=config.get("preprocess_cfg") or {},
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


def timm_tower(family: Family, tower: OpenClip) -> tuple[str, dict[str, Any], dict[str, Any]]:
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
            kept = describe_timm(family, arch, {})["final_norm"] == "pooled"
            arguments |= {"global_pool": tower.pool, "fc_norm": kept}
        elif tower.pool is not None and not tower.projected:
            arguments["global_pool"] = tower.pool
        return arch, arguments, describe_timm(family, arch, arguments)


@contextmanager
def _naming_the_file() -> Iterator[None]:
    """Say of what timm does not take where it stands."""
    try:
        yield
    except (UnknownNameError, UnsupportedModelError) as error:
        told = f"named by {OPEN_CLIP_CONFIG}: {_SECTION}.timm_model_name"
        error.details = (*error.details, told)
        raise
    except ConfigError as error:
        raise ConfigError(
            f"{OPEN_CLIP_CONFIG}: {_SECTION}: {error.message}",
            hint=gate.correct(OPEN_CLIP_CONFIG),
        ) from error
