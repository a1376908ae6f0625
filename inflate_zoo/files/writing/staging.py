"""Staging: a whole folder or nothing.

Everything is written into a staging folder: beside the target, or inside it where it is a mount
point or its parent cannot be written. A new target appears by one rename; an existing one gets its
files by renames, one by one, while a marker folder inside it says so: a folder that holds the
marker was left by a killed replacement. Where the target was empty before, the marker holds `new`.
"""

from __future__ import annotations

import glob
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from inflate_zoo.errors import OutputExistsError, WriteError
from inflate_zoo.files.writing.whole_files import (
    make_folders,
    remove_folders,
    short_name,
    sync,
    umask,
    writing,
)

MARKER = ".inflate-zoo-replacing"
_NEW = "new"


def check_target(target: Path, *, force: bool) -> None:
    """Refuse a target that holds something.

    Raises:
        OutputExistsError: The target is no empty or absent folder and `force` is off, or is a link
            or no folder at all, or cannot become one.
    """
    hint = "choose another with --out"
    try:
        name = target.name if target.is_symlink() else target.resolve().name
        if target.is_dir() and not target.is_symlink():
            if not force and _holds_something(target):
                raise OutputExistsError(
                    f"the output folder '{name}' is not empty",
                    hint=f"{hint}, or replace our files in it with --force",
                )
        elif target.is_symlink():
            raise OutputExistsError(
                f"the output '{name}' is a link", hint=f"{hint}: no link is followed"
            )
        elif target.exists():
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
def staged(
    target: Path, order: Sequence[str], *, force: bool, durable: bool = True
) -> Iterator[Path]:
    """A staging folder whose files become the target's when the block ends well.

    Args:
        target: The output folder.
        order: The files to publish, the one that vouches for the others last; `a/b` lies in a
            folder `a`.
        force: Replace these files in a folder that holds something.
        durable: Wait until all is on the disk: after a power loss the target is old or whole.

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
        with writing(target.name, "free space or choose another folder with --out"):
            make_folders(target.parent, made)
            _remove_stale(target)
            stage, lock = _make_stage(target)
            yield stage
            _publish(stage, target, order, force=force, durable=durable)
            made.clear()
    finally:
        if stage is not None:
            shutil.rmtree(stage, ignore_errors=True)
        if lock is not None:
            os.close(lock)
        remove_folders(made)


def _stage_start(target: Path) -> str:
    return f".{short_name(target.name)}."


def _make_stage(target: Path) -> tuple[Path, int | None]:
    """A new staging folder, locked, from which files can be renamed into the target.

    Beside the target where that can be: there it is in nobody's way.
    """
    if not target.is_dir():
        return _new_stage(target, target.parent)
    if _mount(target) == _mount(target.parent):
        with suppress(OSError):
            return _new_stage(target, target.parent)
    return _new_stage(target, target)


def _new_stage(target: Path, home: Path) -> tuple[Path, int | None]:
    while True:
        made = tempfile.mkdtemp(prefix=_stage_start(target), suffix=".partial", dir=home)
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


def _mount(folder: Path) -> object:
    """What a folder shares with those between which files can be renamed.

    Numbers of devices do not tell where a folder of the same file system is mounted.
    """
    if hasattr(os, "O_PATH"):
        with suppress(OSError, StopIteration):
            descriptor = os.open(folder, os.O_PATH)
            try:
                facts = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
            finally:
                os.close(descriptor)
            return next(fact for fact in facts if fact.startswith("mnt_id"))
    return folder.stat().st_dev


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
    for home in (target.parent, target):
        for stage in home.glob(_stages_of(target)):
            try:
                lock = _lock(stage, wait=False)
            except OSError:
                continue  # its writer is alive
            if lock is not None:
                shutil.rmtree(stage, ignore_errors=True)
                os.close(lock)


def _stages_of(target: Path) -> str:
    return f"{glob.escape(_stage_start(target))}*.partial"


def _holds_something(target: Path) -> bool:
    """Whether a folder holds more than what a killed filling of it left."""
    if not target.is_dir() or (target / MARKER / _NEW).exists():
        return False
    ours = {MARKER} | {stage.name for stage in target.glob(_stages_of(target.resolve()))}
    return any(path.name not in ours for path in target.iterdir())


def _publish(
    stage: Path, target: Path, order: Sequence[str], *, force: bool, durable: bool
) -> None:
    mask = umask()
    for name in order:  # temporary files are private; the published ones follow the umask
        (stage / name).chmod(0o666 & ~mask)
        if durable:
            sync(stage / name)
    stage.chmod(0o777 & ~mask)
    if durable:
        sync(stage)
    # The current folder is filled instead: a shell that stands in it must not lose it.
    if stage.parent == target.parent and not _any(target) and target != Path.cwd():
        try:
            stage.rename(target)
        except OSError:
            if not target.is_dir():
                raise
        else:
            _sync_names(durable, target.parent)
            return
    lock = _lock(target, wait=True)
    try:
        filled = _holds_something(target)
        if not force and filled:
            raise OutputExistsError(
                f"another process filled the output folder '{target.name}' meanwhile",
                hint="choose another with --out",
            )
        _replace(stage, target, order, new=not filled, durable=durable)
    finally:
        if lock is not None:
            os.close(lock)


def _any(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _sync_names(durable: bool, *folders: Path) -> None:
    """Wait for renames that are done: they stand, whether or not the disk says so."""
    for folder in folders if durable else ():
        with suppress(OSError):
            sync(folder)


def _replace(stage: Path, target: Path, order: Sequence[str], *, new: bool, durable: bool) -> None:
    """Replace files one by one; on an error all are put back as they were."""
    marker, old = target / MARKER, stage / "replaced"
    was_marked = marker.exists()
    undo: list[tuple[Path, Path]] = []  # where a file is now, where it was
    try:
        old.mkdir()
        if not was_marked:
            (stage / "marker" / _NEW if new else stage / "marker").mkdir(parents=True)
            (stage / "marker").rename(marker)
        for above in dict.fromkeys(name.rpartition("/")[0] for name in order if "/" in name):
            for folder in (old, target):
                (folder / above).mkdir(parents=True, exist_ok=True)
        for name in order:
            undo.append((old / name, target / name))
            with suppress(FileNotFoundError):
                (target / name).rename(old / name)
            undo.append((target / name, stage / name))
            (stage / name).rename(target / name)
        _sync_names(durable, target)
        marker.rename(old / MARKER)
        _sync_names(durable, target, target.parent)
    except BaseException as error:
        if (old / MARKER).exists():  # all was done: the interruption came a moment too late
            raise
        if not _undone(undo, None if was_marked else marker, old):
            raise WriteError(
                f"replacing the files of '{target.name}' failed half-way: it cannot be loaded now",
                hint="free space or repair the disk, then run the same command again",
            ) from error
        raise


def _undone(undo: Sequence[tuple[Path, Path]], marker: Path | None, old: Path) -> bool:
    """Put files back and take the marker away; whether that worked."""
    try:
        for now, before in reversed(undo):
            if now.exists():
                now.rename(before)
        if marker is not None and marker.exists():
            marker.rename(old / MARKER)
    except OSError:
        return False
    return True
