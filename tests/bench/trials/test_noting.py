"""What a running trial tells is passed on, and noted."""

import json

import pytest

from inflate_zoo.bench.definitions.trial_progress import PROGRESS, TrialProgress
from inflate_zoo.bench.trials.noting import Noting


class Told:
    """Keeps what a watcher is told."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda *values: self.calls.append((name, *values))


@pytest.fixture
def noting():
    clock = iter(range(0, 1000, 3))
    told = Told()
    made = Noting(told, "node7", "NVIDIA H200", clock=lambda: next(clock))
    made.told = told
    return made


def test_all_is_passed_on_and_the_last_of_each_is_noted(noting, tmp_path):
    noting.stage("loading")
    noting.stage("features")
    noting.part(3, 8)
    assert (noting.progress.done, noting.progress.total) == (3, 8)
    noting.stage("training")
    noting.resumed(10)
    assert (noting.progress.step, noting.progress.done) == (10, None)
    noting.step(11, 100, 0.5, 0.25)
    assert noting.progress.per_step is None  # it is not known how long the first took
    noting.step(12, 100, 0.25, 0.125)
    noting.dice(0.75)
    noting.step(14, 100, 0.125, 0.0625)
    assert noting.told.calls == [
        ("stage", "loading"), ("stage", "features"), ("part", 3, 8), ("stage", "training"),
        ("resumed", 10), ("step", 11, 100, 0.5, 0.25), ("step", 12, 100, 0.25, 0.125),
        ("dice", 0.75), ("step", 14, 100, 0.125, 0.0625),
    ]  # fmt: skip
    noting.write(tmp_path)
    found = TrialProgress.model_validate(json.loads((tmp_path / PROGRESS).read_text()))
    assert found == noting.progress
    assert found == TrialProgress(
        host="node7", device="NVIDIA H200", stage="training", step=14, steps=100, loss=0.125,
        dice=0.75, waiting=0.0625, per_step=2.0,
    )  # fmt: skip


def test_a_loss_that_no_file_holds_and_a_folder_that_takes_none_disturb_nobody(noting, tmp_path):
    noting.step(1, 10, float("nan"), 0.0)
    assert noting.progress.loss is None
    noting.write(tmp_path / "gone")
    assert list(tmp_path.iterdir()) == []
