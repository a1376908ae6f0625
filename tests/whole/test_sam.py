"""SAM's encoder from its files through every command to a trained trial."""

import json

import pytest
from typer.testing import CliRunner

from inflate_zoo import load
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.bench.training.progress import Silent
from inflate_zoo.bench.trials.running import run_trial
from inflate_zoo.cli import app
from inflate_zoo.networks.sam.config import SamConfig
from tests.support.checkpoints import save_transformers
from tests.support.datasets import write_decathlon
from tests.support.trials import SHAPE, one_thread, tiny_run

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")


def test_it_is_inspected(tmp_path):
    source = save_transformers("sam", tmp_path / "sam")
    words = ["inspect", str(source), "--volume", "32,64,96", "--patch-depth", "4"]
    result = CliRunner().invoke(app.app, [*words, "--depth-window", "2"])
    assert result.exit_code == 0, result.output
    assert "windows 3x3 (global: 1)" in result.output
    found = json.loads(CliRunner().invoke(app.app, [*words, "--format", "json"]).stdout)
    assert (found["family"], found["conversion"]["grid"]) == ("hf_sam", [8, 8, 12])
    assert found["conversion"]["prefix_tokens"] == 0
    assert found["conversion"]["estimated_training_bytes"] > found["conversion"]["weights_bytes"]


def test_it_is_trained_beside_random_weights_and_predicts(tmp_path):
    write_decathlon(tmp_path / "data", 10, SHAPE, ("MRI",))
    save_transformers(
        "sam_vision", tmp_path / "vit", image_size=8, patch_size=2, num_hidden_layers=2,
        hidden_size=16, num_attention_heads=2, output_channels=8, mlp_dim=24,
    )  # fmt: skip
    with one_thread():
        run = tiny_run(
            tmp_path, "train.learning_rate=1e-2", "network.drop_path=0.2",
            kinds=("inflated", "2d", "random"),
        )  # fmt: skip
        for trial in run.trials:
            assert run_trial(trial, Resources("cpu", 0), Silent()) == "done"
        trial = run.trial()
        assert isinstance(trial.spec.arm.config, SamConfig)
        backbone = load(trial.folder).backbone
        assert backbone.depth_embed.abs().sum() > 0  # learned, and written
        assert backbone.blocks[1].attn.rel_pos_d.abs().sum() > 0
        name = trial.spec.cases.test[0]
        image = run.data / "imagesTr" / f"{name}.nii.gz"
        words = ["predict", str(trial.folder), str(image), "--out", str(tmp_path / "predicted")]
        result = CliRunner().invoke(app.app, [*words, "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "predicted" / f"{name}.nii.gz").exists()
