"""Constants are made once for each set of arguments, and by every tracer anew."""

import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from inflate_zoo.networks.layers import constants
from inflate_zoo.networks.layers.constants import MOST_KEPT, holding, made_once


@pytest.fixture
def counted():
    calls = []

    @made_once
    def ramp(count, dtype, start=0):
        calls.append((count, dtype, start))
        return torch.arange(start, start + count).to(dtype)

    return ramp, calls


def test_every_set_of_arguments_is_made_once(counted):
    ramp, calls = counted
    first = ramp(3, torch.float32)
    assert ramp(3, torch.float32) is first
    assert ramp(3, torch.float64).dtype == torch.float64
    assert ramp(3, torch.float32, start=2).tolist() == [2.0, 3.0, 4.0]
    assert first.tolist() == [0.0, 1.0, 2.0]
    assert calls == [(3, torch.float32, 0), (3, torch.float64, 0), (3, torch.float32, 2)]


def test_what_inference_makes_may_be_trained_with(counted):
    ramp, _ = counted
    with torch.inference_mode():
        assert not ramp(3, torch.float32).is_inference()
    weight = torch.randn(3, requires_grad=True)
    (weight * ramp(3, torch.float32)).sum().backward()
    assert weight.grad.tolist() == [0.0, 1.0, 2.0]


def test_a_tracer_keeps_nothing(counted):
    ramp, calls = counted
    with FakeTensorMode():
        assert isinstance(ramp(3, torch.float32), FakeTensor)
    assert type(ramp(3, torch.float32)) is torch.Tensor
    compiled = torch.compile(lambda x: x + ramp(4, x.dtype), backend="eager", fullgraph=True)
    assert compiled(torch.ones(4)).tolist() == [1.0, 2.0, 3.0, 4.0]
    before = len(calls)
    assert ramp(4, torch.float32).tolist() == [0.0, 1.0, 2.0, 3.0]
    assert len(calls) == before + 1


def test_what_was_not_asked_for_longest_is_dropped(counted):
    ramp, calls = counted
    first = weakref.ref(ramp(1, torch.float32))
    second = weakref.ref(ramp(2, torch.float32))
    for count in range(3, MOST_KEPT + 2):
        ramp(1, torch.float32)
        ramp(count, torch.float32)
    assert len(calls) == MOST_KEPT + 1
    assert first() is not None
    assert second() is None
    assert ramp(2, torch.float32).tolist() == [0.0, 1.0]
    assert len(calls) == MOST_KEPT + 2


def test_what_a_graph_holds_outlives_what_is_kept(counted):
    ramp, _ = counted
    ramp(1, torch.float32)
    with holding() as held:
        outer = weakref.ref(ramp(1, torch.float32))
        with ThreadPoolExecutor(1) as pool:  # gradients are made in a thread of their own
            other = weakref.ref(pool.submit(ramp, 2, torch.float32).result())
    for count in range(3, MOST_KEPT + 4):
        ramp(count, torch.float32)
    assert [outer(), other()] == held
    assert len(held) == 2
    held.clear()
    assert outer() is other() is None


def test_a_graph_that_holds_nothing_makes_its_own(counted, monkeypatch):
    ramp, calls = counted
    kept = ramp(3, torch.float32)
    monkeypatch.setattr(constants, "_capturing", lambda: True)
    assert ramp(3, torch.float32) is not kept
    with holding():
        assert ramp(3, torch.float32) is kept
    assert len(calls) == 2
