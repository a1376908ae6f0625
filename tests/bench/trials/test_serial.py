"""Trials in a row, some of which others hold."""

import threading
import time

import pytest

from inflate_zoo.bench.definitions.results import Failure, Run
from inflate_zoo.bench.definitions.trial_folder import TrialFolder, place_file
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.bench.training.progress import Silent
from inflate_zoo.bench.trials import serial
from inflate_zoo.bench.trials.leases import leased
from inflate_zoo.bench.trials.serial import reason, run_trials
from inflate_zoo.errors import UsageError
from tests.support.trials import one_thread, result_of, tiny_run

CPU = Resources("cpu", 0)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(serial, "WAIT_SECONDS", 0.01)
    return tiny_run(tmp_path, "train.steps=2", "train.validate_every=0", seeds=2)


def go(trials):
    said, seen = [], []

    def watch(trial, ended, total):
        seen.append((trial.folder.name, ended, total))
        return Silent()

    with one_thread():
        return run_trials(trials, CPU, watch, said.append), said, seen


def test_all_run_once_in_order(run):
    tally, said, seen = go(run.trials)
    assert tally.done == run.trials
    assert tally.failed == ()
    assert said == []
    names = [trial.folder.name for trial in run.trials]
    assert seen == [(names[0], 0, 2), (names[1], 1, 2)]


def test_nothing_starts_where_one_is_no_trial(run, tmp_path):
    with pytest.raises(UsageError, match="is no trial"):
        go([*run.trials, TrialFolder(tmp_path / "nothing")])
    (run.trials[1].folder / place_file()).unlink()
    with pytest.raises(UsageError, match="is no trial"):
        go([TrialFolder(trial.folder) for trial in run.trials])
    assert not any(trial.done for trial in run.trials)


def hold(trial, then):
    """Another process holds a trial for a moment, then ends it."""
    ready = threading.Event()

    def other():
        with leased(trial.folder):
            ready.set()
            time.sleep(0.3)
            then()

    thread = threading.Thread(target=other)
    thread.start()
    ready.wait()
    return thread


def test_what_another_holds_is_waited_for(run):
    first, second = run.trials
    thread = hold(first, lambda: first.finish(result_of(first, flops=7), Run()))
    tally, said, seen = go(run.trials)
    thread.join()
    assert tally.done == run.trials
    assert first.believed().result.flops == 7
    assert second.believed().result.mean
    assert [line.split(" is run by ")[0] for line in said] == [f"trial {first.folder.name}"]
    assert seen[1][0] == second.folder.name  # nothing waits for it


def test_what_another_holds_and_dies_with_is_taken_over(run):
    first = run.trials[0]
    thread = hold(first, lambda: None)
    tally, _, _ = go([first])
    thread.join()
    assert tally.done == (first,)
    assert first.believed().result.mean


def test_what_failed_meanwhile_is_not_tried_again_but_an_old_failure_is(run):
    first, second = run.trials
    for trial in run.trials:
        trial.fail(Failure(kind="error", reason="earlier"))
    failure = Failure(kind="nan_loss", reason="the loss is NaN", case="case_03")
    (first.folder / "failure.json").unlink()
    thread = hold(first, lambda: first.fail(failure))
    tally, said, _ = go(run.trials)
    thread.join()
    assert tally.done == (second,)
    assert tally.failed == ((first, "the loss is NaN (case case_03)"),)
    assert said[-1] == f"trial {first.folder.name} failed: the loss is NaN (case case_03)"
    assert not first.done
    assert reason(second) == "unknown"
