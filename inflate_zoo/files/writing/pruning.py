"""What a cache holds, and taking away what nobody uses any more."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from inflate_zoo.files.writing.claims import Claims, entry_lock, lock_of
from inflate_zoo.files.writing.store import MANIFEST
from inflate_zoo.files.writing.whole_files import writing

_LEFTOVER = ".partial"
_DAY = 86400.0
Reason = Literal["in use", "used lately", "being made"]


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that a cache holds.

    Attributes:
        path: Below the cache, with slashes.
        kind: The first part of it.
        size: Bytes of its files.
        used: When it was last used, in seconds since 1970.
        whole: Whether it was finished.
    """

    path: str
    kind: str
    size: int
    used: float
    whole: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """An entry that stays, and why.

    Attributes:
        entry: The entry.
        reason: Why.
        who: `host:process` that uses it, where one does.
    """

    entry: Entry
    reason: Reason
    who: str = ""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was taken away, or would be, and what stays."""

    removed: tuple[Entry, ...]
    kept: tuple[Kept, ...]


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder; what goes away meanwhile counts nothing."""
    total = 0
    for each in (path, *path.rglob("*")) if path.is_dir() else (path,):
        with suppress(OSError):
            total += 0 if each.is_dir() else each.lstat().st_size
    return total


def entries(root: Path, kinds: Sequence[str]) -> Iterator[Entry]:
    """Everything of some kinds that a cache holds, unfinished entries too.

    Args:
        root: The cache folder.
        kinds: Names of folders in it.
    """
    for kind in kinds:
        for path in _places(root / kind):
            with suppress(OSError):
                whole, used = (path / MANIFEST).is_file(), path.stat().st_mtime
                name = path.relative_to(root).as_posix()
                yield Entry(name, kind, size_of(path), used, whole)


def _places(folder: Path) -> Iterator[Path]:
    """Folders of entries: those below, or where those have but folders below them, these."""
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            if not path.is_dir() or path.is_symlink():
                continue
            inner = sorted(path.iterdir())
            group = inner and all(each.is_dir() and not each.is_symlink() for each in inner)
            yield from inner if group and not path.name.endswith(_LEFTOVER) else (path,)


def prune(root: Path, kinds: Sequence[str], unused_for: float, *, dry_run: bool) -> Pruned:
    """Take away what no process uses, and none has used for a while.

    Args:
        root: The cache folder.
        kinds: Names of the folders in it that are looked at.
        unused_for: Days since the last use.
        dry_run: Only say what would be taken away.

    Raises:
        WriteError: The cache cannot be written.
    """
    claims, now = Claims(root), time.time()
    removed: list[Entry] = []
    kept: list[Kept] = []
    aside: list[Path] = []
    try:
        with (
            writing(root.name or str(root), "see who may write the cache"),
            claims.gate(alone=True),
        ):
            users = claims.users()
            for entry in entries(root, kinds):
                reason = _reason(root, entry, users, now - unused_for * _DAY)
                if reason is not None:
                    kept.append(Kept(entry, reason, users.get(entry.path, "")))
                    continue
                removed.append(entry)
                if not dry_run:
                    aside.append(_put_aside(root, entry))
    finally:
        for folder in aside:  # with the gate open again: this may take long
            shutil.rmtree(folder, ignore_errors=True)
    return Pruned(tuple(removed), tuple(kept))


def _reason(root: Path, entry: Entry, users: Mapping[str, str], since: float) -> Reason | None:
    """Why an entry stays; `None` where nothing speaks for it."""
    if entry.path in users:
        return "in use"
    if not entry.whole:
        return "being made" if _being_made(root, entry) else None
    return "used lately" if entry.used > since else None


def _being_made(root: Path, entry: Entry) -> bool:
    """Whether a process holds the lock of an unfinished entry; without locks, if it is new."""
    had = [lock_of(place) for place in (root / entry.path, entry_lock(root, entry.path))]
    if None in had:
        return time.time() - entry.used < _DAY
    return False in had


def _put_aside(root: Path, entry: Entry) -> Path:
    """Rename an entry away, at once: nobody finds half of it."""
    path = root / entry.path
    folder = Path(tempfile.mkdtemp(prefix=".pruned.", suffix=_LEFTOVER, dir=root / entry.kind))
    try:
        path.rename(folder / "entry")
    except OSError:
        folder.rmdir()
        raise
    with suppress(OSError):  # of a group, where it was the last
        if path.parent != root / entry.kind:
            path.parent.rmdir()
    return folder
