"""The configs of all backbones, told apart by `model_type`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, SerializeAsAny, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from inflate_zoo.networks.aimv2.config import Aimv2Config
from inflate_zoo.networks.base import BackboneConfig
from inflate_zoo.networks.beit.config import BeitConfig
from inflate_zoo.networks.dinov3.config import Dinov3Config
from inflate_zoo.networks.eva02.config import Eva02Config
from inflate_zoo.networks.hiera.config import HieraConfig
from inflate_zoo.networks.sam.config import SamConfig
from inflate_zoo.networks.swin.config import SwinConfig
from inflate_zoo.networks.swinv2.config import SwinV2Config
from inflate_zoo.networks.vit.config import VitConfig

CONFIGS: dict[str, type[BackboneConfig]] = {
    VitConfig.kind(): VitConfig,
    BeitConfig.kind(): BeitConfig,
    Dinov3Config.kind(): Dinov3Config,
    Eva02Config.kind(): Eva02Config,
    SwinConfig.kind(): SwinConfig,
    SwinV2Config.kind(): SwinV2Config,
    Aimv2Config.kind(): Aimv2Config,
    SamConfig.kind(): SamConfig,
    HieraConfig.kind(): HieraConfig,
}


def is_known(model_type: object) -> bool:
    """Whether what a config.json calls itself is a backbone of ours; it may be anything."""
    return isinstance(model_type, str) and model_type in CONFIGS


def _of_its_kind(value: object) -> object:
    """A config as a mapping becomes one of the class that its `model_type` names."""
    if not isinstance(value, Mapping):
        return value
    found = value.get("model_type", VitConfig.kind())  # the only kind that may be left unsaid
    if is_known(found):
        return CONFIGS[found].model_validate(value)
    known = " or ".join(repr(name) for name in CONFIGS)
    wrong = PydanticCustomError("model_type", "Input should be {known}", {"known": known})
    entry = InitErrorDetails(type=wrong, loc=("model_type",), input=found)
    raise ValidationError.from_exception_data("BackboneConfig", [entry])


AnyBackboneConfig = Annotated[SerializeAsAny[BackboneConfig], BeforeValidator(_of_its_kind)]
"""The union of `CONFIGS`, as a field of another model; a kind that is added there is in it."""
