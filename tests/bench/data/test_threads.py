"""Many cases at once: in order, bounded by memory, and nothing goes on after an error."""

import threading
import time

import pytest

from inflate_zoo.bench.data import threads as cores
from inflate_zoo.bench.data.threads import BYTES_PER_VOXEL, in_threads, threads_for


@pytest.mark.parametrize(
    "voxels, free, count",
    [(10, 10**9, 8), (10**6, 2 * 3 * BYTES_PER_VOXEL * 10**6, 3), (10**9, 10**6, 1), (0, 0, 1)],
)
def test_threads_are_those_the_memory_holds(monkeypatch, voxels, free, count):
    monkeypatch.setattr(cores, "usable_cores", lambda: 8)
    monkeypatch.setattr(cores, "free_memory", lambda: free)
    assert threads_for(voxels) == count


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_order_and_all_of_them(threads):
    def work(number):
        time.sleep(0.002 * (number % 3))
        return number**2

    assert list(in_threads(work, range(23), threads)) == [n**2 for n in range(23)]
    assert list(in_threads(work, [], threads)) == []


def test_as_many_at_a_time_as_said_and_not_far_ahead():
    lock, now, most, begun = threading.Lock(), 0, 0, 0

    def work(number):
        nonlocal now, most, begun
        with lock:
            now, begun = now + 1, begun + 1
            most = max(most, now)
        time.sleep(0.005)
        with lock:
            now -= 1
        return number

    results = in_threads(work, range(100), 3)
    for _ in range(4):
        next(results)
    assert begun <= 4 + 6
    assert most <= 3
    results.close()
    seen = begun
    time.sleep(0.03)
    assert begun == seen


def test_an_error_is_the_callers_and_ends_the_work():
    begun = []

    def work(number):
        begun.append(number)
        if number == 5:
            raise ValueError("case 5")
        return number

    with pytest.raises(ValueError, match="case 5"):
        list(in_threads(work, range(1000), 2))
    assert len(begun) < 20
