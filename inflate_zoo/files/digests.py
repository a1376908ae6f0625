"""Digests of files, and of what is written into them."""

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path

from inflate_zoo.errors import UsageError
from inflate_zoo.files.reading import reading

# Large, as every piece waits for the interpreter's lock while another thread imports torch.
_CHUNK = 4 << 20


def sha256(path: Path) -> str:
    """Digest of a file, hexadecimal."""
    digest, buffer = hashlib.sha256(), memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()


class Digests:
    """Hashes the source's files in a thread: hashing and importing torch overlap."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._found: dict[str, str] = {}
        self._error: UsageError | None = None
        self._thread = threading.Thread(target=self._run, args=(list(paths),), daemon=True)
        self._thread.start()

    def _run(self, paths: list[Path]) -> None:
        try:
            for path in paths:
                with reading(path):
                    self._found[path.name] = sha256(path)
        except UsageError as error:
            self._error = error

    def result(self) -> dict[str, str]:
        """SHA-256 by file name, hexadecimal, once all are read.

        Raises:
            UsageError: A file cannot be read.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error
        return dict(sorted(self._found.items()))
