"""`inflate-zoo push`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inflate_zoo.cli.common import (
    Debug,
    Format,
    OutputFormat,
    Quiet,
    guarded,
    print_json,
    say,
    tell,
)
from inflate_zoo.texts import size

if TYPE_CHECKING:
    from inflate_zoo.registry.publishing import Pushed

NAME = "push"


@guarded
def command(
    folder: Annotated[Path, typer.Argument(help="Conversion, trial or saved network.")],
    repo: Annotated[str, typer.Argument(help="Repo on the Hub: organisation/name.")],
    private: Annotated[bool, typer.Option("--private", help="Make a new repo private.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be made and sent.")
    ] = False,
    format: Format = OutputFormat.human,  # noqa: A002 - the flag's name
    quiet: Quiet = False,  # noqa: ARG001 - read by `guarded`
    debug: Debug = False,  # noqa: ARG001 - read by `guarded`
) -> None:
    """Upload a conversion or a trained network to the Hugging Face Hub.

    inflate-zoo push dino-vitb16-3d-center me/dino-vitb16-3d-center --dry-run

    Refused where the license of the source does not let weights be passed on, and where the repo
    holds anything but the same conversion or trial.
    """
    from inflate_zoo.bench.definitions.results import require_believed
    from inflate_zoo.registry.publishing import push

    pushed = push(folder, repo, believe=require_believed, private=private, dry_run=dry_run)
    if format is OutputFormat.json:
        print_json(_as_json(pushed, dry_run=dry_run))
    else:
        _report(pushed, dry_run=dry_run)
    if pushed.cases:
        say(
            f"warning: the files name {pushed.cases} cases of the data set: see that this betrays "
            "no patient",
            urgent=True,
        )
    if not pushed.changed:
        say("the repo holds just this already; no commit was made")
    elif dry_run:
        say("nothing was sent; leave out --dry-run to send it")


def _as_json(pushed: Pushed, *, dry_run: bool) -> dict[str, object]:
    return {
        "repo": pushed.repo,
        "created": pushed.created,
        "private": pushed.private,
        "dry_run": dry_run,
        "commit": pushed.commit,
        "files": [
            {"name": part.name, "size": part.size, "sha256": part.sha256, "state": state}
            for part, state in pushed.files
        ],
    }


def _report(pushed: Pushed, *, dry_run: bool) -> None:
    how = "there already"
    if pushed.created:
        how = "would be made" if dry_run else "made"
    tell(f"{pushed.repo}")
    tell(f"  repo     {how}, {'private' if pushed.private else 'public'}")
    tell(f"  commit   {pushed.commit or 'none'}")
    width = max(len(part.name) for part, _ in pushed.files)
    for part, state in pushed.files:
        amount = size(part.size) if part.size >= 1 << 20 else f"{part.size:,} B"
        tell(f"  {state:<8} {part.name:<{width}}  {amount}")
