"""A Swin from its files through every command."""

import json

import pytest
import torch
from typer.testing import CliRunner

from inflate_zoo import convert, load, verify
from inflate_zoo.cli import app
from inflate_zoo.errors import VerificationError
from inflate_zoo.networks.backbone import SwinBackbone
from inflate_zoo.networks.swin import network
from tests.support.checkpoints import save_transformers

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return save_transformers("swin", tmp_path_factory.mktemp("source") / "swin")


def test_it_is_inspected(source):
    words = ["inspect", str(source), "--volume", "32,64,96", "--patch-depth", "4"]
    result = CliRunner().invoke(app.app, words)
    assert result.exit_code == 0, result.output
    assert "2+2+2 blocks of width 16 to 64" in result.output
    found = json.loads(CliRunner().invoke(app.app, [*words, "--format", "json"]).stdout)
    assert (found["family"], found["conversion"]["grid"]) == ("hf_swin", [8, 4, 6])
    assert found["conversion"]["prefix_tokens"] == 0
    assert found["conversion"]["estimated_training_bytes"] > found["conversion"]["weights_bytes"]


def test_it_is_proved_with_windows_that_are_shifted_and_padded_over_depth(source, tmp_path):
    folder = convert(source, tmp_path / "out", patch_depth=3, fold_normalization=True)
    record = json.loads((folder / "conversion.json").read_text())["verification"]
    assert record["grid"] == [5, 4, 4]  # windows are 4 deep
    assert set(record["errors"]) == {"equal slices", "equal slices, pooled", "centre slice"}
    assert verify(folder, source).passed
    made = load(folder, volume=(6, 64, 64)).eval()
    assert type(made) is SwinBackbone
    assert made(torch.rand(1, 1, 6, 64, 64)).shape == (1, 64)


def test_a_wrong_table_fails_the_proof(source, tmp_path, monkeypatch):
    def alike(window, table, device):
        places = window[0] * window[1] * window[2]
        return torch.zeros(places, places, dtype=torch.long, device=device)

    monkeypatch.setattr(network, "table_rows", alike)
    with pytest.raises(VerificationError):
        convert(source, tmp_path / "out")
