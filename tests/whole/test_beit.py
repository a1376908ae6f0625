"""BEiT in a whole trial: inflated, slice by slice and from random weights."""

from typer.testing import CliRunner

from inflate_zoo import load
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.bench.training.progress import Silent
from inflate_zoo.bench.trials.running import run_trial
from inflate_zoo.cli import app
from inflate_zoo.networks.beit.config import BeitConfig
from tests.support.checkpoints import save_transformers
from tests.support.datasets import write_decathlon
from tests.support.trials import SHAPE, VIT, one_thread, tiny_run


def test_beit_is_trained_beside_random_weights_and_predicts(tmp_path):
    write_decathlon(tmp_path / "data", 10, SHAPE, ("MRI",))
    save_transformers("beit", tmp_path / "vit", **VIT)  # where the run looks for its source
    changes = ("train.learning_rate=1e-2", "network.drop_path=0.2")
    with one_thread():
        run = tiny_run(tmp_path, *changes, kinds=("inflated", "2d", "random"))
        for trial in run.trials:
            assert run_trial(trial, Resources("cpu", 0), Silent()) == "done"
        trial = run.trial()
        assert isinstance(trial.spec.arm.config, BeitConfig)
        network = load(trial.folder).backbone
        assert network.blocks[1].position_bias.depth.abs().sum() > 0  # learned, and written
        name = trial.spec.cases.test[0]
        image = run.data / "imagesTr" / f"{name}.nii.gz"
        words = ["predict", str(trial.folder), str(image), "--out", str(tmp_path / "predicted")]
        result = CliRunner().invoke(app.app, [*words, "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "predicted" / f"{name}.nii.gz").exists()


def test_beit_is_inspected(tmp_path):
    source = save_transformers("beit", tmp_path / "source")
    result = CliRunner().invoke(app.app, ["inspect", str(source), "--volume", "16,32,32"])
    assert result.exit_code == 0, result.output
    assert "a table of relative positions per block" in result.output
