"""`inflate-zoo verify`."""

from pathlib import Path
from typing import Annotated

import typer

from inflate_zoo.cli.common import (
    Debug,
    Format,
    OutputFormat,
    Quiet,
    Revision,
    guarded,
    print_json,
    tell,
    tell_facts,
)
from inflate_zoo.cli.convert import proof_text

NAME = "verify"


@guarded
def command(
    converted: Annotated[Path, typer.Argument(help="Folder that 'convert' wrote.")],
    source: Annotated[
        str | None, typer.Option(help="The 2D source, if it was local [default: the recorded one].")
    ] = None,
    revision: Revision = None,
    format: Format = OutputFormat.human,  # noqa: A002 - the flag's name
    quiet: Quiet = False,  # noqa: ARG001 - read by `guarded`
    debug: Debug = False,  # noqa: ARG001 - read by `guarded`
) -> None:
    """Prove a conversion again, from its files.

    inflate-zoo verify dino-vitb16-3d-center
    """
    from inflate_zoo.conversion.converting import verify

    found = verify(converted, source, revision=revision)
    if format is OutputFormat.json:
        print_json(found.as_dict())
    else:
        tell(f"{converted}")
        errors = [("", f"{case}: {error:.1e}") for case, error in found.errors.items()]
        tell_facts([("proof", proof_text(found)), *errors], 11, indent=2)
    if not found.passed:
        raise typer.Exit(1)
