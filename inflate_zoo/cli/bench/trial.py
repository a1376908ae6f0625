"""inflate-zoo bench-trial: what a scheduler starts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inflate_zoo.cli.bench.options import Compile, Device, Threads, Workers
from inflate_zoo.cli.bench.watching import board
from inflate_zoo.cli.common import Debug, guarded, needs_bench, tell

NAME = "bench-trial"


@guarded
def command(
    folders: Annotated[list[Path], typer.Argument(help="Folders below <out>/trials.")],
    device: Device = None,
    workers: Workers = None,
    threads: Threads = None,
    compile: Compile = False,  # noqa: A002 - the flag's name
    debug: Debug = False,  # noqa: ARG001 - read by `guarded`
) -> None:
    """Run planned trials in a row; go on with those that were killed.

    inflate-zoo bench-trial runs/msd-task04-volume/trials/*

    torchrun --nproc-per-node 4 -m inflate_zoo bench-trial FOLDER
    """
    needs_bench()
    from inflate_zoo.bench.definitions.trial_folder import TrialFolder
    from inflate_zoo.bench.engines.capacity import crew
    from inflate_zoo.bench.engines.local import Local
    from inflate_zoo.bench.training.devices import Resources

    trials = [TrialFolder(folder) for folder in dict.fromkeys(folders)]
    alone = crew(Resources(device, workers, compile, threads), len(trials), 1, 1, None)
    with board() as shown:
        tally = Local(alone.devices).run(trials, alone.demands, shown)
    tell(f"{len(tally.done)} done, {len(tally.failed)} failed")
    if tally.failed:
        raise typer.Exit(1)
