"""Which family a source follows: by config.json and tensor names, never the repo's name."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from inflate_zoo.errors import (
    AmbiguousSourceError,
    ConfigError,
    UnknownNameError,
    UnsupportedModelError,
    UsageError,
)
from inflate_zoo.files.header import Header
from inflate_zoo.naming.claims import read_claims
from inflate_zoo.naming.configs.normalization import OPEN_CLIP_CONFIG
from inflate_zoo.naming.configs.timm_models import is_converted, of_architecture
from inflate_zoo.naming.definition import Family
from inflate_zoo.naming.patterns import match_header, sources_of
from inflate_zoo.naming.towers import complete_towers, width_of
from inflate_zoo.naming.unsupported import is_known, unfinished, unsupported

# Models of which a vision_config_dict, where given, replaces the vision_config.
_REPLACED = frozenset({"clip", "metaclip_2", "chinese_clip", "clipseg"})


def section_of(family: Family, config: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The part of config.json that describes the image tower, and its prefix for messages.

    Raises:
        ConfigError: The part is not an object, or several differ that describe such a tower.
    """
    model_type = config.get("model_type")
    key = family.sections.get(model_type) if isinstance(model_type, str) else None
    if key is None and model_type not in family.model_types:  # stated by --family, or by names
        own = _own_part(family, config)
        key = own or next((part for part in family.sections.values() if part in config), None)
    if key is None:
        return config, ""
    if model_type in _REPLACED and config.get(f"{key}_dict") is not None:
        key = f"{key}_dict"
    part: Any = config
    for field in key.split("."):  # of SAM 2's one part stands in another
        part = part.get(field)
        if part is None:
            return {}, f"{key}."
        if not isinstance(part, Mapping):
            raise ConfigError(
                f"config.json: {key} must be an object, found {type(part).__name__}",
                hint="correct config.json, or take it from the repo the weights came from",
            )
    return part, f"{key}."


def _own_part(family: Family, config: Mapping[str, Any]) -> str | None:
    """The field of a larger model's config that describes an image tower of the family's.

    Raises:
        ConfigError: Several do, and differ.
    """
    own = [field for field, kind in _parts(config).items() if kind in family.model_types]
    if any(config[field] != config[own[0]] for field in own[1:]):
        raise ConfigError(
            f"config.json: {', '.join(own)} describe image towers that differ",
            hint="leave the one that is meant in a copy of config.json, and choose its tensors "
            "with --weights",
        )
    return own[0] if own else None


def _parts(config: Mapping[str, Any]) -> dict[str, str]:
    """The types of the models of which a larger one consists, by field: its objects that state one.

    An image tower stands under `vision_config`, `backbone_config`, `encoder` and other names.
    """
    found = {
        field: part.get("model_type") for field, part in config.items() if isinstance(part, Mapping)
    }
    return {field: kind for field, kind in found.items() if isinstance(kind, str)}


def known_by_wrapper(families: Mapping[str, Family], prefix: str) -> list[Family]:
    """The families whose files keep the tower under a wrapper that stands in the prefix."""
    parts = set(prefix.split(".")) - {""}
    return [family for family in families.values() if parts & set(family.wrappers)]


def _fitting(families: Mapping[str, Family], header: Header) -> list[Family]:
    """The families that cover the file best: by the stem, by a wrapper, by names left over."""
    ranks: dict[str, tuple[int, int, int]] = {}
    for name, family in families.items():
        towers = complete_towers(family, header)
        for prefix in towers:
            told = bool(known_by_wrapper({name: family}, prefix))
            if told or "*" in family.wrappers:
                unknown = _unknown(family, prefix, header, towers)
                rank = (_misshapen(family, prefix, header), 0 if told else 1, unknown)
                ranks[name] = min(rank, ranks.get(name, rank))
    best = min(ranks.values(), default=None)
    return [families[name] for name, rank in ranks.items() if rank == best]


def _misshapen(family: Family, prefix: str, header: Header) -> int:
    """1 where the stem is a matrix, or a kernel of two or three sides, and the family's is not."""
    stems = (name for name in sources_of(family, prefix, family.stem) if name in header)
    rank = family.dimensions + 2 if family.linear_stem is None else 2
    return int(any(len(header[name].shape) != rank for name in stems))


def _unknown(family: Family, prefix: str, header: Header, towers: Sequence[str]) -> int:
    """How many names a family does not know; transformers' kinds are told by config.json alone."""
    if family.library == "transformers":
        return 0
    return len(match_header(family, prefix, header, towers).leftover)


def choose_family(
    families: Mapping[str, Family],
    header: Header,
    config: Mapping[str, Any] | None,
    *,
    family: str | None = None,
    arch: str | None = None,
    stated: str | None = None,
) -> Family:
    """Choose the family of a source.

    Args:
        families: All families by name.
        header: Names, types and shapes of the source's tensors.
        config: config.json, or `None` where the source has none.
        family: A family's name, to decide it by hand.
        arch: A timm architecture's name, for a bare file.
        stated: The timm architecture that a file of OpenCLIP's names.

    Returns:
        The family.

    Raises:
        UnknownNameError: No such family.
        UnsupportedModelError: No family covers the source, or the architecture's network.
        AmbiguousSourceError: Several do.
        ConfigError: The file needs its config.json.
    """
    if family is not None:
        if family not in families:
            raise UnknownNameError("family", family, families)
        return _with_config(families[family], config)
    fields = config or {}
    named_by = "--arch" if arch is not None else OPEN_CLIP_CONFIG if stated is not None else None
    if "architecture" in fields or (named_by is not None and "model_type" not in fields):
        name = arch or stated or fields.get("architecture")
        return _of_timm(families, header, named_by, name if isinstance(name, str) else "")
    model_type = config.get("model_type") if config is not None else None
    if model_type is not None:
        if not isinstance(model_type, str):
            raise ConfigError(
                f"config.json: model_type must be text, found {type(model_type).__name__}",
                hint="correct config.json, or take it from the repo the weights came from",
            )
        for known in families.values():
            if model_type in known.model_types:
                _require_no_originals(families, known, header, model_type)
                return known
        raise _of_larger(families, model_type, config or {}) or unsupported(model_type, header)
    return _decide(_fitting(families, header), header, config)


def _require_no_originals(
    families: Mapping[str, Family], stated: Family, header: Header, model_type: str
) -> None:
    """Tell original files, beside which a config of transformers was put, from what it describes.

    Raises:
        UsageError: The tensors are of another family, and none of what config.json states.
    """
    if complete_towers(stated, header):
        return
    originals = {n: each for n, each in families.items() if each.library == "original"}
    if others := [family.name for family in _fitting(originals, header)]:
        raise UsageError(
            f"config.json states transformers' '{model_type}', the tensors are those of "
            f"{', '.join(others)}",
            hint=_taken_alone(others),
        )


def _of_larger(
    families: Mapping[str, Family], model_type: str, config: Mapping[str, Any]
) -> UnsupportedModelError | None:
    """The error for a larger model with an image tower of a family's, if it states one."""
    towers = {
        kind: family.name
        for kind in _parts(config).values()
        for family in families.values()
        if kind in family.model_types
    }
    if not towers:
        return None
    shown = " and one of type ".join(f"'{kind}'" for kind in towers)
    return UnsupportedModelError(
        f"the source is a model of type '{model_type}', with an image tower of type {shown}",
        hint="the tower alone is taken with "
        + " or ".join(f"--family {name}" for name in dict.fromkeys(towers.values())),
    )


def _of_timm(
    families: Mapping[str, Family], header: Header, named_by: str | None, name: str
) -> Family:
    """The family of a timm model; where none covers the file, the one it lacks least of.

    Where timm knows the architecture, it is one of those of its module: names alone would make a
    network of another module, which none covers, the one that it resembles.

    Raises:
        UsageError: `named_by` something, though the file's names are not timm's.
        AmbiguousSourceError: Several cover it equally well.
        UnsupportedModelError: No family has networks of the architecture's module.
    """
    timm = {each: family for each, family in families.items() if family.library == "timm"}
    of_its_kind = of_architecture(timm, name)
    fitting = _fitting(of_its_kind, header)
    if not fitting:
        if named_by is not None:
            _refuse_others(families, header, named_by)
        return min(
            of_its_kind.values(),
            key=lambda each: (not is_converted(each, name), _unknown(each, "", header, ())),
        )
    if len(fitting) > 1:
        names = [family.name for family in fitting]
        raise AmbiguousSourceError(
            f"the tensor names fit several families: {', '.join(names)}",
            hint="say which: " + ", or ".join(f"--family {name}" for name in names),
        )
    return fitting[0]


def require_names(
    families: Mapping[str, Family], family: Family, header: Header, arch: str
) -> None:
    """Say whose a file is that has none of the names of its architecture, which is converted.

    Args:
        families: All families by name.
        family: The architecture's.
        header: Names of all tensors of the file.
        arch: Architecture name.

    Raises:
        UsageError: The names are those of other networks of timm's, or of original files.
    """
    if complete_towers(family, header):
        return
    bare = {name: each for name, each in families.items() if each.library != "transformers"}
    fitting = _fitting(bare, header)
    others = [each.name for each in fitting if each.library == "timm"]
    if fitting:
        names = others or [each.name for each in fitting]
        raise UsageError(
            f"'{arch}' is of {family.name}, the tensors are those of {', '.join(names)}",
            hint="name the architecture that the file was saved from, e.g. with --arch"
            if others
            else _taken_alone(names),
        )


def _taken_alone(names: Sequence[str]) -> str:
    """The next step for files of such families beside a config of a library."""
    return "its file needs no config.json: take it alone, or say --family " + " or ".join(names)


def _refuse_others(families: Mapping[str, Family], header: Header, named_by: str) -> None:
    """Say what a file is that is called a timm architecture, if its names are not timm's.

    Raises:
        UsageError: They are those of another family.
        UnsupportedModelError: They are known, but of nothing that is converted.
    """
    others = _fitting(families, header)
    if any(family.library == "timm" for family in others):  # of another kind, which is told later
        return
    if others:
        told = any(family.library == "transformers" for family in others)
        names = ", ".join(family.name for family in others)
        raise UsageError(
            f"{named_by} names a timm architecture, the tensors are those of {names}",
            hint=f"leave out {named_by}"
            + (", and put the config.json of the model beside the file" if told else ""),
        )
    if is_known(header):
        raise unsupported(None, header)


def _decide(fitting: Sequence[Family], header: Header, config: Mapping[str, Any] | None) -> Family:
    if not fitting:
        raise unsupported(None, header)
    for family in fitting:
        towers = complete_towers(family, header)
        left = match_header(family, towers[0], header, towers).leftover
        if told := unfinished(left):  # of a kind that is not converted, near to some that are
            raise told
    if len(fitting) == 1:
        return _with_config(fitting[0], config)
    names = ", ".join(family.name for family in fitting)
    if all(family.library == "transformers" for family in fitting) and config is None:
        raise _needs_config(names)
    others = [family for family in fitting if family.library != "timm"]
    if len(others) == len(fitting):
        hints = [f"--family {family.name}" for family in others]
    else:
        hints = ["--arch NAME for a timm model, e.g. --arch vit_base_patch16_224"]
        hints += [f"--family {each.name}" for each in others if _is_enough(each, header)]
    raise AmbiguousSourceError(
        f"the tensor names fit several families: {names}",
        hint="say which: " + ", or ".join(hints),
    )


def _is_enough(family: Family, header: Header) -> bool:
    """Whether a family knows the heads of a network of that width, which no tensor tells."""
    if family.library == "transformers":  # its config.json does
        return True
    tower = complete_towers(family, header)[0]
    with suppress(ConfigError):
        read_claims(family, {}, "", width_of(family, header, tower) or 0)
        return True
    return False


def _with_config(family: Family, config: Mapping[str, Any] | None) -> Family:
    # Head count, epsilon and activation leave no trace in a header.
    if config is None and family.library == "transformers":
        raise _needs_config(family.name)
    return family


def _needs_config(names: str) -> ConfigError:
    return ConfigError(
        f"no config.json beside the weights ({names}): heads, epsilon and activation are unknown",
        hint="put the config.json of the model beside the file",
    )
