"""The whole zoo in a folder, one entry after the other, going on where it was left."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from inflate_zoo.errors import InflateZooError, OutputExistsError
from inflate_zoo.files.writing.contents import json_text
from inflate_zoo.files.writing.staging import check_target
from inflate_zoo.files.writing.turns import only_one
from inflate_zoo.files.writing.whole_files import remove_partial, replace_text, writing
from inflate_zoo.registry.entries import ZooEntry
from inflate_zoo.registry.listing import find_card, zoo
from inflate_zoo.registry.obtaining import make, record_in

INDEX = "index.json"


@dataclass(frozen=True, slots=True)
class Built:
    """What became of an entry.

    Attributes:
        name: The entry.
        outcome: Made now, whole from an earlier run, or not made.
        size: Of its weights in bytes; `None` where it failed.
        error: Why it failed.
    """

    name: str
    outcome: Literal["built", "kept", "failed"]
    size: int | None
    error: InflateZooError | None = None


def build(names: Sequence[str], out: Path) -> Iterator[Built]:
    """Make entries of the zoo by their recipes, each in a folder of its own below `out`.

    An entry that is there, whole and by the card's recipe, is kept. After each one `index.json`
    lists what is there; one that fails does not stop the others.

    Args:
        names: The entries; none means all.
        out: The folder; made if need be.

    Yields:
        What became of each entry.

    Raises:
        UnknownNameError: No such entry; before anything is made.
        OutputExistsError: `out` cannot be used as a folder.
        WriteError: `index.json` cannot be written.
    """
    entries = [find_card(name)[0] for name in dict.fromkeys(names)] or list(zoo())
    check_target(out, force=True)
    failed: set[str] = set()
    for entry in entries:
        built = _build(entry, out / entry.name)
        if built.error is not None:
            failed.add(entry.name)
        _write_index(out, failed)
        yield built


def _build(entry: ZooEntry, folder: Path) -> Built:
    outcome: Literal["built", "kept"] = "kept"
    if record_in(folder, entry, thorough=True) is None:
        outcome = "built"
        try:
            make(entry, folder, force=(folder / "conversion.json").is_file())
        except OutputExistsError as error:  # there is no --force here
            hint = "empty that folder, or choose another with --out"
            return Built(entry.name, "failed", None, OutputExistsError(error.message, hint=hint))
        except InflateZooError as error:
            return Built(entry.name, "failed", None, error)
    return Built(entry.name, outcome, (folder / "model.safetensors").stat().st_size)


def _rows(out: Path) -> list[dict[str, Any]]:
    """The index: every entry that is there, by name."""
    rows = []
    for entry in zoo():
        record = record_in(out / entry.name, entry)
        if record is not None:
            rows.append(
                {
                    "name": entry.name,
                    "license": entry.license,
                    "redistribution": entry.redistribution,
                    "sha256": record.weights_sha256,
                    "size": (out / entry.name / "model.safetensors").stat().st_size,
                    "source": entry.source,
                    "commit": record.source.commit,
                }
            )
    return rows


def _write_index(out: Path, failed: Collection[str]) -> None:
    """List what is there, and what another process made there meanwhile."""
    with writing(INDEX), only_one(out) as alone:
        if alone:
            remove_partial(out, INDEX)  # of a killed run
        rows = [row for row in _rows(out) if row["name"] not in failed]
        replace_text(out / INDEX, json_text(rows))
