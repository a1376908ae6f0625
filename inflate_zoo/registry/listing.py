"""The entries of the zoo: all of them, one by name, those that are meant."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from inflate_zoo.errors import UnknownNameError
from inflate_zoo.files.locations import data_folder
from inflate_zoo.registry.entries import ZooEntry, read_card

_NO_ENTRIES = ("README.md", "template.md")


def names() -> tuple[str, ...]:
    """Names of all entries, sorted; their cards are not read."""
    return tuple(path.stem for path in _paths(_cards_folder()))


def zoo() -> tuple[ZooEntry, ...]:
    """All entries of the zoo, sorted by name.

    Raises:
        ConfigError: A card is malformed; names the file and the field.
    """
    return tuple(entry for entry, _ in _cards(_cards_folder()).values())


def find_card(name: str) -> tuple[ZooEntry, str]:
    """An entry of the zoo, and the Markdown text of its card.

    Raises:
        UnknownNameError: There is none of that name.
    """
    cards = _cards(_cards_folder())
    if name not in cards:
        raise UnknownNameError("zoo entry", name, cards)
    return cards[name]


def matching(text: str) -> tuple[ZooEntry, ...]:
    """The entries whose name, source, license, objective or scheme holds a text, in any case."""
    wanted = text.casefold()
    return tuple(
        entry
        for entry in zoo()
        if any(
            wanted in (value or "").casefold()
            for value in (
                *(entry.name, entry.source, entry.objective, entry.scheme),
                *(entry.license, entry.license_name),
            )
        )
    )


def _cards_folder() -> Path:
    return data_folder("model_cards")


@cache
def _cards(folder: Path) -> Mapping[str, tuple[ZooEntry, str]]:
    return {path.stem: read_card(path) for path in _paths(folder)}


def _paths(folder: Path) -> list[Path]:
    paths = [path for path in folder.glob("*.md") if path.name not in _NO_ENTRIES]
    return sorted(paths, key=lambda path: path.stem)
