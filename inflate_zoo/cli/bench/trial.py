"""inflate-zoo bench-trial: what a scheduler starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inflate_zoo.cli.bench.options import Compile, Device, Threads, TrackerNames, Workers
from inflate_zoo.cli.bench.watching import board
from inflate_zoo.cli.common import Debug, Quiet, guarded, needs_bench, tell
from inflate_zoo.errors import UsageError
from inflate_zoo.stops import EXIT_CODE, heeded

if TYPE_CHECKING:
    from inflate_zoo.bench.definitions.trial_folder import TrialFolder
    from inflate_zoo.bench.engines.engine import Tally
    from inflate_zoo.bench.training.devices import Resources

NAME = "bench-trial"


@guarded
def command(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Folders below <out>/trials.")
    ] = None,
    from_: Annotated[
        Path | None,
        typer.Option("--from", help="Run folder of 'bench': any of its trials that is free."),
    ] = None,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Leave when other processes have what is left.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Only say whether this host could take trials of --from."),
    ] = False,
    device: Device = None,
    workers: Workers = None,
    threads: Threads = None,
    compile: Compile = False,  # noqa: A002 - the flag's name
    tracker: TrackerNames = None,
    quiet: Quiet = False,  # noqa: ARG001 - read by `guarded`
    debug: Debug = False,  # noqa: ARG001 - read by `guarded`
) -> None:
    """Run planned trials in a row; go on with those that were killed.

    inflate-zoo bench-trial runs/msd-task04-volume/trials/*

    inflate-zoo bench-trial --from runs/msd-task04-volume --no-wait

    torchrun --nproc-per-node 4 -m inflate_zoo bench-trial FOLDER

    What failed since the run was planned is not tried again with --from; 'bench', with --plan or
    without, begins it anew. SIGTERM and SIGUSR1: save, leave with exit code 75 if anything is left.
    """
    with heeded():
        needs_bench()
        from inflate_zoo.bench.training.devices import Resources
        from inflate_zoo.bench.training.trackers import require_trackers

        resources = Resources(device, workers, compile, threads, tuple(tracker or ()))
        require_trackers(resources.trackers)
        if check:
            _check(folders or [], from_, resources)
            return
        tally = _run(folders or [], from_, resources, wait=not no_wait)
    stopped = bool(tally.left) and tally.stopped
    left = f", {len(tally.left)} left" if tally.left else ""
    tell(f"{len(tally.done)} done, {len(tally.failed)} failed{left}")
    if stopped or tally.failed:
        raise typer.Exit(EXIT_CODE if stopped else 1)


def _run(folders: list[Path], out: Path | None, resources: Resources, *, wait: bool) -> Tally:
    """Run what was named, one trial at a time."""
    from inflate_zoo.bench.engines.capacity import crew
    from inflate_zoo.bench.engines.here import Here

    trials, since = _asked(folders, out, resources)
    alone = crew(resources, len(trials), 1, 1, None)
    with board(ranked=False) as shown:
        engine = Here(alone.devices, since=since, wait=wait, checked=out is not None)
        return engine.run(trials, alone.demands, shown)


def _check(folders: list[Path], out: Path | None, resources: Resources) -> None:
    """Say that this host could take trials of a run."""
    from inflate_zoo.bench.trials.readiness import require_place

    if folders or out is None:
        raise UsageError(
            "--check looks at a whole run",
            hint="name it: inflate-zoo bench-trial --from RUN --check",
        )
    place = require_place(out, resources)
    place.require_cores()
    tell(place.sentence)


def _asked(
    folders: list[Path], out: Path | None, resources: Resources
) -> tuple[tuple[TrialFolder, ...], float | None]:
    """The trials, and since when failures of other processes count."""
    from inflate_zoo.bench.definitions.trial_folder import TrialFolder
    from inflate_zoo.bench.trials.readiness import require_place
    from inflate_zoo.bench.trials.run_plan import run_began

    if bool(folders) == (out is not None):
        raise UsageError(
            "name trials by their folders, or their run by --from",
            hint="e.g. inflate-zoo bench-trial --from runs/msd-task04-volume",
        )
    if out is not None:
        return require_place(out, resources).trials, run_began(out)
    # A trial is known by its folder's name, which "." does not say.
    named = [f if f.name not in ("", "..") else f.resolve() for f in folders]
    return tuple(TrialFolder(folder) for folder in dict.fromkeys(named)), None
