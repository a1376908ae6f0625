"""Curves for TensorBoard, written where an error can be answered.

TensorBoard's own writer has a thread; a full disk ends that one in a traceback of its own.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inflate_zoo.errors import WriteError


class Events:
    """One file of events.

    Args:
        folder: Where it goes; made if need be.
        purge_step: Events of earlier files from this step on are void: a killed attempt wrote them.

    Raises:
        WriteError: Disk full, read-only folder.
    """

    def __init__(self, folder: Path, purge_step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event = Event
        with _written():
            folder.mkdir(parents=True, exist_ok=True)
            name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}"
            self._file = (folder / name).open("wb", buffering=0)
        self._records = RecordWriter(self._file)
        try:
            self._write(file_version="brain.Event:2")
            start = SessionLog(status=SessionLog.START)
            self._write(step=purge_step, session_log=start)
        except WriteError:
            self.close()
            raise

    def scalar(self, name: str, value: float, step: int) -> None:
        """Add a point of a curve.

        Raises:
            WriteError: Disk full.
        """
        from torch.utils.tensorboard.summary import scalar

        self._write(step=step, summary=scalar(name, value))  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Close the file; every event is in it already."""
        self._file.close()

    def _write(self, **fields: Any) -> None:
        with _written():
            event = self._event(wall_time=time.time(), **fields)
            self._records.write(event.SerializeToString())


@contextmanager
def _written() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WriteError(
            f"the curves in 'events' cannot be written: {error.strerror or type(error).__name__}",
            hint="free space, then run the same command again: it goes on",
        ) from error
