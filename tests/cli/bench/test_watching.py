"""What the terminal shows while trials run."""

import re
import sys
from types import ModuleType, SimpleNamespace

import pytest

from inflate_zoo.bench.definitions.trial_progress import TrialProgress
from inflate_zoo.cli.bench import watching
from inflate_zoo.cli.bench.pace import Pace
from inflate_zoo.cli.bench.watching import Board, Rounds, board
from inflate_zoo.errors import WorkError
from tests.support.trials import tiny_run


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("run"), kinds=("inflated", "random"), seeds=3).trials


@pytest.fixture
def so_far(monkeypatch):
    """Stands in for what says how the ranking stands."""
    asked = []

    def answer(folders):
        def after(seeds):
            asked.append((list(folders), list(seeds)))
            if answer.error:
                raise answer.error
            return (f"after {len(seeds)} of 3 seeds: open",)

        return SimpleNamespace(after=after)

    answer.asked, answer.error = asked, None
    module = ModuleType("inflate_zoo.bench.report.so_far")
    module.SoFar = answer
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return answer


def test_each_round_of_seeds_that_is_over_says_how_the_ranking_stands(trials, so_far):
    rounds = Rounds(trials)
    by_seed = [[t for t in trials if t.spec.seed == seed] for seed in range(3)]
    assert rounds.ended(by_seed[0][0]) == ()
    assert rounds.ended(by_seed[1][0]) == ()
    assert rounds.ended(by_seed[1][1]) == ("after 1 of 3 seeds: open",)
    assert rounds.ended(by_seed[0][1]) == ("after 2 of 3 seeds: open",)
    assert rounds.ended(by_seed[2][0]) == ()
    assert rounds.ended(by_seed[2][1]) == ()  # the report is next
    out = trials[0].folder.parent.parent
    assert so_far.asked == [([out], [1]), ([out], [1, 0])]


def test_a_single_round_has_none_before_it(trials, so_far):
    first = [trial for trial in trials if trial.spec.seed == 0]
    rounds = Rounds(first)
    assert [rounds.ended(trial) for trial in first] == [(), ()]


def test_a_round_without_any_record_says_nothing(trials, so_far):
    so_far.error = WorkError("there is no trial that can be read", hint="run it again")
    rounds = Rounds(trials)
    assert [rounds.ended(trial) for trial in trials if trial.spec.seed == 0] == [(), ()]


def lines_of(capsys):
    return capsys.readouterr().err.splitlines()


def test_several_trials_as_lines(trials, so_far, capsys, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(watching, "Pace", lambda *a: Pace(*a, clock=lambda: next(clock)))
    shown = Board(None)
    shown.begin(trials, 2)
    one, two = (shown.watch(trial) for trial in trials[:2])
    for watcher in (one, two):
        watcher.stage("loading")
        watcher.stage("training")
    one.resumed(2)
    two.step(1, 6, 0.5, 0.1)
    for step in range(3, 7):
        one.step(step, 6, 0.5, 0.1)
    shown.ended(trials[0], "done")
    shown.interrupted()
    told = lines_of(capsys)
    assert told[:4] == [
        "[1/6] vit center, seed 0, fold 0: loading",
        "[1/6] vit center, seed 0, fold 0: training",
        "[2/6] random, seed 0, fold 0: loading",
        "[2/6] random, seed 0, fold 0: training",
    ]
    assert told[4] == "[1/6] vit center, seed 0, fold 0: goes on from step 2"
    assert told[5].startswith("[1/6] vit center, seed 0, fold 0: step 6 of 6, loss 0.500")
    assert re.fullmatch(r"1 of 6 trials ended, about \d+ s left", told[6])
    assert told[7:] == ["1 of 6 trials done; the same command goes on"]


@pytest.fixture
def done(trials):
    """The third trial, with a record."""
    record = trials[2].folder / "record.json"
    record.touch()
    yield
    record.unlink()


def test_trials_that_were_done_before_count_as_done_from_the_start(trials, so_far, done, capsys):
    shown = Board(None)
    shown.begin(trials, 1)
    shown.watch(trials[0])
    shown.ended(trials[0], "failed")
    shown.interrupted()
    assert lines_of(capsys) == [
        "2 of 6 trials ended", "1 of 6 trials done; the same command goes on"
    ]  # fmt: skip


def test_their_bar_begins_where_they_end(trials, done, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with board() as shown:
        shown.begin(trials, 1)
        (bar,) = shown._bars.tasks
        assert (bar.completed, bar.total) == (1, 6)


def test_the_last_trial_has_nothing_left(trials, so_far, capsys):
    shown = Board(None)
    shown.begin(trials[:2], 1)
    for trial in trials[:2]:
        shown.watch(trial)
        shown.ended(trial, "done")
    assert lines_of(capsys) == ["1 of 2 trials ended"]


@pytest.mark.parametrize("name, told", [("volume", True), ("quick+ab", False)])
def test_a_run_of_days_says_so_once_and_names_the_protocol_of_minutes(
    trials, capsys, monkeypatch, name, told
):
    now = [0.0]
    monkeypatch.setattr(watching, "Pace", lambda *a: Pace(*a, clock=lambda: now[0]))
    trial = trials[0]
    protocol = trial.spec.protocol.model_copy(update={"name": name})
    monkeypatch.setitem(
        trial.__dict__, "spec", trial.spec.model_copy(update={"protocol": protocol})
    )
    shown = Board(None)
    shown.begin(trials, 1)
    watcher = shown.watch(trial)
    for step in range(1, 8):
        watcher.step(step, 20000, 0.5, 0.0)
        now[0] += 4
    warned = [line for line in lines_of(capsys) if line.startswith("warning")]
    assert len(warned) == 1
    assert "at 4.0 s a step this run takes about 5.6 days on this device" in warned[0]
    assert warned[0].endswith("; --protocol quick takes minutes") is told


def test_a_run_of_minutes_does_not(trials, capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(watching, "Pace", lambda *a: Pace(*a, clock=lambda: now[0]))
    shown = Board(None)
    shown.begin(trials, 1)
    watcher = shown.watch(trials[0])
    for step in range(1, 8):
        watcher.step(step, 120, 0.5, 0.0)
        now[0] += 1
    assert "warning" not in capsys.readouterr().err


NOTED = {"host": "node7", "device": "cpu"}


def noted(stage="training", **fields):
    return TrialProgress(**{**NOTED, "stage": stage, **fields})


def test_a_trial_that_another_has_is_told_from_its_notes_alone(trials, so_far, capsys, monkeypatch):
    monkeypatch.setattr(watching, "_SECONDS_BETWEEN_LINES", 0.0)
    shown = Board(None)
    shown.begin(trials, 1)
    one = trials[0]
    for progress in (
        noted("features", done=3, total=8),
        noted("features", done=5, total=8),
        noted(step=2, steps=6, loss=0.5, waiting=0.1),
        noted(step=2, steps=6, loss=0.5, waiting=0.1),  # nothing new
        noted(step=4, steps=6, loss=0.25, waiting=0.1, dice=0.7),
    ):
        shown.elsewhere(one, progress)
    name = "[1/6] vit center, seed 0, fold 0, on node7"
    told = lines_of(capsys)
    assert [line.removeprefix(f"{name}: ").split(", of all")[0] for line in told] == [
        "features", "features: 3 of 8", "features: 5 of 8", "training",
        "step 2 of 6, loss 0.500, 10% waiting for data",
        "step 4 of 6, loss 0.250, validation Dice 0.700, 10% waiting for data",
    ]  # fmt: skip
    moved = noted(step=4, steps=6, loss=0.25, waiting=0.1, host="node8")
    shown.elsewhere(one, moved)
    assert lines_of(capsys)[0] == "[1/6] vit center, seed 0, fold 0, on node8: training"
    watcher = shown.watch(one)  # taken over
    watcher.stage("loading")
    assert lines_of(capsys) == ["[1/6] vit center, seed 0, fold 0: loading"]
    shown.ended(one, "done")
    assert shown.pace.ended == 1


def test_a_trial_that_another_has_is_one_bar_until_it_ends_or_is_taken_over(
    trials, so_far, monkeypatch
):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with board() as shown:
        shown.begin(trials, 1)
        for step in (1, 2, 5):
            shown.elsewhere(trials[0], noted(step=step, steps=6, loss=0.5, waiting=0.0))
        _, bar = shown._bars.tasks
        assert bar.description == "vit center, seed 0, fold 0, on node7"
        assert (bar.completed, bar.total) == (5, 6)
        shown.watch(trials[0])
        _, bar = shown._bars.tasks
        assert bar.description == "vit center, seed 0, fold 0"
        shown.ended(trials[0], "done")
        assert len(shown._bars.tasks) == 1


def test_several_trials_as_bars(trials, so_far, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with board() as shown:
        shown.count("cases checked", 1, 2)
        shown.count("cases checked", 2, 2)
        shown.begin(trials, 2)
        one, two = (shown.watch(trial) for trial in trials[:2])
        one.stage("loading")
        one.stage("training")
        one.resumed(2)
        two.stage("evaluating")
        for step in range(3, 7):
            one.step(step, 6, 0.5, 0.1)
        one.dice(0.7)
        two.part(1, 2)
        assert {task.description for task in shown._bars.tasks} == {
            "trials", "vit center, seed 0, fold 0", "random, seed 0, fold 0",
        }  # fmt: skip
        shown.ended(trials[0], "done")
        shown.ended(trials[1], "failed")
        (left,) = shown._bars.tasks
        assert (left.completed, left.total) == (2, 6)
        shown.interrupted()
    told = capsys.readouterr().err
    assert "goes on from step 2" in told
    assert "after 1 of 3 seeds: open" in told
    assert "1 of 6 trials done; the same command goes on" in told
