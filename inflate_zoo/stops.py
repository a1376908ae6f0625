"""SIGTERM and SIGUSR1 as a request to save and leave, for the command that schedulers start.

A scheduler that is about to take a machine away says so once. While the command starts and while it
ends these signals are blocked: one that comes then stays pending, and kills nothing.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))
EXIT_CODE = 75  # what sysexits.h calls a temporary failure: the same command goes on


class Stopped(BaseException):
    """What ran was left as was asked, at a place where it can go on."""


class _Request:
    """The handler of these signals; only notes that one came.

    Attributes:
        asked: Whether one came.
    """

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.asked = True
        if hasattr(signal, "SIGCHLD"):  # torch raises there when a worker ends, as it may now
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)


_request: _Request | None = None


@contextmanager
def heeded() -> Iterator[None]:
    """Take the signals as a request in the block; in the main thread alone.

    Where they were blocked before they are of no effect behind it, so that none kills a command
    that has done its work: they are blocked again, and ignored, as threads that began in the block
    do not have them blocked.
    """
    global _request
    _request = _Request()
    before = {number: signal.signal(number, _request) for number in SIGNALS}
    blocked: set[int] = set()
    try:
        with _unblocked() as blocked:
            yield
    finally:
        for number, handler in before.items():
            over = signal.SIG_IGN if number in blocked else handler or signal.SIG_DFL
            signal.signal(number, over)
        _request = None


@contextmanager
def _unblocked() -> Iterator[set[int]]:
    """Unblock them; yields those of this thread that were blocked."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield set()
        return
    mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        yield {int(number) for number in mask}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def heeding() -> bool:
    """Whether the signals are taken as a request now."""
    return _request is not None


def asked() -> bool:
    """Whether the command was asked to save and leave."""
    return _request is not None and _request.asked


def check() -> None:
    """Leave here if that was asked.

    Raises:
        Stopped: It was.
    """
    if asked():
        raise Stopped


def ignore() -> None:
    """Leave the signals to the parent: a scheduler may signal all processes at once."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _in_child() -> None:
    if heeding():
        ignore()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
