"""The parts of a report, with text as it is; what renders them escapes it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Heading:
    """Title of what follows; level 2 is a chapter."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """One paragraph: plain, to be read first of all, or small print."""

    text: str
    tone: Literal["plain", "lead", "soft"] = "plain"


@dataclass(frozen=True)
class Links:
    """(text, address) pairs on one line; addresses are relative to the report, not yet quoted."""

    items: tuple[tuple[str, str], ...]


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
    """Cells of text; the first cell of a row names it.

    Attributes:
        columns: Heads of the columns.
        rows: Cells, as many per row as there are columns.
        words: Number of leading columns that hold words; the others hold numbers.
        marked: Places of rows that are set apart, e.g. arms that are not ranked.
        caption: What the table holds.
        links: Of every row, where its first cell leads, relative to the report; empty where none
            leads anywhere.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    marked: frozenset[int] = frozenset()
    caption: str = ""
    links: tuple[str | None, ...] = ()

    def varied(self, kept: Collection[int]) -> Table:
        """Without the columns that say the same of every row, those of the given places aside."""
        places = [
            place
            for place in range(len(self.columns))
            if place in kept or len({row[place] for row in self.rows}) > 1
        ]
        return replace(
            self,
            columns=tuple(self.columns[place] for place in places),
            rows=tuple(tuple(row[place] for place in places) for row in self.rows),
            words=sum(place < self.words for place in places),
        )


@dataclass(frozen=True)
class Figures:
    """Pictures by name, side by side where there is room.

    Attributes:
        names: Of the pictures.
        caption: What they show.
        wide: Whether they keep their width on a narrow screen, and are moved sideways there.
    """

    names: tuple[str, ...]
    caption: str
    wide: bool = False


@dataclass(frozen=True)
class Code:
    """Text to be typed."""

    text: str


@dataclass(frozen=True)
class Fold:
    """What is only wanted on demand."""

    title: str
    blocks: tuple[Block, ...]


Block = Heading | Paragraph | Links | Notice | Bullets | Table | Figures | Code | Fold


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
