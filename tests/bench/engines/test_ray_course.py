"""Trials and the tasks that have them, without any cluster."""

import os

import pytest

from inflate_zoo.bench.definitions.results import Failure, Run
from inflate_zoo.bench.engines import ray_course
from inflate_zoo.bench.engines.ray_course import MOST_LOST, Course, Loss
from inflate_zoo.bench.training.progress import Silent
from inflate_zoo.bench.trials.leases import leased
from inflate_zoo.bench.trials.noting import Noting
from tests.support.trials import result_of, tiny_run

LOST = Loss("its node was lost")


class Shown:
    """Keeps what a course tells."""

    def __init__(self):
        self.said, self.over, self.noted = [], [], []

    def say(self, text, *, urgent=False):
        self.said.append(text)

    def ended(self, trial, how):
        self.over.append((trial.folder.name, how))

    def elsewhere(self, trial, progress):
        self.noted.append((trial.folder.name, progress.step))


@pytest.fixture
def trials(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_course, "LOOK_SECONDS", 0.0)
    return tiny_run(tmp_path, seeds=3).trials


def course_of(trials, groups=None, shares=False):
    shown = Shown()
    groups = [(trial,) for trial in trials] if groups is None else groups
    return Course(trials, groups, 1.0, shown, shares=shares), shown


def finish(trial):
    trial.finish(result_of(trial), Run())


def fail(trial, kind="error", at=None):
    trial.fail(Failure(kind=kind, reason="odd"))
    if at is not None:  # clocks of file systems are coarse
        os.utime(trial.folder / "failure.json", (at, at))


def checkpoint(trial, at):
    path = trial.folder / "checkpoint.safetensors"
    path.touch()
    os.utime(path, (at, at))


def test_all_start_once_in_order_and_end_by_what_lies_in_their_folders(trials):
    course, shown = course_of(trials)
    assert list(course.startable()) == [(trial,) for trial in trials]
    assert list(course.startable()) == []
    first, second, third = trials
    finish(first)
    course.settle((first,), None)
    fail(second)
    course.settle((second,), Loss("its process ended with exit code 1: odd"))
    assert not course.over
    finish(third)
    course.look()  # before its task has ended
    course.settle((third,), LOST)
    assert course.over
    names = [trial.folder.name for trial in trials]
    assert shown.over == list(zip(names, ("done", "failed", "done"), strict=True))
    assert shown.said == [f"trial {names[1]} failed: odd"]
    tally = course.tally()
    assert tally.done == (first, third)
    assert tally.failed == ((second, "odd"),)
    assert tally.left == ()


def test_what_is_over_already_starts_no_task_but_an_old_failure_does(trials):
    first, second, third = trials
    finish(first)
    fail(second, at=2.0)
    fail(third, at=0.5)
    course, _ = course_of(trials)
    assert list(course.startable()) == [(third,)]
    assert (course.tally().done, len(course.tally().failed)) == ((first,), 1)


def test_what_another_has_is_waited_for_and_taken_when_it_is_free(trials):
    first = trials[0]
    course, shown = course_of([first])
    with leased(first.folder):
        assert list(course.startable()) == []
        course.look()
        assert list(course.startable()) == []
    course.look()
    assert list(course.startable()) == [(first,)]
    assert [line.split(" is run by ")[0] for line in shown.said] == [f"trial {first.folder.name}"]


def test_a_lost_trial_starts_again_once_what_is_left_of_it_is_gone(trials):
    first = trials[0]
    course, shown = course_of([first])
    list(course.startable())
    with leased(first.folder):  # it still saves
        course.settle((first,), LOST)
        course.look()
        assert list(course.startable()) == []
    course.look()
    assert list(course.startable()) == [(first,)]
    name = first.folder.name
    assert shown.said == [f"trial {name}: its node was lost; it goes on where it is"]


def lose(course, trial, loss=LOST):
    course.look()
    assert list(course.startable()) == [(trial,)]
    course.settle((trial,), loss)


@pytest.mark.parametrize("memory, kind", [(False, "died"), (True, "out_of_memory")])
def test_a_trial_that_is_lost_time_and_again_for_nothing_failed(trials, memory, kind):
    first = trials[0]
    course, shown = course_of([first])
    for _ in range(MOST_LOST):
        assert not course.over
        lose(course, first, Loss("its node was lost", memory))
    assert course.over
    assert first.failure().kind == kind
    why = f"its node was lost, {MOST_LOST} times in a row with nothing to show"
    assert course.tally().failed == ((first, why),)
    assert shown.said[-1] == f"trial {first.folder.name} failed: {why}"


def test_a_loss_after_which_there_is_more_to_go_on_from_does_not_count(trials):
    first = trials[0]
    course, _ = course_of([first])
    for time in range(1, 3 * MOST_LOST):
        checkpoint(first, time)
        lose(course, first)
    for _ in range(2 * MOST_LOST):  # nor one that was asked to leave
        lose(course, first, Loss("it was asked to leave", counts=False))
    assert not course.over
    for _ in range(MOST_LOST - 1):
        lose(course, first)
    assert course.over


def test_of_a_task_with_several_what_was_lost_goes_on_one_by_one(trials):
    course, shown = course_of(trials, groups=[trials])
    assert list(course.startable()) == [trials]
    first, *others = trials
    finish(first)
    course.settle(trials, LOST)
    assert shown.said == ["2 trials: its node was lost; they go on one by one"]
    course.look()
    assert sorted(map(str, course.startable())) == sorted(str((trial,)) for trial in others)
    for _ in range(MOST_LOST - 1):  # the loss of all told nothing of this one
        course.settle((others[0],), LOST)
        course.look()
        list(course.startable())
    assert not course.over
    assert not course.tally().failed


def test_what_shares_a_gpu_and_runs_out_of_memory_runs_again_alone_once(trials):
    first = trials[0]
    course, shown = course_of([first], shares=True)
    list(course.startable())
    fail(first, "out_of_memory", at=5.0)
    course.settle((first,), Loss("its process ended with exit code 1: odd"))
    course.look()
    assert list(course.startable()) == [(first,)]
    assert course.alone == {first.folder}
    assert course.since(first) == 5.0
    fail(first, "out_of_memory", at=6.0)
    course.settle((first,), None)
    assert course.tally().failed == ((first, "odd"),)
    name = first.folder.name
    assert shown.said[0] == f"trial {name} ran out of memory beside others; it runs again, alone"


def test_how_far_a_trial_is_is_told(trials):
    first = trials[0]
    course, shown = course_of([first])
    list(course.startable())
    noting = Noting(Silent(), "elsewhere", "NVIDIA H200")
    noting.step(7, 20, 0.5, 0.0)
    noting.write(first.folder)
    course.look()
    assert shown.noted == [(first.folder.name, 7)]
