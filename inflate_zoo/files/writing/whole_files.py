"""Single files that are whole or absent: written beside their place, then renamed.

Everything the package writes goes through here, or through `staging` where it is a folder.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from inflate_zoo.errors import InflateZooError, WriteError

_UMASK = threading.Lock()  # it can be read by setting it alone
_LONGEST_NAME = 200  # bytes; file systems take 255, and a temporary file's name is longer
_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{32}\.partial", re.DOTALL)
_NO_SYNC = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EBADF, errno.EACCES}
ELSEWHERE = {errno.EXDEV, errno.EBUSY}  # a mount lies between two places


def umask() -> int:
    """The process's umask."""
    with _UMASK:
        mask = os.umask(0)
        os.umask(mask)
    return mask


def short_name(name: str) -> str:
    """A name that leaves room for more beside it; long ones are replaced by their digest."""
    content = os.fsencode(name)
    return name if len(content) <= _LONGEST_NAME else hashlib.sha256(content).hexdigest()


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk.

    File systems that cannot do that are taken as they are.

    Raises:
        OSError: The disk is full or broken.
    """
    if sys.platform == "win32":  # opens no folders, and files only for writing
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # one may write into a folder that one may not list
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


@contextmanager
def writing(name: str, hint: str = "free space or repair the folder") -> Iterator[None]:
    """Say which file it was where the system refuses to write one.

    Args:
        name: Of the file or folder.
        hint: What may help.

    Raises:
        WriteError: Disk full, read-only folder, I/O error.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise WriteError(
            f"cannot write '{name}': {reason}; nothing half-written was left",
            hint=f"{hint}, then run the same command again",
        ) from error


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well.

    Args:
        path: The file.
        durable: Wait until it is on the disk: after a power loss the file is old or whole.

    Raises:
        WriteError: Disk full, read-only folder, I/O error.
    """
    temporary = path.parent / f".{short_name(path.name)}.{uuid.uuid4().hex}.partial"
    with writing(path.name):
        try:
            yield temporary
            temporary.chmod(0o666 & ~umask())  # safetensors makes private files
            if durable:
                sync(temporary)
            _put(temporary, path)
            if durable:
                sync(path.parent)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _put(temporary: Path, path: Path) -> None:
    try:
        temporary.replace(path)
    except OSError as error:
        if error.errno not in ELSEWHERE or not path.is_file():
            raise
        # A mount point itself, as containers are given single files: it can only be filled.
        with temporary.open("rb") as source, path.open("r+b") as target:
            shutil.copyfileobj(source, target, 1 << 20)
            target.truncate()
            target.flush()
            os.fsync(target.fileno())


def make_folders(folder: Path, made: list[Path]) -> None:
    """Make a folder and those above it; `made` gets those that were not there.

    Raises:
        OSError: One cannot be made.
    """
    missing = [each for each in (folder, *folder.parents) if not each.is_dir()]
    for each in reversed(missing):
        made.append(each)
        each.mkdir(exist_ok=True)


def remove_folders(made: list[Path]) -> None:
    """Remove the folders that `make_folders` made, if nothing is in them."""
    for folder in reversed(made):
        with suppress(OSError):
            folder.rmdir()


@contextmanager
def filling(folder: Path, refused: Callable[[str], InflateZooError]) -> Iterator[None]:
    """Make a folder for the block's files; removed again where the block fails before the first.

    Args:
        folder: The folder; those above it are made and removed likewise.
        refused: What to raise, given the system's reason, where it cannot be made.

    Raises:
        InflateZooError: It cannot be made.
    """
    made: list[Path] = []
    try:
        try:
            make_folders(folder, made)
        except OSError as error:
            raise refused(error.strerror or type(error).__name__) from error
        yield
    except BaseException:
        remove_folders(made)
        raise


def replace_text(path: Path, text: str, *, durable: bool = False) -> None:
    """Write a text as UTF-8, atomically.

    Raises:
        WriteError: It cannot be written.
    """
    with replacing(path, durable=durable) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def remove_partial(folder: Path, name: str | None = None) -> None:
    """Remove what killed writers left in a folder: of the file `name`, or of any."""
    with suppress(OSError):
        for path in folder.iterdir():
            found = _TEMPORARY.fullmatch(path.name)
            if found and name in (None, found[1]):
                with suppress(OSError):
                    path.unlink()
