"""One attempt at a trial: what it keeps, and what its record tells."""

import os
import socket

import pytest
import torch

from inflate_zoo import load
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.bench.training.progress import Silent
from inflate_zoo.bench.trials.running import run_trial
from inflate_zoo.bench.trials.versions import versions
from inflate_zoo.segmentation.segmenter import Segmenter
from tests.support.trials import one_thread, tiny_run

CPU = Resources("cpu", 0)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


@pytest.mark.parametrize("kind", ["inflated", "2d", "random"])
def test_what_is_kept_is_the_trained_network(home, monkeypatch, kind):
    kept, real = [], Segmenter.save_pretrained

    def watch(self, folder):
        kept.append(self)
        return real(self, folder)

    monkeypatch.setattr(Segmenter, "save_pretrained", watch)
    trial = tiny_run(home, kinds=("inflated", "2d", "random"), name=kind).trial(kind)
    assert run_trial(trial, CPU, Silent()) == "done"
    volume = torch.rand(1, 1, 4, 8, 8)
    with torch.inference_mode():
        assert torch.equal(load(trial.folder).eval()(volume), kept[0].eval()(volume))
    before = (trial.folder / "record.json").read_bytes()
    assert run_trial(trial, CPU, Silent()) == "done"
    assert (trial.folder / "record.json").read_bytes() == before
    assert len(kept) == 1


def test_the_record_tells_its_circumstances(home):
    trial = tiny_run(home, name="told").trial()
    assert run_trial(trial, CPU, Silent()) == "done"
    run = trial.believed().run
    assert not run.model_extra  # what is written is what the form names
    assert None not in run.model_dump(exclude={"peak_memory_bytes"}).values()
    assert run.host == socket.gethostname()
    assert run.device == "cpu"
    assert run.command == ("inflate-zoo", "bench")
    assert run.versions == versions()
    assert run.seconds["training"] > 0
    text = (trial.folder / "record.json").read_text()
    assert str(home) not in text
    assert os.sep + "site-packages" not in text
