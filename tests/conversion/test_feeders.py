"""The libraries' own way from pixels to what an original takes."""

import json

import pytest
import torch
from typer.testing import CliRunner

from inflate_zoo.cli import app
from inflate_zoo.conversion import feeders
from inflate_zoo.conversion.converting import convert
from inflate_zoo.naming.configs.normalization import (
    PROCESSORS,
    Preprocessor,
    for_channels,
    from_preprocessor,
)
from tests.support.checkpoints import save_timm, save_transformers

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")
FILE = "preprocessor_config.json"
STATED = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.25, 0.5]}
THIRD = {"rescale_factor": 1 / 127.5}


def read(fields, usual="ViTImageProcessor"):
    found = from_preprocessor(Preprocessor(FILE, "", fields), usual)
    assert found is not None
    return found


@pytest.mark.parametrize("kind", sorted(PROCESSORS))
def test_the_table_is_what_the_library_does(kind):
    """Every default and every switch, by the library's own processor on whole pixels."""
    pixels = torch.randint(0, 256, (1, 3, 8, 12), dtype=torch.uint8)
    for fields in (
        {},
        {"do_normalize": False},
        STATED | THIRD,
        {"do_rescale": False, "offset": False} | STATED,
        {"do_rescale": False, "do_normalize": False, "offset": False},
    ):
        fed = read({"image_processor_type": kind, **fields})
        folded = for_channels(fed.normalization, 3)
        feeder = feeders.feeder_of(fed, folded, 3)
        if kind == "DINOv3ViTImageProcessor" and feeder.built_by is None:
            assert "cannot be used" in feeder.replayed  # of some it takes no whole pixels
            continue
        assert feeder.built_by.endswith(kind), feeder.replayed
        torch.testing.assert_close(
            feeder.images(pixels), feeders._replayed(pixels, folded), rtol=1e-5, atol=1e-5
        )


def test_an_unknown_processor_is_taken_by_its_fields_and_never_built():
    fed = read(STATED | {"image_processor_type": "os.system"})
    feeder = feeders.feeder_of(fed, fed.normalization, 3)
    assert feeder.built_by is None
    assert "'os.system' is none that the proof builds" in feeder.replayed
    assert from_preprocessor(Preprocessor(FILE, "", {"image_processor_type": "Mine"}), None) is None


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return save_transformers("vit", tmp_path_factory.mktemp("s") / "vit", num_hidden_layers=1)


def test_timm_is_fed_by_its_own_transforms(tmp_path):
    source = save_timm("dino", tmp_path / "source", depth=1)
    folder = convert(source, tmp_path / "out", fold_normalization=True, scheme="average")
    proof = json.loads((folder / "conversion.json").read_text())["verification"]
    assert proof["passed"]
    assert proof["fed_by"].startswith("timm ")


def test_without_torchvision_the_proof_says_that_mean_and_std_were_replayed(
    vit, tmp_path, monkeypatch
):
    monkeypatch.setattr(feeders, "find_spec", lambda name: None if name == "torchvision" else name)
    args = ["convert", str(vit), "--fold-normalization", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app.app, args)
    assert result.exit_code == 0, result.output
    told = "fed by mean and std as folded (torchvision is not installed)"
    assert told in result.stdout
    assert told in (tmp_path / "out" / "README.md").read_text()
