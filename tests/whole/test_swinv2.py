"""A SwinV2 from its files to a trained trial."""

import pytest
from typer.testing import CliRunner

from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.bench.training.progress import Silent
from inflate_zoo.bench.trials.running import run_trial
from inflate_zoo.cli import app
from inflate_zoo.networks.swinv2.config import SwinV2Config
from tests.support.checkpoints import save_transformers
from tests.support.trials import one_thread, planned_run

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")


def test_it_is_trained_beside_random_weights_and_predicts(tmp_path):
    source = save_transformers(
        "swinv2", tmp_path / "swinv2", image_size=8, patch_size=2, depths=[1, 2], num_heads=[2, 2],
        window_size=2, embed_dim=8,
    )  # fmt: skip
    with one_thread():
        run = planned_run(
            tmp_path, (str(source), f"{source}:2d", "random"), "network.drop_path=0.2"
        )
        for trial in run.trials:
            assert run_trial(trial, Resources("cpu", 0), Silent()) == "done"
        trial = run.trial()
        assert isinstance(trial.spec.arm.config, SwinV2Config)
        name = trial.spec.cases.test[0]
        image = run.data / "imagesTr" / f"{name}.nii.gz"
        words = ["predict", str(trial.folder), str(image), "--out", str(tmp_path / "predicted")]
        result = CliRunner().invoke(app.app, [*words, "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "predicted" / f"{name}.nii.gz").exists()
