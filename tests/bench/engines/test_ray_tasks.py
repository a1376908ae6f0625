"""What a task of a Ray cluster takes, and which trials share one."""

import math
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inflate_zoo.bench.engines.flags import RayFlags
from inflate_zoo.bench.engines.ray_tasks import (
    MOST_TOGETHER,
    TaskShare,
    demands_of,
    parse_resources,
    require_flags,
    share,
    together,
)
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.errors import UsageError

HEAD, CPUS, GPUS = {"CPU": 0.0}, {"CPU": 8.0}, {"CPU": 16.0, "GPU": 4.0, "memory": 64e9}
NOTHING = Resources()


@dataclass(frozen=True)
class Fake:
    """A trial of which only this is asked."""

    folder: Path
    frozen: bool

    @property
    def spec(self):
        network = SimpleNamespace(freeze=self.frozen)
        return SimpleNamespace(protocol=SimpleNamespace(network=network))


def fakes(text):
    """Frozen trials are `f`."""
    return [Fake(Path(str(n)), letter == "f") for n, letter in enumerate(text)]


def grouped(text, at_once):
    return ["".join("f" if t.frozen else "t" for t in group)
            for group in together(fakes(text), at_once)]  # fmt: skip


@pytest.mark.parametrize(
    "text, at_once, groups",
    [
        ("ttt", 2, ["t", "t", "t"]),
        ("ffff", 1, ["ff", "ff"]),
        ("ffff", 2, ["f", "f", "f", "f"]),  # as many places would stand idle
        ("fffftffff", 1, ["ffff", "t", "ffff"]),
        ("f" * 40, 1, ["f" * MOST_TOGETHER] * 5),
        ("", 3, []),
    ],
)
def test_frozen_trials_share_tasks_where_there_are_many(text, at_once, groups):
    assert grouped(text, at_once) == groups


@given(st.text("tf", max_size=60), st.integers(0, 9))
def test_every_trial_has_one_task_and_keeps_its_place(text, at_once):
    trials = fakes(text)
    groups = list(together(trials, at_once))
    assert [trial for group in groups for trial in group] == trials
    assert all(len(group) == 1 or all(t.frozen for t in group) for group in groups)
    if any(len(group) > 1 for group in groups):
        assert len(groups) >= 2 * max(1, at_once)


@pytest.mark.parametrize(
    "resources, cpus, gpus, nodes, taken",
    [
        (NOTHING, None, None, [HEAD, CPUS], (1, 0)),
        (Resources(threads=4), None, None, [CPUS], (4, 0)),
        (NOTHING, 2.0, None, [CPUS], (2, 0)),
        (NOTHING, None, None, [CPUS, GPUS], (4, 1)),  # its part of a node with GPUs
        (NOTHING, None, 0.5, [GPUS, {"CPU": 4.0, "GPU": 4.0}], (1, 0.5)),
        (NOTHING, None, 2.0, [GPUS, {"CPU": 9.0, "GPU": 1.0}], (8, 2)),  # no node of it counts
        (Resources("cpu"), None, None, [GPUS], (1, 0)),
        (Resources("cpu", threads=2), 0.5, 0.25, [GPUS], (0.5, 0.25)),
        (Resources("cuda"), None, None, [GPUS], (4, 1)),
    ],
)
def test_what_is_not_said_is_decided(resources, cpus, gpus, nodes, taken):
    task = share(resources, cpus, gpus, (), nodes)
    assert (task.cpus, task.gpus) == taken


def test_a_gpu_that_a_cluster_does_not_have_is_refused():
    with pytest.raises(UsageError, match="has no GPU"):
        share(Resources("cuda"), None, None, (), [CPUS])


@pytest.mark.parametrize(
    "flags, device, told",
    [
        (RayFlags(cpus=0.0), None, "--cpus 0 is no number"),
        (RayFlags(cpus=math.nan), None, "--cpus nan is no number"),
        (RayFlags(gpus=1.5), None, "--gpus 1.5 is neither"),
        (RayFlags(gpus=-1.0), None, "--gpus -1 is neither"),
        (RayFlags(gpus=math.inf), None, "--gpus inf is neither"),
        (RayFlags(resource=("disk",)), None, "is not NAME=N"),
        (RayFlags(), "cuda:1", "Ray chooses"),
    ],
)
def test_what_no_cluster_gives_is_refused(flags, device, told):
    with pytest.raises(UsageError, match=told):
        require_flags(flags, Resources(device))


@pytest.mark.parametrize("flags", [RayFlags(), RayFlags(0.5, 0.25), RayFlags(8.0, 2.0, ("a=1",)),
                                   RayFlags(gpus=0.0)])  # fmt: skip
def test_what_a_cluster_may_give_is_not(flags):
    require_flags(flags, Resources("cuda"))


@pytest.mark.parametrize(
    "resources, task, device, threads",
    [
        (NOTHING, TaskShare(1), "cpu", 1),
        (NOTHING, TaskShare(0.5), "cpu", 1),
        (NOTHING, TaskShare(3.5, 0.5), "cuda", 3),
        (Resources("cpu", threads=2), TaskShare(8, 1), "cpu", 2),
    ],
)
def test_a_trial_has_as_many_threads_as_it_has_cores(resources, task, device, threads):
    found = demands_of(resources, task)
    assert (found.device, found.threads) == (device, threads)


@pytest.mark.parametrize(
    "task, node, places",
    [
        (TaskShare(1), CPUS, 8),
        (TaskShare(3), CPUS, 2),
        (TaskShare(1), HEAD, 0),
        (TaskShare(1, 0.5), GPUS, 8),
        (TaskShare(1, 0.6), {"CPU": 8.0, "GPU": 2.0}, 2),  # no part of a GPU spans two
        (TaskShare(0.1, 0.4), {"CPU": 16.0, "GPU": 8.0}, 16),
        (TaskShare(0.1, 0.1), {"CPU": 16.0, "GPU": 3.0}, 30),
        (TaskShare(1, 2), {"CPU": 16.0, "GPU": 5.0}, 2),
        (TaskShare(1, 0.5), CPUS, 0),
        (TaskShare(0.1), {"CPU": 0.3}, 3),  # 0.3 / 0.1 is less than 3
        (TaskShare(1, 0, (("memory", 20e9),)), GPUS, 3),
        (TaskShare(1, 0, (("disk", 1),)), GPUS, 0),
        (TaskShare(0), CPUS, 1),
    ],
)
def test_a_node_takes_as_many_as_it_has_of_the_scarcest(task, node, places):
    assert task.fitting(node) == places


def test_a_share_is_said_as_ray_takes_it_and_in_words():
    task = TaskShare(2, 0.5, (("memory", 8e9), ("disk", 1)))
    options = {"num_cpus": 2, "num_gpus": 0.5, "memory": 8e9, "resources": {"disk": 1}}
    assert task.options() == options
    assert task.told() == "2 CPU, 0.5 GPU, 8e+09 memory, 1 disk"
    assert task.with_whole_gpus().gpus == 1
    assert TaskShare(1).with_whole_gpus() == TaskShare(1)


def test_further_resources_are_named_with_a_number():
    assert parse_resources(["memory=8e9", "a:b=0.5"]) == (("memory", 8e9), ("a:b", 0.5))


@pytest.mark.parametrize("text", ["disk", "=1", "disk=", "disk=0", "disk=-1", "disk=inf",
                                  f"disk={math.nan}", "CPU=1", "GPU=1"])  # fmt: skip
def test_what_is_no_further_resource_is_refused(text):
    with pytest.raises(UsageError):
        parse_resources([text])
