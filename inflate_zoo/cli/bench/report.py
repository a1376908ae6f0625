"""`inflate-zoo report`."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inflate_zoo.cli.common import (
    Debug,
    Format,
    OutputFormat,
    guarded,
    needs_bench,
    print_json,
    say,
)

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
    format: Format = OutputFormat.human,  # noqa: A002 - the flag's name
    debug: Debug = False,  # noqa: ARG001 - read by `guarded`
) -> None:
    """Rank the arms of one or several benchmark runs and write the report.

    inflate-zoo report my-run

    inflate-zoo report run-on-one-machine run-on-another --out both
    """
    needs_bench()
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


def tell_left_out(results: "Results") -> bool:
    """Name the trials that are not to be believed; whether there are any."""
    lines = results.left_out
    for line in lines[:MOST_NAMED]:
        say(f"error: {line}")
    if len(lines) > MOST_NAMED:
        say(f"error: and {len(lines) - MOST_NAMED} more")
    if lines:
        say("run the 'inflate-zoo bench' command that made them again: it runs such trials anew")
    return bool(lines)


def as_json(results: "Results") -> dict[str, Any]:
    """The ranking for programs; what has no value is null."""
    ranking = results.ranking
    return {
        "tasks": [
            {
                **dataclasses.asdict(study.ranking),
                "standings": [
                    {
                        "arm": standing.arm,
                        "kind": study.arms[standing.arm].kind,
                        "normalization": study.arms[standing.arm].normalization,
                        "rank": None if standing.missing else standing.rank,
                        "group": None if standing.missing else standing.group,
                        "missing": standing.missing,
                        "scores": [
                            {
                                "region": region,
                                "metric": metric,
                                "mean": mean,
                                "seed_spread": standing.seed_spread[region, metric],
                                "points": standing.points[region, metric],
                            }
                            for (region, metric), mean in standing.means.items()
                        ],
                    }
                    for standing in study.ranking.standings
                ],
                "caveats": [caveat.sentence for caveat in study.caveats],
            }
            for study in results.studies
        ],
        "overall": [{"arm": arm, "rank": rank} for arm, rank in ranking.overall],
        "stability": [dataclasses.asdict(each) for each in ranking.stability],
        "caveats": [caveat.sentence for caveat in ranking.caveats],
        "left_out": list(results.left_out),
    }
