"""What a run folder was last planned for."""

import json

import pytest

from inflate_zoo.bench.trials.run_plan import (
    PLAN,
    begin_run,
    planned_trials,
    run_began,
    run_plan,
)
from inflate_zoo.bench.trials.versions import versions
from inflate_zoo.errors import UsageError
from tests.support.trials import tiny_run


@pytest.fixture
def run(tmp_path):
    return tiny_run(tmp_path, seeds=4)


def names(trials):
    return [trial.folder.name for trial in trials]


def test_trials_come_in_the_order_in_which_they_were_planned(run):
    first, second, third, fourth = run.trials
    assert run_began(run.out) is None
    assert names(planned_trials(run.out)) == sorted(names(run.trials))
    began = begin_run(run.out, (third, first))
    assert run_began(run.out) == began == (run.out / PLAN).stat().st_mtime
    assert names(planned_trials(run.out)) == [
        *names((third, first)), *sorted(names((second, fourth))),
    ]  # fmt: skip


@pytest.mark.parametrize("content", ["", "[]", '{"trials": 3}', "\x00"])
def test_a_damaged_plan_loses_the_order_alone(run, content):
    (run.out / PLAN).write_text(content)
    assert names(planned_trials(run.out)) == sorted(names(run.trials))


def test_trials_that_are_gone_or_named_twice_do_not_count(run):
    first, *_ = run.trials
    begin_run(run.out, run.trials)
    table = json.loads((run.out / PLAN).read_text())
    table["trials"] = ["0123", "../elsewhere", first.folder.name, first.folder.name]
    (run.out / PLAN).write_text(json.dumps(table))
    found = names(planned_trials(run.out))
    assert found[0] == first.folder.name
    assert sorted(found) == sorted(names(run.trials))


def test_a_folder_without_trials_is_refused(tmp_path):
    with pytest.raises(UsageError, match="holds no trials") as caught:
        planned_trials(tmp_path)
    assert "--plan" in caught.value.hint
    with pytest.raises(UsageError, match="'absent' is no folder"):
        planned_trials(tmp_path / "absent")


def test_one_of_each_kind_is_named_and_what_planned_it(tmp_path):
    made = tiny_run(tmp_path, kinds=("inflated", "random"), seeds=2, folds=(0, 1))
    begin_run(made.out, made.trials)
    plan = run_plan(made.out)
    assert plan.trials == tuple(names(made.trials))
    assert plan.kinds == plan.trials[:4]
    assert plan.versions == versions()
    assert [trial.spec.seed for trial in made.trials[:4]] == [0] * 4


def test_a_plan_that_nobody_wrote_is_none(run):
    assert run_plan(run.out) is None
    (run.out / PLAN).write_text("{}")
    assert run_plan(run.out) is None
