"""`inflate-zoo cache`: what is kept because making it takes long."""

from __future__ import annotations

import time
from collections.abc import Sequence
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
    print_json,
    say,
    tell,
    tell_table,
)
from inflate_zoo.cli.tables import Column
from inflate_zoo.errors import UnknownNameError, UsageError
from inflate_zoo.files.locations import CACHE_KINDS, default_cache
from inflate_zoo.texts import plural, size

if TYPE_CHECKING:
    from inflate_zoo.files.writing.pruning import Entry, Kept, Pruned

NAME = "cache"
_OTHERS = {"data": "data sets that were fetched; never pruned"}
_COLUMNS = (
    Column("kind"),
    Column("entries", right=True),
    Column("size", right=True),
    Column("last used"),
    Column("what", least=20),
)
_PRUNED = (
    Column("kind"),
    Column("entries", right=True),
    Column("size", right=True),
    Column("what becomes of them", least=20),
)

app = typer.Typer(help="What is kept because making it takes long.")

Folder = Annotated[
    Path | None,
    typer.Option("--cache", help="The cache [default: INFLATE_ZOO_CACHE, or the user's]."),
]


@app.callback(invoke_without_command=True)
@guarded
def _root(
    context: typer.Context,
    cache: Folder = None,
    format: Format = OutputFormat.human,  # noqa: A002 - the flag's name
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Say what is kept because making it takes long, how large it is and when it was last used.

    inflate-zoo cache
    """
    if context.invoked_subcommand is None:
        _show(cache or default_cache(), format)
    elif cache is not None or format is not OutputFormat.human or quiet or debug:
        raise UsageError(
            f"options before '{context.invoked_subcommand}' would have no effect",
            hint=f"write them behind it: inflate-zoo cache {context.invoked_subcommand} ...",
        )


def _show(root: Path, format: OutputFormat) -> None:  # noqa: A002 - the flag's name
    from inflate_zoo.files.writing.pruning import entries, size_of

    held = list(entries(root, tuple(CACHE_KINDS)))
    others = {name: size_of(path) for name in _OTHERS if (path := root / name).exists()}
    if format is OutputFormat.json:
        print_json(
            {
                "cache": str(root),
                "bytes": sum(entry.size for entry in held) + sum(others.values()),
                "entries": [asdict(entry) for entry in held],
                "others": others,
            }
        )
        return
    tell(str(root))
    rows = [_row(kind, [entry for entry in held if entry.kind == kind]) for kind in CACHE_KINDS]
    rows += [(name, "", size(amount), "", _OTHERS[name]) for name, amount in others.items()]
    tell_table(_COLUMNS, rows)
    say("'inflate-zoo cache prune' takes away what was long unused")


def _row(kind: str, held: Sequence[Entry]) -> tuple[str, ...]:
    used = _ago(max(entry.used for entry in held)) if held else ""
    return kind, str(len(held)), size(sum(entry.size for entry in held)), used, CACHE_KINDS[kind]


def _ago(when: float) -> str:
    days = int((time.time() - when) // 86400)
    return "today" if days < 1 else f"{plural(days, 'day')} ago"


@app.command("prune")
@guarded
def prune(
    unused_for: Annotated[
        float, typer.Option(min=0, metavar="DAYS", help="Only what no run used for so long.")
    ] = 30,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            metavar="KIND",
            autocompletion=completion.cache_kinds,
            help=f"{', '.join(CACHE_KINDS)}. Repeatable [default: all].",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be taken away.")
    ] = False,
    cache: Folder = None,
    format: Format = OutputFormat.human,  # noqa: A002 - the flag's name
    quiet: Quiet = False,  # noqa: ARG001 - read by `guarded`
    debug: Debug = False,  # noqa: ARG001 - read by `guarded`
) -> None:
    """Take away what was long unused: it is made again where it is needed.

    inflate-zoo cache prune --unused-for 90 --dry-run

    What a process uses stays, whatever its age, and so do data sets that were fetched. A run that
    waits for its turn plans anew what it misses: run the 'bench' command that planned it.
    """
    from inflate_zoo.files.writing.pruning import Pruned
    from inflate_zoo.files.writing.pruning import prune as take_away

    root, kinds = cache or default_cache(), tuple(kind or CACHE_KINDS)
    for name in kinds:
        if name not in CACHE_KINDS:
            raise UnknownNameError("kind of entry in the cache", name, CACHE_KINDS)
    nothing = Pruned((), ())
    pruned = take_away(root, kinds, unused_for, dry_run=dry_run) if root.is_dir() else nothing
    if format is OutputFormat.json:
        print_json(_as_json(root, pruned, dry_run=dry_run))
    else:
        _report(pruned, unused_for, dry_run=dry_run)


def _as_json(root: Path, pruned: Pruned, *, dry_run: bool) -> dict[str, Any]:
    return {
        "cache": str(root),
        "dry_run": dry_run,
        "freed_bytes": sum(entry.size for entry in pruned.removed),
        "removed": [asdict(entry) for entry in pruned.removed],
        "kept": [
            {**asdict(kept.entry), "reason": kept.reason, "who": kept.who} for kept in pruned.kept
        ],
    }


def _report(pruned: Pruned, unused_for: float, *, dry_run: bool) -> None:
    gone = "would be removed" if dry_run else "removed"
    told: dict[tuple[str, str], list[int]] = {}
    for entry in pruned.removed:
        told.setdefault((entry.kind, gone), []).append(entry.size)
    for kept in pruned.kept:
        why = f"kept: {_why(kept, unused_for)}"
        told.setdefault((kept.entry.kind, why), []).append(kept.entry.size)
    rows = [(kind, str(len(sizes)), size(sum(sizes)), what) for (kind, what), sizes in told.items()]
    tell_table(_PRUNED, rows)
    freed = size(sum(entry.size for entry in pruned.removed))
    say(f"{freed} {'would be freed' if dry_run else 'freed'}")


def _why(kept: Kept, unused_for: float) -> str:
    if kept.reason == "used lately":
        return f"used in the last {unused_for:g} days"
    return f"{kept.reason} by {kept.who}" if kept.who else kept.reason
