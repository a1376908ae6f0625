"""Lines of JSON that processes add to at the same time. What is lost of them costs time alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from inflate_zoo.files.budgets import MEMORY_LINE


class Lines:
    """A file of such lines.

    Args:
        path: The file; it need not be there.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0

    def add(self, values: Sequence[object]) -> None:
        """Add a line, if the system lets us."""
        content = f"\n{json.dumps(values)}\n".encode()  # after whatever a killed one left
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                os.write(descriptor, content)
            finally:
                os.close(descriptor)

    def new(self) -> Iterator[bytes]:
        """The lines that were added since they were last read, torn ones too."""
        with suppress(OSError), self._path.open("rb") as file:
            file.seek(self._read)
            for line in iter(lambda: file.readline(MEMORY_LINE), b""):
                if line.strip():
                    yield line
            self._read = file.tell()
