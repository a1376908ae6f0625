"""How a run stands, from its folder alone."""

import json
import os
import time

import pytest

from inflate_zoo.bench.definitions.results import Failure, Run
from inflate_zoo.bench.definitions.trial_folder import TrialFolder
from inflate_zoo.bench.training.progress import Silent
from inflate_zoo.bench.trials.leases import leased
from inflate_zoo.bench.trials.noting import Noting
from inflate_zoo.bench.trials.run_plan import begin_run
from inflate_zoo.bench.trials.status import run_status
from inflate_zoo.errors import UsageError
from tests.support.trials import result_of, tiny_run

SECONDS = {"training": 90.0, "evaluation": 10.0, "this_attempt": 7.0}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def run(home, request):
    made = tiny_run(home, kinds=("inflated", "random"), seeds=3, name=request.node.name)
    begin_run(made.out, made.trials)
    os.utime(made.out / "plan.json", (0, time.time() - 10))  # file systems count in ticks
    return made


def noted(trial, device="cpu"):
    """What a process notes in the middle of a training."""
    clock = iter(range(1000))
    noting = Noting(Silent(), "node7", device, clock=lambda: next(clock))
    noting.stage("training")
    for step in (2, 3):
        noting.step(step, 6, 0.5, 0.03)
    noting.dice(0.61)
    return noting


def test_every_trial_stands_somewhere(run):
    done, running, failed, stopped, *_ = run.trials
    done.finish(result_of(done), Run(seconds=SECONDS))
    failed.fail(Failure(kind="nan_loss", reason="the loss is NaN", case="case_03"))
    noted(stopped).write(stopped.folder)
    with leased(running.folder, noted(running).write):
        while running.progress() is None:
            pass
        status = run_status(run.out)
    states = {trial.trial: trial.state for trial in status.trials}
    assert [status.trials[place].trial for place in range(6)] == [t.folder.name for t in run.trials]
    assert [states[t.folder.name] for t in run.trials] == [
        "done", "running", "failed", "stopped", "waiting", "waiting",
    ]  # fmt: skip
    (one,) = status.of("running")
    assert (one.arm, one.seed, one.fold) == ("random", 0, 0)
    assert one.holder.rpartition(":")[0]
    assert one.seconds == one.progress.left == 3.0  # three steps of a second
    assert status.of("failed")[0].reason == "the loss is NaN (case case_03)"
    assert status.seconds == 3 * 100.0 + 3.0  # as many at a time as now: one
    lines = [indent + line for indent, line in status.lines()]
    assert lines[0].startswith("data, protocol quick")
    assert lines[1] == (
        "1 of 6 trials done, 1 running, 1 failed, 1 stopped, 2 waiting; about 5.0 min left"
    )
    assert lines[2] == "running:"
    assert lines[3].startswith(
        "  random, seed 0, fold 0: training, step 3 of 6, loss 0.500, validation Dice 0.610, "
        "3% waiting for data, 3.0 s left, on "
    )
    assert lines[3].endswith(" (cpu)")
    assert lines[4:6] == ["failed:", "  vit center, seed 1, fold 0: the loss is NaN (case case_03)"]
    assert lines[7].endswith(", was on node7 (cpu)")
    table = json.loads(json.dumps(status.plain()))
    assert (table["done"], table["waiting"], table["seconds_left"]) == (1, 2, 303.0)
    assert table["trials"][1]["progress"]["dice"] == 0.61


def test_what_failed_before_the_run_was_planned_anew_waits(run):
    """It is tried again: the time left was that of the others, and it was called failed."""
    done, before, running, after, *_ = run.trials
    done.finish(result_of(done), Run(seconds=SECONDS))
    before.fail(Failure(kind="error", reason="the disk was full"))
    os.utime(before.folder / "failure.json", (0, time.time() - 60))
    begin_run(run.out, run.trials)
    after.fail(Failure(kind="error", reason="the loss is NaN"))
    os.utime(after.folder / "failure.json", (0, time.time() + 60))
    with leased(running.folder, noted(running).write):
        while running.progress() is None:
            pass
        status = run_status(run.out)
    assert [trial.state for trial in status.trials] == [
        "done", "waiting", "running", "failed", "waiting", "waiting",
    ]  # fmt: skip
    assert status.seconds == 3 * 100.0 + 3.0
    (run.out / "plan.json").unlink()
    assert len(run_status(run.out).of("failed")) == 2  # nobody noted when it began


def test_without_a_record_those_that_run_tell_how_long_it_takes(run):
    first, second, *_ = run.trials
    with leased(first.folder, noted(first).write), leased(second.folder, noted(second).write):
        while first.progress() is None or second.progress() is None:
            pass
        status = run_status(run.out)
    assert status.seconds == (4 * 6.0 + 2 * 3.0) / 2


def test_nobody_works_on_it(run):
    status = run_status(run.out)
    assert status.seconds is None
    assert status.lines()[1][1] == "0 of 6 trials done, 6 waiting; no process works on it"
    for trial in run.trials:
        trial.finish(result_of(trial), Run())
    assert run_status(run.out).lines()[1:] == [("", "6 of 6 trials done")]


def test_of_many_the_first_are_shown(run, monkeypatch):
    monkeypatch.setattr("inflate_zoo.bench.trials.status._MOST_SHOWN", 2)
    for trial in run.trials:
        trial.fail(Failure(kind="error", reason="odd\x1b[31m\u202e"))
    lines = [line for _, line in run_status(run.out).lines()]
    assert lines[2:] == [
        "failed:", "vit center, seed 0, fold 0: odd\\x1b[31m\\u202e",
        "random, seed 0, fold 0: odd\\x1b[31m\\u202e", "and 4 more",
    ]  # fmt: skip


@pytest.mark.parametrize("content", ["", "[]", '{"arm": 3, "seed": "x"}'])
def test_a_damaged_trial_is_named_by_its_folder(run, content):
    first = run.trials[0]
    for name in ("trial.json", "failure.json", "progress.json", "lease.json"):
        (first.folder / name).write_text(content)
    found = next(t for t in run_status(run.out).trials if t.trial == first.folder.name)
    assert found.name == f"{first.folder.name}, seed 0, fold 0"
    assert found.state == "failed"
    assert TrialFolder(first.folder).failure() is not None


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="holds no trials"):
        run_status(tmp_path)
