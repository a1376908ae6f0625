"""What a command prints, when nobody can take it: a full disk, a closed pipe, no output at all."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from inflate_zoo.cli.common import say
from inflate_zoo.errors import WorkError


class OutputError(WorkError):
    """stdout took not all that was printed."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"not all of the output could be printed: {reason}",
            hint="free space, or send it elsewhere; what was written into folders is kept",
        )


class _Output(io.TextIOBase):
    """A stream whose errors are ours, told apart from those of the files a command works on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]  # the base has it writable
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self._stream.errors

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with _told():
            return self._stream.write(text)

    def flush(self) -> None:
        with _told():
            self._stream.flush()

    def close(self) -> None:
        """Nothing: Python calls it of what nobody holds any more, and the stream is another's."""


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise OutputError("its reader has closed it") from error
    except OSError as error:
        raise OutputError(error.strerror or type(error).__name__) from error


@contextmanager
def whole_output() -> Iterator[None]:
    """Run the command line so that output which is lost is one sentence and exit code 1."""
    _open_missing("stderr")
    if sys.stdout is None:
        sys.exit(_fail(OutputError("it is closed")))
    stream = sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")  # a name may hold what no encoding has
    sys.stdout = _Output(stream)
    lost: OutputError | None = None
    try:
        yield
    except OutputError as error:
        lost = error
    except SystemExit as end:
        if (lost := _flushed(stream)) is None or end.code:  # the latter was told already
            raise
    except BaseException:
        _flushed(stream)
        raise
    else:
        lost = _flushed(stream)
    finally:
        sys.stdout = stream
    if lost is not None:
        _discard(stream)
        sys.exit(_fail(lost))


def _flushed(stream: TextIO) -> OutputError | None:
    try:
        _Output(stream).flush()
    except OutputError as error:
        _discard(stream)
        return error
    return None


def _open_missing(name: str) -> None:
    """Python has no stream where a descriptor is closed; ours is written to."""
    if getattr(sys, name) is None:
        setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123


def _discard(stream: TextIO) -> None:
    """Let what is still in the buffer go nowhere: Python would try again at its end."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        stream.flush()


def _fail(error: OutputError) -> int:
    first, *rest = error.lines()
    say("\n".join([f"error: {first}", *rest]), urgent=True)
    return error.exit_code
