"""What was found out about cases, by the bytes of their files: to read hundreds takes minutes."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inflate_zoo.bench.definitions.datasets import Case
from inflate_zoo.files.foreign import json_value, parsing
from inflate_zoo.files.writing.lines import Lines
from inflate_zoo.files.writing.store import store_of
from inflate_zoo.version import __version__

Tally = tuple[NDArray[np.int64], NDArray[np.int64]]  # places of a histogram, how often each


class _GarbledError(Exception):
    """A line makes no sense."""


def _garbled(_: Exception) -> Exception:
    return _GarbledError()


class Remembered:
    """Findings of this release, kept in a cache by whoever uses it.

    Args:
        cache: The cache folder.

    Attributes:
        tallies: Of cases, by their keys; this process alone knows them.
    """

    def __init__(self, cache: Path) -> None:
        self._digests = store_of(cache).digests
        self._lines = Lines(cache.resolve() / "findings.jsonl")
        self._known: dict[str, Any] = {}
        self._lock = threading.Lock()
        self.tallies: dict[str, Tally] = {}

    def key(self, what: str, cases: Sequence[Case], *more: object) -> str | None:
        """What a finding is kept under.

        Args:
            what: The question.
            cases: Whose files decide the answer.
            more: What else does, as JSON takes it.

        Returns:
            A digest; `None` where a file cannot be read.
        """
        try:
            files = [[self._digests.of(path) for path in (*c.images, c.label)] for c in cases]
        except OSError:
            return None
        return hashlib.sha256(json.dumps([what, __version__, files, more]).encode()).hexdigest()

    def find(self, key: str | None) -> Any:
        """A finding as it was kept, by whomever: of any form; `None` where there is none."""
        with self._lock:
            if key not in self._known:
                for line in self._lines.new():
                    with suppress(_GarbledError), parsing(_garbled):
                        name, value = json_value(line, _garbled)
                        self._known[str(name)] = value
            return self._known.get(key) if key else None

    def keep(self, key: str | None, value: object) -> None:
        """Keep a finding, as JSON takes it."""
        if key:
            with self._lock:
                self._known[key] = value
                self._lines.add([key, value])
