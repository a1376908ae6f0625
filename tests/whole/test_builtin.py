"""What ships with the package: four small checkpoints and a task, whole and as described."""

import hashlib
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import timm
import torch
from typer.testing import CliRunner

import inflate_zoo
from inflate_zoo.bench.data.layouts import read_dataset
from inflate_zoo.bench.data.splits import deal, digest, divide
from inflate_zoo.bench.definitions.catalog import load_suite, load_task
from inflate_zoo.cli import app
from inflate_zoo.conversion.sources import builtin_of, builtin_sources, find_source
from inflate_zoo.errors import UnknownNameError, UsageError
from inflate_zoo.files.locations import data_folder
from inflate_zoo.hub.cards import license_fields

SOURCES = ("builtin/clip", "builtin/dino", "builtin/mae", "builtin/supervised")
MINI = data_folder("benchmarks/builtin/hippocampus-mini")
ORIGINALS = Path(__file__).parents[3] / "shared" / "data" / "Task04_Hippocampus"


def test_the_four_sources_are_there():
    assert tuple(builtin_sources()) == SOURCES
    assert {source for source in load_suite("builtin").sources if ":" not in source} == {*SOURCES}


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_is_what_its_card_says(name, tmp_path):
    folder = builtin_sources()[name]
    assert (folder / "model.safetensors").stat().st_size < 3_200_000
    assert license_fields(folder / "README.md") == {"license": "apache-2.0"}
    result = json.loads((folder / "result.json").read_text())
    card = (folder / "README.md").read_text()
    assert f"{result['linear_probe']:.1%}" in card
    assert "Not for results" in card
    assert {"seed", "versions", "device", "seconds"} <= result.keys()
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    again = timm.create_model(f"local-dir:{folder}", pretrained=False).eval()
    assert sum(p.numel() for p in model.parameters()) == 1_521_072
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(model(images), again(images), atol=0.1)  # trained, not initial


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_converts_like_everything_else(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app.app, ["convert", name, "--fold-normalization"])
    assert result.exit_code == 0, result.output
    assert "warning" not in result.output
    folder = Path(f"{name.replace('/', '-')}-3d-center")
    record = json.loads((folder / "conversion.json").read_text())
    assert record["verification"]["passed"]
    assert record["source"]["license"]["license"] == "apache-2.0"
    assert "base_model" not in (folder / "README.md").read_text()  # no repo of the Hub
    assert inflate_zoo.verify(folder).passed  # finds the source by itself
    assert inflate_zoo.load(folder, volume=(8, 16, 16)).grid_size == (2, 4, 4)


def test_all_have_one_architecture():
    configs = [json.loads((f / "config.json").read_text()) for f in builtin_sources().values()]
    assert all(config == configs[0] for config in configs)
    assert "license" not in configs[0]["pretrained_cfg"]


def test_names_that_are_none(tmp_path, monkeypatch):
    with pytest.raises(UnknownNameError, match="no builtin source named 'builtin/dini'") as caught:
        find_source("builtin/dini")
    assert "did you mean 'builtin/dino'?" in caught.value.hint
    with pytest.raises(UsageError, match="has no revisions"):
        find_source("builtin/dino", "main")
    assert builtin_of("builtin-dino") == "builtin/dino"
    assert builtin_of("dino") is None
    # A folder of that name is a folder.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "builtin" / "dino").mkdir(parents=True)
    with pytest.raises(UsageError, match="no weights"):
        find_source("builtin/dino")


def test_the_task_is_whole_and_its_split_fixed():
    task, names = load_task("hippocampus-mini"), [case.name for case in read_dataset(MINI).cases]
    assert len(names) == 50
    assert digest(deal(names, task.split)) == task.split.digest
    parts = divide(names, task.split, 0)
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (20, 5, 25)
    size = sum(path.stat().st_size for path in MINI.rglob("*.nii.gz"))
    assert 2_000_000 < size < 4_000_000
    assert "Attribution-ShareAlike 4.0 International" in (MINI / "LICENSE").read_text()
    attribution = (MINI / "README.md").read_text()
    assert all(word in attribution for word in ("arXiv:1902.09063", "13:4128", "Vanderbilt"))
    result = CliRunner().invoke(app.app, ["data", "check", str(MINI)])
    assert result.exit_code == 0, result.output


def test_labels_are_those_of_the_task():
    values = {0, 1, 2}
    for case in read_dataset(MINI).cases[:5]:
        label = np.asarray(nibabel.load(case.label).dataobj)
        assert set(np.unique(label).tolist()) == values


@pytest.mark.skipif(not ORIGINALS.is_dir(), reason="the whole of Task04 is not on this machine")
def test_the_volumes_are_unchanged_and_chosen_by_digest():
    table = json.loads((ORIGINALS / "dataset.json").read_text())
    names = [Path(entry["image"]).name for entry in table["training"]]
    names.sort(key=lambda name: hashlib.sha256(name[: -len(".nii.gz")].encode()).hexdigest())
    assert {path.name for path in (MINI / "imagesTr").iterdir()} == set(names[:50])
    for part in ("imagesTr", "labelsTr"):
        for name in names[:50]:
            assert (MINI / part / name).read_bytes() == (ORIGINALS / part / name).read_bytes()
