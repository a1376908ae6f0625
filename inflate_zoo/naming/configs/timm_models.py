"""What timm says of a model: its arguments, its parts, its published weights."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from inflate_zoo.errors import ConfigError, UnknownNameError, UnsupportedModelError, visible
from inflate_zoo.files.foreign import parsing, reason_of
from inflate_zoo.naming.configs import gate
from inflate_zoo.naming.configs.timm_aimv2 import AIMV2
from inflate_zoo.naming.configs.timm_beit import BEIT
from inflate_zoo.naming.configs.timm_eva import EVA
from inflate_zoo.naming.configs.timm_hiera import HIERA, HIERA_DET
from inflate_zoo.naming.configs.timm_naflex import NAFLEX
from inflate_zoo.naming.configs.timm_network import TimmNetwork
from inflate_zoo.naming.configs.timm_sam import SAM
from inflate_zoo.naming.configs.timm_swin import SWIN, SWINV2
from inflate_zoo.naming.configs.timm_vit import VIT
from inflate_zoo.naming.unsupported import MODEL_TYPES

if TYPE_CHECKING:
    from inflate_zoo.files.header import Header
    from inflate_zoo.naming.definition import Family
    from inflate_zoo.naming.patterns import Matching

# By what a definition's `network` and `reference` name.
TIMM_NETWORKS: Mapping[tuple[str, str], TimmNetwork] = MappingProxyType(
    {
        ("vit", "VisionTransformer"): VIT,
        ("vit", "NaFlexVit"): NAFLEX,
        ("aimv2", "VisionTransformer"): AIMV2,
        ("beit", "Beit"): BEIT,
        ("dinov3", "Eva"): EVA,
        ("eva02", "Eva"): EVA,
        ("swin", "SwinTransformer"): SWIN,
        ("swinv2", "SwinTransformerV2"): SWINV2,
        ("sam", "VisionTransformerSAM"): SAM,
        ("hiera", "Hiera"): HIERA,
        ("hiera", "HieraDet"): HIERA_DET,
    }
)
_OF_ALL = ("depth", "global_attn_indexes")  # arguments that one block does not show
_LONGEST_NAME = 200  # characters
_MOST_NOTES = 3


def timm_arguments(
    family: Family, arch: str, config: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Architecture name and create_model's arguments, from timm's config.json or a bare name.

    Raises:
        UnknownNameError: timm has no such architecture.
        UnsupportedModelError: It is none of the family.
        ConfigError: The gate refuses a field of config.json.
    """
    from timm.models import is_model, is_model_in_modules, model_entrypoint

    base = _base(arch)
    if len(base) > _LONGEST_NAME or not is_model(base):
        told = arch.removeprefix("timm/")[:_LONGEST_NAME]
        raise UnknownNameError("timm architecture", told, _known(family))
    if not is_model_in_modules(base, family.modules):
        raise UnsupportedModelError(
            f"'{base}' is of timm's {model_entrypoint(base).__module__.rpartition('.')[2]}, "
            f"not a plain {family.reference}",
            hint=network_of(family).nearest,
        )
    return base, gate.timm_arguments(config)


def of_architecture(families: Mapping[str, Family], arch: str) -> Mapping[str, Family]:
    """Those of timm's families whose kind an architecture is, by the module that timm has it in.

    Args:
        families: Of timm's networks, by name.
        arch: Architecture name; one that timm does not know may be of any of them.

    Raises:
        UnsupportedModelError: It is of none; names the module.
    """
    from timm.models import is_model, is_model_in_modules, model_entrypoint

    base = _base(arch)
    if len(base) > _LONGEST_NAME or not is_model(base):
        return families
    found = {n: each for n, each in families.items() if is_model_in_modules(base, each.modules)}
    if not found:
        module = model_entrypoint(base).__module__.rpartition(".")[2]
        modules = {known: each.name for each in families.values() for known in each.modules}
        near = max((known for known in modules if module.startswith(known)), key=len, default="")
        what, _ = MODEL_TYPES.get(module, ("which no family converts", ""))
        raise UnsupportedModelError(
            f"'{base}' is of timm's {module}, {what}",
            hint=f"nearest supported: {modules.get(near, 'timm_vit')}; "
            "'inflate-zoo families' lists all with examples",
        )
    return found


def is_converted(family: Family, arch: str) -> bool:
    """Whether a family has an architecture as timm defines it, without arguments of its own."""
    with suppress(UnknownNameError, UnsupportedModelError):
        describe_timm(family, *timm_arguments(family, arch, {}))
        return True
    return False


def _base(arch: str) -> str:
    """An architecture's name without its owner and its tag."""
    return arch.removeprefix("timm/").split(".")[0]


def create_timm(family: Family, arch: str, arguments: Mapping[str, Any]) -> Any:
    """Build timm's model without memory for its weights.

    Args:
        family: Of timm's networks.
        arch: Architecture name, and
        arguments: what `timm_arguments` gave with it; of classes the names.

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

    given = {**network_of(family).building, **arguments}
    if "mlp_layer" in given:
        given["mlp_layer"] = getattr(timm.layers, given["mlp_layer"])
    with parsing(refused), torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return timm.create_model(arch, pretrained=False, **given)


def describe_timm(family: Family, arch: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What timm itself says of a model, from one built without memory.

    Args:
        family: Of timm's networks.
        arch: Architecture name.
        arguments: Arguments of `timm.create_model`.

    Returns:
        Fields that the family's definition reads.

    Raises:
        ConfigError: timm cannot build it.
        UnsupportedModelError: It is none of the family.
    """
    # All blocks are alike, and a thousand take nine seconds: one stands for as many as are stated.
    one = {"depth": 1} if "depth" in arguments else {}
    model = create_timm(family, arch, {**arguments, **one})
    described = network_of(family).describe(arch, model)
    return {**described, **{name: arguments[name] for name in _OF_ALL if name in arguments}}


def finetuned(family: Family, matching: Matching) -> dict[str, Any]:
    """What the names in a file say that fine-tuning changed of a bare architecture."""
    return network_of(family).finetuned(matching)


def passed_in_code(
    family: Family, matching: Matching, header: Header, described: Mapping[str, Any]
) -> dict[str, Any]:
    """What a file's tensors show beyond what its config.json states.

    Args:
        family: Of timm's networks.
        matching: The file's names.
        header: Names, types and shapes of its tensors.
        described: What `describe_timm` says without them.

    Returns:
        Arguments that code must have passed to `timm.create_model`; the tensors leave no choice.
    """
    return network_of(family).passed_in_code(matching, header, described)


def network_of(family: Family) -> TimmNetwork:
    """How timm's network of a family is described and built."""
    return TIMM_NETWORKS[family.network, family.reference]


def _known(family: Family) -> list[str]:
    from timm.models import list_models

    return [name for module in family.modules for name in list_models(module=module)]


def published_cfg(family: Family, name: str) -> tuple[Mapping[str, Any], str, bool] | None:
    """The pretrained_cfg that timm has for an architecture.

    Args:
        family: Of timm's networks.
        name: `architecture.tag`, or `architecture` for the tag that timm takes by itself.

    Returns:
        The cfg, what it is called in full, and whether the name is that of the very weights;
        `None` where timm has published none.

    Raises:
        UnknownNameError: No such tag or architecture.
        UnsupportedModelError: It is none of the family, and timm would have to build it.
    """
    import timm

    arch, _, tag = name.removeprefix("timm/").partition(".")
    known = {found.partition(".")[2] for found in timm.list_models(f"{arch}.*", include_tags=True)}
    if tag and tag not in known:
        if not known:
            return None
        raise UnknownNameError(f"pretrained tag of timm's {arch}", tag, known)
    found = timm.get_pretrained_cfg(f"{arch}.{tag}" if tag else arch)
    cfg: Mapping[str, Any] = vars(found) if found is not None else _of_old_name(family, arch)
    if not cfg:
        return None
    told = bool(tag) or found is None  # an old name stands for one tag
    full = ".".join(filter(None, (cfg.get("architecture") or arch, cfg.get("tag"))))
    return cfg, f"timm's pretrained_cfg of {full}", told


def tagged(name: str, config: Mapping[str, Any]) -> str:
    """An architecture with its tag: its own, or what config.json states of its weights."""
    arch, _, tag = name.partition(".")
    cfg = config.get("pretrained_cfg")
    if not tag and isinstance(cfg, Mapping):
        tag = str(cfg.get("tag") or "")
    return ".".join(filter(None, (arch, tag)))


def notes_of(family: Family, name: str, config: Mapping[str, Any]) -> tuple[str, ...]:
    """What timm notes of weights: in their config.json, else in its own list by their tag.

    Args:
        family: Of timm's networks.
        name: `architecture.tag`; without a tag nothing is looked up, as the weights are any.
        config: config.json, empty where there is none.
    """
    cfg = config.get("pretrained_cfg")
    stated: Any = (cfg if isinstance(cfg, Mapping) else config).get("notes")
    full = tagged(name, config)
    if stated is None and "." in full:
        with suppress(UnknownNameError):  # a tag of the file's author, or of a newer timm
            published = published_cfg(family, full)
            stated = published[0].get("notes") if published else None
    notes = stated if isinstance(stated, list | tuple) else [stated]
    return tuple(visible(note[:_LONGEST_NAME]) for note in notes[:_MOST_NOTES] if _is_text(note))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _of_old_name(family: Family, arch: str) -> Mapping[str, Any]:
    """The cfg behind a name of earlier releases, which the registry does not hold itself."""
    admitted, arguments = timm_arguments(family, arch, {})
    model = create_timm(family, admitted, arguments)
    cfg: Mapping[str, Any] = getattr(model, "pretrained_cfg", {})
    return cfg if cfg.get("tag") else {}
