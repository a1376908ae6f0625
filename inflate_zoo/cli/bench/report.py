"""`inflate-zoo report`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inflate_zoo.cli import completion
from inflate_zoo.cli.common import (
    Debug,
    Format,
    OutputFormat,
    Quiet,
    guarded,
    needs_bench,
    print_json,
    say,
)
from inflate_zoo.errors import UsageError

if TYPE_CHECKING:
    from inflate_zoo.bench.report.results import Results

NAME = "report"
MOST_NAMED = 7


@guarded
def command(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Folders that 'bench' wrote.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the report [default: the first one named].")
    ] = None,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="ARM ARM",
            autocompletion=completion.arms,
            help="Say what is known of two arms; writes nothing.",
        ),
    ] = None,
    format: Format = OutputFormat.human,  # noqa: A002 - the flag's name
    quiet: Quiet = False,  # noqa: ARG001 - read by `guarded`
    debug: Debug = False,  # noqa: ARG001 - read by `guarded`
) -> None:
    """Rank the arms of one or several benchmark runs and write the report.

    inflate-zoo report my-run

    inflate-zoo report run-on-one-machine run-on-another --out both

    inflate-zoo report my-run --compare mae clip
    """
    needs_bench()
    if compare is not None:
        if out is not None:
            raise UsageError(
                "--compare writes nothing, so --out has no use", hint="leave out one of them"
            )
        results = _compare(folders, *compare, format)
    else:
        from inflate_zoo.bench.report.terminal import table
        from inflate_zoo.bench.report.writing import write_report

        target = out or folders[0]
        results = write_report(folders, target)
        if format is OutputFormat.json:
            print_json(as_json(results))
        else:
            typer.echo(table(results), nl=False)
        say(f"report: {target / 'report.html'}")
    if tell_left_out(results):
        raise typer.Exit(1)


def _compare(folders: list[Path], first: str, second: str, format: OutputFormat) -> "Results":  # noqa: A002 - the flag's name
    """Print what is known of two arms."""
    from inflate_zoo.bench.report.collect import collect
    from inflate_zoo.bench.report.comparing import compare
    from inflate_zoo.bench.report.results import rank_trials
    from inflate_zoo.bench.report.terminal import sentences

    results = rank_trials(collect(folders))
    found = compare(results, first, second)
    if format is OutputFormat.json:
        print_json({"compared": [first, second], "tasks": [asdict(each) for each in found]})
    else:
        typer.echo(sentences({each.title: each.sentences for each in found}), nl=False)
    return results


def tell_left_out(results: "Results") -> bool:
    """Name the trials that are not to be believed; whether there are any."""
    lines = results.left_out
    for line in lines[:MOST_NAMED]:
        say(f"error: {line}", urgent=True)
    if len(lines) > MOST_NAMED:
        say(f"error: and {len(lines) - MOST_NAMED} more", urgent=True)
    if lines:
        again = "run the 'inflate-zoo bench' command that made them again: it runs such trials anew"
        say(again, urgent=True)  # the next step of an error
    return bool(lines)


def as_json(results: "Results") -> dict[str, Any]:
    """The ranking for programs, as in `results.json`, with folders as they were named."""
    from inflate_zoo.bench.report.content import title_of
    from inflate_zoo.bench.report.results_json import report_form

    folders = {trial.hash: str(trial.folder) for trial in results.trials}
    return report_form(results, title_of(results), folders).model_dump(mode="json")
