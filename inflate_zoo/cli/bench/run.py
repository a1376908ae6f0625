"""inflate-zoo bench: fine-tune sources on 3D data and rank them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from inflate_zoo.cli.bench.asking import DEFAULT_SEEDS, Asked, request_of, rule_of
from inflate_zoo.cli.bench.options import (
    Cache,
    Changes,
    Compile,
    Data,
    DatasetName,
    Device,
    Download,
    DryRun,
    Folds,
    ProtocolName,
    RuleName,
    RunFolder,
    Schemes,
    Seeds,
    Sources,
    SuiteName,
    Workers,
)
from inflate_zoo.cli.bench.watching import board
from inflate_zoo.cli.common import (
    Debug,
    Format,
    Mean,
    OutputFormat,
    Std,
    guarded,
    needs_bench,
    print_json,
    say,
    tell,
)

if TYPE_CHECKING:
    from inflate_zoo.bench.training.devices import Resources
    from inflate_zoo.bench.trials.planning import Planned
    from inflate_zoo.cli.bench.watching import Board

NAME = "bench"


@guarded
def command(
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
    compile: Compile = False,  # noqa: A002 - the flag's name
    out: RunFolder = None,
    cache: Cache = None,
    dry_run: DryRun = False,
    format: Format = OutputFormat.human,  # noqa: A002 - the flag's name
    debug: Debug = False,  # noqa: ARG001 - read by `guarded`
) -> None:
    """Fine-tune sources on a 3D data set, rank them, write a report.

    inflate-zoo bench

    inflate-zoo bench --data Task04_Hippocampus --source facebook/dino-vitb16 --source random

    inflate-zoo bench --dataset msd-task09 --download --source facebook/dino-vitb16 --source random

    Without --data, --dataset, --source and --suite: four small builtin checkpoints, 50 builtin
    volumes, protocol quick; minutes on two cores, no network needed. Whatever is interrupted goes
    on with the same command.
    """
    needs_bench()
    from inflate_zoo.bench.training.devices import Resources

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
    _bench(asked, Resources(device, workers, compile), format, dry_run=dry_run)


def _bench(
    asked: Asked,
    resources: Resources,
    format: OutputFormat,  # noqa: A002 - the flag's name
    *,
    dry_run: bool,
) -> None:
    """Plan what was asked for; run it and report, or say what it would take."""
    from inflate_zoo.bench.training.devices import device_kind
    from inflate_zoo.bench.trials.planning import plan

    rule_of(asked.rule)
    device_kind(resources)  # refuses one that is not there, before data are prepared
    with board() as shown:
        request = request_of(asked, sys.argv, shown)
    with board() as shown:
        planned = plan(request, shown.say, shown.count)
        if not dry_run:
            _run(planned, resources, shown)
    if dry_run:
        _tell_estimate(planned, resources, format)
    else:
        _finish(planned, format)


def _run(planned: Planned, resources: Resources, shown: Board) -> None:
    """Run the trials that are not done yet."""
    from inflate_zoo.bench.trials.folder import plan_trial, refuse_others
    from inflate_zoo.bench.trials.serial import run_trials

    refuse_others(planned.out, [spec for spec, _ in planned.trials])
    trials = [plan_trial(planned.out, spec, place) for spec, place in planned.trials]
    run_trials(trials, resources, shown.watch, shown.say)


def _tell_estimate(planned: Planned, resources: Resources, format: OutputFormat) -> None:  # noqa: A002 - the flag's name
    """Measure a few steps of each kind of trial and print what all would take."""
    from inflate_zoo.bench.trials.estimate import estimate

    with board() as shown:
        estimated = estimate(planned, resources, shown.say)
    if format is OutputFormat.json:
        print_json(estimated.plain())
        return
    for line in estimated.lines():
        tell(line)


def _finish(planned: Planned, format: OutputFormat) -> None:  # noqa: A002 - the flag's name
    """Write the report and print the table; a failed trial is a failed command."""
    from inflate_zoo.bench.report.terminal import table
    from inflate_zoo.bench.report.writing import write_report
    from inflate_zoo.cli.bench.report import as_json, tell_left_out

    results = write_report([planned.out], planned.out)
    if format is OutputFormat.json:
        print_json(as_json(results))
    else:
        typer.echo(table(results), nl=False)
    say(f"report: {planned.out / 'report.html'}")
    left_out = tell_left_out(results)
    done = {trial.hash for trial in results.trials if trial.record}
    if left_out or any(spec.hash not in done for spec, _ in planned.trials):
        raise typer.Exit(1)
