"""Finds and parses definition files, in an installed wheel or in a checkout."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from inflate_zoo.budgets import TOML_BYTES
from inflate_zoo.definitions import NamingScheme
from inflate_zoo.errors import ConfigError
from inflate_zoo.files import read_bytes
from inflate_zoo.foreign import reason_of, toml_table
from inflate_zoo.validation import problems_of


def data_folder(kind: str) -> Path:
    """Folder of definition files of one kind, e.g. `converters`."""
    package = Path(__file__).parent
    installed = package / "_data" / kind
    return installed if installed.is_dir() else package.parent / kind


def parse_scheme(path: Path) -> NamingScheme:
    """Read one naming scheme.

    Args:
        path: A TOML file; its name without ending becomes the scheme's name.

    Raises:
        ConfigError: The file is no TOML, or its content does not fit; names the field.
    """
    hint = "converters/README.md describes the format"

    def refused(lines: list[str]) -> ConfigError:
        return ConfigError(f"{path.name} is no valid naming scheme", details=lines, hint=hint)

    content = read_bytes(path, TOML_BYTES, hint)
    table = toml_table(content, lambda error: refused([reason_of(error)]))
    if "name" in table:
        raise refused(["name: remove it, the file's name is it"])
    try:
        return NamingScheme.model_validate({"name": path.stem, **table})
    except ValidationError as error:
        raise refused(problems_of(error, "file")) from error


@cache
def naming_schemes() -> Mapping[str, NamingScheme]:
    """All naming schemes, by name."""
    paths = sorted(data_folder("converters").glob("*.toml"))
    return MappingProxyType({path.stem: parse_scheme(path) for path in paths})


def families() -> tuple[NamingScheme, ...]:
    """All naming schemes of 2D checkpoints that can be converted, sorted by name."""
    return tuple(naming_schemes().values())
