"""The command line: one module per command. Nothing heavy is imported before it is needed."""

import signal
import sys
from types import FrameType
from typing import Annotated

import typer

from inflate_zoo.cli import (
    bench,
    bench_trial,
    convert,
    data,
    families,
    inspect,
    predict,
    pull,
    push,
    report,
    schemes,
    verify,
    zoo,
)
from inflate_zoo.cli.output import whole_output
from inflate_zoo.version import __version__

app = typer.Typer(
    name="inflate-zoo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (
    convert,
    verify,
    inspect,
    pull,
    push,
    bench,
    bench_trial,
    report,
    predict,
    families,
    schemes,
):
    app.command(module.NAME)(module.command)
app.add_typer(zoo.app, name=zoo.NAME)
app.add_typer(data.app, name=data.NAME)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Inflate pre-trained 2D vision transformers to 3D, and prove that the conversion is right.

    inflate-zoo convert facebook/dino-vitb16 --scheme center
    """


def _terminate(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signal's form
    sys.exit(128 + signum)  # unwinds, so that staging folders are removed


def command_line() -> None:
    """The whole command line, its output told where it is lost."""
    with whole_output():
        app()


def main() -> None:
    """Entry point of the `inflate-zoo` command."""
    signal.signal(signal.SIGTERM, _terminate)
    command_line()
