"""`inflate-zoo status`."""

from __future__ import annotations

import sys
from pathlib import Path
from shutil import get_terminal_size
from textwrap import wrap
from typing import Annotated

import typer

from inflate_zoo.cli.common import Debug, Format, OutputFormat, guarded, print_json, tell

NAME = "status"


@guarded
def command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder that 'bench' wrote.")],
    format: Format = OutputFormat.human,  # noqa: A002 - the flag's name
    debug: Debug = False,  # noqa: ARG001 - read by `guarded`
) -> None:
    """Say how a run stands: what is done, what runs where, what failed and why, the time left.

    inflate-zoo status runs/msd-task04-volume

    It reads the run folder alone, so it may run anywhere.
    """
    from inflate_zoo.bench.trials.status import run_status

    status = run_status(folder)
    if format is OutputFormat.json:
        print_json(status.plain())
        return
    width = max(20, get_terminal_size().columns) if sys.stdout.isatty() else None
    for indent, line in status.lines():
        for part in fitted(indent + line, indent, width):
            tell(part)


def fitted(line: str, indent: str, width: int | None) -> list[str]:
    """A line, broken to a width, if any, so that what follows its start is set in."""
    if width is None:
        return [line]
    return wrap(line, width, subsequent_indent=f"{indent}    ", break_on_hyphens=False)
