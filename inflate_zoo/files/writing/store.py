"""What is kept in the cache as making it takes long: just as it was made, or made anew.

The manifest of an entry lists size and SHA-256 of its files. Sizes are looked at whenever an entry
is used; digests once on each machine, for as long as a file keeps its inode, size and times: the
time of change is not for programs to set.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from inflate_zoo.errors import OutputExistsError
from inflate_zoo.files.budgets import JSON_BYTES
from inflate_zoo.files.digests import sha256
from inflate_zoo.files.foreign import json_form, json_value, parsing
from inflate_zoo.files.reading import reading
from inflate_zoo.files.writing.claims import Claims, entry_lock, lock
from inflate_zoo.files.writing.contents import json_text, write_text
from inflate_zoo.files.writing.lines import Lines
from inflate_zoo.files.writing.staging import MARKER, staged
from inflate_zoo.files.writing.whole_files import replace_text, short_name, writing

MANIFEST = "manifest.json"
Signature = tuple[int, int, int, int]  # inode, size, times of modification and of change in ns
_HINT = "free space, or name another folder with the variable INFLATE_ZOO_CACHE"
_NOTED = 3600.0  # seconds; when an entry was used need not be known better
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EIO}


class _SpoiltError(Exception):
    """What says what an entry was makes no sense: it is made anew."""


def _spoilt(_: Exception) -> Exception:
    return _SpoiltError()


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int
    sha256: str


class Manifest(BaseModel):
    """What an entry consists of.

    Attributes:
        entry: Which entry: its path below the cache, with slashes.
        files: Name to size in bytes and SHA-256.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    entry: str
    files: dict[str, _File]


def _signature(path: Path) -> Signature:
    state = path.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


class DigestMemory:
    """Digests of files, remembered on this machine: hashing a large data set takes minutes.

    Args:
        path: Lines of JSON, one a digest; processes add to it at the same time.
    """

    def __init__(self, path: Path) -> None:
        self._lines = Lines(path)
        self._known: dict[str, tuple[Signature, str]] = {}
        self._lock = threading.Lock()

    def of(self, path: Path) -> str:
        """SHA-256 of a file, hexadecimal.

        Raises:
            OSError: The system refuses to read it.
        """
        before, place = _signature(path), str(path.absolute())
        if (found := self._find(place, before)) is not None:
            return found
        digest = sha256(path)
        if _signature(path) == before:  # else it was being written
            self.remember(path, digest)
        return digest

    def remember(self, path: Path, digest: str) -> None:
        """Take note of a file that was made just now."""
        place, signature = str(path.absolute()), _signature(path)
        with self._lock:
            self._known[place] = signature, digest
            self._lines.add([place, *signature, digest])

    def _find(self, place: str, signature: Signature) -> str | None:
        with self._lock:
            for attempt in range(2):
                known = self._known.get(place)
                if known is not None and known[0] == signature:
                    return known[1]
                if attempt == 0:
                    self._refresh()
        return None

    def _refresh(self) -> None:
        """Read what was added since."""
        for line in self._lines.new():
            with suppress(_SpoiltError), parsing(_spoilt):
                place, inode, size, modified, changed, digest = json_value(line, _spoilt)
                self._known[place] = (inode, size, modified, changed), str(digest)


class Store:
    """The entries below a cache folder.

    Args:
        root: The cache folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self.digests = DigestMemory(self._root / f"digests-{socket.gethostname()}.jsonl")
        self._verified: dict[Path, list[Signature]] = {}
        self._claims, self._used = Claims(self._root), set[Path]()

    def use(self, folder: Path) -> None:
        """Claim an entry until this process ends, and note when it was used last.

        Args:
            folder: Of the entry, which need not be there yet; others are nobody's to claim.
        """
        folder = folder.absolute()
        if folder in self._used:
            return
        if not folder.resolve().is_relative_to(self._root):
            self._used.add(folder)
            return
        if self._claims.take(self._entry(folder)):  # first: it may be about to be taken away
            self._used.add(folder)
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > _NOTED:
                os.utime(folder)

    def whole(self, folder: Path, names: Sequence[str]) -> bool:
        """Whether an entry is there, just as it was made.

        Args:
            folder: Of the entry.
            names: The files it must have.

        Raises:
            UsageError: It cannot be told, as the system refuses to read it.
        """
        folder = folder.absolute()
        self.use(folder)
        with reading(folder):
            try:
                if (folder / MARKER).exists():
                    return False
                found = [_signature(folder / name) for name in (*names, MANIFEST)]
                if self._verified.get(folder) == found:
                    return True
                if not self._fits(folder.resolve(), names):
                    return False
            except OSError as error:
                if error.errno not in _GONE:
                    raise
                return False
        self._verified[folder] = found
        return True

    def _fits(self, folder: Path, names: Sequence[str]) -> bool:
        path = folder / MANIFEST
        if not all((folder / name).is_file() for name in (*names, MANIFEST)):
            return False
        if path.stat().st_size > JSON_BYTES["record"]:
            return False
        try:
            manifest = json_form(Manifest, path.read_bytes(), _spoilt)
        except _SpoiltError:
            return False
        files = manifest.files
        return (
            manifest.entry == self._entry(folder)
            and files.keys() == set(names)
            and all((folder / name).stat().st_size == file.size for name, file in files.items())
            and all(self.digests.of(folder / name) == file.sha256 for name, file in files.items())
        )

    def _entry(self, folder: Path) -> str:
        return folder.resolve().relative_to(self._root).as_posix()

    def distrust(self, folder: Path) -> None:
        """Have an entry made anew that is as it was made, and cannot be used all the same."""
        with suppress(OSError):
            (folder / MANIFEST).unlink(missing_ok=True)

    @contextmanager
    def made(
        self, folder: Path, names: Sequence[str], known: Mapping[str, str] | None = None
    ) -> Iterator[Path]:
        """A folder to make an entry in; it takes its place when the block ends well.

        Args:
            folder: Of the entry.
            names: The files that are made.
            known: Name to SHA-256 of files whose digest is known by the end of the block.

        Raises:
            OutputExistsError: Another process was faster.
            WriteError: Disk full, read-only folder.
        """
        digests: dict[str, str] = {}
        with staged(folder, (*names, MANIFEST), force=False, durable=False) as stage:
            yield stage
            digests = {name: (known or {}).get(name) or sha256(stage / name) for name in names}
            write_text(stage / MANIFEST, self._text(folder, stage, digests))
        self._note(folder, digests)

    def keep(self, folder: Path, names: Sequence[str], make: Callable[[], object]) -> None:
        """See that an entry is there that something else writes as a whole folder.

        Args:
            folder: Of the entry.
            names: The files that are made.
            make: Makes the folder.

        Raises:
            InflateZooError: What `make` raises.
            WriteError: Disk full, read-only folder.
        """
        if self.whole(folder, names):
            return
        with self._alone(folder):
            if self.whole(folder, names):
                return  # another process was faster
            self.discard(folder, names)
            try:
                make()
            except OutputExistsError:  # without locks another process may have been faster
                if not all((folder / name).is_file() for name in names):
                    raise
            with reading(folder):
                digests = {name: sha256(folder / name) for name in names}
                text = self._text(folder, folder, digests)
            replace_text(folder / MANIFEST, text)
            self._note(folder, digests)

    @contextmanager
    def _alone(self, folder: Path) -> Iterator[None]:
        """One process at a time, where the file system knows such locks."""
        path = entry_lock(self._root, self._entry(folder))
        with ExitStack() as held:
            with suppress(OSError):
                path.parent.mkdir(parents=True, exist_ok=True)
                file = held.enter_context(path.open("ab"))
                lock(file.fileno(), alone=True, wait=True)
            yield

    def discard(self, folder: Path, names: Sequence[str]) -> None:
        """Take an entry that is not whole away, at once: nobody finds half of it.

        Raises:
            WriteError: Read-only folder, I/O error.
        """
        if self.whole(folder, names) or not os.path.lexists(folder):
            return
        with writing(folder.name, _HINT):
            start = f".{short_name(folder.name)}."
            aside = tempfile.mkdtemp(prefix=start, suffix=".partial", dir=folder.parent)
            try:
                folder.rename(Path(aside) / "entry")
            finally:
                shutil.rmtree(aside, ignore_errors=True)

    def _text(self, folder: Path, place: Path, digests: Mapping[str, str]) -> str:
        files = {
            name: _File(size=(place / name).stat().st_size, sha256=digest)
            for name, digest in digests.items()
        }
        return json_text(Manifest(entry=self._entry(folder), files=files).model_dump(mode="json"))

    def _note(self, folder: Path, digests: Mapping[str, str]) -> None:
        with suppress(OSError):
            for name, digest in digests.items():
                self.digests.remember(folder / name, digest)


def store_of(root: Path) -> Store:
    """The store below a cache folder, one for the whole process."""
    return _store(root.resolve())


@lru_cache
def _store(root: Path) -> Store:
    return Store(root)
