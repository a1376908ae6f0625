"""Who uses what of a cache: nobody takes away what another process has claimed.

Each process keeps a file of what it uses, locked for as long as it lives, so that the kernel says
who died. Claims are noted behind a gate that stays shut while somebody decides what to take away:
what was claimed before is seen, and what is claimed after is looked for after, and made anew.
"""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import threading
import time
import uuid
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_BELIEVED = 30 * 86400.0  # seconds for which claims count where no lock tells who lives
_SWEPT = 50  # files of others that a new process looks at


class Claims:
    """The claims on a cache.

    Args:
        root: The cache folder.
    """

    def __init__(self, root: Path) -> None:
        self._locks = root / "locks"
        self._users = self._locks / "users"
        self._taken: set[str] = set()
        self._own: int | None = None  # descriptor of this process's file
        self._path: Path | None = None
        self._lock = threading.Lock()

    def take(self, entry: str) -> bool:
        """Claim an entry until this process ends.

        Args:
            entry: Its path below the cache, with slashes.

        Returns:
            Whether others can see it: not where the cache cannot be written, or its disk is full.
        """
        with self._lock:
            if entry not in self._taken:
                with suppress(OSError), self.gate(alone=False):
                    self._note(entry)
                    self._taken.add(entry)
            return entry in self._taken

    @contextmanager
    def gate(self, *, alone: bool) -> Iterator[None]:
        """Wait until nobody decides what to take away; or, alone, until nobody claims anything.

        Raises:
            OSError: The cache cannot be written.
        """
        self._locks.mkdir(parents=True, exist_ok=True)
        descriptor = _opened(self._locks / "gate", os.O_CREAT)
        try:
            lock(descriptor, alone=alone, wait=True)
            yield
        finally:
            os.close(descriptor)

    def users(self) -> dict[str, str]:
        """Entry to the `host:process` that uses it; what the dead left is removed."""
        found: dict[str, str] = {}
        for path in sorted(self._users.glob("*")):  # with those that were killed in `_begin`
            if path == self._path or not _removed_if_dead(path):
                with suppress(OSError):
                    lines = path.read_text("utf-8", "replace").splitlines()
                    found.update(dict.fromkeys(lines[1:], "".join(lines[:1])))
        return found

    def _note(self, entry: str) -> None:
        if self._own is None:
            self._own = self._begin()
        _append(self._own, entry)

    def _begin(self) -> int:
        """Make this process's file; it has its name once it is locked."""
        self._users.mkdir(exist_ok=True)
        for path in sorted(self._users.glob("[!.]*"))[:_SWEPT]:
            _removed_if_dead(path)
        name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        made, path = self._users / f".{name}", self._users / name
        own = os.open(made, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            lock(own, alone=True, wait=False)
            _append(own, f"{socket.gethostname()}:{os.getpid()}")
            made.rename(path)
        except BaseException:
            _end(own, made, os.getpid())
            raise
        self._path = path
        weakref.finalize(self, _end, own, path, os.getpid())
        return own


def _append(descriptor: int, text: str) -> None:
    """Write a whole line or nothing: on a full disk a part of it may find room.

    Raises:
        OSError: The disk is full or broken.
    """
    line, before = f"{text}\n".encode(), os.fstat(descriptor).st_size
    if os.write(descriptor, line) < len(line):
        os.ftruncate(descriptor, before)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _end(own: int, path: Path, process: int) -> None:
    if os.getpid() == process:  # else it is the parent's
        with suppress(OSError):
            path.unlink(missing_ok=True)
    with suppress(OSError):
        os.close(own)


def lock(descriptor: int, *, alone: bool, wait: bool) -> bool | None:
    """Lock an open file against other processes.

    Args:
        descriptor: Of the file.
        alone: Against all others, not just those that want to be alone.
        wait: Until it can be had.

    Returns:
        Whether it was had; `None` where the file system knows no such locks.
    """
    try:
        import fcntl

        kind = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
        fcntl.flock(descriptor, kind | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True


def _removed_if_dead(path: Path) -> bool:
    """Remove the claims of a process that is dead; whether it was."""
    had = lock_of(path)
    if had is None:
        with suppress(OSError):
            had = time.time() - path.stat().st_mtime > _BELIEVED
    if had:
        with suppress(OSError):
            path.unlink(missing_ok=True)
    return bool(had)


def lock_of(path: Path) -> bool | None:
    """Whether the lock of a file or folder could be had just now: nobody holds it.

    Returns:
        That; of what is not there it could. `None` where it cannot be told.
    """
    try:
        descriptor = _opened(path)
    except FileNotFoundError:
        return True
    except OSError:
        return None
    try:
        return lock(descriptor, alone=True, wait=False)
    finally:
        os.close(descriptor)


def entry_lock(root: Path, entry: str) -> Path:
    """The file that is locked while an entry of a cache is made, by its path below the cache."""
    return root / "locks" / hashlib.sha256(entry.encode()).hexdigest()[:16]


def _opened(path: Path, flags: int = 0) -> int:
    """Open to lock: on NFS for writing, where that is allowed."""
    try:
        return os.open(path, os.O_RDWR | flags, 0o666)
    except (PermissionError, IsADirectoryError):
        return os.open(path, os.O_RDONLY)
