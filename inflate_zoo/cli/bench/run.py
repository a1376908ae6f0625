"""inflate-zoo bench: fine-tune sources on 3D data and rank them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inflate_zoo.cli.bench.datasets import find_data
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
from inflate_zoo.errors import UsageError

if TYPE_CHECKING:
    from inflate_zoo.bench.arms.making import Wanted
    from inflate_zoo.bench.trials.planning import Planned

NAME = "bench"
DEFAULT_SUITE, DEFAULT_PROTOCOL, DEFAULT_SEEDS = "objectives", "volume", 3
# Where neither data nor sources are named: nothing is downloaded, minutes on a CPU.
EMBEDDED_TASK, EMBEDDED_SUITE, EMBEDDED_PROTOCOL = "hippocampus-mini", "builtin", "quick"

Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 or mps [default: the best].")]
Workers = Annotated[int | None, typer.Option(min=0, help="Processes that make windows.")]
Compile = Annotated[
    bool, typer.Option("--compile", help="Compile networks: for long trainings on a GPU.")
]


@guarded
def command(
    data: Annotated[
        Path | None,
        typer.Option(help="Data set, or with --download the folder it goes into."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Task (msd-task04) or task file [default: derived].")
    ] = None,
    download: Annotated[
        bool,
        typer.Option(
            "--download",
            help="Fetch the task's data set unless it is there: into --data, INFLATE_ZOO_DATA or "
            "the user's cache.",
        ),
    ] = False,
    source: Annotated[
        list[str] | None,
        typer.Option(
            help="2D source, converted weights, SOURCE:2d, SOURCE:average, FILE:arch=NAME or "
            "random. Repeatable."
        ),
    ] = None,
    scheme: Annotated[
        list[str] | None, typer.Option(help="Inflation scheme. Repeatable [default: center].")
    ] = None,
    mean: Mean = None,
    std: Std = None,
    suite: Annotated[
        str | None, typer.Option(help="Suite or suite file [default: objectives].")
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="volume, quick, probe, paper or a file [default: volume]."),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change the protocol: train.steps=500.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings per arm and fold.")] = DEFAULT_SEEDS,
    folds: Annotated[str, typer.Option(help="Folds, e.g. 0,1,2, or all.")] = "0",
    channel_rule: Annotated[
        str, typer.Option(help="Several channels share the grey kernel (sum) or are RGB (rgb).")
    ] = "sum",
    device: Device = None,
    workers: Workers = None,
    compile: Compile = False,  # noqa: A002 - the flag's name
    out: Annotated[
        Path | None, typer.Option(help="Run folder [default: runs/<task>-<protocol>].")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Prepared data and conversions [default: user cache].")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the trials and estimate time, memory, disk.")
    ] = False,
    format: Format = OutputFormat.human,  # noqa: A002 - the flag's name
    debug: Debug = False,  # noqa: ARG001 - read by `guarded`
) -> None:
    """Fine-tune sources on a 3D data set, rank them, write a report.

    inflate-zoo bench

    inflate-zoo bench --data Task04_Hippocampus --source facebook/dino-vitb16 --source random

    inflate-zoo bench --dataset msd-task09 --download --source facebook/dino-vitb16 --source random

    Without --data, --dataset, --source and --suite: four small builtin checkpoints, 50 builtin
    volumes, protocol quick; a quarter of an hour on two cores, no network needed. Whatever is
    interrupted goes on with the same command.
    """
    needs_bench()
    from inflate_zoo.bench.definitions.catalog import load_protocol
    from inflate_zoo.bench.training.devices import Resources, device_kind
    from inflate_zoo.bench.trials.planning import Request, plan
    from inflate_zoo.files.locations import default_cache
    from inflate_zoo.naming.normalization import given

    if channel_rule not in ("sum", "rgb"):
        raise UsageError(f"no channel rule '{channel_rule}'", hint="use sum or rgb")
    resources = Resources(device, workers, compile)
    device_kind(resources)  # refuses one that is not there, before data are prepared
    if data is None and dataset is None and not source and suite is None:
        dataset, suite, protocol = EMBEDDED_TASK, EMBEDDED_SUITE, protocol or EMBEDDED_PROTOCOL
    chosen = load_protocol(protocol or DEFAULT_PROTOCOL, set_ or [])
    wanted = replace(_wanted(source, scheme, suite), normalization=given(mean, std))
    with board() as shown:
        folder = find_data(data, dataset, shown, download=download)
    request = Request(
        data=folder,
        dataset=dataset,
        wanted=wanted,
        protocol=chosen,
        seeds=seeds,
        folds=_folds(folds),
        rule=channel_rule,  # type: ignore[arg-type]  # checked above
        out=out,
        cache=cache or default_cache(),
        command=_command(sys.argv),
    )
    with board() as shown:
        planned = plan(request, shown.say, shown.count)
        if dry_run:
            from inflate_zoo.bench.trials.estimate import estimate

            estimated = estimate(planned, resources, shown.say)
        else:
            _run(planned, resources, shown)
    if dry_run:
        if format is OutputFormat.json:
            print_json(estimated.plain())
        else:
            for line in estimated.lines():
                tell(line)
        return
    _finish(planned, format)


def _run(planned: Planned, resources: Any, shown: Any) -> None:
    from inflate_zoo.bench.trials.folder import plan_trial, refuse_others
    from inflate_zoo.bench.trials.serial import run_trials

    refuse_others(planned.out, [spec for spec, _ in planned.trials])
    trials = [plan_trial(planned.out, spec, place) for spec, place in planned.trials]
    run_trials(trials, resources, shown.watch, shown.say)


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


def _wanted(source: list[str] | None, scheme: list[str] | None, suite: str | None) -> Wanted:
    from inflate_zoo.bench.arms.arm_sources import parse_arm
    from inflate_zoo.bench.arms.making import Wanted
    from inflate_zoo.bench.arms.sources import refuse_misspelt
    from inflate_zoo.bench.definitions.catalog import load_suite

    if source and suite:
        raise UsageError("--source and --suite name two comparisons", hint="give one of them")
    for text in source or ():
        refuse_misspelt(parse_arm(text).plain)  # before data are looked for
    if source:
        return Wanted(tuple(source), tuple(scheme or ["center"]))
    found = load_suite(suite or DEFAULT_SUITE)
    return Wanted(
        found.sources,
        tuple(scheme or found.schemes),
        random="random" in found.baselines,
        slices="2d" in found.baselines,
    )


def _folds(text: str) -> tuple[int, ...] | None:
    if text == "all":
        return None
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError as error:
        raise UsageError(
            f"--folds '{text}' is no list of numbers", hint="e.g. --folds 0,1,2 or --folds all"
        ) from error


def _command(words: list[str]) -> tuple[str, ...]:
    """The command as it may be shown to others: no local paths."""
    from inflate_zoo.bench.arms.arm_sources import parse_arm

    shown = ["inflate-zoo"]
    for word in words[1:]:
        flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        path = parse_arm(value).plain if value else value
        local = "/" in path and (Path(path).exists() or path.startswith(("/", ".", "~")))
        shown.append(flag + equals + (Path(path).name + value[len(path) :] if local else value))
    return tuple(shown)
