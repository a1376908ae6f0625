"""Which trials segment: the one that is named, or those of a run that are asked for."""

import json
import shutil

import pytest

from inflate_zoo.bench.definitions.trial_folder import TrialFolder
from inflate_zoo.bench.prediction.choosing import (
    Choice,
    find_trial,
    find_trials,
    names_of,
    require_alike,
)
from inflate_zoo.errors import UsageError
from tests.support.trials import LINEAR, tiny_run


def test_the_trial_is_found(run, pair, tmp_path):
    assert find_trial(run.trials[0].folder).spec == run.trials[0].spec
    assert find_trial(pair.out).folder == pair.trials[0].folder
    with pytest.raises(UsageError) as caught:
        find_trial(run.out)
    assert "holds 2 trained networks" in str(caught.value)
    for trial in run.trials:
        assert f"{trial.folder}: {trial.spec.arm.label}, seed 0, fold 0" in str(caught.value)
    assert "--arm" in caught.value.hint
    copy = tmp_path / "run"
    shutil.copytree(run.out, copy)
    for path in copy.glob("trials/*/record.json"):
        path.unlink()
    with pytest.raises(UsageError, match="none of the 2 trials"):
        find_trial(copy)
    undone = next((copy / "trials").iterdir())
    with pytest.raises(UsageError, match="not done") as caught:
        find_trial(undone)
    assert f"inflate-zoo bench-trial {undone}" in caught.value.hint
    with pytest.raises(UsageError, match="neither a trial's folder"):
        find_trial(tmp_path)


def told(folder, **asked):
    with pytest.raises(UsageError) as caught:
        find_trials(folder, Choice(**asked))
    return str(caught.value)


def test_an_arm_is_named_as_the_report_names_it(run):
    inflated, flat = run.trial(), run.trial("2d")
    for trial in (inflated, flat):
        found = find_trials(run.out, Choice(arms=(trial.spec.arm.label,)))
        assert [each.folder for each in found] == [trial.folder]
    assert find_trials(inflated.folder, Choice())[0].folder == inflated.folder
    labels = sorted(trial.spec.arm.label for trial in run.trials)
    for trial in run.trials:
        near = trial.spec.arm.label[:-1]
        said = told(run.out, arms=(near,))
        assert f"'{run.out.name}' has no arm '{near}'" in said
        assert all(f"  {label}" in said for label in labels)
        assert "did you mean" in said
    assert "name one of them" in told(run.out, arms=("something else entirely",))
    said = told(run.out, seeds=(0,))
    assert "holds 2 arms" in said
    assert all(f"  {label}" in said for label in labels)
    both = find_trials(run.out, Choice(arms=tuple(labels)))
    assert [trial.spec.arm.label for trial in both] == labels


def test_a_trial_s_folder_is_not_taken_for_another(run):
    trial = run.trial()
    assert find_trials(trial.folder, Choice(seeds=(0,)))[0].folder == trial.folder
    assert "has no arm" in told(trial.folder, arms=(run.trial("2d").spec.arm.label,))
    assert "it has seed 0" in told(trial.folder, seeds=(7,))


def numbers(trials):
    return [(trial.spec.fold, trial.spec.seed) for trial in trials]


def test_an_arm_is_one_however_its_trials_were_called_when_they_were_planned(seeds, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(seeds.out, copy)
    label = seeds.trials[0].spec.arm.label
    for path in copy.glob("trials/*/trial.json"):
        spec = json.loads(path.read_text())
        if spec["seed"] == 1:
            spec["arm"]["label"] = f"{label} beside others"
            path.write_text(json.dumps(spec))
    for choice in (Choice(arms=(f"{label} beside others",)), Choice(seeds=(0, 1))):
        found = find_trials(copy, choice)
        assert numbers(found) == [(0, 0), (0, 1), (1, 0), (1, 1)]
        assert all(name.startswith(f"{label} beside others, seed ") for name in names_of(found))
    assert f"arm '{label} beside others' has no trial of seed 5" in told(copy, seeds=(0, 5))
    with pytest.raises(UsageError, match=f"{label} beside others, seed 0, fold 0"):
        find_trial(copy)


def test_seeds_and_folds_are_chosen(seeds):
    label = seeds.trials[0].spec.arm.label
    chosen = {
        Choice(arms=(label,)): [(0, 0), (0, 1), (1, 0), (1, 1)],
        Choice(seeds=(1,)): [(0, 1), (1, 1)],
        Choice(folds=(1,)): [(1, 0), (1, 1)],
        Choice(seeds=(1, 0), folds=(0,)): [(0, 0), (0, 1)],
        Choice((label,), (1,), (1,)): [(1, 1)],
    }
    for choice, expected in chosen.items():
        assert numbers(find_trials(seeds.out, choice)) == expected
    said = told(seeds.out, seeds=(0, 5))
    assert f"arm '{label}' has no trial of seed 5" in said
    assert "it has seed 0, 1" in said
    assert "no trial of fold 4" in told(seeds.out, folds=(4,))


def test_a_trial_that_is_not_done_is_not_left_out_silently(seeds, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(seeds.out, copy)
    label = seeds.trials[0].spec.arm.label
    undone = next(t for t in seeds.trials if (t.spec.fold, t.spec.seed) == (1, 0))
    (copy / "trials" / undone.hash / "record.json").unlink()
    said = told(copy, arms=(label,))
    assert "1 of the 4 trials that are asked for are not done" in said
    assert f"  {label}, seed 0, fold 1" in said
    assert numbers(find_trials(copy, Choice(seeds=(1,)))) == [(0, 1), (1, 1)]


def test_a_trial_that_cannot_be_read_is_left_out_by_name(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run.out, copy)
    spoilt, label = copy / "trials" / run.trial("2d").hash, run.trial().spec.arm.label
    (spoilt / "trial.json").write_text("{}")
    with pytest.warns(UserWarning, match=f"{spoilt.name}' is no trial.*; it is left out$"):
        (found,) = find_trials(copy, Choice(arms=(label,)))
    assert found.hash == run.trial().hash
    for path in copy.glob("trials/*/trial.json"):
        path.write_text("{}")
    assert "is no trial" in told(copy, arms=(label,))


def test_one_name_in_two_protocols_is_told(seeds, tmp_path):
    first = tiny_run(tmp_path, *LINEAR)
    tiny_run(tmp_path, *LINEAR, "train.steps=7")
    label = first.trials[0].spec.arm.label
    said = told(first.out, arms=(label,))
    assert "holds such trials of 2 tasks and protocols" in said
    assert f"{first.trials[0].folder}: " in said


def test_an_ensemble_shares_task_and_classes(run):
    trial = run.trial()
    spec, place = trial.spec, trial.place

    def other(**fields):
        task = spec.task.model_copy(update=fields)
        return TrialFolder(trial.folder, (spec.model_copy(update={"task": task}), place))

    require_alike([trial, other(spacing=(1.0, 1.0, 1.0)), other(title="called otherwise")])
    for field, value in {
        "name": "liver",
        "channels": ("CT",),
        "labels": {"background": 0, "back": 2, "front": 5},
        "regions": {"front": (2, 5)},
        "slices": "axial" if spec.task.slices != "axial" else "coronal",
    }.items():
        with pytest.raises(UsageError, match=f"differ in the task's {field}") as caught:
            require_alike([trial, other(**{field: value})])
        assert len(caught.value.details) == 2
    other_one = {"bf16": "fp32", "fp32": "bf16"}[spec.protocol.train.precision]
    train = spec.protocol.train.model_copy(update={"precision": other_one})
    protocol = spec.protocol.model_copy(update={"train": train})
    halved = TrialFolder(trial.folder, (spec.model_copy(update={"protocol": protocol}), place))
    with pytest.raises(UsageError, match="they were trained in"):
        require_alike([trial, halved])
