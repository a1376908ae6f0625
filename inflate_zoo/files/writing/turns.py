"""One process at a time in a folder that several may fill."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from inflate_zoo.files.writing.claims import lock


@contextmanager
def only_one(folder: Path, waits: Callable[[], None] = lambda: None) -> Iterator[bool]:
    """Hold a folder for the length of the block, against others that would hold it.

    Nothing is written into it: the lock is the folder's own, and goes with its holder.

    Args:
        folder: It is made anew where another holder removed it.
        waits: Called once where another process holds it, before that is waited for.

    Yields:
        Whether others are kept out; not where the file system knows no such locks.

    Raises:
        OSError: It cannot be made.
    """
    descriptor = _held(folder, waits)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _held(folder: Path, waits: Callable[[], None]) -> int | None:
    """The descriptor that holds the lock; `None` where there is none to be had."""
    told = False
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue  # its holder removed it just now
        except OSError:  # one may write into a folder that one may not list; Windows opens none
            return None
        held: bool | None = False
        try:
            had = lock(descriptor, alone=True, wait=False)
            if had is False:
                if not told:
                    waits()
                told = True
                had = lock(descriptor, alone=True, wait=True)
            held = had and _is(folder, descriptor)
        finally:
            if not held:
                os.close(descriptor)
        if held:
            return descriptor
        if had is None:
            return None


def _is(folder: Path, descriptor: int) -> bool:
    """Whether a folder is still the one that was opened."""
    try:
        return os.path.samestat(folder.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
