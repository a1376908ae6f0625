"""Loading and saving converted weights."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from timm.layers import resample_abs_pos_embed

from inflate_zoo import Backbone, load, segmenter
from inflate_zoo.conversion.converting import convert
from inflate_zoo.errors import (
    AccountingError,
    CheckpointError,
    ConfigError,
    UnknownNameError,
    UsageError,
)
from inflate_zoo.files.writing.staging import MARKER
from inflate_zoo.segmentation.segmenter import Segmenter
from tests.support.checkpoints import save_transformers

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return save_transformers("deit", tmp_path_factory.mktemp("s") / "source")


@pytest.fixture(scope="module")
def converted(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("c") / "deit-3d"
    return convert(source, out, patch_depth=4, dtype="bfloat16", verify=False)


def test_load_gives_a_float32_network_of_the_recorded_volume(converted):
    backbone = load(converted)
    assert isinstance(backbone, Backbone)
    assert {p.dtype for p in backbone.parameters()} == {torch.float32}
    assert backbone.config.volume == (4, 32, 32)
    assert load(converted, dtype="float16").patch_embed.weight.dtype == torch.float16


@pytest.mark.parametrize("volume", [(8, 32, 32), (12, 48, 24), (4, 16, 64)])
def test_any_volume_resizes_the_table_as_timm_does(converted, volume):
    native = load(converted)
    backbone = load(converted, volume=volume)
    grid = [volume[1] // 8, volume[2] // 8]
    expected = resample_abs_pos_embed(native.pos_embed, grid, [4, 4], num_prefix_tokens=2)
    torch.testing.assert_close(backbone.pos_embed, expected)
    assert backbone.depth_embed.shape == (1, volume[0] // 4, 48)
    assert backbone.forward_features(torch.randn(2, 1, *volume)).shape[1] == 2 + (
        volume[0] // 4 * grid[0] * grid[1]
    )


def test_a_volume_the_patch_does_not_divide(converted):
    with pytest.raises(UsageError, match="depth 6 is not divisible by the patch's 4"):
        load(converted, volume=(6, 32, 32))


def test_save_and_load_again_keeps_every_bit_and_the_trained_depth_table(converted, tmp_path):
    backbone = load(converted, volume=(12, 48, 24))
    with torch.no_grad():
        backbone.depth_embed.normal_()
    backbone.save_pretrained(tmp_path / "saved")
    again = Backbone.from_pretrained(tmp_path / "saved")
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    deeper = Backbone.from_pretrained(tmp_path / "saved", volume=(24, 48, 24))
    assert deeper.depth_embed.shape == (1, 6, 48)
    expected = torch.nn.functional.interpolate(
        backbone.depth_embed.detach().transpose(1, 2), size=6, mode="linear"
    )
    torch.testing.assert_close(deeper.depth_embed.detach(), expected.transpose(1, 2))
    assert sorted(p.name for p in (tmp_path / "saved").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]


def test_an_untrained_depth_table_is_not_saved(converted, tmp_path):
    load(converted, volume=(8, 32, 32)).save_pretrained(tmp_path / "saved")
    assert "depth_embed" not in load_file(tmp_path / "saved" / "model.safetensors")


def test_saving_over_our_own_files_leaves_others_alone(converted, tmp_path):
    folder = tmp_path / "mixed"
    shutil.copytree(converted, folder)
    (folder / "notes.txt").write_text("mine")
    load(folder).save_pretrained(folder)
    assert (folder / "notes.txt").read_text() == "mine"
    assert load(folder).config.volume == (4, 32, 32)


def test_the_network_does_not_depend_on_the_file_any_more(converted, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(converted, folder)
    backbone = load(folder, dtype="bfloat16")
    before = backbone.blocks[0].mlp.fc1.weight.clone()
    size = (folder / "model.safetensors").stat().st_size
    (folder / "model.safetensors").write_bytes(b"\0" * size)
    assert torch.equal(backbone.blocks[0].mlp.fc1.weight, before)


def changed(converted, target, edit):
    shutil.copytree(converted, target)
    tensors = load_file(target / "model.safetensors")
    config = json.loads((target / "config.json").read_text())
    edit(tensors, config)
    save_file(tensors, target / "model.safetensors")
    (target / "config.json").write_text(json.dumps(config))
    return target


@pytest.mark.parametrize(
    "edit, words",
    [
        (lambda t, c: t.pop("norm.bias"), "missing: 'norm.bias'"),
        (lambda t, c: t.update(extra=torch.zeros(2)), "left over: 'extra'"),
        (lambda t, c: t.update(cls_token=torch.zeros(1, 1, 47)), "unexpected shape: 'cls_token'"),
    ],
)
def test_loading_is_strict(converted, tmp_path, edit, words):
    with pytest.raises(AccountingError, match=words):
        load(changed(converted, tmp_path / "bad", edit))


@pytest.mark.parametrize(
    "field, value, words",
    [
        ("num_heads", 5, "not divisible"),
        ("patch_depth", 0, "patch_depth"),
        ("model_type", "vit", "convert the 2D checkpoint first"),
        ("unknown_field", 1, "unknown_field"),
        ("format_version", 3, "format_version"),
    ],
)
def test_a_bad_config_is_named(converted, tmp_path, field, value, words):
    folder = changed(converted, tmp_path / "bad", lambda t, c: c.update({field: value}))
    with pytest.raises(ConfigError, match=words):
        load(folder)


def test_bad_sources(converted, source, tmp_path):
    with pytest.raises(ConfigError, match="convert the 2D checkpoint first"):
        load(source)
    with pytest.raises(UsageError, match="no folder of converted weights"):
        load(converted / "model.safetensors")
    with pytest.raises(UnknownNameError, match="did you mean 'float16'"):
        load(converted, dtype="flaot16")
    folder = tmp_path / "torn"
    shutil.copytree(converted, folder)
    (folder / MARKER).mkdir()
    with pytest.raises(UsageError, match="interrupted"):
        load(folder)
    (folder / MARKER).rmdir()
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-10])
    with pytest.raises(CheckpointError, match="truncated"):
        load(folder)


def test_what_is_asked_for_has_to_be_there(converted, tmp_path):
    assert isinstance(load(converted, kind="backbone"), Backbone)
    with pytest.raises(ConfigError, match="that of a backbone, not of a segmenter"):
        load(converted, kind="segmenter")
    folder = segmenter(load(converted), classes=2, decoder="linear").save_pretrained(tmp_path / "s")
    assert isinstance(load(folder, kind="segmenter"), Segmenter)
    with pytest.raises(ConfigError, match="that of a segmenter, not of a backbone"):
        load(folder, kind="backbone")
    with pytest.raises(UnknownNameError, match="no kind of network named 'backbones'"):
        load(converted, kind="backbones")


def test_weights_go_to_the_device_that_is_named(converted):
    assert load(converted, device="cpu").cls_token.device.type == "cpu"
    assert load(converted, device=torch.device("meta")).cls_token.device.type == "meta"


@pytest.mark.parametrize("device", ["cuda:99", "nowhere", "mtia"])
def test_a_device_that_is_not_there_is_one_sentence(converted, device):
    with pytest.raises(UsageError, match=f"device '{device}' cannot be used: ") as caught:
        load(converted, device=device)
    assert "\n" not in caught.value.args[0]


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64], ids=str)
def test_weights_that_are_no_floats_are_refused(converted, dtype):
    with pytest.raises(UsageError, match="weights cannot be ") as caught:
        load(converted, dtype=dtype)
    assert "float32, float16, bfloat16" in caught.value.hint


@pytest.mark.parametrize("volume", [8, (8, 32), ("8", 32, 32), (8.0, 32, 32), (0, 32, 32)], ids=str)
def test_what_is_no_volume_is_one_sentence(converted, volume):
    with pytest.raises(UsageError, match="does not fit") as caught:
        load(converted, volume=volume)
    assert "depth, height, width" in caught.value.hint


def test_a_classifier_has_no_place_in_the_files(converted, tmp_path):
    backbone = load(converted)
    backbone.reset_classifier(4)
    with pytest.raises(UsageError, match="a classifier of 4 classes") as caught:
        backbone.save_pretrained(tmp_path / "saved")
    assert "reset_classifier(0)" in caught.value.hint
    assert not (tmp_path / "saved").exists()
