"""One step of the optimiser; what it gives in whole trainings stands in test_trainer.py."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator

from inflate_zoo.bench.training.building import build
from inflate_zoo.bench.training.checkpointing import State
from inflate_zoo.bench.training.sampling import Group
from inflate_zoo.bench.training.stepper import Stepper
from inflate_zoo.errors import NotFiniteError
from tests.support.trials import tiny_run

BATCH, NUMBERS = [Group(torch.empty(0), torch.empty(0), [name]) for name in "ab"], [[0], [1]]


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    changes = ("train.steps=10", "train.warmup_ratio=0.4", "train.learning_rate=1e-2")
    return tiny_run(tmp_path_factory.mktemp("steps"), *changes).trial()


@pytest.fixture
def stepper(trial):
    network = build(trial.spec, Path(trial.place.weights))
    return Stepper(trial.spec, network, Accelerator(cpu=True), compiled=False)


@pytest.mark.parametrize(
    "device, processes, expected", [("cuda", 1, 2), ("cuda", 2, 1), ("cpu", 1, 1)]
)
def test_a_gpu_begins_with_all_groups_at_once_and_several_processes_with_one(
    stepper, device, processes, expected
):
    stepper._accelerator = SimpleNamespace(
        device=SimpleNamespace(type=device), num_processes=processes
    )
    stepper._attempt = lambda *_: torch.tensor([float("nan"), 1.0])
    state = State(trial="t")
    with pytest.raises(NotFiniteError, match="step 0"):
        stepper.step(state, BATCH, NUMBERS)
    assert state.groups_at_once == expected


def test_each_group_of_parameters_learns_at_its_own_peak_times_the_steps_factor(stepper):
    peaks = [group["lr"] for group in stepper.optimizer.param_groups]
    assert max(peaks) == pytest.approx(1e-2)
    stepper._attempt = lambda *_: torch.tensor([0.5, 1.0])
    for step, factor in ((0, 1 / 4), (1, 2 / 4), (3, 1.0)):  # four steps of warm-up
        assert stepper.step(State(trial="t", step=step), BATCH, NUMBERS) == 0.5
        rates = [group["lr"] for group in stepper.optimizer.param_groups]
        assert rates == pytest.approx([peak * factor for peak in peaks])


def test_where_memory_runs_out_half_as_many_groups_are_tried(stepper):
    tried, state = [], State(trial="t", groups_at_once=4)

    def gradients(batch, numbers, at_once):
        tried.append(at_once)
        if at_once > 1:
            raise torch.OutOfMemoryError("no room")
        return torch.tensor([0.5, 1.0])

    stepper._gradients = gradients
    assert stepper.step(state, BATCH, NUMBERS) == 0.5
    assert tried == [4, 2, 1]
    assert state.groups_at_once == 1
