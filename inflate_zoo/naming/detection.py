"""Which naming scheme a source follows: by config.json and tensor names, never the repo's name."""

from collections.abc import Mapping, Sequence
from typing import Any

from inflate_zoo.errors import AmbiguousSourceError, ConfigError, UnknownNameError, UsageError
from inflate_zoo.files.header import Header
from inflate_zoo.naming.definition import Family
from inflate_zoo.naming.patterns import match_header
from inflate_zoo.naming.towers import complete_towers
from inflate_zoo.naming.unsupported import is_known, unsupported


def section_of(scheme: Family, config: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The part of config.json that describes the image tower, and its prefix for messages.

    Raises:
        ConfigError: The part is not an object.
    """
    model_type = config.get("model_type")
    key = scheme.sections.get(model_type) if isinstance(model_type, str) else None
    if key is None and model_type not in scheme.model_types:  # stated by --family, or by names
        key = next((part for part in scheme.sections.values() if part in config), None)
    if key is None:
        return config, ""
    # CLIP's own rule: a vision_config_dict, where given, replaces the section.
    if model_type == "clip" and config.get(f"{key}_dict") is not None:
        key = f"{key}_dict"
    part = config.get(key)
    if part is None:
        return {}, f"{key}."
    if not isinstance(part, Mapping):
        raise ConfigError(
            f"config.json: {key} must be an object, found {type(part).__name__}",
            hint="correct config.json, or take it from the repo the weights came from",
        )
    return part, f"{key}."


def known_by_wrapper(schemes: Mapping[str, Family], prefix: str) -> list[Family]:
    """The schemes whose files keep the tower under a wrapper that stands in the prefix."""
    parts = set(prefix.split(".")) - {""}
    return [scheme for scheme in schemes.values() if parts & set(scheme.wrappers)]


def _fitting(schemes: Mapping[str, Family], header: Header) -> list[Family]:
    """The schemes that cover the file best: known by a wrapper, fewest names left over."""
    ranks: dict[str, tuple[int, int]] = {}
    for name, scheme in schemes.items():
        towers = complete_towers(scheme, header)
        for prefix in towers:
            told = bool(known_by_wrapper({name: scheme}, prefix))
            if told or "*" in scheme.wrappers:
                rank = (0 if told else 1, _unknown(scheme, prefix, header, towers))
                ranks[name] = min(rank, ranks.get(name, rank))
    best = min(ranks.values(), default=None)
    return [schemes[name] for name, rank in ranks.items() if rank == best]


def _unknown(scheme: Family, prefix: str, header: Header, towers: Sequence[str]) -> int:
    """How many names a scheme does not know; transformers' kinds are told by config.json alone."""
    if scheme.library == "transformers":
        return 0
    return len(match_header(scheme, prefix, header, towers).leftover)


def choose_scheme(
    schemes: Mapping[str, Family],
    header: Header,
    config: Mapping[str, Any] | None,
    *,
    family: str | None = None,
    arch: str | None = None,
    stated_by: str | None = None,
) -> Family:
    """Choose the naming scheme of a source.

    Args:
        schemes: All naming schemes by name.
        header: Names, types and shapes of the source's tensors.
        config: config.json, or `None` where the source has none.
        family: A scheme's name, to decide it by hand.
        arch: A timm architecture's name, for a bare file.
        stated_by: What else names a timm architecture: a file of OpenCLIP's.

    Returns:
        The scheme.

    Raises:
        UnknownNameError: No such family.
        UnsupportedModelError: No scheme covers the source.
        AmbiguousSourceError: Several do.
        ConfigError: The file needs its config.json.
    """
    if family is not None:
        if family not in schemes:
            raise UnknownNameError("family", family, schemes)
        return _with_config(schemes[family], config)
    stated = config or {}
    named_by = "--arch" if arch is not None else stated_by
    if "architecture" in stated or (named_by is not None and "model_type" not in stated):
        return _of_timm(schemes, header, named_by)
    model_type = config.get("model_type") if config is not None else None
    if model_type is not None:
        if not isinstance(model_type, str):
            raise ConfigError(
                f"config.json: model_type must be text, found {type(model_type).__name__}",
                hint="correct config.json, or take it from the repo the weights came from",
            )
        for scheme in schemes.values():
            if model_type in scheme.model_types:
                return scheme
        raise unsupported(model_type, header)
    return _decide(_fitting(schemes, header), header, config)


def _of_timm(schemes: Mapping[str, Family], header: Header, named_by: str | None) -> Family:
    """The scheme of a timm model; where none covers the file, the one it lacks least of.

    Raises:
        UsageError: `named_by` something, though the file's names are not timm's.
        AmbiguousSourceError: Several cover it equally well.
    """
    timm = {name: scheme for name, scheme in schemes.items() if scheme.library == "timm"}
    fitting = _fitting(timm, header)
    if not fitting:
        if named_by is not None:
            _refuse_others(schemes, header, named_by)
        return min(timm.values(), key=lambda scheme: _unknown(scheme, "", header, ()))
    if len(fitting) > 1:
        names = [scheme.name for scheme in fitting]
        raise AmbiguousSourceError(
            f"the tensor names fit several naming schemes: {', '.join(names)}",
            hint="say which: " + ", or ".join(f"--family {name}" for name in names),
        )
    return fitting[0]


def _refuse_others(schemes: Mapping[str, Family], header: Header, named_by: str) -> None:
    """Say what a file is that is called a timm architecture, though its names are not timm's.

    Raises:
        UsageError: They are those of another scheme.
        UnsupportedModelError: They are known, but of nothing that is converted.
    """
    others = [scheme.name for scheme in _fitting(schemes, header)]
    if others:
        raise UsageError(
            f"{named_by} names a timm architecture, the tensors are those of {', '.join(others)}",
            hint=f"leave out {named_by}, and put the config.json of the model beside the file",
        )
    if is_known(header):
        raise unsupported(None, header)


def _decide(fitting: Sequence[Family], header: Header, config: Mapping[str, Any] | None) -> Family:
    if not fitting:
        raise unsupported(None, header)
    if len(fitting) == 1:
        return _with_config(fitting[0], config)
    names = ", ".join(scheme.name for scheme in fitting)
    if all(scheme.library == "transformers" for scheme in fitting) and config is None:
        raise _needs_config(names)
    hints = [f"--family {scheme.name}" for scheme in fitting if scheme.library != "timm"]
    if any(scheme.library == "timm" for scheme in fitting):
        hints.insert(0, "--arch NAME for a timm model, e.g. --arch vit_base_patch16_224")
    raise AmbiguousSourceError(
        f"the tensor names fit several naming schemes: {names}",
        hint="say which: " + ", or ".join(hints),
    )


def _with_config(scheme: Family, config: Mapping[str, Any] | None) -> Family:
    # Head count, epsilon and activation leave no trace in a header.
    if config is None and scheme.library == "transformers":
        raise _needs_config(scheme.name)
    return scheme


def _needs_config(names: str) -> ConfigError:
    return ConfigError(
        f"no config.json beside the weights ({names}): heads, epsilon and activation are unknown",
        hint="put the config.json of the model beside the file",
    )
