"""`inflate-zoo pull`: an entry of the zoo into a folder."""

from pathlib import Path
from typing import Annotated

import typer

from inflate_zoo.cli.common import (
    Debug,
    EntryName,
    Format,
    OutputFormat,
    Quiet,
    guarded,
    print_json,
    say,
    tell,
    tell_facts,
)
from inflate_zoo.cli.convert import proof_text
from inflate_zoo.cli.zoo import license_text
from inflate_zoo.texts import size

NAME = "pull"


@guarded
def command(
    name: EntryName,
    out: Annotated[Path | None, typer.Option(help="Output folder [default: ./NAME].")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace our own files in a folder that exists.")
    ] = False,
    format: Format = OutputFormat.human,  # noqa: A002 - the flag's name
    quiet: Quiet = False,  # noqa: ARG001 - read by `guarded`
    debug: Debug = False,  # noqa: ARG001 - read by `guarded`
) -> None:
    """Get an entry of the zoo: its prebuilt files, or made here where there are none.

    inflate-zoo pull dino-vitb16-3d-center
    """
    from inflate_zoo.registry.listing import find_card
    from inflate_zoo.registry.obtaining import pull

    folder = pull(name, out, force=force, say=say)
    from inflate_zoo.conversion.record import read_conversion

    record = read_conversion(folder)
    if format is OutputFormat.json:
        print_json({"folder": str(folder), **record.as_dict()})
        return
    weights = folder / "model.safetensors"
    tell(f"{folder}")
    facts = [
        ("weights", size(weights.stat().st_size)),
        ("SHA-256", record.weights_sha256),
        ("license", license_text(find_card(name)[0])),
        ("proof", proof_text(record.verification)),
    ]
    tell_facts(facts, 11, indent=2)
