"""A Swin from its files through every command to a trained trial."""

import json

import pytest
import torch
from typer.testing import CliRunner

from inflate_zoo import convert, load, verify
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.bench.training.progress import Silent
from inflate_zoo.bench.trials.running import run_trial
from inflate_zoo.cli import app
from inflate_zoo.errors import VerificationError
from inflate_zoo.networks.backbone import SwinBackbone
from inflate_zoo.networks.swin import network
from inflate_zoo.networks.swin.config import SwinConfig
from tests.support.checkpoints import save_transformers
from tests.support.datasets import write_decathlon
from tests.support.trials import SHAPE, one_thread, tiny_run

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


def test_it_is_trained_beside_random_weights_and_predicts(tmp_path):
    write_decathlon(tmp_path / "data", 10, SHAPE, ("MRI",))
    save_transformers(
        "swin", tmp_path / "vit", image_size=8, patch_size=2, depths=[1, 2], num_heads=[2, 2],
        window_size=2, embed_dim=8,
    )  # fmt: skip
    with one_thread():
        run = tiny_run(tmp_path, "network.drop_path=0.2", kinds=("inflated", "2d", "random"))
        for trial in run.trials:
            assert run_trial(trial, Resources("cpu", 0), Silent()) == "done"
        trial = run.trial()
        assert isinstance(trial.spec.arm.config, SwinConfig)
        name = trial.spec.cases.test[0]
        image = run.data / "imagesTr" / f"{name}.nii.gz"
        words = ["predict", str(trial.folder), str(image), "--out", str(tmp_path / "predicted")]
        result = CliRunner().invoke(app.app, [*words, "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "predicted" / f"{name}.nii.gz").exists()
