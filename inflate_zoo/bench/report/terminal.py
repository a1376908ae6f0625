"""Standings in a terminal, or as plain lines where there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from shutil import get_terminal_size

from inflate_zoo.bench.report import tables
from inflate_zoo.bench.report.output.document import Table
from inflate_zoo.bench.report.output.text import shortened
from inflate_zoo.bench.report.results import Results
from inflate_zoo.errors import visible
from inflate_zoo.texts import plural

_LONGEST = 48  # characters of a cell


def table(results: Results) -> str:
    """Caveats and standings of every study as text for stdout.

    On a terminal it has rules and colours, and no columns of regions if they do not fit; else
    columns of spaces.
    """
    parts = []
    if absent := tables.missing(results):
        parts.append(f"{absent}\n")
    for study in results.studies:
        count = plural(study.ranking.cases, "test case"), plural(study.ranking.seeds, "seed")
        title = f"{visible(study.title)} ({', '.join(count)})"
        caveats = "".join(f"  ! {visible(caveat)}\n" for caveat in study.caveats)
        full = tables.standings(study, pooled=False)
        if sys.stdout.isatty() and _width(full) > get_terminal_size().columns:
            full = tables.standings(study, pooled=False, narrow=True)
        parts.append(f"{title}\n{caveats}{_drawn(full)}{tables.verdict(study)}".rstrip() + "\n")
    if found := tables.overall(results.ranking):
        caveats = "".join(f"  ! {visible(caveat)}\n" for caveat in results.ranking.caveats)
        parts.append(f"all tasks\n{caveats}{_drawn(found)}")
    return "\n".join(parts)


def _cells(table: Table) -> Iterator[list[str]]:
    for row in table.rows:
        yield [shortened(cell, _LONGEST) for cell in row]


def _width(table: Table) -> int:
    rows = [table.columns, *_cells(table)]
    return sum(max(map(len, column)) + 2 for column in zip(*rows, strict=True))


def _drawn(table: Table) -> str:
    return _rich(table) if sys.stdout.isatty() else _plain(table)


def _plain(table: Table) -> str:
    rows = [[shortened(head, _LONGEST) for head in table.columns], *_cells(table)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if place < table.words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "".join(f"{line}\n" for line in lines)


def _rich(table: Table) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console()
    made = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, head in enumerate(table.columns):
        words = place < table.words
        made.add_column(Text(visible(head)), justify="left" if words else "right", overflow="fold")
    for place, row in enumerate(_cells(table)):
        style = "yellow" if place in table.marked else None
        made.add_row(*map(Text, row), style=style)  # Text: brackets in a name are no markup
    with console.capture() as capture:
        console.print(made)
    return capture.get()
