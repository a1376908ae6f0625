"""A trial's folder: what names it, what it holds, what damaged ones say."""

import json
import os
import socket

import pytest

from inflate_zoo.bench.definitions.results import Failure, Run
from inflate_zoo.bench.definitions.spec_texts import SpecTexts
from inflate_zoo.bench.definitions.trial_folder import RECORD, TrialFolder, place_file
from inflate_zoo.bench.trials.folder import plan_trial, refuse_others, trials_of
from inflate_zoo.errors import UsageError
from tests.support.trials import result_of, tiny_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("run"), kinds=("inflated", "random"), seeds=2)


def test_where_things_are_does_not_determine_it(run, tmp_path):
    trial = run.trials[0]
    place = trial.place.model_copy(update={"cache": "/elsewhere", "command": ("other",)})
    other = plan_trial(tmp_path, trial.spec, place)
    assert other.folder.name == trial.folder.name
    assert TrialFolder(other.folder).place == place
    assert (other.folder / "trial.json").read_text() == (trial.folder / "trial.json").read_text()
    assert str(run.cache) not in (trial.folder / "trial.json").read_text()
    assert [found.folder for found in trials_of(tmp_path)] == [other.folder]


def test_done_means_a_record(run, tmp_path):
    trial = plan_trial(tmp_path, run.trials[0].spec, run.trials[0].place)
    assert not trial.done
    assert trial.failure() is None
    failure = Failure(kind="error", reason="odd", case="case_03", where="a.py:7", when="now")
    trial.fail(failure)
    assert trial.failure() == failure
    trial.finish(result_of(trial), Run(device="cpu"))
    assert trial.done
    assert trial.failure() is None
    record = trial.believed()
    assert record.hash == trial.folder.name
    assert record.trial == json.loads(json.dumps(trial.spec.plain()))
    before = (trial.folder / RECORD).read_bytes()
    plan_trial(tmp_path, trial.spec, trial.place.model_copy(update={"cache": "/moved"}))
    assert (trial.folder / RECORD).read_bytes() == before
    with pytest.raises(ValueError, match="finite number"):
        trial.finish(result_of(trial, curves={"loss": [(1, float("nan"))]}), Run())
    assert (trial.folder / RECORD).read_bytes() == before


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '{"task": 1}', "\x00"])
def test_a_damaged_folder_is_named(run, tmp_path, content):
    folder = tmp_path / "0123"
    folder.mkdir()
    if content is not None:
        (folder / "trial.json").write_text(content)
    with pytest.raises(UsageError, match=r"'0123' is no trial: its trial\.json") as caught:
        _ = TrialFolder(folder).spec
    assert "inflate-zoo bench" in caught.value.hint
    (folder / "trial.json").write_text((run.trials[0].folder / "trial.json").read_text())
    if content is not None:
        (folder / place_file(run.trials[0].place)).write_text(content)
    with pytest.raises(UsageError, match=r"place-.*\.json cannot be read"):
        _ = TrialFolder(folder).place


def test_hosts_that_share_a_run_folder_have_places_of_their_own(run, tmp_path, monkeypatch):
    def host(name):
        monkeypatch.setattr(socket, "gethostname", lambda: name)

    def planned(name, cache):
        host(name)
        place = run.trials[0].place.model_copy(update={"cache": str(cache), "weights": None})
        return plan_trial(tmp_path, run.trials[0].spec, place).folder

    folder = planned("one", "/gone")
    host("three")
    with pytest.raises(UsageError, match="planned on another host") as caught:
        _ = TrialFolder(folder).place
    assert "with the same --out" in caught.value.hint
    (tmp_path / "cache").mkdir()
    planned("two", tmp_path / "cache")
    for name in ("one", "two", "three"):  # the first one's own is gone
        host(name)
        assert TrialFolder(folder).place.cache == str(tmp_path / "cache")


def test_containers_of_one_host_name_have_places_of_their_own(run, tmp_path):
    """The same trial, planned from two containers that see other folders."""
    spec, place = run.trials[0].spec, run.trials[0].place
    ours, theirs = (tmp_path / name for name in ("ours", "theirs"))
    for cache in (ours, theirs):
        cache.mkdir()
        moved = place.model_copy(update={"cache": str(cache), "weights": None})
        folder = plan_trial(tmp_path, spec, moved).folder
        os.utime(folder / place_file(moved), (len(str(cache)), len(str(cache))))
    assert TrialFolder(folder).place.cache == str(theirs)  # the newest
    theirs.rmdir()  # another container does not see it
    assert TrialFolder(folder).place.cache == str(ours)
    ours.rmdir()
    assert TrialFolder(folder).place.cache == str(theirs)  # so that it is named as missing


def test_a_place_of_release_0_2_is_read(run, tmp_path):
    spec, place = run.trials[0].spec, run.trials[0].place
    folder = plan_trial(tmp_path, spec, place).folder
    (named,) = folder.glob("place-*")
    named.rename(folder / f"place-{socket.gethostname()}.json")
    assert TrialFolder(folder).place == place


def test_what_a_process_noted_last(run, tmp_path):
    trial = plan_trial(tmp_path, run.trials[0].spec, run.trials[0].place)
    assert trial.progress() is None
    for content in ("", "[]", '{"host": 1}', '{"host": "a", "device": "b", "step": -1}'):
        (trial.folder / "progress.json").write_text(content)
        assert trial.progress() is None
    (trial.folder / "progress.json").write_text('{"host": "a", "device": "b", "step": 3}')
    assert trial.progress().step == 3


def without_digest(table):
    result = {**table["result"], "mean": {name: {"dice": 0.6} for name in table["result"]["mean"]}}
    return {**table, "digest": None, "result": result}


SPOILED = {
    "trial.json cut": ("trial.json", lambda table: None),
    "another seed": ("trial.json", lambda table: {**table, "seed": 7}),
    "another name": ("trial.json", lambda table: {**table, "hash": "0" * 16}),
    "record cut": ("record.json", lambda table: None),
    "another trial's record": ("record.json", lambda table: {**table, "hash": "0" * 16}),
    "no digest and another mean": ("record.json", lambda table: without_digest(table)),
}


@pytest.mark.parametrize("name, spoil", SPOILED.values(), ids=SPOILED)
def test_a_trial_is_done_where_folder_trial_and_record_agree(run, tmp_path, name, spoil):
    spec, place = run.trials[0].spec, run.trials[0].place
    trial = plan_trial(tmp_path, spec, place)
    trial.finish(result_of(trial), Run())
    path = trial.folder / name
    table = spoil(json.loads(path.read_text()))
    path.write_text(json.dumps(table)[:-9] if table is None else json.dumps(table))
    assert not TrialFolder(trial.folder).done
    refuse_others(tmp_path, [each.spec for each in run.trials], SpecTexts())
    again = plan_trial(tmp_path, spec, place)
    assert again.spec == spec
    assert again.done == (name == "trial.json")  # written anew, the record is right again


def test_a_renamed_folder_is_not_done_and_does_not_run(run, tmp_path):
    trial = plan_trial(tmp_path, run.trials[0].spec, run.trials[0].place)
    trial.finish(result_of(trial), Run())
    moved = TrialFolder(trial.folder.rename(trial.folder.with_name("copy")))
    assert not moved.done
    assert moved.believed(moved=True).hash == trial.folder.name
    with pytest.raises(UsageError, match="'copy' is not the one that was planned"):
        moved.require_ready()


def test_a_failure_that_cannot_be_read_says_nothing(run, tmp_path):
    trial = plan_trial(tmp_path, run.trials[0].spec, run.trials[0].place)
    (trial.folder / "failure.json").write_text("")
    assert trial.failure().reason == "failure.json cannot be read"
