"""Data sets from the web: size and license first, resumed, checked, unpacked."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from inflate_zoo.bench.amounts import size
from inflate_zoo.bench.archives import ENDINGS, extract
from inflate_zoo.bench.tasks import Task
from inflate_zoo.errors import UsageError, WorkError, WriteError
from inflate_zoo.user_cache import default_cache

_PIECE = 1 << 20  # bytes
_TRIES, _TIMEOUT = 5, 60.0  # tries without a byte in between; seconds
_BUSY = (429, 500, 502, 503, 504)
Say = Callable[[str], None]
Progress = Callable[[str, int, int], None]


def data_root(given: Path | None) -> Path:
    """Where data sets are kept: as given, else INFLATE_ZOO_DATA, else in the user's cache."""
    variable = os.environ.get("INFLATE_ZOO_DATA")
    return given or (Path(variable).expanduser() if variable else default_cache() / "data")


def fetched(task: Task, root: Path) -> Path | None:
    """The folder of a task's data set, where it was fetched before."""
    archive = _archive_name(task)
    folder = root / _stem(archive) if archive else None
    return folder if folder is not None and folder.is_dir() else None


def fetch(task: Task, root: Path, say: Say, progress: Progress) -> Path:
    """Fetch a task's data set, unless it is there.

    What was broken off goes on; processes that fetch the same wait for one another.

    Args:
        task: With the address of an archive, and its checksum.
        root: Folder for data sets; made if need be.
        say: Told size, license and address before anything is fetched.
        progress: Told what is counted, how much is done, how much there is.

    Returns:
        Folder of the data set, in `root`.

    Raises:
        UsageError: Nobody may fetch it for the user, the task names no archive, or the archive is
            not the one of the checksum.
        WorkError: It could not be reached.
        WriteError: Disk full, read-only folder.
    """
    if (there := fetched(task, root)) is not None:
        return there
    name = _archive_name(task)
    if task.access or name is None:
        raise UsageError(
            f"the data of task '{task.name}' cannot be fetched for you: {task.title}, "
            f"{task.license}",
            hint=task.access or f"get them from {task.address or 'their makers'} and add --data",
        )
    archive, target = root / name, root / _stem(name)
    with _only_one(root, name):
        if target.is_dir():
            return target
        if not archive.exists():
            _download(task, archive, say, progress)
        say(f"unpacking {name}")
        megabyte = 10**6

        def unpacked(done: int, total: int) -> None:
            progress("MB unpacked", done // megabyte, total // megabyte)

        try:
            extract(archive, target, unpacked)
        except UsageError:
            archive.unlink()  # another run is to fetch it anew
            raise
        archive.unlink()
    return target


def _archive_name(task: Task) -> str | None:
    parts = urlsplit(task.address)
    name = parts.path.rpartition("/")[2]
    fits = parts.scheme in ("http", "https") and name.endswith(ENDINGS) and name == Path(name).name
    return name if fits else None


def _stem(name: str) -> str:
    return next(name.removesuffix(end) for end in (".tar.gz", *ENDINGS) if name.endswith(end))


@contextmanager
def _only_one(root: Path, name: str) -> Iterator[None]:
    """Wait until no other process fetches the same."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / f".{name}.lock").open("w")
    except OSError as error:
        raise _unwritable(error) from error
    with lock:
        try:
            import fcntl
        except ImportError:  # Windows: the last one to rename wins, with the same bytes
            yield
            return
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True, slots=True)
class _Remote:
    """What a server says of a file: bytes, if it tells, and what changes with the content."""

    length: int | None
    mark: str | None


def _download(task: Task, archive: Path, say: Say, progress: Progress) -> None:
    partial, memory = (archive.with_name(archive.name + end) for end in (".partial", ".json"))
    remote = _ask(task)
    shown = size(remote.length) if remote.length else "size unknown"
    say(f"fetching {task.title}: {shown}, {task.license}, from {urlsplit(task.address).hostname}")
    known = {"length": remote.length, "mark": remote.mark}
    if not remote.mark or _remembered(memory) != known:
        partial.unlink(missing_ok=True)
    _require_room(archive, remote.length or 0, partial)
    try:
        memory.write_text(json.dumps(known), encoding="utf-8")
        _fill(task, partial, remote, progress)
        _require_checksum(task, partial)
        partial.replace(archive)
        memory.unlink()
    except OSError as error:
        raise _unwritable(error) from error


def _fill(task: Task, partial: Path, remote: _Remote, progress: Progress) -> None:
    """Fetch until all is there; tries count anew after every byte."""
    tries = 0
    while True:
        before = _bytes(partial)
        if remote.length is not None and before == remote.length:
            return
        try:
            if _fetch_rest(task, partial, remote, progress):
                return
        except _BrokenOffError as error:
            tries = tries + 1 if _bytes(partial) == before else 1
            if tries >= _TRIES:
                raise _unreachable(task, str(error)) from error
            _pause(2.0**tries)


class _BrokenOffError(Exception):
    """The connection ended early; another try may go on."""


def _fetch_rest(task: Task, partial: Path, remote: _Remote, progress: Progress) -> bool:
    """Fetch what is missing; whether all is there. Only reading may fail for the net's sake."""
    start = _bytes(partial)
    headers = {"Range": f"bytes={start}-", "If-Range": remote.mark or ""} if start else {}
    with _open(task, headers) as answer:
        if start and answer.status != 206:  # the server cannot go on, or holds another file now
            start = 0
        with partial.open("ab" if start else "wb") as file:
            done = start
            while True:
                with _net():
                    piece = answer.read(_PIECE)
                if not piece:
                    break
                file.write(piece)
                done += len(piece)
                if remote.length:
                    progress("MB fetched", done // 10**6, remote.length // 10**6)
    if remote.length is not None and done > remote.length:
        partial.unlink()
        raise _unreachable(task, "it sends more than it promised")
    if remote.length is not None and done < remote.length:
        raise _BrokenOffError("it ended early")
    return True


@contextmanager
def _net() -> Iterator[None]:
    try:
        yield
    except (http.client.HTTPException, OSError) as error:
        raise _BrokenOffError(type(error).__name__) from error


def _open(task: Task, headers: Mapping[str, str], method: str = "GET") -> Any:
    request = urllib.request.Request(  # noqa: S310 - http and https alone, see `_archive_name`
        task.address, method=method, headers={"User-Agent": "inflate-zoo", **headers}
    )
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT)  # noqa: S310
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in _BUSY:
            raise _BrokenOffError(f"status {error.code}") from error
        raise _unreachable(task, f"status {error.code}") from error
    except (http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None)
        raise _BrokenOffError(str(reason or type(error).__name__)) from error


def _ask(task: Task) -> _Remote:
    """Size and mark, without the content."""
    for tries in range(1, _TRIES + 1):
        try:
            try:
                answer = _open(task, {}, "HEAD")
            except WorkError:  # some servers answer GET alone
                answer = _open(task, {})
            with answer:
                found = answer.headers
                length = found.get("Content-Length", "")
                mark = found.get("ETag") or found.get("Last-Modified")
                weak = mark is not None and mark.startswith("W/")
                return _Remote(int(length) if length.isdigit() else None, None if weak else mark)
        except _BrokenOffError as error:
            if tries == _TRIES:
                raise _unreachable(task, str(error)) from error
            _pause(2.0**tries)
    raise AssertionError("the last try returns or raises")


def _pause(seconds: float) -> None:
    time.sleep(seconds)


def _unreachable(task: Task, why: str) -> WorkError:
    return WorkError(
        f"the data of task '{task.name}' could not be fetched: {why}",
        hint=f"run the same command again, or get {task.address} yourself, unpack it and add "
        "--data DIR",
    )


def _remembered(memory: Path) -> Any:
    with suppress(OSError, ValueError):
        return json.loads(memory.read_text(encoding="utf-8"))
    return None


def _bytes(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _require_room(archive: Path, length: int, partial: Path) -> None:
    """Room for what is missing of the archive, and for what it holds."""
    needed = 2 * length - _bytes(partial)
    free = shutil.disk_usage(archive.parent).free
    if free < needed:
        raise WriteError(
            f"'{archive.name}' takes {size(needed)} with what it holds, {size(free)} are free",
            hint="free space, or choose another folder with --data",
        )


def _require_checksum(task: Task, partial: Path) -> None:
    kind, _, expected = task.checksum.partition(":")
    if not expected:
        return
    digest = hashlib.new(kind, usedforsecurity=False)
    with partial.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    if digest.hexdigest() != expected:
        partial.unlink()
        raise WorkError(
            f"what came from {task.address} is not the data set of task '{task.name}': its {kind} "
            f"is {digest.hexdigest()}, expected {expected}",
            hint="run the same command again; it was thrown away",
        )


def _unwritable(error: OSError) -> WriteError:
    return WriteError(
        f"the folder for data sets cannot be written: {error.strerror or type(error).__name__}",
        hint="choose another one with --data, or with the variable INFLATE_ZOO_DATA",
    )
