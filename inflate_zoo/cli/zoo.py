"""`inflate-zoo zoo`: recipes by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inflate_zoo.cli import completion
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
    tell_table,
    tell_text,
)
from inflate_zoo.cli.tables import Column
from inflate_zoo.errors import UsageError
from inflate_zoo.texts import millions, size

if TYPE_CHECKING:
    from inflate_zoo.registry.building import Built
    from inflate_zoo.registry.entries import ZooEntry

NAME = "zoo"

_COLUMNS = (
    Column("name"),
    Column("params", right=True),
    Column("size", right=True),
    Column("licence", least=12),
    Column("objective", least=24),
    Column("source", least=28),
)

app = typer.Typer(help="Recipes for 3D weights, by name.")

Filter = Annotated[
    str | None,
    typer.Option(
        "--filter", help="Only what has this text in name, source, license, objective or scheme."
    ),
]


@app.callback(invoke_without_command=True)
@guarded
def _root(
    context: typer.Context,
    filter_: Filter = None,
    format: Format = OutputFormat.human,  # noqa: A002 - the flag's name
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Recipes for 3D weights, by name; alone it lists them.

    inflate-zoo zoo --filter dino
    """
    command = context.invoked_subcommand
    if command is None:
        _list(filter_, format)
    elif filter_ is not None or format is not OutputFormat.human or quiet or debug:
        raise UsageError(
            f"options before '{command}' would have no effect",
            hint=f"write them behind it: inflate-zoo zoo {command} ...",
        )


@app.command("list")
@guarded
def list_(
    filter_: Filter = None,
    format: Format = OutputFormat.human,  # noqa: A002 - the flag's name
    quiet: Quiet = False,  # noqa: ARG001 - read by `guarded`
    debug: Debug = False,  # noqa: ARG001 - read by `guarded`
) -> None:
    """List the entries.

    inflate-zoo zoo list --filter apache --format json
    """
    _list(filter_, format)


def _list(wanted: str | None, format: OutputFormat) -> None:  # noqa: A002 - the flag's name
    from inflate_zoo.registry.listing import matching

    entries = matching(wanted or "")
    if format is OutputFormat.json:
        print_json([_as_json(entry) for entry in entries])
        return
    tell_table(_COLUMNS, [_cells(entry) for entry in entries])
    if wanted and not entries:
        say(f"no entry has '{wanted}' in it; see them all: inflate-zoo zoo")


def _cells(entry: ZooEntry) -> tuple[str, ...]:
    parameters = "" if entry.parameters is None else millions(entry.parameters)
    weights = "" if entry.size is None else size(entry.size)
    return entry.name, parameters, weights, license_text(entry), entry.objective, entry.source


def _as_json(entry: ZooEntry) -> dict[str, Any]:
    return entry.model_dump(mode="json")


def license_text(entry: ZooEntry) -> str:
    """An entry's license in a few words."""
    name = entry.license_name if entry.license == "other" else None
    return f"{name or entry.license}{'' if entry.redistribution else ' (recipe only)'}"


@app.command("show")
@guarded
def show(
    name: EntryName,
    format: Format = OutputFormat.human,  # noqa: A002 - the flag's name
    debug: Debug = False,  # noqa: ARG001 - read by `guarded`
) -> None:
    """Show an entry: recipe, license, what is known of its weights.

    inflate-zoo zoo show dino-vitb16-3d-center
    """
    from inflate_zoo.registry.listing import find_card

    entry, text = find_card(name)
    if format is OutputFormat.json:
        print_json(_as_json(entry) | {"text": text})
        return
    tell_facts(_facts(entry), 11)
    if text:
        tell("")
        tell_text(text)


def _facts(entry: ZooEntry) -> list[tuple[str, str]]:
    branch = "" if re.fullmatch("[0-9a-f]{40}", entry.revision or "") else " (a branch)"
    at = f" at {entry.revision}{branch}" if entry.revision else ""
    link = f", {entry.license_link}" if entry.license_link else ""
    passing = "may be passed on" if entry.redistribution else "not to be passed on: made on demand"
    network = f"{entry.scheme}, patch depth {entry.patch_depth}, {entry.channels} channel(s)"
    values = "intensities in [0, 1]" if entry.fold_normalization else "normalised as the source"
    facts = [
        ("name", entry.name),
        ("source", f"{entry.source}{at} ({entry.family})"),
        ("objective", entry.objective),
        ("license", f"{entry.license_name or entry.license}{link}; weights {passing}"),
        ("3D network", f"{network}, {values}"),
        ("volume", f"{'x'.join(map(str, entry.volume))} voxels by default"),
    ]
    if entry.parameters:
        facts.append(("parameters", f"{entry.parameters:,}"))
    if entry.size:
        facts.append(("size", size(entry.size)))
    if entry.sha256:
        facts.append(("SHA-256", entry.sha256))
    if entry.prebuilt:
        facts.append(("prebuilt", entry.prebuilt))
    facts.append(("reference", entry.reference))
    return facts


@app.command("build")
@guarded
def build(
    out: Annotated[Path, typer.Option(help="Folder that gets a folder for each entry.")],
    names: Annotated[
        list[str] | None,
        typer.Argument(
            autocompletion=completion.zoo_entries, help="Entries [default: all of them]."
        ),
    ] = None,
    format: Format = OutputFormat.human,  # noqa: A002 - the flag's name
    quiet: Quiet = False,  # noqa: ARG001 - read by `guarded`
    debug: Debug = False,  # noqa: ARG001 - read by `guarded`
) -> None:
    """Make entries from their sources, proven; the same command goes on where it was left.

    inflate-zoo zoo build --out zoo

    inflate-zoo zoo build dino-vitb16-3d-center --out zoo
    """
    from inflate_zoo.registry.building import build as make_all

    done: list[Built] = []
    for built in make_all(names or [], out):
        done.append(built)
        if format is OutputFormat.human:
            tell(_outcome(built))
        if built.error is not None:
            say(f"{built.name}: {built.error.hint}", urgent=True)
    if format is OutputFormat.json:
        print_json([_built_as_json(built) for built in done])
    if any(built.error is not None for built in done):
        raise typer.Exit(1)


def _outcome(built: Built) -> str:
    if built.error is not None:
        return f"{built.name}: failed: {built.error.message}"
    return f"{built.name}: {built.outcome}, {size(built.size or 0)}"


def _built_as_json(built: Built) -> dict[str, Any]:
    error = built.error.message if built.error is not None else None
    return {"name": built.name, "outcome": built.outcome, "size": built.size, "error": error}
