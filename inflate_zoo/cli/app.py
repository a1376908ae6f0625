"""The command line: one module per command. Nothing heavy is imported before it is needed."""

import sys
from typing import Annotated, NoReturn

import typer

from inflate_zoo.cli import (
    cache,
    convert,
    export,
    families,
    inspect,
    nnunet,
    pull,
    push,
    verify,
    zoo,
)
from inflate_zoo.cli.bench import data, definitions, predict, report, status, trial
from inflate_zoo.cli.bench import run as bench
from inflate_zoo.cli.help import GroupedCommand
from inflate_zoo.cli.output import whole_output
from inflate_zoo.interrupts import run
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
    export,
    bench,
    trial,
    status,
    report,
    predict,
    nnunet,
    families,
):
    app.command(module.NAME, cls=GroupedCommand)(module.command)
app.command(families.SCHEMES_NAME)(families.schemes_command)
app.command(definitions.TASKS_NAME)(definitions.tasks_command)
app.command(definitions.PROTOCOLS_NAME)(definitions.protocols_command)
app.command(definitions.SUITES_NAME)(definitions.suites_command)
app.add_typer(zoo.app, name=zoo.NAME)
app.add_typer(data.app, name=data.NAME)
app.add_typer(cache.app, name=cache.NAME)


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


def command_line() -> None:
    """The whole command line, its output told where it is lost."""
    with whole_output():
        app()


def main() -> NoReturn:
    """Run the command line in a process that goes on; `__main__` ends it as well."""
    sys.exit(run(command_line))
