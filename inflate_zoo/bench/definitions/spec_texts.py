"""Hashes and files of many trials, which share most of what determines them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import BaseModel

from inflate_zoo.bench.definitions.trials import RESULT_VERSION, WORDS, TrialSpec
from inflate_zoo.files.writing.contents import json_text


class SpecText(NamedTuple):
    """How a specification is named and written.

    Attributes:
        hash: Sixteen hexadecimal digits, those of `TrialSpec.hash`.
        text: Of its file: the specification and the hash, as `json_text` writes them.
    """

    hash: str
    text: str


@dataclass(frozen=True, slots=True)
class _Part:
    """A field of a specification, written.

    Attributes:
        value: The field's; kept, so that no other takes its place in memory.
        hashed: As it stands in what is hashed.
        text: As it stands in the file.
    """

    value: object
    hashed: str
    text: str


class SpecTexts:
    """Writes specifications; a part that several share, the same object, is written once."""

    def __init__(self) -> None:
        self._parts: dict[tuple[str, int], _Part] = {}

    def of(self, spec: TrialSpec) -> SpecText:
        """Hash and text of a specification."""
        parts = {name: self._part(name, getattr(spec, name)) for name in TrialSpec.model_fields}
        inner = ", ".join(f'"{name}": {parts[name].hashed}' for name in sorted(parts))
        content = f"[{RESULT_VERSION}, {{{inner}}}]"
        name = hashlib.sha256(content.encode()).hexdigest()[:16]
        texts = {field: part.text for field, part in parts.items()} | {"hash": f'"{name}"'}
        lines = ",\n".join(f'  "{field}": {texts[field]}' for field in sorted(texts))
        return SpecText(name, f"{{\n{lines}\n}}\n")

    def _part(self, name: str, value: object) -> _Part:
        key = name, id(value)
        if key not in self._parts:
            self._parts[key] = _written(name, value)
        return self._parts[key]


def _written(name: str, value: object) -> _Part:
    plain: Any = value
    if isinstance(value, BaseModel):
        plain = value.model_dump(mode="json")
    elif isinstance(value, Mapping):
        plain = dict(value)
    own = plain
    if isinstance(plain, dict):
        own = {key: inner for key, inner in plain.items() if key not in WORDS.get(name, ())}
    text = json_text(plain).rstrip("\n").replace("\n", "\n  ")  # those in strings are escaped
    return _Part(value, json.dumps(own, sort_keys=True), text)
