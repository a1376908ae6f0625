"""`inflate-zoo data`: look after data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inflate_zoo.cli.common import (
    Debug,
    Format,
    OutputFormat,
    Quiet,
    guarded,
    needs_bench,
    print_json,
    tell,
    watched,
)

if TYPE_CHECKING:
    from inflate_zoo.bench.data.checking import Report
    from inflate_zoo.bench.definitions.datasets import Finding

NAME = "data"

app = typer.Typer(no_args_is_help=True, help="Look after data sets.")


@app.callback()
def _root() -> None:
    """Look after data sets."""


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr while cases are read, where stderr is a terminal."""
    if not watched():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading cases", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@app.command("check")
@guarded
def check(
    folder: Annotated[
        Path, typer.Argument(help="Data set in the Decathlon's layout or nnU-Net's raw one.")
    ],
    format: Format = OutputFormat.human,  # noqa: A002 - the flag's name
    quiet: Quiet = False,  # noqa: ARG001 - read by `guarded`
    debug: Debug = False,  # noqa: ARG001 - read by `guarded`
) -> None:
    """Read every file of a data set and list all bad cases in one pass.

    inflate-zoo data check ./Task04_Hippocampus
    """
    needs_bench()
    from inflate_zoo.bench.data.checking import check as check_dataset
    from inflate_zoo.bench.data.layouts import read_dataset

    dataset = read_dataset(folder)
    with _progress() as progress:
        report = check_dataset(dataset, progress=progress)
    if format is OutputFormat.json:
        print_json({"name": dataset.name, **asdict(report)})
    else:
        _print(report)
    if report.bad:
        raise typer.Exit(2)


def _print(report: Report) -> None:
    for mark, findings in (("bad", report.bad), ("warning", report.warnings)):
        for case, found in _by_case(findings).items():
            told = [f"{finding.what} ({finding.hint})" for finding in found]
            for line in ["; ".join(told)] if case else told:
                tell(f"{mark}: {case or 'data set'}: {line}")
    bad, odd = (len(_by_case(findings).keys() - {""}) for findings in (report.bad, report.warnings))
    whole = sum(not finding.case for finding in report.bad)
    tell(
        f"{report.cases} cases read: {bad} bad, {odd} with warnings"
        + (f"; {whole} problem(s) of the whole data set" if whole else "")
    )


def _by_case(findings: tuple[Finding, ...]) -> dict[str, list[Finding]]:
    grouped: dict[str, list[Finding]] = {}
    for finding in findings:
        grouped.setdefault(finding.case, []).append(finding)
    return grouped
