"""Trials that others run, watched through their folders."""

import os
import time
from pathlib import Path

import pytest

from inflate_zoo.bench.definitions.results import Failure, Run
from inflate_zoo.bench.definitions.trial_folder import FAILURE
from inflate_zoo.bench.engines import elsewhere
from inflate_zoo.bench.engines.elsewhere import FRONT, SETTLED_SECONDS, SWEEP_SECONDS, Elsewhere
from inflate_zoo.bench.training.progress import Silent
from inflate_zoo.bench.trials import leases
from inflate_zoo.bench.trials.leases import leased
from inflate_zoo.bench.trials.noting import Noting
from tests.support.shown import Shown
from tests.support.trials import result_of, tiny_run


class Clock:
    """Time that passes when told to."""

    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def run(tmp_path):
    return tiny_run(tmp_path, seeds=3)


def watched(trials, since=0.0):
    shown, clock = Shown(), Clock()
    return Elsewhere(trials, shown, since, clock), shown, clock


def name(trial):
    return trial.folder.name


def test_what_others_do_is_told_until_all_have_ended(run):
    first, second, third = run.trials
    watch, shown, _ = watched(run.trials)
    noting = Noting(Silent(), "node7", "NVIDIA H200")
    noting.step(7, 20, 0.5, 0.0)
    watch.look()
    assert (watch.open, watch.held, watch.ended, watch.over) == (run.trials, (), 0, False)
    with leased(first.folder, noting.write):
        watch.look()
        while not first.progress():  # the heart writes it
            time.sleep(0.01)
        watch.look()
        assert watch.held == (leases.holder(first.folder),)
        assert {each for each, _ in shown.noted} == {name(first)}
        told = shown.noted[-1][1]
        assert (told.host, told.step) == ("node7", 7)
        first.finish(result_of(first), Run())
    watch.look()
    assert (shown.over, watch.held) == ([(name(first), "done")], ())
    second.fail(Failure(kind="nan_loss", reason="the loss is NaN"))
    third.finish(result_of(third), Run())
    watch.look()
    assert watch.over
    assert shown.said == [f"trial {name(second)} failed: the loss is NaN"]
    tally = watch.tally()
    assert tally.done == (first, third)
    assert tally.failed == ((second, "the loss is NaN"),)
    assert (tally.left, tally.stopped) == ((), False)


def test_a_failure_from_before_or_of_one_that_is_tried_again_is_none(run):
    first, *_ = run.trials
    first.fail(Failure(kind="error", reason="odd"))
    failed = (first.folder / FAILURE).stat().st_mtime
    watch, _, _ = watched([first], since=failed)
    watch.look()
    assert not watch.over
    watch, _, _ = watched([first], since=failed - 1)
    with leased(first.folder):
        watch.look()
        assert not watch.over
    watch.look()
    assert watch.over


def test_a_record_that_is_not_to_be_believed_does_not_end_a_trial(run):
    (first, *_) = run.trials
    (first.folder / "record.json").write_text("{}")
    watch, _, _ = watched([first])
    watch.look()
    assert watch.open == (first,)
    assert watch.tally(stopped=True).left == (first,)


def test_who_died_holds_nothing_and_is_still_looked_at(run, monkeypatch):
    first, *_ = run.trials
    watch, _, clock = watched([first])
    with leased(first.folder):
        watch.look()
        assert watch.held
        monkeypatch.setattr(elsewhere, "holder", lambda _: None)
        clock.now += SETTLED_SECONDS + 1
        watch.look()
        assert (watch.held, watch.over) == ((), False)
        monkeypatch.setattr(elsewhere, "holder", lambda _: "node8:12")
        watch.look()
        assert watch.held == ("node8:12",)


def test_only_what_can_have_changed_is_looked_at(run, monkeypatch):
    looked = []
    monkeypatch.setattr(Elsewhere, "_look_at", lambda self, trial: looked.append(trial))
    watch, _, clock = watched(run.trials)
    watch.look()
    assert looked == list(run.trials)
    clock.now += SETTLED_SECONDS + 1  # nobody wrote there meanwhile
    watch.look()
    assert looked == list(run.trials)
    (run.trials[1].folder / "new").touch()
    clock.now += 1
    watch.look()
    assert looked[3:] == [run.trials[1]]
    clock.now += SETTLED_SECONDS - 1  # two changes may bear the same time
    watch.look()
    assert looked[4:] == [run.trials[1]]


def test_of_many_that_wait_the_next_ones_are_looked_at_and_all_now_and_then(tmp_path, monkeypatch):
    class Fake:
        def __init__(self, number):
            self.folder = tmp_path / f"{number:03}"
            self.folder.mkdir()

    trials = [Fake(number) for number in range(3 * FRONT)]
    watch, _, clock = watched(trials)
    stats, plain = [], Path.stat

    def stat(path, **how):
        stats.append(path)
        return plain(path, **how)

    monkeypatch.setattr(Path, "stat", stat)
    watch.look()
    assert {trial.folder for trial in trials} <= set(stats)
    for _ in range(2):
        clock.now += SETTLED_SECONDS + 1
        stats.clear()
        watch.look()
        assert stats == [trial.folder for trial in trials[:FRONT]]
    stats.clear()
    watch.look(everywhere=True)
    assert len(stats) == len(trials)
    clock.now += SWEEP_SECONDS
    stats.clear()
    watch.look()
    assert len(stats) == len(trials)


def test_a_file_system_that_fails_for_a_moment_is_looked_at_again(run, monkeypatch):
    first, *_ = run.trials
    first.finish(result_of(first), Run())
    watch, _, _ = watched([first])
    plain = os.stat

    def fails(path, *more, **how):
        if str(first.folder) in str(path):
            raise OSError(116, "Stale file handle")
        return plain(path, *more, **how)

    with monkeypatch.context() as broken:
        broken.setattr(os, "stat", fails)
        watch.look()
    assert not watch.over
    watch.look()
    assert watch.over
