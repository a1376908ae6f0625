"""A run folder's trials: planned, found again, told from others."""

import json
from pathlib import Path

import pytest

from inflate_zoo.bench.definitions.results import Run
from inflate_zoo.bench.definitions.spec_texts import SpecTexts
from inflate_zoo.bench.definitions.trial_folder import TrialFolder
from inflate_zoo.bench.trials import folder
from inflate_zoo.bench.trials.folder import plan_trial, refuse_others
from inflate_zoo.errors import UsageError
from tests.support.trials import result_of, tiny_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("run"), kinds=("inflated", "random"), seeds=2)


def test_a_folder_that_cannot_hold_trials(run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="'file' cannot hold trials"):
        plan_trial(tmp_path / "file", run.trials[0].spec, run.trials[0].place)


def test_planning_again_writes_nothing_and_says_how_far_it_is(run, tmp_path, monkeypatch):
    planned = [(trial.spec, trial.place) for trial in run.trials]
    told = []
    monkeypatch.setattr(folder, "_EVERY", 3)
    first = folder.plan_trials(tmp_path, planned, lambda *values: told.append(values))
    assert told == [("trials planned", 3, 4), ("trials planned", 4, 4)]
    files = {path: path.stat().st_ino for path in tmp_path.rglob("*.json")}
    assert len(files) == 2 * len(planned)
    written = []
    monkeypatch.setattr(folder, "replace_text", lambda path, _: written.append(path.name))
    again = folder.plan_trials(tmp_path, planned, lambda *_: None)
    assert written == []
    assert again == first
    assert [trial.known for trial in again] == planned
    (again[0].folder / "trial.json").write_text("{}")  # damaged, and another edited
    next(again[1].folder.glob("place-*")).write_text("{}")
    folder.plan_trials(tmp_path, planned, lambda *_: None)
    assert [name.split("-")[0] for name in written] == ["trial.json", "place"]
    assert {path: path.stat().st_ino for path in tmp_path.rglob("*.json")} == files


def test_what_is_planned_is_what_is_read(run, tmp_path):
    """A folder stays self-contained: others read it without the command that planned it."""
    planned = [(trial.spec, trial.place) for trial in run.trials]
    for trial in folder.plan_trials(tmp_path, planned, lambda *_: None):
        read = TrialFolder(trial.folder)
        read.require_ready()
        assert read.spec == trial.spec
        assert read.place == trial.place
        assert read.hash == trial.folder.name == trial.spec.hash


def test_words_do_not_name_a_folder_and_are_kept_up_to_date(run, tmp_path):
    spec, place = run.trials[0].spec, run.trials[0].place
    trial = plan_trial(tmp_path, spec, place)
    trial.finish(result_of(trial), Run())
    words = {
        "arm": spec.arm.model_copy(update={"label": "random as it is called beside others"}),
        "task": spec.task.model_copy(update={"citation": "Somebody, 2026"}),
        "protocol": spec.protocol.model_copy(update={"summary": "other words"}),
    }
    for name, value in words.items():
        other = spec.model_copy(update={name: value})
        assert plan_trial(tmp_path, other, place).folder.name == spec.hash
        assert TrialFolder(tmp_path / "trials" / spec.hash).spec == other
        assert TrialFolder(tmp_path / "trials" / spec.hash).done
        refuse_others(tmp_path, [other], SpecTexts())


def test_a_run_folder_with_other_data_is_refused(run, tmp_path):
    trial = run.trials[0]
    plan_trial(tmp_path, trial.spec, trial.place)
    refuse_others(tmp_path, [each.spec for each in run.trials], SpecTexts())
    changed = {**trial.spec.entries, trial.spec.cases.test[0]: "other content"}
    other = trial.spec.model_copy(update={"entries": changed})
    with pytest.raises(UsageError, match="with other data, weights, splits or network") as caught:
        refuse_others(tmp_path, [other], SpecTexts())
    assert trial.folder.name in str(caught.value)
    refuse_others(tmp_path, [other.model_copy(update={"seed": 5})], SpecTexts())


def test_a_label_that_is_another_arm_s_there_is_refused_in_any_fold(run, tmp_path, monkeypatch):
    """Its trials would have been taken for those of this arm in other folds."""
    trial = run.trial("inflated")
    plan_trial(tmp_path, trial.spec, trial.place)
    other = trial.spec.arm.model_copy(update={"source": "another", "weights": "0" * 64})
    planned = trial.spec.model_copy(update={"fold": 1, "arm": other})
    with pytest.raises(UsageError, match=f"holds trials of '{other.label}'.* with other data"):
        refuse_others(tmp_path, [planned], SpecTexts())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"'{tmp_path.name}' holds"):  # '' held them
        refuse_others(Path(), [planned], SpecTexts())
    refuse_others(tmp_path, [trial.spec.model_copy(update={"fold": 1})], SpecTexts())
    named = other.model_copy(update={"label": "another"})
    refuse_others(tmp_path, [planned.model_copy(update={"arm": named})], SpecTexts())


def test_a_run_folder_of_another_release_is_refused_before_anything_runs(run, tmp_path):
    """Its report would fail for ever, whatever the command adds."""
    trial = run.trials[0]
    old = plan_trial(tmp_path, trial.spec, trial.place).folder
    table = json.loads((old / "trial.json").read_text())
    (old / "trial.json").write_text(json.dumps({**table, "release": "0.1"}))
    specs = [each.spec for each in run.trials]
    refuse_others(tmp_path, specs, SpecTexts())  # planned here: written anew
    with pytest.raises(UsageError, match="that this release cannot read") as caught:
        refuse_others(tmp_path, specs[1:], SpecTexts())
    assert old.name in caught.value.message
    assert "--out" in caught.value.hint
