"""inflate-zoo bench-trial: what a scheduler starts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inflate_zoo.cli.bench.options import Compile, Device, Workers
from inflate_zoo.cli.bench.watching import board
from inflate_zoo.cli.common import Debug, guarded, needs_bench, tell

NAME = "bench-trial"


@guarded
def command(
    folders: Annotated[list[Path], typer.Argument(help="Folders below <out>/trials.")],
    device: Device = None,
    workers: Workers = None,
    compile: Compile = False,  # noqa: A002 - the flag's name
    debug: Debug = False,  # noqa: ARG001 - read by `guarded`
) -> None:
    """Run planned trials in a row; go on with those that were killed.

    inflate-zoo bench-trial runs/msd-task04-volume/trials/*

    torchrun --nproc-per-node 4 -m inflate_zoo bench-trial FOLDER
    """
    needs_bench()
    from inflate_zoo.bench.definitions.trial_folder import TrialFolder
    from inflate_zoo.bench.training.devices import Resources
    from inflate_zoo.bench.trials.serial import run_trials

    trials = [TrialFolder(folder) for folder in dict.fromkeys(folders)]
    resources = Resources(device, workers, compile)
    with board() as shown:
        tally = run_trials(trials, resources, shown.watch, shown.say)
    tell(f"{len(tally.done)} done, {len(tally.failed)} failed")
    if tally.failed:
        raise typer.Exit(1)
