"""What config.json claims of the architecture, read with types and the library's defaults."""

from typing import Any

from inflate_zoo.errors import ConfigError
from inflate_zoo.naming.configs.from_config import CONFIG_FILE, FromConfig, Raw, Statement
from inflate_zoo.naming.definition import ConfigEntry, Family
from inflate_zoo.naming.readers.known import READERS
from inflate_zoo.naming.readers.reader import Reader


def _label(reader: Reader, field: str, entry: ConfigEntry) -> str:
    return reader.rules[entry.rule].label if entry.rule is not None else entry.path or field


def _claim(reader: Reader, entry: ConfigEntry, raw: Raw, width: int) -> Any:
    if entry.rule is not None:
        return reader.rules[entry.rule].compute(raw, width)
    if entry.path is None:
        return entry.default
    return raw.get(entry.path, entry.default)


def read_claims(
    family: Family,
    raw: Raw,
    section: str,
    width: int,
    statement: Statement = CONFIG_FILE,
) -> FromConfig:
    """Read the fields a family takes from a config.

    Args:
        family: The family.
        raw: The part of config.json that describes the image tower, or timm's own description.
        section: What to put before a field in messages, e.g. `vision_config.`.
        width: Width as the tensors have it, for rules on sources without a config.
        statement: What made the claims, for messages.

    Returns:
        Typed values; activations under our names.

    Raises:
        ConfigError: A value has the wrong type or is out of range; names its path.
    """
    reader = READERS[family.network]
    values: dict[str, Any] = {}
    labels: dict[str, str] = {}
    for field, entry in family.config.items():
        labels[field] = f"{section}{_label(reader, field, entry)}"
        value = _claim(reader, entry, raw, width)
        unstated = entry.path is not None and entry.path not in raw  # timm: the tensors decide
        if value is not None or not unstated:
            values[field] = reader.fields[field](labels[field], value)
    silent = [field for field in reader.required if field not in values]
    if silent:
        raise ConfigError(
            f"nothing says what {', '.join(silent)} of this {family.name} source are",
            hint="name the architecture, e.g. --arch vit_base_patch16_224",
        )
    claims = FromConfig(values, labels)
    reader.check(claims, width, statement)
    return claims


def problems_with(family: Family) -> list[str]:
    """What in a family the reader of its network does not know, or lacks."""
    reader = READERS.get(family.network)
    if reader is None:
        return [f"network: there is no '{family.network}', known: {', '.join(READERS)}"]
    known = f"known to network '{family.network}'"
    problems = [
        f"config.{field}: no field {known}: {', '.join(reader.fields)}"
        for field in family.config
        if field not in reader.fields
    ]
    problems += [
        f"config.{field}.rule: no rule {known}: {', '.join(reader.rules)}"
        for field, entry in family.config.items()
        if entry.rule is not None and entry.rule not in reader.rules
    ]
    absent = [field for field in reader.required if field not in family.config]
    return problems + ([f"config lacks {', '.join(absent)}"] if absent else [])
