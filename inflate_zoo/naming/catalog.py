"""Finds and parses definition files."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from pydantic import ValidationError

from inflate_zoo.errors import ConfigError
from inflate_zoo.files.budgets import TOML_BYTES
from inflate_zoo.files.foreign import reason_of, toml_table
from inflate_zoo.files.locations import data_folder
from inflate_zoo.files.reading import read_bytes
from inflate_zoo.naming.claims import problems_with
from inflate_zoo.naming.definition import Family
from inflate_zoo.texts import problems_of, validated

_HINT = "converters/README.md describes the format"


def parse_family(name: str, content: bytes) -> Family:
    """Read one family.

    Args:
        name: The family's: that of its file, without ending.
        content: Of the file, TOML.

    Raises:
        ConfigError: It is no TOML, or does not fit; names the field.
    """

    def refused(lines: list[str]) -> ConfigError:
        return ConfigError(f"{name}.toml is no valid family", details=lines, hint=_HINT)

    table = toml_table(content, lambda error: refused([reason_of(error)]))
    if "name" in table:
        raise refused(["name: remove it, the file's name is it"])
    try:
        family = validated(Family, {"name": name, **table})
    except ValidationError as error:
        raise refused(problems_of(error, "file")) from error
    if problems := problems_with(family):
        raise refused(problems)
    return family


def family_names() -> tuple[str, ...]:
    """Names of all families, sorted; their files are not read."""
    return tuple(sorted(path.stem for path in data_folder("converters").glob("*.toml")))


@cache
def families_by_name() -> Mapping[str, Family]:
    """All families, by name."""
    folder = data_folder("converters")
    names = family_names()
    read = {name: read_bytes(folder / f"{name}.toml", TOML_BYTES, _HINT) for name in names}
    return MappingProxyType({name: parse_family(name, read[name]) for name in read})


def families() -> tuple[Family, ...]:
    """All families of 2D checkpoints that can be converted, sorted by name."""
    return tuple(families_by_name().values())
