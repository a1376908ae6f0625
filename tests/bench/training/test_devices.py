"""Peak memory: of one trial, not of what ran before it in the same process."""

import gc
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from inflate_zoo.bench.training import devices
from inflate_zoo.bench.training.devices import peak_memory, reset_peak_memory

CPU = torch.device("cpu")
MIB = 2**20


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux alone can reset it")
def test_the_peak_is_measured_anew():
    gc.collect()  # what other tests left would give way to what is measured
    reset_peak_memory(CPU)
    before = peak_memory(CPU)
    np.ones(100 * MIB, np.uint8).sum()
    assert peak_memory(CPU) - before > 90 * MIB
    reset_peak_memory(CPU)
    assert peak_memory(CPU) - before < 50 * MIB


def test_where_nothing_tells_the_peak_it_is_not_made_up(monkeypatch):
    def nowhere(_):
        raise FileNotFoundError

    monkeypatch.setattr(devices.Path, "read_text", nowhere)
    monkeypatch.setattr(devices.Path, "write_text", lambda *_: nowhere(None))
    reset_peak_memory(CPU)
    assert peak_memory(CPU) > 0
    monkeypatch.setitem(sys.modules, "resource", None)
    assert peak_memory(CPU) is None
