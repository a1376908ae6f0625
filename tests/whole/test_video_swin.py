"""A Video-Swin, 3D already, from its files through every command to a trained trial."""

import json

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from inflate_zoo import convert, load, segmenter, verify
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.bench.training.progress import Silent
from inflate_zoo.bench.trials.running import run_trial
from inflate_zoo.cli import app
from inflate_zoo.errors import UsageError
from inflate_zoo.networks.backbone import SwinBackbone
from tests.support.checkpoints import build_swin3d, save_swin3d, swin_original, video_swin_original
from tests.support.trials import one_thread, planned_run

pytestmark = [
    pytest.mark.filterwarnings("ignore:the source states no license:UserWarning"),
    pytest.mark.filterwarnings("ignore:the source states no normalisation:UserWarning"),
]
TINY = {
    "patch_size": [2, 2, 2], "embed_dim": 8, "depths": [1, 2], "num_heads": [2, 2],
    "window_size": [2, 2, 2],
}  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return save_swin3d(tmp_path_factory.mktemp("source"))


def run(*words):
    return CliRunner().invoke(app.app, [str(word) for word in words])


def test_it_is_inspected(source):
    result = run("inspect", source)
    assert result.exit_code == 0, result.output
    assert "3D already: 2+2+2 blocks of width 16 to 64" in result.output
    assert "3D stem    16x3x2x4x4, as it is" in result.output
    assert "6x64x64 voxels: grid 3x4x4" in result.output
    assert "2D" not in result.output
    found = json.loads(run("inspect", source, "--format", "json", "--spacing", "5,1,1").stdout)
    assert (found["family"], found["conversion"]["scheme"]) == ("torchvision_swin3d", None)
    assert (found["parameters_2d"], found["proposed_patch_depth"]) == (None, None)


def test_it_becomes_our_files_and_nothing_is_inflated(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("convert", source)
    assert result.exit_code == 0, result.output
    assert "3 channel(s), 6x64x64 voxels by default" in result.output
    assert "nothing was inflated" in result.output
    folder = tmp_path / "swin3d_t-7615ae03-3d"
    record = json.loads((folder / "conversion.json").read_text())
    assert (record["recipe"]["scheme"], record["recipe"]["channels"]) == (None, 3)
    card = (folder / "README.md").read_text()
    assert "2d-to-3d" not in card
    assert "Nothing was inflated" in card
    assert "| Scheme | none: the source is 3D already" in card
    theirs = build_swin3d().state_dict()
    ours = load_file(folder / "model.safetensors")
    assert torch.equal(ours["patch_embed.weight"], theirs["patch_embed.proj.weight"])
    name = "attn.relative_position_bias_table"
    assert torch.equal(ours[f"stages.2.blocks.1.{name}"], theirs[f"features.4.1.{name}"])
    assert verify(folder, source).passed
    again = run("verify", folder, "--source", source)
    assert again.exit_code == 0, again.output
    made = load(folder).eval()
    assert type(made) is SwinBackbone
    volume = torch.rand(1, 3, 6, 64, 64)
    model = build_swin3d()
    with torch.inference_mode():
        torch.testing.assert_close(model.head(made(volume)), model(volume))


@pytest.mark.parametrize(
    "words, told",
    [
        (["--scheme", "center"], "--scheme has no use"),
        (["--channels", "3"], "--channels has no use"),
        (["--scheme", "average", "--channels", "1"], "--scheme and --channels have no use"),
        (["--patch-depth", "2"], "--patch-depth has no use"),
        (["--depth-window", "3"], "--depth-window has no use"),
        (["--merge-depth"], "--merge-depth has no use"),
        (["--volume", "5,64,64"], "volume depth 5 is not divisible by the patch's 2"),
    ],
    ids=str,
)
def test_what_says_how_to_inflate_is_refused(source, tmp_path, words, told):
    for command in (["inspect", source], ["convert", source, "--out", tmp_path / "out"]):
        result = run(*command, *words)
        assert result.exit_code == 2
        assert told in result.output
        assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def test_a_given_default_is_told_from_an_absent_one(source, tmp_path):
    with pytest.raises(UsageError, match="is 3D already and is taken as it is"):
        convert(source, tmp_path / "out", scheme="center")
    with pytest.raises(UsageError, match="--channels has no use"):
        convert(source, tmp_path / "out", channels=3)
    assert convert(source, tmp_path / "out", volume=(12, 64, 96), verify=False)
    assert load(tmp_path / "out").grid_size == (6, 4, 6)


def test_the_authors_file_gives_the_same_tensors(source, tmp_path):
    torch.save(video_swin_original(), tmp_path / "swin_tiny_patch244_window877.pth")
    folder = convert(tmp_path / "swin_tiny_patch244_window877.pth", tmp_path / "authors")
    record = json.loads((folder / "conversion.json").read_text())
    assert record["source"]["family"] == "video_swin"
    assert record["source"]["taken"] == "state_dict.backbone."
    assert "state_dict.cls_head.fc_cls.weight" in record["dropped"]
    assert record["verification"]["reference"].startswith("torchvision ")
    ours = load_file(convert(source, tmp_path / "ours") / "model.safetensors")
    theirs = load_file(folder / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_2d_swin_of_the_same_names_is_inflated(tmp_path):
    torch.save(swin_original(), tmp_path / "swin.pth")
    folder = convert(tmp_path / "swin.pth", tmp_path / "out", verify=False)
    record = json.loads((folder / "conversion.json").read_text())
    assert (record["source"]["family"], record["recipe"]["scheme"]) == ("swin", "center")


@pytest.mark.parametrize("decoder, depth", [("linear", 10), ("unetr", 10), ("upernet", 6)])
def test_each_decoder_reads_it(source, tmp_path, decoder, depth):
    folder = convert(source, tmp_path / "out", verify=False)
    model = segmenter(
        load(folder, volume=(depth, 64, 64)), classes=3, decoder=decoder, features=8
    ).eval()
    volume = torch.rand(1, 3, depth, 64, 64)
    with torch.inference_mode():
        logits = model(volume)
        assert logits.shape == (1, 3, 1 if decoder == "upernet" else depth, 64, 64)
        model.save_pretrained(tmp_path / "saved")
        assert torch.equal(load(tmp_path / "saved").eval()(volume), logits)


@pytest.mark.parametrize("channels", [("MRI",), ("T1", "T2")])
def test_it_is_trained_beside_random_weights_and_predicts(tmp_path, channels):
    source = save_swin3d(tmp_path / "source", **TINY)
    with one_thread():
        run_made = planned_run(tmp_path, (str(source), "random"), channels=channels)
        for trial in run_made.trials:
            assert run_trial(trial, Resources("cpu", 0), Silent()) == "done"
        trial = run_made.trial()
        assert trial.spec.arm.label == "swin3d_t-7615ae03 as it is"
        assert (trial.spec.arm.scheme, trial.spec.arm.config.in_channels) == ("as it is", 1)
        name = trial.spec.cases.test[0]
        images = sorted((run_made.data / "imagesTr").glob(f"{name}*.nii.gz"))
        out = tmp_path / "predicted"
        result = run("predict", trial.folder, *images, "--out", out, "--device", "cpu")
    assert result.exit_code == 0, result.output
    report = run("report", run_made.out)
    assert report.exit_code == 0, report.output
    assert "as it is" in (run_made.out / "report.md").read_text()
