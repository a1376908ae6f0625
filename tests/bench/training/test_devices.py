"""Peak memory: of one trial, not of what ran before it in the same process."""

import mmap
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from inflate_zoo.bench.data import machine
from inflate_zoo.bench.training import devices
from inflate_zoo.bench.training.devices import (
    Resources,
    peak_memory,
    reset_peak_memory,
    workers_for,
)
from tests.support.quick import forked

CPU = torch.device("cpu")
MIB = 2**20


@pytest.mark.parametrize("cores, workers", [({0}, 0), ({0, 3, 5}, 2), (set(range(64)), 8)])
def test_workers_follow_the_cores_that_a_process_may_use(monkeypatch, cores, workers):
    """A scheduler gives it a few of the machine's; the others belong to somebody else."""
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: cores, raising=False)
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 128)
    monkeypatch.setattr(machine, "_groups", lambda _: iter(()))
    assert workers_for(Resources(), torch.device("cuda")) == workers
    assert workers_for(Resources(workers=5), torch.device("cuda")) == 5
    assert workers_for(Resources(threads=2), torch.device("cuda")) == 1
    assert workers_for(Resources(), CPU) == 0


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux alone can reset it")
def test_the_peak_is_measured_anew():
    def measured():
        reset_peak_memory(CPU)
        before = peak_memory(CPU)
        with mmap.mmap(-1, 100 * MIB) as fresh:  # malloc may hand out what is held already
            np.frombuffer(fresh, np.uint8)[:] = 1
        grown = peak_memory(CPU) - before
        reset_peak_memory(CPU)
        return grown, peak_memory(CPU) - before

    # Forked: threads that other tests left give memory back meanwhile, and they stay behind.
    grown, left = forked(measured)
    assert grown > 90 * MIB
    assert left < 50 * MIB


def test_where_nothing_tells_the_peak_it_is_not_made_up(monkeypatch):
    def nowhere(_):
        raise FileNotFoundError

    monkeypatch.setattr(devices.Path, "read_text", nowhere)
    monkeypatch.setattr(devices.Path, "write_text", lambda *_: nowhere(None))
    reset_peak_memory(CPU)
    assert peak_memory(CPU) > 0
    monkeypatch.setitem(sys.modules, "resource", None)
    assert peak_memory(CPU) is None
