"""What is exported: found wherever it is, with what is known of it."""

import shutil
from hashlib import sha256

import pytest
import torch

from inflate_zoo import Backbone, load
from inflate_zoo.errors import ConfigError, UnknownNameError, UsageError
from inflate_zoo.exporting.sources import load_source
from inflate_zoo.segmentation.segmenter import Segmenter

FILES = {"config.json", "model.safetensors", "conversion.json"}


def test_a_conversion_with_what_it_is_fed(converted):
    found = load_source(str(converted), None)
    assert isinstance(found.network, Backbone)
    assert not found.network.training
    assert found.backbone is found.network
    assert not any(parameter.requires_grad for parameter in found.network.parameters())
    assert found.volume == (16, 32, 32)
    assert found.fed.value_range == (0.0, 1.0)
    assert (found.name, found.classes, found.trial, found.notes) == ("vit-3d", None, None, ())
    origin = found.origin
    assert (origin.kind, origin.repo, origin.trial) == ("backbone", None, None)
    assert origin.license == {"license": "apache-2.0"}
    assert origin.files.keys() == FILES
    for name, file in origin.files.items():
        content = (converted / name).read_bytes()
        assert (file.sha256, file.bytes) == (sha256(content).hexdigest(), len(content))


def test_another_volume(converted):
    found = load_source(str(converted), (8, 24, 40))
    assert found.volume == (8, 24, 40)
    with pytest.raises(UsageError, match="not divisible"):
        load_source(str(converted), (8, 24, 41))


def test_weights_that_were_trained_on_are_not_taken_for_those_of_the_record(converted, tmp_path):
    folder = shutil.copytree(converted, tmp_path / "mine")
    net = load(folder)
    with torch.no_grad():
        net.patch_embed.weight.add_(1)
    net.save_pretrained(folder)
    found = load_source(str(folder), None)
    assert found.fed.value_range is None
    assert "others than those" in found.notes[0]
    assert found.origin.license == {}


def test_a_saved_network_of_which_nothing_is_recorded(converted, tmp_path):
    load(converted).save_pretrained(tmp_path / "saved")
    found = load_source(str(tmp_path / "saved"), None)
    assert found.fed.value_range is None
    assert "not recorded" in found.fed.told
    assert found.origin.files.keys() == {"config.json", "model.safetensors"}


def test_a_trial_with_its_task(finished_run):
    trial = finished_run.trial()
    found = load_source(str(trial.folder), None)
    task = trial.spec.task
    assert isinstance(found.network, Segmenter)
    assert found.backbone is found.network.backbone
    assert found.origin.trial == trial.hash
    assert [each.value for each in found.classes] == list(task.values)
    assert {each.name: each.value for each in found.classes} == dict(task.labels)
    assert len(found.classes) == found.network.classes
    assert found.fed.channels == task.channels
    assert found.fed.spacing_mm == task.spacing
    assert (found.fed.low, found.fed.high) == (task.intensity.low, task.intensity.high)
    assert {"trial.json", "record.json"} <= found.origin.files.keys()
    moved = load(trial.folder).eval()
    volume = torch.rand(1, 1, *found.volume)
    with torch.no_grad():
        assert torch.equal(found.network(volume), moved(volume))


def test_a_run_and_a_trial_that_is_not_done_are_told(finished_run, tmp_path):
    with pytest.raises(UsageError, match="2 finished trials") as caught:
        load_source(str(finished_run.out), None)
    assert str(finished_run.out / "trials") in caught.value.hint
    folder = shutil.copytree(finished_run.trial().folder, tmp_path / "trial")
    (folder / "record.json").unlink()
    with pytest.raises(UsageError, match="is not done") as caught:
        load_source(str(folder), None)
    assert "bench-trial" in caught.value.hint


def test_a_repo_at_one_commit_with_all_that_tells_of_it(hub, converted):
    commit = hub.add_repo("me/vit-3d", converted)
    found = load_source("me/vit-3d", None)
    origin = found.origin
    assert (origin.name, origin.repo, origin.commit) == ("vit-3d", "me/vit-3d", commit)
    assert origin.files.keys() == FILES
    assert found.fed.value_range == (0.0, 1.0)
    volume = torch.rand(1, 1, *found.volume)
    with torch.no_grad():
        assert torch.equal(found.network(volume), load(converted).eval()(volume))


def test_a_folder_of_a_repo(hub, converted):
    files = {f"deep/vit/{path.name}": path.read_bytes() for path in converted.iterdir()}
    commit = hub.add_repo("me/many", files)
    origin = load_source(f"me/many/deep/vit@{commit}", None).origin
    assert (origin.name, origin.inside, origin.commit) == ("vit", "deep/vit", commit)
    assert origin.files.keys() == FILES


def test_what_is_no_network_of_ours(hub, converted, tmp_path):
    with pytest.raises(UnknownNameError):
        load_source("no-such-entry", None)
    with pytest.raises(UsageError, match="no folder of converted weights"):
        load_source("./gone", None)
    with pytest.raises(ConfigError, match="convert the 2D checkpoint"):
        load_source(str(converted.parent / "vit"), None)
