"""Answers and standings in a terminal, or as plain lines where there is none."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from shutil import get_terminal_size
from textwrap import wrap

from inflate_zoo.bench.ranking.types import Caveat
from inflate_zoo.bench.report import tables
from inflate_zoo.bench.report.answers import Answer, answer_of
from inflate_zoo.bench.report.conditions import conditions
from inflate_zoo.bench.report.content import parted, predict_command
from inflate_zoo.bench.report.output.document import Table
from inflate_zoo.bench.report.output.text import shortened
from inflate_zoo.bench.report.overall import answer_overall
from inflate_zoo.bench.report.results import Results, Study, best_trial
from inflate_zoo.errors import visible
from inflate_zoo.texts import plural

_LONGEST, _SHORTEST = 48, 20  # characters of a cell, of a name where there is little room


def table(results: Results) -> str:
    """Answers, caveats and standings of every study as text for stdout.

    On a terminal sentences are broken to its width and tables have rules and colours; else each
    sentence is a line, and columns are of spaces.
    """
    parts = []
    several = len(results.studies) > 1
    if ran := conditions(results.trials).sentence:
        parts.append(_sentence(ran))
    if absent := tables.missing(results):
        parts.append(_sentence(absent))
    if several:
        parts.append(_overall(results))
    for study in results.studies:
        count = plural(study.ranking.cases, "test case"), plural(study.ranking.seeds, "seed")
        title = _sentence(f"{study.title} ({', '.join(count)})")
        said = _said(answer_of(study), study.caveats)
        body = _drawn(tables.standings(study))
        parts.append(f"{title}{said}{body}{_best(study)}")
    return "\n".join(parts)


def sentences(found: Mapping[str, Sequence[str]]) -> str:
    """Sentences below their titles, as text for stdout."""
    return "\n".join(
        _sentence(title) + "".join(_sentence(told, "  ") for told in own)
        for title, own in found.items()
    )


def _overall(results: Results) -> str:
    found = answer_overall(results)
    ranks = tables.overall(results.ranking)
    body = _drawn(ranks) if ranks else ""
    return f"all tasks\n{_said(found, results.ranking.caveats)}{body}"


def _said(found: Answer | None, caveats: Sequence[Caveat]) -> str:
    """Why it is no ranking, then the answer, then what else is to be kept in mind."""
    doubts, notes = parted(caveats)
    lines = [
        *(f"! {caveat.sentence}" for caveat in doubts),
        *(found.sentences if found else ()),
        *(f"! {caveat.sentence}" for caveat in notes),
    ]
    return "".join(_sentence(line, "  ") for line in lines)


def _best(study: Study) -> str:
    """The command that uses the trained network which scored best."""
    best = best_trial(study)
    if best is None or not best[0].trained:
        return ""
    return f"best trial: {visible(predict_command(str(best[0].folder)))}\n"


def _sentence(text: str, indent: str = "") -> str:
    """A sentence, broken to the width of the terminal where there is one."""
    line = f"{indent}{visible(text)}"
    if not sys.stdout.isatty():
        return f"{line}\n"
    width = max(20, get_terminal_size().columns)
    lines = wrap(line, width, subsequent_indent=f"{indent}  ", break_on_hyphens=False)
    return "".join(f"{each}\n" for each in lines)


def _cells(table: Table, longest: int = _LONGEST) -> list[list[str]]:
    return [[shortened(row[0], longest), *(shortened(cell, _LONGEST) for cell in row[1:])]
            for row in table.rows]  # fmt: skip


def _fitting(table: Table, width: int) -> list[list[str]]:
    """Cells with names so short that the table fits, as far as names can be shortened."""
    rows = _cells(table)
    widths = [max(map(len, column)) + 3 for column in zip(table.columns, *rows, strict=True)]
    over = sum(widths) - width
    return _cells(table, max(_SHORTEST, widths[0] - 3 - over)) if over > 0 else rows


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
    for place, row in enumerate(_fitting(table, console.width)):
        style = "yellow" if place in table.marked else None
        made.add_row(*map(Text, row), style=style)  # Text: brackets in a name are no markup
    with console.capture() as capture:
        console.print(made)
    return capture.get()
