"""What must cost little, measured so that the rest of the suite does not count."""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager


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
