"""A lease on a trial: who works on it, and whether he still lives."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from inflate_zoo.errors import WorkError

LEASE = "lease.json"
HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 60.0


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


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _read(folder: Path) -> Mapping[str, Any] | None:
    try:
        value = json.loads(_content(folder / LEASE) or b"")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def holder(folder: Path) -> str | None:
    """Who holds a trial, `host:pid`; `None` where nobody does, or only a dead one."""
    lease = _read(folder)
    if lease is None:
        return None
    host, pid = str(lease.get("host")), lease.get("pid")
    if host == socket.gethostname() and isinstance(pid, int):
        alive = _alive(pid, str(lease.get("start", "")))
    else:
        try:  # the file's own time: both hosts see it through the same file system
            age = _now(folder) - (folder / LEASE).stat().st_mtime
        except OSError:
            return None
        alive = age < STALE_SECONDS
    return f"{host}:{pid}" if alive else None


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


def _place(source: Path, target: Path) -> None:
    """Give a file a second name that nothing has yet; FileExistsError where something has."""
    try:
        os.link(source, target)
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError:  # a file system without links: for a moment the lease may be read half-written
        with target.open("xb") as file:
            file.write(source.read_bytes())


def _take(folder: Path, text: str) -> bool:
    """Write our lease where none stands or a dead one does; false if somebody was faster."""
    own = folder / f".lease-{uuid.uuid4().hex}"
    own.write_text(text, encoding="utf-8")
    try:
        before = _content(folder / LEASE)
        if before is not None:
            if holder(folder) is not None:
                return False
            # Moved away, not overwritten: of two who found the same dead lease one fails here,
            # or finds that what it moved was the other's new one, and puts it back.
            aside = folder / f".dead-{uuid.uuid4().hex}"
            (folder / LEASE).rename(aside)
            if _content(aside) != before:
                with suppress(FileExistsError):
                    _place(aside, folder / LEASE)
                aside.unlink()
                return False
            aside.unlink()
        _place(own, folder / LEASE)
    except (FileExistsError, FileNotFoundError):  # the winner tidies the folder up
        return False
    else:
        return True
    finally:
        own.unlink(missing_ok=True)


@contextmanager
def leased(folder: Path) -> Iterator[Callable[[], None] | None]:
    """Hold a trial for the length of the block.

    Yields:
        `None` where another process holds it; otherwise a function that raises `LostLeaseError`
        once another one took it, to be called before anything is written.
    """
    mine = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "start": process_start(os.getpid()),
        "token": uuid.uuid4().hex,
    }
    text = json.dumps(mine)
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
