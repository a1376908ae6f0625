"""What a host must have before it takes trials."""

import shutil
import socket
from importlib.metadata import version
from pathlib import Path

import pytest

from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.bench.trials import readiness, run_plan
from inflate_zoo.bench.trials.readiness import require_place
from inflate_zoo.bench.trials.run_plan import begin_run
from inflate_zoo.errors import UsageError
from tests.support.trials import one_thread, tiny_run

CPU = Resources("cpu", threads=1)
HOST = socket.gethostname()


@pytest.fixture
def run(tmp_path):
    made = tiny_run(tmp_path, kinds=("inflated", "random"), seeds=2)
    begin_run(made.out, made.trials)
    with one_thread():
        yield made


def refusal(run, resources=CPU, out=None):
    with pytest.raises(UsageError) as caught:
        require_place(out or run.out, resources)
    assert caught.value.message.startswith(f"host '{HOST}' cannot take trials of ")
    return caught.value


def test_a_place_that_has_all_is_ready(run):
    ready = require_place(run.out, CPU)
    assert ready.trials == run.trials
    assert (ready.host, ready.device, ready.threads) == (HOST, "cpu", 1)
    ready.require_cores()
    assert ready.sentence.startswith(f"host {HOST} can take 4 trials: cpu, 1 thread on ")
    assert not list(run.out.rglob(".clock-*"))


def test_a_run_folder_that_is_not_there_or_empty(run, tmp_path):
    assert "'absent' is no folder" in refusal(run, out=tmp_path / "absent").message
    (tmp_path / "empty").mkdir()
    assert "'empty' holds no trials" in refusal(run, out=tmp_path / "empty").message


def test_a_run_folder_that_cannot_be_written(run, monkeypatch):
    def touch(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", touch)
    assert refusal(run).message.endswith("it cannot write there: Permission denied")


def test_other_versions_than_those_that_planned(run, monkeypatch):
    found = readiness.versions()
    monkeypatch.setattr(readiness, "versions", lambda: found | {"torch": "2.3", "scipy": "0"})
    told = refusal(run)
    assert f"torch 2.3 instead of {version('torch')}" in told.message
    assert f"scipy 0 instead of {version('scipy')}" in told.message
    assert "same environment" in told.hint


def test_a_plan_without_versions_asks_for_none(run, monkeypatch):
    monkeypatch.setattr(run_plan, "versions", dict)
    begin_run(run.out, run.trials)
    monkeypatch.setattr(readiness, "versions", dict)
    assert require_place(run.out, CPU).trials == run.trials


@pytest.mark.parametrize("planned", [True, False])
def test_weights_and_cases_that_the_cache_lacks(run, planned):
    if not planned:  # then every trial is looked at
        (run.out / run_plan.PLAN).unlink()
    spec, place = run.trial("inflated").spec, run.trial("inflated").place
    gone = sorted(spec.entries.values())[:2]
    for key in gone:
        (run.cache / "cases" / key / "label.npy").unlink()
    told = refusal(run)
    assert told.message.endswith(f"2 of {len(spec.entries)} cases are not in its cache")
    assert "share its folder and the cache" in told.hint
    (Path(place.weights) / "model.safetensors").unlink()
    assert "the weights of 'vit center' are not in its cache" in refusal(run).message


def test_a_cache_of_another_host_that_is_not_here(run, tmp_path):
    for trial in run.trials:
        (file,) = trial.folder.glob("place-*.json")
        file.rename(trial.folder / "place-elsewhere-0.json")
    shutil.rmtree(run.cache)
    assert "whose cache is not there" in refusal(run).message


def test_a_device_that_is_not_there(run):
    told = refusal(run, Resources("cuda:77", threads=1))
    assert "this machine has no device 'cuda:77'" in told.message


def test_one_of_each_kind_is_looked_at(run, monkeypatch):
    looked = []
    monkeypatch.setattr(readiness, "_require_data", lambda trials: looked.extend(trials))
    require_place(run.out, CPU)
    assert [(trial.spec.arm.kind, trial.spec.seed) for trial in looked] == [
        ("inflated", 0), ("random", 0),
    ]  # fmt: skip


def test_more_threads_than_cores_are_refused_where_that_is_asked(run, monkeypatch):
    monkeypatch.setattr(readiness, "usable_cores", lambda: 1)
    ready = require_place(run.out, Resources("cpu", threads=2))
    assert ready.threads == 2
    with pytest.raises(UsageError, match="has 1 core for this process, and a trial takes 2 th"):
        ready.require_cores()
