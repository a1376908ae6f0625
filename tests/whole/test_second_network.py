"""A network that the package does not know goes all the way; nothing in the package is edited."""

import json

import pytest
import torch
from typer.testing import CliRunner

from inflate_zoo import Backbone, convert, families, load, param_groups, segmenter, verify
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.bench.training.progress import Silent
from inflate_zoo.bench.trials.running import run_trial
from inflate_zoo.cli import app
from inflate_zoo.errors import ConfigError, UsageError, VerificationError
from inflate_zoo.inflation.schemes import SCHEMES
from inflate_zoo.naming import catalog
from inflate_zoo.naming.readers.known import READERS
from tests.support import pyramid
from tests.support.datasets import write_decathlon
from tests.support.pyramid import PyramidBackbone, PyramidConfig, register, save_pyramid
from tests.support.trials import SHAPE, one_thread, tiny_run


@pytest.fixture(scope="module", autouse=True)
def _known(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        register(patch, tmp_path_factory.mktemp("known"))
        yield
    catalog.families_by_name.cache_clear()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return save_pyramid(tmp_path_factory.mktemp("source") / "pyramid")


@pytest.fixture(scope="module")
def folder(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "made"
    return convert(source, out, patch_depth=3, fold_normalization=True)


def test_its_definition_is_listed_with_the_others():
    assert {scheme.network for scheme in families()} == set(READERS) > {"pyramid", "vit"}


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
@pytest.mark.parametrize("fold", [False, True])
def test_it_is_converted_and_proved_by_every_scheme(source, tmp_path, scheme, fold):
    out = tmp_path / "out"
    convert(source, out, scheme=scheme, patch_depth=3, channels=2, fold_normalization=fold)
    record = json.loads((out / "conversion.json").read_text())
    assert record["verification"]["passed"]
    assert record["verification"]["reference"] == "Pyramid2D"
    assert "equal slices, pooled" in record["verification"]["errors"]
    assert record["dropped"] == ["classifier.weight"]
    config = json.loads((out / "config.json").read_text())
    assert (config["model_type"], config["volume"]) == ("inflated_pyramid", [3, 16, 24])
    assert verify(out, source).passed


def test_a_wrong_network_fails_the_proof(source, tmp_path, monkeypatch):
    monkeypatch.setattr(pyramid.Block, "forward", lambda self, x: x)
    with pytest.raises(VerificationError):
        convert(source, tmp_path / "out")


def test_without_its_original_the_proof_takes_the_2d_form_of_ours(source, tmp_path, monkeypatch):
    monkeypatch.setitem(pyramid.originals.ORIGINALS, "Pyramid2D", lambda asked: None)
    record = convert(source, tmp_path / "out") / "conversion.json"
    found = json.loads(record.read_text())["verification"]
    assert found["passed"]
    assert "own 2D form" in found["reference"]


def test_it_is_loaded_for_any_volume_and_saved(folder, tmp_path):
    network = load(folder, volume=(6, 8, 12)).eval()
    assert type(network) is PyramidBackbone
    assert isinstance(network, Backbone)
    assert network.grid_size == (2, 2, 3)
    volume = torch.rand(1, 1, 6, 8, 12)
    again = Backbone.from_pretrained(network.save_pretrained(tmp_path / "saved")).eval()
    with torch.inference_mode():
        assert torch.equal(network(volume), again(volume))
    assert again.config == network.config
    with pytest.raises(UsageError, match="volume width 6 is not divisible by the patch's 4"):
        load(folder, volume=(6, 8, 6))


def test_a_config_of_an_unknown_kind_names_all_that_are_known(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "other"}))
    with pytest.raises(ConfigError, match=r"have 'inflated_vit' or .*'inflated_pyramid'"):
        load(tmp_path)


def test_converted_weights_are_not_converted_again(folder, tmp_path):
    with pytest.raises(ConfigError, match="3D already"):
        convert(folder, tmp_path / "out")


@pytest.mark.parametrize("decoder, depth", [("linear", 6), ("unetr", 6), ("upernet", 3)])
def test_each_decoder_reads_it_and_comes_back_from_files(folder, tmp_path, decoder, depth):
    network = load(folder, volume=(depth, 8, 12))
    model = segmenter(network, classes=3, decoder=decoder, features=8).eval()
    volume = torch.rand(2, 1, depth, 8, 12)
    with torch.inference_mode():
        logits = model(volume)
        assert logits.shape == (2, 3, 1 if decoder == "upernet" else depth, 8, 12)
        model.save_pretrained(tmp_path / "saved")
        assert torch.equal(load(tmp_path / "saved").eval()(volume), logits)
    assert isinstance(load(tmp_path / "saved").config.backbone, PyramidConfig)
    assert all(p.requires_grad == (decoder == "linear") for p in network.norm.parameters())


def test_each_layer_of_it_learns_at_its_own_rate(folder):
    model = segmenter(load(folder), classes=2, decoder="linear")
    groups = param_groups(model, learning_rate=1.0, weight_decay=0.1, layer_decay=0.5)
    names = {id(p): name.removeprefix("backbone.") for name, p in model.named_parameters()}
    told = {group["name"]: [names[id(p)] for p in group["params"]] for group in groups}
    assert told["stem.decay"] == ["stem.weight"]
    assert "merge.weight" in told["block.2.decay"]
    assert told["head.no_decay"] == ["norm.weight", "norm.bias", "decoder.head.bias"]
    assert [g["lr"] for g in groups if g["name"] == "block.3.decay"] == [0.5]


def test_it_is_inspected(source):
    words = ["inspect", str(source), "--volume", "16,16,24"]
    result = CliRunner().invoke(app.app, words)
    assert result.exit_code == 0, result.output
    assert "a pyramid of 2 x 2 blocks" in result.output
    found = json.loads(CliRunner().invoke(app.app, [*words, "--format", "json"]).stdout)
    assert found["architecture"]["blocks"] == 2
    assert found["conversion"]["grid"] == [8, 4, 6]


def test_it_is_trained_beside_random_weights_and_predicts(tmp_path):
    write_decathlon(tmp_path / "data", 10, SHAPE, ("MRI",))
    save_pyramid(tmp_path / "vit")  # where the run looks for its source
    changes = ("train.learning_rate=1e-2", "network.drop_path=0.2")
    with one_thread():
        run = tiny_run(tmp_path, *changes, kinds=("inflated", "2d", "random"))
        for trial in run.trials:
            assert run_trial(trial, Resources("cpu", 0), Silent()) == "done"
        trial = run.trial()
        assert isinstance(trial.spec.arm.config, PyramidConfig)
        assert isinstance(load(trial.folder).backbone, PyramidBackbone)
        name = trial.spec.cases.test[0]
        image = run.data / "imagesTr" / f"{name}.nii.gz"
        words = ["predict", str(trial.folder), str(image), "--out", str(tmp_path / "predicted")]
        result = CliRunner().invoke(app.app, [*words, "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "predicted" / f"{name}.nii.gz").exists()
