"""The parts of a report, with text as it is; what renders them escapes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    """Title of what follows; level 2 is a chapter."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """One paragraph."""

    text: str


@dataclass(frozen=True)
class Notice:
    """Sentences that must not be overlooked."""

    title: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Bullets:
    """A list; each item may begin with words in bold."""

    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """Cells of text.

    Attributes:
        columns: Heads of the columns.
        rows: Cells, as many per row as there are columns.
        words: Number of leading columns that hold words; the others hold numbers.
        marked: Places of rows that are set apart, e.g. arms that are not ranked.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    marked: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Figures:
    """Pictures by name, side by side where there is room."""

    names: tuple[str, ...]
    caption: str


@dataclass(frozen=True)
class Code:
    """Text to be typed."""

    text: str


@dataclass(frozen=True)
class Fold:
    """What is only wanted on demand."""

    title: str
    blocks: tuple[Block, ...]


Block = Heading | Paragraph | Notice | Bullets | Table | Figures | Code | Fold


@dataclass(frozen=True)
class Picture:
    """One drawing in both forms.

    Attributes:
        alt: What it shows, for those who do not see it.
        svg: Without comments, on white.
        png: The same.
    """

    alt: str
    svg: str
    png: bytes


Pictures = Mapping[str, Picture]
Blocks = Sequence[Block]
