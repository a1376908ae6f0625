"""What stands in config.json of a network of ours: its own fields, and those that timm reads there.

Format version 1 holds a network's own fields alone, version 2 of a backbone timm's keys beside
them. All of these follow from the network, so they are made when a file is written, and left out
again when one is read. transformers asks for nothing but `model_type`, which is ours already.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from inflate_zoo.errors import ConfigError
from inflate_zoo.networks.base import FORMAT_VERSION, BackboneConfig, NetworkConfig

FORMAT_WITH_LIBRARY_KEYS: Final = 2
LIBRARY_KEYS: Final = frozenset({"architecture", "num_classes", "num_features", "pretrained_cfg"})
HEAD: Final = "head"  # what timm calls the classifier of every network of ours; no file has one


def library_keys(config: BackboneConfig) -> dict[str, Any]:
    """What timm reads in config.json, as JSON values.

    `mean` and `std` say that timm is to normalise nothing: a network takes what its card says.
    timm has no word for depth: `input_size` is channels, height and width of the default volume.
    """
    channels = config.in_channels
    return {
        "architecture": config.kind(),
        "num_classes": 0,
        "num_features": config.final_width,
        "pretrained_cfg": {
            "classifier": HEAD,
            "first_conv": config.stem.removesuffix(".weight"),
            "input_size": [channels, *config.volume[1:]],
            "mean": [0.0] * channels,
            "std": [1.0] * channels,
        },
    }


def fields_to_write(config: NetworkConfig) -> dict[str, Any]:
    """Everything that config.json of a network is to hold, as JSON values."""
    fields: dict[str, Any] = config.model_dump(mode="json")
    if not isinstance(config, BackboneConfig):  # timm and transformers have no such network
        return fields
    return {**fields, "format_version": FORMAT_WITH_LIBRARY_KEYS, **library_keys(config)}


def own_fields(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The network's own fields of a backbone's config.json, whatever their values.

    Args:
        raw: The file's content. Keys of other libraries are left in where its format version has
            none: the network's config then refuses them.
    """
    if raw.get("format_version") != FORMAT_WITH_LIBRARY_KEYS:
        return dict(raw)
    own = {key: value for key, value in raw.items() if key not in LIBRARY_KEYS}
    return {**own, "format_version": FORMAT_VERSION}


def require_known_format(raw: Mapping[str, Any], kind: type[NetworkConfig]) -> None:
    """Refuse a file of a format that is not here yet, before its fields are asked for.

    Args:
        raw: The file's content.
        kind: What its `model_type` says.

    Raises:
        ConfigError: A later inflate-zoo wrote it.
    """
    latest = FORMAT_WITH_LIBRARY_KEYS if issubclass(kind, BackboneConfig) else FORMAT_VERSION
    version = raw.get("format_version")
    if isinstance(version, int) and version > latest:
        raise ConfigError(
            f"config.json: format_version is {version}, of a later inflate-zoo; known: {latest}",
            hint="install the newest inflate-zoo",
        )


def require_library_keys(raw: Mapping[str, Any], config: BackboneConfig) -> None:
    """Refuse a file whose keys for timm are not those of the network, or are not all there.

    Args:
        raw: The file's content.
        config: What its own fields say.

    Raises:
        ConfigError: Names the keys.
    """
    if raw.get("format_version") != FORMAT_WITH_LIBRARY_KEYS:
        return
    wanted = library_keys(config)
    wrong = [key for key, value in wanted.items() if raw.get(key) != value]
    if wrong:
        raise ConfigError(
            "config.json: what timm reads there is not what the network is",
            details=[f"{key}: {raw.get(key)!r}, expected {wanted[key]!r}" for key in wrong],
            hint="put there what is expected, or convert the source again",
        )
