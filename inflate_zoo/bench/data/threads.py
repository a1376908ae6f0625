"""Work on many cases at once, within the cores and the memory of the machine."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from inflate_zoo.bench.data.machine import free_memory, usable_cores

Item = TypeVar("Item")
Result = TypeVar("Result")

BYTES_PER_VOXEL = 24  # at the highest, of one channel: raw, float32 twice, labels, resampled


def threads_for(voxels: int) -> int:
    """Threads that may each hold a volume of so many voxels, half of the free memory in all."""
    room = free_memory() // 2
    return int(max(1, min(usable_cores(), room // max(1, voxels * BYTES_PER_VOXEL))))


def in_threads(
    work: Callable[[Item], Result], items: Sequence[Item], threads: int
) -> Iterator[Result]:
    """Results in the order of the items; numpy and zlib let go of the interpreter meanwhile.

    At most twice as many items as threads are begun ahead of what was taken. Where the caller stops
    or an item fails, nothing more is begun.
    """
    if threads == 1:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(threads)
    try:
        yield from _results(pool, work, iter(items), 2 * threads)
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C must not wait for all the others


def _results(
    pool: ThreadPoolExecutor,
    work: Callable[[Item], Result],
    items: Iterator[Item],
    ahead: int,
) -> Iterator[Result]:
    begun = deque(pool.submit(work, item) for item in islice(items, ahead))
    while begun:
        yield begun.popleft().result()
        begun.extend(pool.submit(work, item) for item in islice(items, 1))
