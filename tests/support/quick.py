"""What must cost little, measured so that the rest of the suite does not count."""

import gc
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Require that the block takes less, in CPU seconds of this thread.

    The collector rests meanwhile: one full collection of what thousands of tests have left takes
    a second by itself, and falls on whichever test is running.
    """
    collected = gc.isenabled()
    gc.disable()
    try:
        began = time.thread_time()
        yield
        took = time.thread_time() - began
    finally:
        if collected:
            gc.enable()
    assert took < seconds


def forked(call: Callable[[], Any]) -> Any:
    """What a call returns, as JSON has it, in a process of its own, which has this thread alone."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        code = 1
        try:
            gc.freeze()
            os.write(writer, json.dumps(call()).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    try:
        _, status = os.waitpid(child, 0)
        assert status == 0
        return json.loads(os.read(reader, 1000))
    finally:
        os.close(reader)
