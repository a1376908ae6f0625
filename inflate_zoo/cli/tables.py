"""Tables and facts that fit a terminal; where nobody looks, in a pipe, every line is whole."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from shutil import get_terminal_size
from textwrap import wrap

_GAP = "  "
_NARROWEST = 20  # columns; a terminal that says less is not believed


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        heading: What stands above it on a terminal.
        least: Characters below which it is left out; 0 for one that is always there, and whole.
        right: Whether its cells end in one column, as numbers do.
    """

    heading: str
    least: int = 0
    right: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """What is shown of a table.

    Attributes:
        lines: From the headings, if any, on.
        left_out: Headings of the columns for which there was no room.
    """

    lines: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def terminal_width() -> int | None:
    """Columns of the terminal that stdout is; `None` where it is none."""
    return max(_NARROWEST, get_terminal_size().columns) if sys.stdout.isatty() else None


def table(
    columns: Sequence[Column], rows: Iterable[Sequence[str]], width: int | None = None
) -> Table:
    """Lay out rows of cells.

    Args:
        columns: From left to right; where there is too little room the last ones are left out.
        rows: A cell for each column.
        width: Characters of a line, which cells are wrapped to; `None` gives every row one line,
            and no headings.
    """
    cells = [list(row) for row in rows]
    if not cells:
        return Table(())
    if width is not None:
        cells.insert(0, [column.heading for column in columns])
    natural = [max(map(len, column)) for column in zip(*cells, strict=True)]
    widths = natural if width is None else _fitted(columns, natural, width)
    kept = [index for index, size in enumerate(widths) if size]
    lines = []
    for row in cells:
        parts = [_wrapped(row[index], widths[index], columns[index]) for index in kept]
        for line in zip_longest(*parts):
            padded = (
                _aligned(part or "", widths[index], right=columns[index].right)
                for part, index in zip(line, kept, strict=True)
            )
            lines.append(_GAP.join(padded).rstrip())
    told = zip(columns, widths, strict=True)
    left_out = [column.heading for column, size in told if width is not None and not size]
    return Table(tuple(lines), tuple(left_out))


def _fitted(columns: Sequence[Column], natural: Sequence[int], width: int) -> list[int]:
    """Characters of each column, 0 where it is left out."""
    # What is never broken has its own width, all else the least that serves, then what is left.
    least = [
        min(column.least, size) if column.least else size
        for column, size in zip(columns, natural, strict=True)
    ]
    kept = list(range(len(columns)))
    while sum(least[i] for i in kept) + len(_GAP) * (len(kept) - 1) > width:
        last = next((i for i in reversed(kept) if columns[i].least), None)
        if last is None:
            break
        kept.remove(last)
    room = width - sum(least[i] for i in kept) - len(_GAP) * (len(kept) - 1)
    widths = [least[i] if i in kept else 0 for i in range(len(columns))]
    for i in reversed(kept):  # sentences, which break best, stand further left than names
        more = min(natural[i] - widths[i], max(0, room))
        widths[i] += more
        room -= more
    return widths


def _wrapped(cell: str, width: int, column: Column) -> list[str]:
    if not column.least or len(cell) <= width:
        return [cell]
    return wrap(cell, width, break_on_hyphens=False)


def _aligned(text: str, width: int, *, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)


def hanging(line: str, hang: int, width: int | None) -> list[str]:
    """A line, broken to a width, if any, so that what follows its start is set in by `hang`."""
    if width is None or len(line) <= width:
        return [line]
    # In a terminal too narrow for that, setting in would leave nothing.
    after = " " * min(hang, width // 2)
    return wrap(line, width, subsequent_indent=after, break_on_hyphens=False) or [line]


def facts(rows: Iterable[tuple[str, str]], start: int, width: int | None) -> list[str]:
    """Names and what is said of each, which begins in one column.

    Args:
        rows: Name and text.
        start: That column; a name too long for it pushes its text.
        width: Characters of a line; `None` does not break any.
    """
    named = (f"{name:<{start - 1}} {text}" for name, text in rows)
    return [line for each in named for line in hanging(each, start, width)]
