"""`inflate-zoo status`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inflate_zoo.cli.common import Debug, Format, OutputFormat, guarded, print_json, tell
from inflate_zoo.cli.tables import hanging, terminal_width

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
    width = terminal_width()
    for indent, line in status.lines():
        for part in hanging(indent + line, len(indent) + 4, width):
            tell(part)
