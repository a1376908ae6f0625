"""A lease on a trial: who works on it, and whether he still lives."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from inflate_zoo.errors import UsageError, WorkError
from inflate_zoo.files.budgets import JSON_BYTES
from inflate_zoo.files.foreign import json_form
from inflate_zoo.files.reading import read_bytes
from inflate_zoo.files.writing import whole_files
from inflate_zoo.files.writing.whole_files import replace_text, writing

LEASE, LOCK = "lease.json", ".lease.lock"
HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 60.0


_HINT = "it goes away with the process that wrote it"


class _Lease(BaseModel):
    """Whose a trial is.

    Attributes:
        host: Where the process runs.
        pid: Its number there.
        start: See `process_start`.
        token: Tells two leases of one process apart.
    """

    model_config = ConfigDict(frozen=True)

    host: str = Field(max_length=255)
    pid: int = Field(ge=1, lt=1 << 31, strict=True)  # others stand for groups of processes
    start: str = ""
    token: str = ""


class LostLeaseError(WorkError):
    """Another process took the trial over, as this one seemed dead."""


def process_start(pid: int) -> str:
    """When a process of this host began, as the kernel counts; empty where that cannot be told.

    A number of a dead process may belong to another one by now; the start time tells them apart.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _alive(pid: int, start: str) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return not start or process_start(pid) in ("", start)


def _read(folder: Path) -> _Lease | None:
    """The lease that stands; `None` where none does, or one that nobody wrote so."""
    with suppress(UsageError):
        content = read_bytes(folder / LEASE, JSON_BYTES["note"], _HINT)
        return json_form(_Lease, content, lambda _: UsageError(f"{LEASE} is none", hint=_HINT))
    return None


def holder(folder: Path) -> str | None:
    """Who holds a trial, `host:pid`; `None` where nobody does, or only a dead one."""
    lease = _read(folder)
    if lease is None:
        return None
    # Signal 0 only asks on POSIX; elsewhere it kills.
    if os.name == "posix" and lease.host == socket.gethostname():
        alive = _alive(lease.pid, lease.start)
    else:
        try:  # the file's own time: both hosts see it through the same file system
            age = _now(folder) - (folder / LEASE).stat().st_mtime
        except OSError:
            return None
        alive = age < STALE_SECONDS
    return f"{lease.host}:{lease.pid}" if alive else None


def _now(folder: Path) -> float:
    """The time by the clock of the folder's file system, which may not be this host's."""
    probe = folder / f".clock-{uuid.uuid4().hex}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with suppress(OSError):
            probe.unlink()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time, by a lock that the system drops with its holder.

    A file system or system without such locks does without: of two who then take over a dead
    lease at the same moment the first one finds the other's in its place.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with (folder / LOCK).open("ab") as file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _take(folder: Path, text: str) -> bool:
    """Write our lease where none stands or a dead one does; false if somebody was faster."""
    with writing(LEASE), _alone(folder):
        if holder(folder) is not None:
            return False
        replace_text(folder / LEASE, text)
        return (folder / LEASE).read_text(encoding="utf-8") == text


@contextmanager
def leased(folder: Path) -> Iterator[Callable[[], None] | None]:
    """Hold a trial for the length of the block.

    Yields:
        `None` where another process holds it; otherwise a function that raises `LostLeaseError`
        once another one took it, to be called before anything is written.
    """
    own = os.getpid()
    mine = _Lease(
        host=socket.gethostname(), pid=own, start=process_start(own), token=uuid.uuid4().hex
    )
    text = mine.model_dump_json()
    if not _take(folder, text):
        yield None
        return
    over, lost = threading.Event(), threading.Event()

    def beat() -> None:
        while not over.wait(HEARTBEAT_SECONDS):
            if _read(folder) != mine:
                lost.set()
                return
            with suppress(OSError):
                os.utime(folder / LEASE)

    def require() -> None:
        if lost.is_set() or _read(folder) != mine:
            raise LostLeaseError(
                f"another process took over trial {folder.name}",
                hint="this one was silent for a minute; let the other go on",
            )

    thread = threading.Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield require
    finally:
        over.set()
        thread.join()
        if _read(folder) == mine:
            (folder / LEASE).unlink(missing_ok=True)


def release_dead(folder: Path) -> None:
    """Remove the lease of a process that died with it, and what it was writing."""
    if holder(folder) is None:
        with suppress(OSError):
            (folder / LEASE).unlink(missing_ok=True)
        remove_partial(folder)


def remove_partial(folder: Path) -> None:
    """Remove what killed writers left in a trial's folder."""
    whole_files.remove_partial(folder)
    for path in folder.glob(".clock-*"):
        with suppress(OSError):
            path.unlink()
