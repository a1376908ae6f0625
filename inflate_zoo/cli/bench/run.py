"""inflate-zoo bench: fine-tune sources on 3D data and rank them."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import typer

from inflate_zoo.cli.bench.asking import DEFAULT_SEEDS, Asked, comparison_of
from inflate_zoo.cli.bench.engines import EngineRequest
from inflate_zoo.cli.bench.options import (
    Account,
    AtOnce,
    Cache,
    Changes,
    Compile,
    ConfigFile,
    Constraint,
    Container,
    Cpus,
    CpusPerTask,
    Data,
    DatasetName,
    Detach,
    Device,
    Download,
    DryRun,
    Engine,
    Folds,
    Gpus,
    GpusPerTask,
    Gres,
    Jobs,
    Mem,
    On,
    Partition,
    PerGpu,
    Plan,
    ProtocolName,
    Qos,
    Resource,
    RuleName,
    RunFolder,
    Sbatch,
    Schemes,
    Seeds,
    Setup,
    Sources,
    SuiteName,
    Threads,
    Time,
    TrackerNames,
    Workers,
)
from inflate_zoo.cli.bench.run_file import asked_for, expanded, from_file, write_run_file
from inflate_zoo.cli.bench.watching import board
from inflate_zoo.cli.common import (
    Debug,
    Format,
    Mean,
    OutputFormat,
    Quiet,
    Std,
    guarded,
    needs_bench,
    print_json,
    say,
    tell,
)
from inflate_zoo.errors import UsageError
from inflate_zoo.texts import plural

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from inflate_zoo.bench.definitions.trial_folder import TrialFolder
    from inflate_zoo.bench.engines.capacity import Crew
    from inflate_zoo.bench.trials.planning import Planned, Resolved
    from inflate_zoo.cli.bench.engines import Chosen
    from inflate_zoo.cli.bench.watching import Board

NAME = "bench"
Until = Literal["estimate", "planned", "report"]


@guarded
@from_file
def command(
    context: typer.Context,
    data: Data = None,
    dataset: DatasetName = None,
    download: Download = False,
    source: Sources = None,
    scheme: Schemes = None,
    mean: Mean = None,
    std: Std = None,
    suite: SuiteName = None,
    protocol: ProtocolName = None,
    set_: Changes = None,
    seeds: Seeds = DEFAULT_SEEDS,
    folds: Folds = "0",
    channel_rule: RuleName = "sum",
    device: Device = None,
    workers: Workers = None,
    threads: Threads = None,
    at_once: AtOnce = None,
    per_gpu: PerGpu = None,
    compile: Compile = False,  # noqa: A002 - the flag's name
    tracker: TrackerNames = None,
    config: ConfigFile = None,  # noqa: ARG001 - read by `from_file`
    on: Engine = On.here,
    jobs: Jobs = None,
    time: Time = None,
    partition: Partition = None,
    account: Account = None,
    qos: Qos = None,
    gpus_per_task: GpusPerTask = None,
    gres: Gres = None,
    cpus_per_task: CpusPerTask = None,
    mem: Mem = None,
    constraint: Constraint = None,
    sbatch: Sbatch = None,
    setup: Setup = None,
    container: Container = None,
    detach: Detach = False,
    cpus: Cpus = None,
    gpus: Gpus = None,
    resource: Resource = None,
    out: RunFolder = None,
    cache: Cache = None,
    plan: Plan = False,
    dry_run: DryRun = False,
    format: Format = OutputFormat.human,  # noqa: A002 - the flag's name
    quiet: Quiet = False,  # noqa: ARG001 - read by `guarded`
    debug: Debug = False,  # noqa: ARG001 - read by `guarded`
) -> None:
    """Fine-tune sources on a 3D data set, rank them, write a report.

    inflate-zoo bench

    inflate-zoo bench --data Task04_Hippocampus --source facebook/dino-vitb16 --source random

    inflate-zoo bench --dataset msd-task09 --download --source facebook/dino-vitb16 --source random

    inflate-zoo bench --config runs/msd-task09-volume/run.toml --seeds 8

    Without --data, --dataset, --source, --suite: builtin ones, minutes on two cores.
    Whatever is interrupted goes on with the same command.
    """
    needs_bench()
    if plan and dry_run:
        raise UsageError("--plan writes folders, --dry-run none", hint="give one of them")
    if dry_run and on is not On.here:
        raise UsageError(
            "--dry-run measures on this machine, which is not where the trials run",
            hint=f"leave out --on {on}, or say --on here, best where jobs run: inside srun",
        )
    from inflate_zoo.bench.engines.flags import HereFlags, RayFlags, SlurmFlags
    from inflate_zoo.bench.training.devices import Resources
    from inflate_zoo.bench.training.trackers import require_trackers

    asked = Asked(
        data=data,
        dataset=dataset,
        download=download,
        sources=source or (),
        schemes=scheme or (),
        mean=mean,
        std=std,
        suite=suite,
        protocol=protocol,
        changes=set_ or (),
        seeds=seeds,
        folds=folds,
        rule=channel_rule,
        out=out,
        cache=cache,
    )
    require_trackers(tracker or (), installed=on is On.here)
    request = EngineRequest(
        on,
        Resources(device, workers, compile, threads, tuple(tracker or ())),
        HereFlags(at_once, per_gpu),
        SlurmFlags(
            jobs,
            time,
            partition,
            account,
            qos,
            gpus_per_task,
            gres,
            cpus_per_task,
            mem,
            constraint,
            tuple(sbatch or ()),
            setup,
            container,
            detach,
        ),
        RayFlags(cpus, gpus, tuple(resource or ())),
    )
    words = expanded(sys.argv, context)
    fields = asked_for(context, asked.settled())
    until: Until = "estimate" if dry_run else "planned" if plan else "report"
    _bench(asked, request, format, words, fields, until=until)


def _bench(
    asked: Asked,
    request: EngineRequest,
    format: OutputFormat,  # noqa: A002 - the flag's name
    words: Sequence[str],
    fields: Mapping[str, Any],
    *,
    until: Until,
) -> None:
    """Plan what was asked for; run it and report, or write it down, or say what it would take."""
    from inflate_zoo.bench.engines.processes import get_ready
    from inflate_zoo.bench.trials.folder import recorded
    from inflate_zoo.bench.trials.planning import plan_resolved, resolve

    compared, place = comparison_of(asked, words)
    request.require_own()
    resolved = resolve(compared)
    out = resolved.out(place.folder)
    chosen = request.chosen(resolved, out)
    say(headline(resolved, chosen, out))
    if until == "report" and chosen.forks and len(recorded(out)) < resolved.trials:
        get_ready()  # it imports while data are checked and prepared
    left = False
    with board() as shown:
        planned = plan_resolved(resolved, place.found(shown), shown.say, shown.count)
        if until != "estimate":
            trials, began = _written(planned, shown)
            write_run_file(planned.out, fields)
        if until == "report":
            left = chosen.make(began).run(trials, chosen.demands, shown).stopped
    if chosen.crew and until == "estimate":
        _tell_estimate(planned, chosen.crew, format)
    elif until == "planned":
        _tell_planned(planned.out, trials, chosen, format)
    elif not left:
        _finish(planned.out, trials, format)
    elif format is OutputFormat.json:  # the jobs go on by themselves
        _print_planned(planned.out, trials)


def headline(resolved: Resolved, chosen: Chosen, out: Path) -> str:
    """What is about to run, in one line."""
    asked, folds = resolved.asked, len(resolved.folds)
    parts = [plural(resolved.arms.count, "arm"), plural(asked.seeds, "seed")]
    parts += [plural(folds, "fold")] if folds > 1 else []
    task = resolved.task.name if resolved.task else "a task derived from the data"
    return (
        f"{task}, protocol {asked.protocol.name}: {' x '.join(parts)}"
        f" = {plural(resolved.trials, 'trial')} on {chosen.where}; run folder {out}"
    )


def _written(planned: Planned, shown: Board) -> tuple[list[TrialFolder], float]:
    """The trials, each with its folder, and when the run begins."""
    from inflate_zoo.bench.trials.folder import plan_trials
    from inflate_zoo.bench.trials.run_plan import begin_run

    trials = plan_trials(planned.out, planned.trials, shown.count)
    return trials, begin_run(planned.out, trials)


def _tell_planned(
    out: Path,
    trials: Sequence[TrialFolder],
    chosen: Chosen,
    format: OutputFormat,  # noqa: A002 - the flag's name
) -> None:
    """Say what was written, and what runs it."""
    if format is OutputFormat.json:
        _print_planned(out, trials)
    else:
        tell(f"{plural(len(trials), 'trial')} planned in {out}")
    say(f"run them, here or elsewhere: inflate-zoo bench-trial --from {shlex.quote(str(out))}")
    if chosen.write:
        say(chosen.write())


def _print_planned(out: Path, trials: Sequence[TrialFolder]) -> None:
    print_json({"out": str(out), "trials": [trial.folder.name for trial in trials]})


def _tell_estimate(planned: Planned, crew: Crew, format: OutputFormat) -> None:  # noqa: A002 - the flag's name
    """Measure a few steps of each kind of trial and print what all would take."""
    from inflate_zoo.bench.trials.estimate import estimate

    with board() as shown:
        resources = replace(crew.demands, device=crew.devices[0])
        estimated = estimate(planned, resources, crew.at_once, shown.say, shown.count)
    if format is OutputFormat.json:
        print_json(estimated.plain())
        return
    for line in estimated.lines():
        tell(line)


def _finish(
    out: Path,
    trials: Sequence[TrialFolder],
    format: OutputFormat,  # noqa: A002 - the flag's name
) -> None:
    """Write the report and print the table; a failed trial is a failed command."""
    from inflate_zoo.bench.report.terminal import table
    from inflate_zoo.bench.report.writing import write_report
    from inflate_zoo.cli.bench.report import as_json, tell_left_out

    results = write_report([out], out)
    if format is OutputFormat.json:
        print_json(as_json(results))
    else:
        typer.echo(table(results), nl=False)
    say(f"report: {out / 'report.html'}")
    left_out = tell_left_out(results)
    done = {trial.hash for trial in results.trials if trial.record}
    # Folders are named by hashes, of which each would take some 0.5 ms to be taken anew.
    if left_out or any(trial.folder.name not in done for trial in trials):
        raise typer.Exit(1)
