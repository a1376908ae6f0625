"""A source of OpenCLIP with a timm image tower: converted and proven by its own config."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import inflate_zoo
from inflate_zoo.conversion.converting import convert, verify
from inflate_zoo.conversion.inspection import inspect_source
from inflate_zoo.conversion.sources import find_source
from inflate_zoo.errors import UnsupportedModelError, VerificationError
from inflate_zoo.naming.configs import normalization
from tests.support.checkpoints import (
    open_clip_config,
    open_clip_trunk,
    save_open_clip,
    save_timm,
    save_transformers,
)

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")
FILE = "open_clip_config.json"
SUFFIXES = {".safetensors": "open_clip_model.safetensors", ".bin": "open_clip_pytorch_model.bin"}


def record_of(folder: Path) -> dict:
    return json.loads((folder / "conversion.json").read_text())


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Both forms of one model."""
    base = tmp_path_factory.mktemp("open_clip")
    return {s: save_open_clip(base / s.strip("."), suffix=s) for s in SUFFIXES}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_it_needs_nothing_by_hand(saved, tmp_path, suffix):
    out = convert(
        saved[suffix], tmp_path / "out", fold_normalization=True, patch_depth=2, channels=3
    )
    record = record_of(out)
    source, recipe, proof = record["source"], record["recipe"], record["verification"]
    assert set(source["sha256"]) == {SUFFIXES[suffix], FILE}
    assert (source["weights"], source["arch"]) == (SUFFIXES[suffix], "test_vit")
    assert source["taken"] == "visual.trunk."
    assert recipe["normalization"] == {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.5]}
    assert recipe["normalization_from"] == f"{FILE}: preprocess_cfg"
    assert recipe["normalization_basis"] == proof["normalization"] == "stated"
    assert proof["passed"]
    assert proof["fed_by"].endswith("transforms")
    assert {"logit_scale", "visual.head.proj.weight"} <= set(record["dropped"])
    card = (out / "README.md").read_text().replace("\\", "")
    assert f"stated by the source: {FILE}: preprocess_cfg" in card
    assert f"{FILE} states the architecture: timm's test_vit." in card
    assert verify(out, saved[suffix]).passed


def test_pixels_give_what_the_original_is_fed(saved, tmp_path):
    """Against timm's network and OpenCLIP's arithmetic, by hand."""
    out = convert(
        saved[".bin"], tmp_path / "out", fold_normalization=True, patch_depth=2, channels=3
    )
    trunk, pixels = open_clip_trunk().eval(), torch.rand(1, 3, 160, 160)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.4, 0.5, 0.6], [0.2, 0.25, 0.5]))
    network = inflate_zoo.load(out, volume=(2, 160, 160)).eval()
    volume = pixels.unsqueeze(2).repeat(1, 1, 2, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(network(volume), trunk((pixels - mean) / std), rtol=0, atol=1e-4)


def test_a_normalisation_that_is_misread_fails_the_proof(saved, tmp_path, monkeypatch):
    right = normalization.from_open_clip

    def misread(cfg):
        fed = right(cfg)
        wrong = fed.normalization.model_copy(update={"mean": (0.5, 0.5, 0.5)})
        return type(fed)(wrong, fed.basis, fed.origin, fed.processor)

    monkeypatch.setattr(normalization, "from_open_clip", misread)
    with pytest.raises(VerificationError):
        convert(saved[".bin"], tmp_path / "out", fold_normalization=True)


def test_both_forms_give_the_same_weights(saved, tmp_path):
    made = [convert(saved[s], tmp_path / s, verify=False) for s in SUFFIXES]
    first, second = (record_of(folder)["files"]["model.safetensors"] for folder in made)
    assert first == second


def test_open_clips_default_where_the_config_says_nothing(tmp_path):
    config = open_clip_config()
    del config["preprocess_cfg"]
    out = convert(
        save_open_clip(tmp_path / "in", config), tmp_path / "out", fold_normalization=True
    )
    recipe = record_of(out)["recipe"]
    assert recipe["normalization"]["mean"] == [0.48145466, 0.4578275, 0.40821073]
    assert recipe["normalization"]["std"] == [0.26862954, 0.26130258, 0.27577711]
    assert recipe["normalization_from"] == f"{FILE}: preprocess_cfg, else OpenCLIP's default"
    assert record_of(out)["verification"]["passed"]


@pytest.mark.parametrize(
    "vision, pool",
    [
        ({"timm_pool": "avg"}, "mean"),
        ({"timm_pool": "avg", "timm_proj": "none"}, "mean"),
        ({"arch": "test_vit3", "timm_pool": "map", "timm_proj": "none"}, "mean"),
    ],
)
def test_the_pooling_is_the_configs(tmp_path, vision, pool):
    folder = save_open_clip(tmp_path / "in", open_clip_config(**vision))
    out = convert(folder, tmp_path / "out")
    assert record_of(out)["verification"]["passed"]
    assert json.loads((out / "config.json").read_text())["pool"] == pool
    assert verify(out, folder).passed


def test_inspect_says_the_same(saved):
    found = inspect_source(saved[".safetensors"])
    assert (found["arch"], found["family"], found["taken"]) == (
        "test_vit",
        "timm_vit",
        "visual.trunk.",
    )
    assert found["normalization"]["mean"] == [0.4, 0.5, 0.6]
    assert found["normalization"]["from"] == f"{FILE}: preprocess_cfg"
    assert any(FILE in note for note in found["notes"])


def test_config_json_goes_first(tmp_path):
    """A repo that holds both forms is what its config.json says, and the other is not read."""
    for kind, save in {"clip_vision": save_transformers, "augreg": save_timm}.items():
        folder = save(kind, tmp_path / kind)
        alone = inspect_source(folder), find_source(str(folder)).files()
        (folder / FILE).write_text("{")
        (folder / "open_clip_model.safetensors").write_bytes(b"x")
        assert (inspect_source(folder), find_source(str(folder)).files()) == alone


def test_a_config_json_that_states_nothing_leaves_it_to_open_clip(saved, tmp_path):
    folder = shutil.copytree(saved[".safetensors"], tmp_path / "in")
    (folder / "config.json").write_text('{"id2label": {"0": "x"}}')
    assert inspect_source(folder)["arch"] == "test_vit"


def test_an_architecture_given_by_hand(saved, tmp_path):
    """The same name loses nothing of what the file says; another one is taken instead."""
    folder = save_open_clip(tmp_path / "in", open_clip_config(timm_pool="avg"))
    out = convert(folder, tmp_path / "out", arch="test_vit", fold_normalization=True)
    assert json.loads((out / "config.json").read_text())["pool"] == "mean"
    assert verify(out, folder).passed
    other = convert(folder, tmp_path / "other", arch="test_vit.r160_in1k", fold_normalization=True)
    record = record_of(other)
    assert record["source"]["arch"] == "test_vit.r160_in1k"
    assert record["recipe"]["normalization_from"] == f"{FILE}: preprocess_cfg"
    assert json.loads((other / "config.json").read_text())["pool"] == "cls"
    assert not any(FILE in note for note in record["notes"])
    assert verify(other, folder).passed


def test_a_conversion_of_an_earlier_version_is_verified_as_it_was_made(saved, tmp_path):
    folder = save_open_clip(tmp_path / "in", open_clip_config(timm_pool="avg"))
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(folder / "open_clip_model.safetensors", bare)
    out = convert(bare, tmp_path / "out", arch="test_vit")
    assert json.loads((out / "config.json").read_text())["pool"] == "cls"
    assert verify(out, folder).passed


def test_a_network_of_open_clips_own_that_is_none_is_told_before_its_weights(tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "open_clip_model.safetensors").write_bytes(b"not read")
    vision = {"image_size": 224, "layers": [3, 4, 6, 3], "width": 64}
    config = {"model_cfg": {"embed_dim": 8, "vision_cfg": vision, "text_cfg": {}}}
    (folder / FILE).write_text(json.dumps(config))
    with pytest.raises(UnsupportedModelError, match="a CNN"):
        inspect_source(folder)
