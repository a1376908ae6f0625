"""Data sets from the web: size and license first, resumed, checked, unpacked."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import string
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from inflate_zoo.bench.data import web
from inflate_zoo.bench.definitions.progress import StageProgress
from inflate_zoo.bench.definitions.tasks import Task
from inflate_zoo.errors import UsageError, WorkError, WriteError
from inflate_zoo.files.archives import ENDINGS, DamagedArchiveError, extract
from inflate_zoo.files.locations import default_cache
from inflate_zoo.files.reading import read_json, reading, require_regular
from inflate_zoo.files.writing.claims import lock
from inflate_zoo.texts import size

_PIECE = 1 << 20  # bytes
_MEGABYTE = 10**6
_TRIES = 5  # without a byte more than before
_DIGITS = MappingProxyType({"md5": 32, "sha256": 64})  # hexadecimal, of each kind of checksum
Say = Callable[[str], None]


def data_root(given: Path | None) -> Path:
    """Where data sets are kept: as given, else INFLATE_ZOO_DATA, else in the user's cache."""
    variable = os.environ.get("INFLATE_ZOO_DATA")
    return given or (Path(variable).expanduser() if variable else default_cache() / "data")


def fetched(task: Task, root: Path) -> Path | None:
    """The folder of a task's data set, where it was fetched before."""
    archive = _archive_name(task)
    folder = root / _stem(archive) if archive else None
    return folder if folder is not None and folder.is_dir() else None


def fetch_dataset(task: Task, root: Path, say: Say, progress: StageProgress) -> Path:
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
        UsageError: Nobody may fetch it for the user, the task names no archive or a checksum that
            is none, or the archive is not the one of the checksum.
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
    _stated_digest(task)  # what cannot be checked is told before anything is fetched
    archive, target = root / name, root / _stem(name)
    with _only_one(root, name):
        if target.is_dir():
            return target
        if archive.exists():
            _unpack_theirs(task, archive, target, say, progress)
        else:
            _unpack_ours(task, archive, target, say, progress)
    return target


def _unpack_theirs(
    task: Task, archive: Path, target: Path, say: Say, progress: StageProgress
) -> None:
    """Unpack an archive that the user put there; it stays, whatever it is."""
    said = f"move '{archive.name}' away, then the same command fetches it"
    require_regular(archive)
    say(f"{archive.name} lies there already: it is checked and used")
    if wrong := _wrong_digest(task, archive):
        raise UsageError(
            f"'{archive.name}' in the folder for data sets is not the archive of task "
            f"'{task.name}': {wrong}",
            hint=said,
        )
    try:
        _unpack(archive, target, say, progress)
    except DamagedArchiveError as error:
        raise UsageError(f"{error.message}; it lay there already", hint=said) from error


def _unpack_ours(
    task: Task, archive: Path, target: Path, say: Say, progress: StageProgress
) -> None:
    """Fetch an archive and unpack it; it goes once that is done, or cannot be done.

    Until then it has a folder of its own, so that it is never taken for one of the user's.
    """
    whole = archive.with_name(f".{archive.name}.fetched") / archive.name
    if not whole.exists():
        _download(task, archive, whole, say, progress)
    try:
        _unpack(whole, target, say, progress)
    except DamagedArchiveError as error:
        _remove(whole)
        hint = "it was thrown away: run the same command again to fetch it anew"
        raise UsageError(error.message, hint=hint) from error
    except UsageError:
        _remove(whole)
        raise
    _remove(whole)


def _unpack(archive: Path, target: Path, say: Say, progress: StageProgress) -> None:
    say(f"unpacking {archive.name}")

    def unpacked(done: int, total: int) -> None:
        progress("MB unpacked", done // _MEGABYTE, total // _MEGABYTE)

    extract(archive, target, unpacked)


def _remove(whole: Path) -> None:
    try:
        whole.unlink()
        whole.parent.rmdir()
    except OSError as error:
        raise _unwritable(error) from error


def _archive_name(task: Task) -> str | None:
    parts = urlsplit(task.address)
    name = parts.path.rpartition("/")[2]
    fits = parts.scheme in web.SCHEMES and name.endswith(ENDINGS) and name == Path(name).name
    return name if fits else None


def _stem(name: str) -> str:
    return next(name.removesuffix(end) for end in (".tar.gz", *ENDINGS) if name.endswith(end))


@contextmanager
def _only_one(root: Path, name: str) -> Iterator[None]:
    """Wait until no other process fetches the same."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        file = (root / f".{name}.lock").open("w")
    except OSError as error:
        raise _unwritable(error) from error
    with file:
        # Where nothing locks (Windows, some networks) the last to rename wins, with the same bytes.
        lock(file.fileno(), alone=True, wait=True)
        yield


def _download(task: Task, archive: Path, whole: Path, say: Say, progress: StageProgress) -> None:
    partial, memory = (archive.with_name(archive.name + end) for end in (".partial", ".json"))
    remote = _ask(task)
    shown = size(remote.length) if remote.length else "size unknown"
    say(f"fetching {task.title}: {shown}, {task.license}, from {urlsplit(task.address).hostname}")
    known = {"length": remote.length, "mark": remote.mark}
    try:
        if _bytes(partial) and (not remote.mark or _remembered(memory) != known):
            say(f"{partial.name} is not of the file that the server has now: begun anew")
            partial.unlink()
        _require_room(archive, remote.length or 0, partial)
        memory.write_text(json.dumps(known), encoding="utf-8")
        _fill(task, partial, remote, progress)
        _require_checksum(task, partial)
        whole.parent.mkdir(exist_ok=True)
        partial.replace(whole)
        memory.unlink()
    except OSError as error:
        raise _unwritable(error) from error


def _fill(task: Task, partial: Path, remote: web.Remote, progress: StageProgress) -> None:
    """Fetch until all is there; tries count anew whenever there is more than ever before."""
    tries, most, in_parts = 0, _bytes(partial), remote.mark is not None
    while True:
        there = _bytes(partial)
        if there == remote.length:
            return
        if not in_parts:
            partial.unlink(missing_ok=True)
        try:
            _fetch_rest(task, partial, remote, progress)
        except web.NoSuchPartError as error:
            if error.length == there:
                return
            in_parts, why, more = False, "what it sent before is no part of what it has", False
        except web.BrokenOffError as error:
            why = str(error)
            more = _bytes(partial) > most and not isinstance(error, web.TooSlowError)
        except web.RefusedError as error:
            raise _unreachable(task, str(error)) from error
        else:
            return
        tries, most = (1 if more else tries + 1), max(most, _bytes(partial))
        if tries >= _TRIES:
            raise _unreachable(task, why)
        _pause(2.0**tries)


def _fetch_rest(task: Task, partial: Path, remote: web.Remote, progress: StageProgress) -> None:
    """Fetch what is missing. Only reading may fail for the net's sake."""
    start = _bytes(partial)
    headers = {"Range": f"bytes={start}-", "If-Range": remote.mark or ""} if start else {}
    with web.ask(task.address, headers) as answer:
        if answer.status == 206 and not web.goes_on(answer, start, remote.length):
            raise web.NoSuchPartError(None)
        if answer.status != 206:  # the server cannot go on, or holds another file now
            start = 0
        done = start
        with partial.open("ab" if start else "wb") as file:
            for piece in web.pieces(answer):
                file.write(piece)
                before, done = done, done + len(piece)
                if remote.length and done // _MEGABYTE > before // _MEGABYTE:
                    progress("MB fetched", done // _MEGABYTE, remote.length // _MEGABYTE)
    if remote.length is not None and done > remote.length:
        partial.unlink()
        raise _unreachable(task, "it sends more than it promised")
    if remote.length is not None and done < remote.length:
        raise web.BrokenOffError("it ended early")


def _ask(task: Task) -> web.Remote:
    """Size and mark, without the content."""
    for tries in range(1, _TRIES + 1):
        try:
            try:
                answer = web.ask(task.address, {}, "HEAD")
            except web.RefusedError:  # some servers answer GET alone
                answer = web.ask(task.address, {})
            with answer:
                return web.describe(answer)
        except web.RefusedError as error:
            raise _unreachable(task, str(error)) from error
        except web.BrokenOffError as error:
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
    with suppress(UsageError):
        return read_json(memory, "note")
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
    if wrong := _wrong_digest(task, partial):
        partial.unlink()
        raise WorkError(
            f"what came from {task.address} is not the data set of task '{task.name}': {wrong}",
            hint="run the same command again; it was thrown away",
        )


def _wrong_digest(task: Task, archive: Path) -> str | None:
    """What its digest is, and what it should be; `None` where it fits or none is known."""
    if not task.checksum:
        return None
    kind, expected = _stated_digest(task)
    digest = hashlib.new(kind, usedforsecurity=False)
    with reading(archive), archive.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    found = digest.hexdigest()
    return None if found == expected else f"its {kind} is {found}, expected {expected}"


def _stated_digest(task: Task) -> tuple[str, str]:
    """Kind and digits of a task's checksum; both empty where it states none.

    Raises:
        UsageError: It is none that could be compared.
    """
    kind, _, digits = task.checksum.strip().lower().partition(":")
    fits = len(digits) == _DIGITS.get(kind) and not digits.strip(string.hexdigits)
    if task.checksum and not fits:
        raise UsageError(
            f"the checksum of task '{task.name}' is no digest: '{task.checksum[:80]}'",
            hint="correct it in the task's file: md5: and 32 hexadecimal digits, or sha256: and 64",
        )
    return kind, digits


def _unwritable(error: OSError) -> WriteError:
    return WriteError(
        f"the folder for data sets cannot be written: {error.strerror or type(error).__name__}",
        hint="choose another one with --data, or with the variable INFLATE_ZOO_DATA",
    )
