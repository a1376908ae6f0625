"""Staging: a whole folder or nothing.

Everything is written into a staging folder beside the target. A new target appears by one rename;
an existing one (`force`) gets its files by renames, one by one, while a marker folder inside it
says so: a folder that holds the marker was left by a killed replacement.
"""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from inflate_zoo.errors import OutputExistsError, WriteError

MARKER = ".inflate-zoo-replacing"
_UMASK = threading.Lock()  # it can be read by setting it alone
_LONGEST_NAME = 200  # bytes; file systems take 255, and the staging folder's name is longer


def check_target(target: Path, *, force: bool) -> None:
    """Refuse a target that holds something.

    Raises:
        OutputExistsError: The target is no empty or absent folder and `force` is off, or is no
            folder at all, or cannot become one.
    """
    hint = "choose another with --out"
    try:
        name = target.name if target.is_symlink() else target.resolve().name
        if target.is_dir() and not target.is_symlink():
            if not force and any(target.iterdir()):
                raise OutputExistsError(
                    f"the output folder '{name}' is not empty",
                    hint=f"{hint}, or replace our files in it with --force",
                )
        elif target.exists() or target.is_symlink():
            raise OutputExistsError(f"the output '{name}' exists and is no folder", hint=hint)
        if ".." in target.parts and not target.parent.exists():
            raise OutputExistsError(
                f"the output '{name}' leads through folders that do not exist",
                hint="write it without '..'",
            )
        above = next(folder for folder in target.absolute().parents if folder.exists())
        if not above.is_dir():
            raise OutputExistsError(f"'{above.name}', above the output, is no folder", hint=hint)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
        reason = getattr(error, "strerror", None) or "links that lead in a circle"
        raise OutputExistsError(
            f"the output '{target.name}' cannot be used: {reason}", hint=hint
        ) from error


def _require_ours(target: Path, order: Sequence[str]) -> None:
    """Refuse to replace weights that nothing beside them vouches for, or whole folders."""
    folders = [name for name in order if (target / name).is_dir()]
    strange = (target / order[0]).exists() and not (target / order[-1]).exists()
    if folders or (strange and not (target / MARKER).exists()):
        found = f"a folder '{folders[0]}'" if folders else f"'{order[0]}' without '{order[-1]}'"
        raise OutputExistsError(
            f"'{target.name}' holds {found}: that is not ours to replace",
            hint="choose another folder with --out",
        )


@contextmanager
def staged(target: Path, order: Sequence[str], *, force: bool) -> Iterator[Path]:
    """A staging folder whose files become the target's when the block ends well.

    Args:
        target: The output folder.
        order: The files to publish, the one that vouches for the others last.
        force: Replace these files in a folder that holds something.

    Raises:
        OutputExistsError: The target holds something, now or when the block ends.
        WriteError: Disk full, read-only folder, I/O error.
    """
    check_target(target, force=force)
    target = target.resolve()
    _require_ours(target, order)
    made: list[Path] = []
    stage, lock = None, None
    try:
        _make_parents(target, made)
        _remove_stale(target)
        stage, lock = _make_stage(target)
        yield stage
        _publish(stage, target, order, force=force)
        made.clear()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise WriteError(
            f"cannot write '{target.name}': {reason}; nothing half-written was left",
            hint="free space or choose another folder with --out, then run the same command again",
        ) from error
    finally:
        if stage is not None:
            shutil.rmtree(stage, ignore_errors=True)
        if lock is not None:
            os.close(lock)
        for folder in reversed(made):
            with suppress(OSError):
                folder.rmdir()


def _make_parents(target: Path, made: list[Path]) -> None:
    """Make the folders above the target; `made` gets those that were not there."""
    missing = [folder for folder in target.parents if not folder.exists()]
    for folder in reversed(missing):
        made.append(folder)
        folder.mkdir(exist_ok=True)


def _stage_start(target: Path) -> str:
    name = os.fsencode(target.name)
    short = target.name if len(name) <= _LONGEST_NAME else hashlib.sha256(name).hexdigest()
    return f".{short}."


def _make_stage(target: Path) -> tuple[Path, int | None]:
    while True:
        made = tempfile.mkdtemp(prefix=_stage_start(target), suffix=".partial", dir=target.parent)
        stage = Path(made)
        try:
            lock = _lock(stage, wait=True)
        except FileNotFoundError:
            continue  # another process took it for stale before it was locked
        except BaseException:
            shutil.rmtree(stage, ignore_errors=True)
            raise
        if stage.exists():
            return stage, lock
        if lock is not None:
            os.close(lock)


def _lock(folder: Path, *, wait: bool) -> int | None:
    """Lock a folder against other processes; the kernel unlocks it when its holder dies.

    Returns the descriptor to close, or `None` where the file system knows no such locks.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, OSError) and not isinstance(error, BlockingIOError):
            return None
        raise
    return descriptor


def _remove_stale(target: Path) -> None:
    """Remove staging folders of killed processes: the kernel released their locks."""
    for stage in target.parent.glob(f"{glob.escape(_stage_start(target))}*.partial"):
        try:
            lock = _lock(stage, wait=False)
        except OSError:
            continue  # its writer is alive
        if lock is not None:
            shutil.rmtree(stage, ignore_errors=True)
            os.close(lock)


def _holds_something(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _publish(stage: Path, target: Path, order: Sequence[str], *, force: bool) -> None:
    with _UMASK:
        mask = os.umask(0)
        os.umask(mask)
    for name in order:  # temporary files are private; the published ones follow the umask
        (stage / name).chmod(0o666 & ~mask)
    stage.chmod(0o777 & ~mask)
    # The current folder is filled instead: a shell that stands in it must not lose it.
    if not _holds_something(target) and target != Path.cwd():
        try:
            stage.rename(target)
        except OSError:
            if not target.is_dir():
                raise
        else:
            return
    lock = _lock(target, wait=True)
    try:
        if not force and _holds_something(target):
            raise OutputExistsError(
                f"another process filled the output folder '{target.name}' meanwhile",
                hint="choose another with --out",
            )
        _replace(stage, target, order)
    finally:
        if lock is not None:
            os.close(lock)


def _replace(stage: Path, target: Path, order: Sequence[str]) -> None:
    """Replace files one by one; on an error all are put back as they were."""
    marker, old = target / MARKER, stage / "replaced"
    was_marked = marker.exists()
    undo: list[tuple[Path, Path]] = []  # where a file is now, where it was
    try:
        old.mkdir()
        marker.mkdir(exist_ok=True)
        for name in order:
            undo.append((old / name, target / name))
            with suppress(FileNotFoundError):
                (target / name).rename(old / name)
            undo.append((target / name, stage / name))
            (stage / name).rename(target / name)
        marker.rmdir()
    except BaseException as error:
        try:
            for now, before in reversed(undo):
                with suppress(FileNotFoundError):
                    now.rename(before)
            if not was_marked and marker.exists():
                marker.rmdir()
        except OSError:
            raise WriteError(
                f"replacing the files of '{target.name}' failed half-way: it cannot be loaded now",
                hint="free space or repair the disk, then run the same command again",
            ) from error
        raise
