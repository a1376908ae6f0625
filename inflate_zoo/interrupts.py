"""Ctrl-C, SIGTERM and a closed terminal end a command, whenever they come.

Python raises KeyboardInterrupt between any two instructions. That is no place to raise it inside an
import, where C++ that calls Python aborts and a bare `except` swallows it, nor where a resource is
taken or given back. Here a signal is noted and raised at the first place where it can be answered,
and raised again for as long as somebody swallows it. The exit code is 128 and its number. Cleaning
up is not disturbed; where that hangs, one more signal ends the process as it is.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
_PAUSE = 0.02  # seconds until a signal that had to wait is raised again
_PATIENCE = 1.0  # seconds of an import after which it is said what is waited for
_CLEAN_UP = 10.0  # seconds of cleaning up after which a further signal ends the process at once
_BRIEF = 2.0  # seconds; a resource that takes longer waits for another process


class Interrupted(KeyboardInterrupt):
    """A signal asked the command to end.

    Attributes:
        number: The signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class _Listener:
    """The handler of all signals while a command runs.

    Attributes:
        received: Number of the first signal that came.
        inside: The command runs, so that raising is answered. Before it a signal waits, after it
            one changes the exit code alone.
        over: The command ended.
    """

    def __init__(self, entry: FrameType) -> None:
        self.received: signal.Signals | None = None
        self.inside = self.over = self._handling = False
        self._entry, self._thread, self._since = entry, _thread.get_ident(), 0.0
        self._imported = 0.0  # when an import was last seen after the signal
        self._raised = 0.0  # when it last began to be answered

    def install(self) -> dict[int, Any]:
        """Handle the signals that nohup or `&` do not have ignored; gives the handlers before."""
        before = {number: signal.getsignal(number) for number in SIGNALS}
        before = {n: handler for n, handler in before.items() if handler is not signal.SIG_IGN}
        for number in before:
            signal.signal(number, self)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._in_child)
        return before

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._handling:  # a second signal within this function
            return
        self._handling = True
        try:
            if self.received is None:
                self._receive(number)
            answered = self.over or _in_flight(sys.exception())
            if answered and time.monotonic() - self._raised > _CLEAN_UP:
                os._exit(128 + (self.received or number))
            if self.inside and not answered and not self._must_wait(frame):
                self._raised = time.monotonic()
                raise Interrupted(number)
        finally:
            self._handling = False

    def end(self) -> None:
        """The command ended: what is registered for the exit is left."""
        self._raised = time.monotonic()
        self.over = True

    def _receive(self, number: int) -> None:
        self.received = signal.Signals(number)
        self._since = self._imported = self._raised = time.monotonic()
        if self.over:
            return
        if hasattr(signal, "SIGCHLD"):  # torch raises there when a worker ends, as they do now
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # Not threading.Thread: the code that was interrupted may hold the locks it takes.
        with contextlib.suppress(RuntimeError):  # no thread to be had: whoever waits presses again
            _thread.start_new_thread(self._repeat, ())

    def _in_child(self) -> None:
        """A forked worker is ended by its parent, not by the terminal that signals them all."""
        for number in SIGNALS:
            if signal.getsignal(number) is self:
                interrupts = number == signal.SIGINT
                signal.signal(number, signal.SIG_IGN if interrupts else signal.SIG_DFL)

    def _repeat(self) -> None:
        """Send the signal again until the command ends; never into an import's system calls.

        Nor while it is answered: what comes then somebody else sends.
        """
        told: set[bytes] = set()

        def tell(line: bytes, since: float, patience: float) -> None:
            if line not in told and time.monotonic() - since > patience:
                told.add(line)
                with contextlib.suppress(OSError):
                    os.write(2, b"\n" + line + b"\n")

        while not self.over:
            time.sleep(_PAUSE)
            frame = sys._current_frames().get(self._thread)
            if self.over or self._importing(frame):
                self._imported = time.monotonic()
                tell(b"stopping as soon as a library is imported", self._since, _PATIENCE)
                continue
            if _in_flight(_handled_in(self._thread)):
                tell(b"still cleaning up; once more ends it at once", self._raised, _CLEAN_UP)
                continue
            if hasattr(signal, "pthread_kill"):  # it also ends what the thread waits for
                signal.pthread_kill(self._thread, self.received or signal.SIGINT)
            else:
                _thread.interrupt_main(self.received or signal.SIGINT)

    def _must_wait(self, frame: FrameType | None) -> bool:
        if self._importing(frame):
            return True
        if time.monotonic() - self._imported > _BRIEF:
            return False
        inner = None
        while frame is not None and frame is not self._entry:
            if _is_ours(inner) and _takes_or_gives_back(frame):
                return True
            inner, frame = frame, frame.f_back
        return False

    def _importing(self, frame: FrameType | None) -> bool:
        while frame is not None and frame is not self._entry:
            if frame.f_code.co_filename.startswith("<frozen importlib."):
                return True
            frame = frame.f_back
        return False


def _in_flight(error: BaseException | None) -> bool:
    """Whether the signal was raised and is being answered, by what a thread handles."""
    while error is not None and not isinstance(error, Interrupted):
        error = error.__context__
    return error is not None


def _handled_in(thread: int) -> BaseException | None:
    """The exception that a thread handles."""
    found: Any = sys._current_exceptions().get(thread)
    error: BaseException | None = found[1] if isinstance(found, tuple) else found  # Python 3.11
    return error


def _takes_or_gives_back(frame: FrameType) -> bool:
    """Whether a frame enters or leaves a context manager that a generator makes."""
    code = frame.f_code
    return code.co_filename == contextlib.__file__ and code.co_name in ("__enter__", "__exit__")


def _is_ours(frame: FrameType | None) -> bool:
    """Whether a frame runs this package's code; none at all is between two of them."""
    return frame is None or str(frame.f_globals.get("__name__")).startswith("inflate_zoo.")


_current: _Listener | None = None


def received(error: BaseException | None = None) -> int | None:
    """Number of the signal that asked the command to end; a bare KeyboardInterrupt is SIGINT.

    Args:
        error: What ended the command, whatever others made of the signal.
    """
    if _current is not None and _current.inside and _current.received is not None:
        return _current.received
    if isinstance(error, Interrupted):
        return error.number
    return int(signal.SIGINT) if isinstance(error, KeyboardInterrupt) else None


def check() -> None:
    """Raise the signal that came, before what it broke is taken for a failure.

    Raises:
        Interrupted: One came.
    """
    if (number := received()) is not None:
        raise Interrupted(number)


def run(command: Callable[[], object]) -> str | int:
    """Run a command that signals may end, in the main thread.

    Returns:
        What to exit with: 128 and the number of the signal that came, otherwise as the command
        says.
    """
    listener = _Listener(sys._getframe())
    before = listener.install()
    try:
        return _ended(command, listener)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def program(command: Callable[[], object]) -> NoReturn:
    """Run a command as the whole program, and end the process.

    Taking torch apart at the end costs a second, in which a signal would be swallowed or abort. So
    the process leaves once everything that was registered for its exit has run.
    """
    listener = _Listener(sys._getframe())
    codes: list[int] = []
    atexit.register(_leave, listener, codes)  # the first to be registered is the last to run
    listener.install()
    code = _ended(command, listener)
    if isinstance(code, int):
        codes.append(code)
    sys.exit(code)


def _ended(command: Callable[[], object], listener: _Listener) -> str | int:
    global _current
    _current = listener
    code: str | int | None = 0
    try:
        listener.inside = True
        with _finalizers_silent():
            command()
    except SystemExit as end:
        code = end.code
    except BaseException:
        if listener.received is None:
            raise
    finally:
        listener.inside = False  # before any call: it is at calls that signals are answered
        listener.end()
    return code or 0 if listener.received is None else 128 + listener.received


@contextlib.contextmanager
def _finalizers_silent() -> Iterator[None]:
    """No traceback where a signal is raised in a finalizer, which swallows it: it comes again."""
    shown = sys.unraisablehook

    def show(what: sys.UnraisableHookArgs) -> None:
        if not isinstance(what.exc_value, Interrupted):
            shown(what)

    sys.unraisablehook = show
    try:
        yield
    finally:
        sys.unraisablehook = shown


def _leave(listener: _Listener, codes: list[int]) -> None:
    if not codes:
        return  # Python prints a traceback and exits with its own code
    code = codes[0] if listener.received is None else 128 + listener.received
    for stream in filter(None, (sys.stdout, sys.stderr)):  # a closed descriptor has none
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or 1
    os._exit(code)
