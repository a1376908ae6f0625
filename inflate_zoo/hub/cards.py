"""Model cards as the Hub has them: front matter, its license, text that stays inside."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from inflate_zoo.files.budgets import FRONT_MATTER_BYTES
from inflate_zoo.files.foreign import front_matter, reason_of

_LOG = logging.getLogger(__name__)
_LICENSE_FIELDS = ("license", "license_name", "license_link")


class _NoMatterError(Exception):
    """Holds what the parser of a card said."""


def license_fields(card: Path) -> dict[str, str]:
    """The license fields of a model card's front matter; empty where it has none.

    Only plain text is taken, also as a list of one; whatever else stands there is left alone. A
    front matter that cannot be read is told: the card states nothing then.
    """
    try:
        with card.open(encoding="utf-8-sig", errors="replace") as file:
            text = file.read(FRONT_MATTER_BYTES + 16)
    except OSError:
        return {}
    start = re.match(r"---[ \t]*\n", text)
    if start is None:
        return {}
    end = re.compile(r"^---[ \t]*$", re.MULTILINE).search(text, start.end())
    try:
        if end is None and len(text) < FRONT_MATTER_BYTES:
            return {}
        matter = front_matter(text[start.end() : end.start() if end else None], _NoMatterError)
    except _NoMatterError as error:
        reason = reason_of(error.args[0])
        _LOG.warning("%s: its front matter is not read: %s", card.name, reason)
        return {}
    fields = {key: _plain_text(matter.get(key)) for key in _LICENSE_FIELDS}
    return {key: text for key, text in fields.items() if text}


def _plain_text(value: object) -> str:
    """A text of one line, or the only one of a list; else nothing."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    text = value.strip() if isinstance(value, str) else ""
    return text if text.isprintable() else ""


def one_line(text: str) -> str:
    """A text that cannot break out of its line or its Markdown: controls, pipes, tags escaped."""
    kept = "".join(c if c.isprintable() else " " for c in text)
    for char in "\\`*_|<>[]":
        kept = kept.replace(
            char, f"\\{char}" if char not in "<>" else f"&{'lt' if char == '<' else 'gt'};"
        )
    return " ".join(kept.split())


def front_matter_text(fields: Mapping[str, Any]) -> str:
    """YAML front matter that reads back as the same fields, whatever they hold."""
    body = yaml.safe_dump(dict(fields), sort_keys=False, allow_unicode=False, width=10_000)
    return f"---\n{body}---\n"
