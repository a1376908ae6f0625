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
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from inflate_zoo import stops
from inflate_zoo.errors import UsageError, WorkError
from inflate_zoo.files.budgets import JSON_BYTES
from inflate_zoo.files.foreign import json_form
from inflate_zoo.files.reading import read_bytes
from inflate_zoo.files.writing import whole_files
from inflate_zoo.files.writing.claims import lock
from inflate_zoo.files.writing.whole_files import replace_text, writing

LEASE, LOCK = "lease.json", ".lease.lock"
HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 40.0
DOUBT_BEATS = 2.0  # are waited for where a heart seems to have stopped: clocks jump
SETTLE_SECONDS = 0.5  # where nothing locks: until whoever came at the same moment has written

_PROC = Path("/proc")
_HINT = "it goes away with the process that wrote it"
_Life = Literal["alive", "dead", "doubtful"]
_Unread = Literal["unread"]


class _Lease(BaseModel):
    """Whose a trial is.

    Attributes:
        host: Where the process runs.
        numbers: See `process_numbers`; empty where nothing tells.
        pid: Its number there.
        start: See `process_start`.
        token: Tells two leases of one process apart.
    """

    model_config = ConfigDict(frozen=True)

    host: str = Field(max_length=255)
    numbers: str = Field(default="", max_length=255)
    pid: int = Field(ge=1, lt=1 << 31, strict=True)  # others stand for groups of processes
    start: str = ""
    token: str = ""


class LostLeaseError(WorkError):
    """Another process took the trial over, as this one seemed dead."""


def process_start(pid: int) -> str:
    """When a process of this host began, as the kernel counts; empty where that cannot be told.

    A number of a dead process may belong to another one by now; the start time tells them apart.
    """
    return _state(pid)[1]


def _state(pid: int) -> tuple[str, str]:
    """The letter of a process's state, and when it began; empty where that cannot be told."""
    try:  # bytes: a name may be cut inside a letter
        facts = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
        return facts[0].decode(), facts[19].decode()
    except (OSError, IndexError):
        return "", ""


def process_numbers() -> str:
    """Names whose process numbers these are: of this start of the system, in this namespace.

    Hosts of one name may be several containers on one machine, each of which counts from 1. Empty
    where the system has no such names, or shows another namespace's processes.
    """
    try:
        own = (_PROC / "self" / "stat").read_bytes().split()[0]
        if own != str(os.getpid()).encode():
            return ""
        boot = (_PROC / "sys" / "kernel" / "random" / "boot_id").read_text().strip()
        return f"{boot} {(_PROC / 'self' / 'ns' / 'pid').readlink()}"
    except (OSError, IndexError):
        return ""


def _alive(pid: int, start: str) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    state, began = _state(pid)
    # What ended and waits for its parent to ask is still there: in containers, often for ever.
    return state not in ("Z", "X") and (not start or began in ("", start))


def _read(folder: Path) -> _Lease | _Unread | None:
    """The lease that stands; `None` where none does, or one that nobody wrote so.

    `unread` says neither: for a moment a process may have no descriptor, or a network be away.
    """
    path = folder / LEASE
    try:
        path.stat()  # most often it is not there: `read_bytes` takes ten times as long to say so
        content = read_bytes(path, JSON_BYTES["note"], _HINT)
        return json_form(_Lease, content, lambda _: UsageError(f"{LEASE} is none", hint=_HINT))
    except (OSError, UsageError) as error:
        reason = error if isinstance(error, OSError) else error.__cause__
        absent = isinstance(reason, (FileNotFoundError, NotADirectoryError))
        return "unread" if isinstance(reason, OSError) and not absent else None


def holder(folder: Path) -> str | None:
    """Who holds a trial, `host:pid`; `None` where nobody does, or only one that seems dead."""
    lease = _read(folder)
    if not isinstance(lease, _Lease) or _life(folder, lease) != "alive":
        return None
    return f"{lease.host}:{lease.pid}"


def _life(folder: Path, lease: _Lease) -> _Life:
    """Whether the holder lives, as far as that can be told at once."""
    # Signal 0 only asks on POSIX; elsewhere it kills.
    numbered = os.name == "posix" and lease.host == socket.gethostname()
    if numbered and lease.numbers and lease.numbers == process_numbers():
        return "alive" if _alive(lease.pid, lease.start) else "dead"
    try:  # the file's own time: both hosts see it through the same file system
        age = clock(folder) - (folder / LEASE).stat().st_mtime
    except FileNotFoundError:
        return "dead"
    except OSError:
        return "doubtful"
    # One from the future was written before its clock, or the file system's, was set back.
    return "alive" if -HEARTBEAT_SECONDS < age < STALE_SECONDS else "doubtful"


def _silent(folder: Path, lease: _Lease) -> bool:
    """Whether a heart does not beat: not by any clock, but by listening for longer than a beat."""
    until = time.monotonic() + DOUBT_BEATS * HEARTBEAT_SECONDS
    heard = _beat(folder)
    while time.monotonic() < until:
        if stops.asked():  # the trial is not taken any more
            return False
        time.sleep(min(1.0, HEARTBEAT_SECONDS / 10))
        if _beat(folder) != heard:
            return _read(folder) is None
    return _read(folder) in (lease, None)


def _beat(folder: Path) -> tuple[int, int] | None:
    with suppress(OSError):
        found = (folder / LEASE).stat()
        return found.st_mtime_ns, found.st_ino
    return None


def clock(folder: Path) -> float:
    """The time by the clock of the folder's file system, which may not be this host's.

    Returns:
        Seconds since 1970; by this host's where the folder cannot be written.
    """
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
def _alone(folder: Path) -> Iterator[bool | None]:
    """One process at a time, by a lock that the system drops with its holder.

    A file system or system without such locks does without: of two who then take over a dead
    lease at the same moment the first one finds the other's in its place.

    Yields:
        Whether it was had: nobody waits for it, as there may be other trials. `None` where there
        are no such locks.
    """
    with (folder / LOCK).open("ab") as file:
        yield lock(file.fileno(), alone=True, wait=False)


def _take(folder: Path, text: str) -> bool:
    """Write our lease where none stands or a dead one does; false if somebody is faster."""
    with writing(LEASE), _alone(folder) as locked:
        lease = _read(folder)
        if locked is False or lease == "unread":
            return False
        if lease is not None:
            life = _life(folder, lease)
            if life == "alive" or (life == "doubtful" and not _silent(folder, lease)):
                return False
        replace_text(folder / LEASE, text)
        if not locked:
            time.sleep(SETTLE_SECONDS)
        return (folder / LEASE).read_text(encoding="utf-8") == text


@contextmanager
def leased(
    folder: Path, beat: Callable[[Path], None] = lambda _: None
) -> Iterator[Callable[[], None] | None]:
    """Hold a trial for the length of the block; what killed writers left in its folder is removed.

    Args:
        folder: Of the trial.
        beat: Called with it by another thread, at once and with every heartbeat.

    Yields:
        `None` where another process holds it; otherwise a function that raises `LostLeaseError`
        once another one took it, to be called before anything is written.
    """
    own = os.getpid()
    mine = _Lease(
        host=socket.gethostname(),
        numbers=process_numbers(),
        pid=own,
        start=process_start(own),
        token=uuid.uuid4().hex,
    )
    if not _take(folder, mine.model_dump_json()):
        yield None
        return
    remove_partial(folder)  # before a heartbeat writes: nobody else does now
    over, lost = threading.Event(), threading.Event()

    def stands() -> bool:  # as far as can be told: what cannot be read was not taken over
        return not lost.is_set() and _read(folder) in (mine, "unread")

    def require() -> None:
        if not stands():
            raise LostLeaseError(
                f"another process took over trial {folder.name}",
                hint="this one was silent for a minute; let the other go on",
            )

    def live() -> None:
        while stands():
            with suppress(OSError):
                os.utime(folder / LEASE)
            beat(folder)
            if over.wait(HEARTBEAT_SECONDS):
                return
        lost.set()

    thread = threading.Thread(target=live, name="lease", daemon=True)
    thread.start()
    try:
        yield require
    finally:
        over.set()
        thread.join()
        if stands():
            with writing(LEASE):
                (folder / LEASE).unlink(missing_ok=True)


def release_dead(folder: Path, pid: int | None) -> None:
    """Remove the lease of a child that died with it, and what it was writing.

    Another process may take the trial over at the same moment, and tidies up itself then.

    Args:
        folder: Of the trial.
        pid: The child's number, if it ever had one.
    """
    with suppress(OSError):
        if _read(folder) is None and not (folder / LOCK).exists():  # never leased, or done
            return
        with _alone(folder) as locked:
            lease = _read(folder)
            ours = isinstance(lease, _Lease) and (lease.host, lease.numbers, lease.pid) == (
                socket.gethostname(), process_numbers(), pid,
            )  # fmt: skip
            if locked is False or not (ours or (locked and lease is None)):
                return
            (folder / LEASE).unlink(missing_ok=True)
            remove_partial(folder)


def remove_partial(folder: Path) -> None:
    """Remove what killed writers left in a trial's folder."""
    whole_files.remove_partial(folder)
    for path in folder.glob(".clock-*"):
        with suppress(OSError):
            path.unlink()
