"""Stopped attempts: some leave more than they found, others nothing, and not for ever."""

import os

import pytest

from inflate_zoo.bench.trials.stopping import STOPS, kept, note_stop
from tests.support.trials import tiny_run


@pytest.fixture
def trial(tmp_path):
    return tiny_run(tmp_path).trial()


def save(trial, when):
    path = trial.folder / "checkpoint.safetensors"
    path.write_text("")
    os.utime(path, (when, when))


def score(trial, number):
    (trial.folder / "cases").mkdir(exist_ok=True)
    (trial.folder / "cases" / f"{number:04d}.json").write_text("")


def test_a_step_and_a_scored_case_are_progress(trial):
    steps = [lambda: save(trial, 10), lambda: save(trial, 20), lambda: score(trial, 0),
             lambda: score(trial, 1)]  # fmt: skip
    for step in steps:
        before = kept(trial.folder)
        assert not note_stop(trial, before)  # the first in vain
        assert (trial.folder / STOPS).exists()
        step()
        assert not note_stop(trial, before)
        assert not (trial.folder / STOPS).exists()


def test_twice_in_a_row_without_progress_is_a_failure_and_counted_anew_then(trial):
    before = kept(trial.folder)
    assert [note_stop(trial, before) for _ in range(4)] == [False, True, False, True]
    failure = trial.failure()
    assert failure.kind == "stopped"
    assert failure.reason.startswith(
        "stopped 2 times before it had trained a step or scored a case"
    )


@pytest.mark.parametrize("shown", [lambda trial: save(trial, 30), lambda trial: score(trial, 0)])
def test_a_stop_counts_anew_where_one_that_was_killed_had_something_to_show(trial, shown):
    assert not note_stop(trial, kept(trial.folder))
    shown(trial)  # and was killed: nothing is noted
    before = kept(trial.folder)
    assert [note_stop(trial, before) for _ in range(2)] == [False, True]


@pytest.mark.parametrize(
    "content", ["", "[]", '{"in_vain": -1, "before": [0, 0]}', '{"in_vain": 1}']
)
def test_a_damaged_count_begins_anew(trial, content):
    (trial.folder / STOPS).write_text(content)
    assert not note_stop(trial, kept(trial.folder))
    assert note_stop(trial, kept(trial.folder))
