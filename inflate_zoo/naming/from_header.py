"""What a header alone says of an architecture, in the words for it."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inflate_zoo.files.header import Header

_NEAREST = 16  # leftover names that get a suggestion; each costs a comparison with all known names


@dataclass(frozen=True, slots=True)
class FromHeader:
    """What the header alone says.

    Attributes:
        values: By field of the architecture, and what else its reader needs; of a plain vision
            transformer `hidden` is the first dimension of fc1, both halves of a gated one.
        told_by: Field to the words for what tells it, e.g. `'pos_embed' says`.
        table: Source name of the position table, where there is one.
        rows: Its rows, those of prefix tokens included.
    """

    values: Mapping[str, Any]
    told_by: Mapping[str, str]
    table: str = ""
    rows: int = 0


def either(names: Sequence[str]) -> str:
    """Alternative names for a message: `'a' or 'b'`."""
    return " or ".join(f"'{name}'" for name in names)


def leftover_lines(names: Sequence[str], header: Header, known: Sequence[str]) -> list[str]:
    """A line for each name that nobody knows; the first ones say what they resemble."""
    lines = []
    for position, name in enumerate(names):
        near = difflib.get_close_matches(name, known, n=1) if position < _NEAREST else []
        suffix = f"; nearest known name: '{near[0]}'" if near else ""
        lines.append(f"left over: '{name}' {header[name]}{suffix}")
    return lines
