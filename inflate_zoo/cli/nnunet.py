"""`inflate-zoo nnunet`: what to type so that nnU-Net trains on a backbone."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from inflate_zoo.cli import completion
from inflate_zoo.cli.common import Debug, Format, OutputFormat, Quiet, guarded, print_json, say
from inflate_zoo.errors import UsageError

NAME = "nnunet"


@guarded
def command(
    source: Annotated[
        str,
        typer.Argument(
            autocompletion=completion.zoo_entries,
            help="Converted weights: a folder, a Hub repo, or an entry of the zoo.",
        ),
    ],
    dataset: Annotated[
        int, typer.Option(min=1, max=999, metavar="ID", help="nnU-Net's number of the data set.")
    ],
    configuration: Annotated[
        str, typer.Option(help="nnU-Net's: 3d_fullres or 3d_lowres.")
    ] = "3d_fullres",
    fold: Annotated[str, typer.Option(help="0 to 4, or all.")] = "0",
    decoder: Annotated[str, typer.Option(help="unetr or linear.")] = "unetr",
    format: Format = OutputFormat.human,  # noqa: A002 - the flag's name
    quiet: Quiet = False,  # noqa: ARG001 - read by `guarded`
    debug: Debug = False,  # noqa: ARG001 - read by `guarded`
) -> None:
    """Print how nnU-Net v2 trains on a backbone: variables, a file, commands.

    inflate-zoo nnunet ./dino-3d --dataset 104
    """
    from inflate_zoo.nnunet.instructions import EXTENSION, VARIABLE, Job, name_of, settled
    from inflate_zoo.nnunet.options import Options

    if fold != "all" and not fold.isdecimal():
        raise UsageError(f"'{fold}' is no fold", hint="--fold 0, or --fold all")
    if decoder not in ("unetr", "linear"):
        raise UsageError(
            f"decoder '{decoder}' does not segment whole volumes, or does not exist",
            hint="--decoder unetr or --decoder linear",
        )
    place, folded = settled(source)
    options = Options(source=place, decoder=decoder)  # type: ignore[arg-type]  # checked above
    job = Job(dataset, name_of(dataset, os.environ), configuration, fold, options)
    job.require_supported()
    _advise(folded)
    if format is OutputFormat.json:
        print_json(
            {
                "environment": {VARIABLE: str(EXTENSION)},
                "file": {"place": job.place, "content": options.model_dump(mode="json")},
                "commands": job.commands,
            }
        )
        return
    typer.echo(job.script())


def _advise(folded: bool | None) -> None:
    """Say what is missing, and what does not suit nnU-Net."""
    from importlib.metadata import PackageNotFoundError, version

    from inflate_zoo.nnunet.instructions import INSTALL, LEAST, LIBRARY

    try:
        found = version(LIBRARY)
    except PackageNotFoundError:
        say(f"nnU-Net is not installed here; in a checkout of inflate-zoo: {INSTALL}")
    else:
        if tuple(map(int, found.split(".")[:2])) < LEAST:
            say(f"{LIBRARY} {found} finds no trainers outside itself: {INSTALL}")
    if folded:
        say(
            "warning: this backbone takes intensities in [0, 1], nnU-Net gives z-scores; "
            "convert its source without --fold-normalization",
            urgent=True,
        )
