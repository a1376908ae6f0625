"""How many trials at a time, where, with how many threads."""

import pytest
import torch

from inflate_zoo.bench.engines import capacity
from inflate_zoo.bench.engines.capacity import crew, on_cores, on_gpus
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.errors import UsageError

GB = 1 << 30


@pytest.mark.parametrize(
    "cores, memory, trials, at_once, threads, found",
    [
        (2, (24, 20), 30, None, None, (2, 1)),
        (16, (64, 60), 30, None, None, (16, 1)),
        (16, (64, 60), 4, None, None, (4, 4)),  # fewer trials than cores
        (16, (4, 4), 30, None, None, (4, 4)),  # memory for four
        (16, (8, 3), 30, None, None, (3, 2)),  # others use it now: the threads stay
        (16, (64, 60), 30, None, 4, (4, 4)),
        (16, (64, 60), 30, None, 32, (1, 32)),
        (16, (64, 60), 30, 2, None, (2, 8)),
        (16, (64, 60), 30, 5, None, (5, 3)),
        (2, (1, 0), 30, None, None, (1, 2)),
        (2, (1, 0), 30, 4, None, (4, 1)),  # as was said
        (1, (24, 20), 30, 3, 2, (3, 2)),
        (8, (24, 20), 1, None, None, (1, 8)),
    ],
)
def test_cores_are_divided_as_memory_allows(cores, memory, trials, at_once, threads, found):
    whole, free = (amount * GB for amount in memory)
    assert on_cores(cores, (whole, free), trials, GB, at_once, threads) == found


@pytest.mark.parametrize(
    "gpus, trials, at_once, per_gpu, found",
    [
        ("01", 9, None, None, "01"),
        ("01", 9, None, 2, "0101"),
        ("01", 3, None, 2, "010"),
        ("01", 9, 3, None, "010"),
        ("01", 9, 3, 2, "010"),
        ("01", 9, 9, 2, "0101"),
        ("01", 9, 1, None, "0"),
        ("0", 9, None, None, "0"),
        ("0", 9, 2, None, "00"),
    ],
)
def test_gpus_have_one_trial_each_before_any_has_two(gpus, trials, at_once, per_gpu, found):
    assert "".join(on_gpus(tuple(gpus), trials, at_once, per_gpu)) == found


@pytest.fixture
def machine(monkeypatch):
    """Eight cores, memory for sixteen trials of a gigabyte."""
    monkeypatch.setattr(capacity, "usable_cores", lambda: 8)
    monkeypatch.setattr(capacity, "memory_limit", lambda: 16 * GB)
    monkeypatch.setattr(capacity, "free_memory", lambda: 16 * GB)
    for name in ("OMP_NUM_THREADS", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_a_crew_of_this_machine(machine):
    cpu = Resources("cpu", 0)
    found = crew(cpu, 30, GB, None, None)
    assert (found.devices, found.demands.threads, found.kind) == (("cpu",) * 8, 1, "cpu")
    assert found.named() == "cpu"
    assert found.demands.workers == 0
    one = crew(cpu, 30, GB, 1, None)
    assert (one.devices, one.demands.threads) == (("cpu",), 8)
    with pytest.raises(UsageError, match="--per-gpu is for NVIDIA GPUs"):
        crew(cpu, 30, GB, None, 2)
    machine.setenv("OMP_NUM_THREADS", "4")
    two = crew(cpu, 30, GB, None, None)
    assert (two.devices, two.demands.threads) == (("cpu",) * 2, 4)
    assert crew(Resources("cpu", threads=2), 30, GB, None, None).devices == ("cpu",) * 4
    machine.setenv("OMP_NUM_THREADS", "no number")
    assert crew(cpu, 30, GB, None, None).demands.threads == 1


def test_a_crew_has_places_for_as_many_as_the_cores_take_and_counts_what_is_free(machine):
    cpu = Resources("cpu", threads=2)
    machine.setattr(capacity, "free_memory", lambda: 3 * GB)
    few = crew(cpu, 30, 2 * GB, None, None)
    assert (few.at_once, few.devices, few.memory) == (1, ("cpu",) * 4, 3 * GB)
    assert len(crew(cpu, 3, 2 * GB, None, None).devices) == 3
    # Threads decide how results round: they are divided among those that memory holds at most.
    wide = crew(Resources("cpu"), 30, 8 * GB, None, None)
    assert (wide.at_once, wide.devices, wide.demands.threads) == (1, ("cpu",) * 2, 4)
    said = crew(cpu, 30, 2 * GB, 3, None)
    assert (said.at_once, said.devices, said.memory) == (3, ("cpu",) * 3, None)


def test_a_crew_of_gpus(machine):
    machine.setattr(torch.cuda, "is_available", lambda: True)
    machine.setattr(torch.cuda, "device_count", lambda: 2)
    found = crew(Resources(), 30, GB, None, None)
    assert found.devices == ("cuda:0", "cuda:1")
    assert (found.at_once, found.memory) == (2, None)
    assert found.demands.threads == 4
    assert found.named() == "cuda:0, cuda:1"
    assert crew(Resources("cuda"), 30, GB, None, 2).devices == ("cuda:0", "cuda:1") * 2
    named = crew(Resources("cuda:1"), 30, GB, None, 2)
    assert named.devices == ("cuda:1",) * 2
    alone = crew(Resources(), 30, GB, 1, None)
    assert (alone.devices, alone.named()) == ((None,), "cuda")
    assert alone.demands.threads == 8


@pytest.mark.parametrize(
    "processes, at_once, threads, found",
    [
        ("2", 1, None, 4),  # of one trial
        ("3", 1, None, 2),
        ("16", 1, None, 1),
        ("2", None, None, 2),
        ("2", 1, 3, 3),
        ("", 1, None, 8),
        ("no number", 1, None, 8),
        ("0", 1, None, 8),
    ],
)
def test_processes_that_share_gpus_divide_the_cores(machine, processes, at_once, threads, found):
    machine.setattr(torch.cuda, "is_available", lambda: True)
    machine.setattr(torch.cuda, "device_count", lambda: 2)
    machine.setenv("LOCAL_WORLD_SIZE", processes)
    machine.setenv("OMP_NUM_THREADS", "1")  # as torchrun does
    assert crew(Resources("cuda", threads=threads), 30, GB, at_once, None).demands.threads == found


def test_the_environments_threads_count_on_a_cpu_alone(machine):
    machine.setattr(torch.backends.mps, "is_available", lambda: True)
    machine.setenv("OMP_NUM_THREADS", "1")
    found = crew(Resources("mps"), 30, GB, None, None)
    assert (found.devices, found.demands.threads) == (("mps",), 8)
    machine.setenv("LOCAL_WORLD_SIZE", "2")
    assert crew(Resources("cpu"), 30, GB, 1, None).demands.threads == 1
