"""Segmenters: what they compute, that slices stay apart, and their files."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from inflate_zoo import Backbone, convert, load, segmenter
from inflate_zoo.errors import (
    AccountingError,
    ConfigError,
    OutputExistsError,
    UnknownNameError,
    UsageError,
)
from inflate_zoo.networks.vit.config import VitConfig
from inflate_zoo.segmentation.segmenter import Segmenter

ROOT = Path(__file__).parents[2]
DECODERS = ["linear", "unetr"]


def config(blocks=4, **changes):
    form = {
        "embed_dim": 16, "depth": blocks, "num_heads": 2, "mlp": "mlp", "mlp_dim": 16,
        "activation": "gelu", "norm_eps": 1e-6, "in_channels": 2, "patch_size": (2, 3),
        "position_grid": (2, 2), "position_prefix": 1, "cls_token": True, "dist_token": False,
        "reg_tokens": 0, "qkv_bias": True, "layer_scale": False, "stem_bias": True,
        "pre_norm": False, "final_norm": "tokens", "pool": "cls", "patch_depth": 2,
        "volume": (6, 4, 6),
    }  # fmt: skip
    return VitConfig(**{**form, **changes})


def backbone(**changes):
    network = Backbone(config(**changes))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0.2, 0.5)
    return network


def flat(**changes):
    return backbone(patch_depth=1, volume=(1, 4, 6), **changes)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_segmenter_has_what_a_trainer_needs(decoder):
    inner = backbone()
    network = segmenter(inner, classes=3, decoder=decoder, features=8)
    assert network.backbone is inner
    assert (network.classes, network.volume, network.slice_wise) == (3, (6, 4, 6), False)
    assert (network.config.decoder, network.config.features) == (decoder, 8)
    x = torch.rand(2, 2, 6, 4, 6)
    maps = network.encode(x)
    assert {tuple(m.shape) for m in maps} == {(2, 16, 3, 2, 2)}
    logits = network(x)
    assert logits.shape == (2, 3, 6, 4, 6)
    torch.testing.assert_close(network.decode(maps, x), logits)
    network.set_grad_checkpointing()
    assert inner.grad_checkpointing
    torch.testing.assert_close(network(x), logits)
    network(x).square().sum().backward()
    unused = {"norm.weight", "norm.bias"} if decoder == "unetr" else set()
    still = {n.removeprefix("backbone.") for n, p in network.named_parameters() if p.grad is None}
    assert still == unused


@pytest.mark.parametrize("decoder", ["unetr", "linear"])
def test_only_a_missing_image_path_is_written_and_comes_back(decoder, tmp_path):
    with_path, without = (
        segmenter(backbone(), classes=2, decoder=decoder, features=8, image_path=path)
        for path in (True, False)
    )
    x = torch.rand(1, 2, 6, 4, 6)
    for network, folder in ((with_path, tmp_path / "with"), (without, tmp_path / "without")):
        network.save_pretrained(folder)
        again = load(folder)
        assert again.config.image_path == (network.config.image_path or decoder == "linear")
        torch.testing.assert_close(again(x), network(x))
    assert "image_path" not in json.loads((tmp_path / "with" / "config.json").read_text())
    written = json.loads((tmp_path / "without" / "config.json").read_text())
    assert written.get("image_path") == (False if decoder == "unetr" else None)
    torch.testing.assert_close(without.decode(without.encode(x)), without(x))


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"classes": 1}, "classes: Input should be greater than or equal to 2"),
        ({"features": 12}, "features 12 is not a multiple of 8"),
        ({"features": 0, "decoder": "linear"}, "features"),
        ({"slice_wise": True}, "patch depth 1 for volumes one slice deep"),
        ({"decoder": "unter"}, "no decoder named 'unter'"),
        ({"decoder": None}, "no decoder named 'None'"),
    ],
)
def test_bad_arguments(arguments, words):
    with pytest.raises(UsageError, match=words) as caught:
        segmenter(backbone(), **{"classes": 2, **arguments})
    if "decoder" in arguments and arguments["decoder"] == "unter":
        assert isinstance(caught.value, UnknownNameError)
        assert "unetr" in caught.value.hint


def test_slice_wise_needs_volumes_one_slice_deep():
    deep = backbone(patch_depth=1, volume=(3, 4, 6))
    with pytest.raises(UsageError, match="volumes 3 deep"):
        segmenter(deep, classes=2, slice_wise=True)


@pytest.mark.parametrize("slice_wise", [False, True])
@pytest.mark.parametrize("decoder", DECODERS)
def test_save_and_load_keep_every_bit(tmp_path, decoder, slice_wise):
    inner = flat() if slice_wise else backbone()
    network = segmenter(inner, classes=3, decoder=decoder, features=8, slice_wise=slice_wise)
    (tmp_path / "trial").mkdir()
    (tmp_path / "trial" / "trial.json").write_text("mine")
    for _ in range(2):  # over its own files, too
        assert network.save_pretrained(tmp_path / "trial") == tmp_path / "trial"
    again = load(tmp_path / "trial")
    assert isinstance(again, Segmenter)
    assert again.volume == network.volume
    saved = network.state_dict()
    assert list(again.state_dict()) == list(saved)
    assert all(torch.equal(tensor, saved[name]) for name, tensor in again.state_dict().items())
    x = torch.rand(1, 2, 3 if slice_wise else 6, 4, 6)
    assert torch.equal(again(x), network(x))
    assert sorted(p.name for p in (tmp_path / "trial").iterdir()) == [
        "config.json",
        "model.safetensors",
        "trial.json",
    ]
    raw = json.loads((tmp_path / "trial" / "config.json").read_text())
    assert raw["model_type"] == "inflated_vit_segmenter"
    assert raw["backbone"]["model_type"] == "inflated_vit"
    assert raw["format_version"] == 1


def test_what_was_loaded_can_be_saved_to_the_same_bytes(tmp_path):
    network = segmenter(backbone(), classes=2, features=8)
    network.save_pretrained(tmp_path / "one")
    load(tmp_path / "one").save_pretrained(tmp_path / "two")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_depth_table_of_zeros_is_not_saved(tmp_path):
    network = segmenter(backbone(), classes=2, decoder="linear")
    network.save_pretrained(tmp_path / "one")
    network = load(tmp_path / "one")
    with torch.no_grad():
        network.backbone.depth_embed.zero_()
    network.save_pretrained(tmp_path / "two")
    assert "backbone.depth_embed" not in load_file(tmp_path / "two" / "model.safetensors")
    assert load(tmp_path / "two").backbone.depth_embed.shape == (1, 3, 16)


@pytest.mark.parametrize("decoder", DECODERS)
def test_another_window_resizes_the_tables_as_of_a_backbone(tmp_path, decoder):
    network = segmenter(backbone(), classes=2, decoder=decoder, features=8)
    network.save_pretrained(tmp_path / "net")
    network.backbone.save_pretrained(tmp_path / "inner")
    volume = (8, 10, 3)
    wide, inner = load(tmp_path / "net", volume=volume), load(tmp_path / "inner", volume=volume)
    assert wide.volume == wide.config.backbone.volume == volume
    for name, tensor in inner.state_dict().items():
        assert torch.equal(tensor, wide.backbone.state_dict()[name]), name
    assert wide(torch.rand(1, 2, *volume)).shape == (1, 2, *volume)
    with pytest.raises(UsageError, match="depth 7 is not divisible"):
        load(tmp_path / "net", volume=(7, 4, 6))


def test_slice_wise_loads_for_any_depth(tmp_path):
    network = segmenter(flat(), classes=2, features=8, slice_wise=True)
    assert network.volume == (1, 4, 6)
    network.save_pretrained(tmp_path / "net")
    wide = load(tmp_path / "net", volume=(7, 8, 6))
    assert wide.volume == (7, 8, 6)
    assert wide.backbone.config.volume == (1, 8, 6)
    assert wide(torch.rand(1, 2, 7, 8, 6)).shape == (1, 2, 7, 8, 6)


@pytest.mark.parametrize("volume", [(0, 4, 6), (-3, 4, 6), ("x", 4, 6), (2, 4), None, "2,4,6"])
def test_a_slice_wise_segmenter_asks_for_a_volume_too(volume, tmp_path):
    network = segmenter(flat(), classes=2, decoder="linear", slice_wise=True)
    folder = network.save_pretrained(tmp_path / "net")
    with pytest.raises(UsageError, match="does not fit"):
        network.set_input_size(volume)
    assert (network.volume, network.backbone.config.volume) == ((1, 4, 6), (1, 4, 6))
    if volume is not None:  # that of the file
        with pytest.raises(UsageError, match="does not fit"):
            load(folder, volume=volume)


def test_numbers_of_another_library_are_numbers():
    network = segmenter(backbone(), classes=np.int64(3), decoder="linear", features=np.int32(8))
    network.set_input_size(np.array([2, 8, 6]))
    assert network.volume == (2, 8, 6)
    assert type(network.config.classes) is type(network.volume[0]) is int


def test_types(tmp_path):
    network = segmenter(backbone(), classes=2, features=8)
    network.save_pretrained(tmp_path / "net")
    half = load(tmp_path / "net", dtype="bfloat16")
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    assert half(torch.rand(1, 2, 6, 4, 6).bfloat16()).dtype == torch.bfloat16
    half.save_pretrained(tmp_path / "half")
    assert {p.dtype for p in load(tmp_path / "half").parameters()} == {torch.float32}
    with pytest.raises(ConfigError, match="float64") as caught:
        network.double().save_pretrained(tmp_path / "double")
    assert caught.value.hint == "segmenter.float() first"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    network = segmenter(backbone(), classes=2, features=8)
    return network.save_pretrained(tmp_path_factory.mktemp("s") / "net")


def changed(saved, target, edit):
    shutil.copytree(saved, target)
    tensors = load_file(target / "model.safetensors")
    raw = json.loads((target / "config.json").read_text())
    edit(tensors, raw)
    save_file(tensors, target / "model.safetensors")
    (target / "config.json").write_text(json.dumps(raw))
    return target


@pytest.mark.parametrize(
    "edit, kind, words",
    [
        (lambda t, c: t.pop("decoder.head.bias"), AccountingError, "missing: 'decoder.head.bias'"),
        (lambda t, c: t.update(extra=torch.zeros(2)), AccountingError, "left over: 'extra'"),
        (
            lambda t, c: t.update({"decoder.head.bias": torch.zeros(3)}),
            AccountingError,
            r"unexpected shape: 'decoder.head.bias' \[3\], expected \[2\]",
        ),
        (lambda t, c: c.update(classes=3), AccountingError, "decoder.head.weight"),
        (lambda t, c: c.update(decoder="linear"), AccountingError, "left over: 'decoder.image"),
        (lambda t, c: c.update(classes="2"), ConfigError, "classes: Input should be a valid int"),
        (lambda t, c: c.update(extra=1), ConfigError, "extra"),
        (lambda t, c: c.update(format_version=2), ConfigError, "format_version"),
        (lambda t, c: c["backbone"].update(num_heads=5), ConfigError, "not divisible"),
        (lambda t, c: c.update(slice_wise=True), ConfigError, "one slice deep"),
        (lambda t, c: c.update(model_type="unet"), ConfigError, "model_type is 'unet'"),
    ],
)
def test_loading_is_strict(saved, tmp_path, edit, kind, words):
    with pytest.raises(kind, match=words):
        load(changed(saved, tmp_path / "bad", edit))


def test_each_kind_names_the_other(saved, tmp_path):
    with pytest.raises(ConfigError, match="that of a segmenter"):
        Backbone.from_pretrained(saved)
    inner = backbone().save_pretrained(tmp_path / "inner")
    with pytest.raises(ConfigError, match="that of a backbone"):
        Segmenter.from_pretrained(inner)


def test_weights_that_are_not_ours_are_not_replaced(tmp_path):
    (tmp_path / "trial").mkdir()
    (tmp_path / "trial" / "model.safetensors").write_text("of somebody else")
    with pytest.raises(OutputExistsError, match="not ours to replace"):
        segmenter(backbone(), classes=2, decoder="linear").save_pretrained(tmp_path / "trial")


def test_a_fresh_process_loads_it(saved, tmp_path):
    code = (
        "import sys, inflate_zoo, torch\n"
        "for _ in range(2):\n"
        "    network = inflate_zoo.load('net')\n"
        "    assert network(torch.zeros(1, 2, 6, 4, 6)).shape == (1, 2, 6, 4, 6)\n"
        "    inner = network.backbone\n"
        "    made = inflate_zoo.segmenter(inner, classes=2, decoder='linear')\n"
        "    inflate_zoo.param_groups(made, learning_rate=1.0, weight_decay=0.0)\n"
        "assert 'monai' in sys.modules\n"
    )
    shutil.copytree(saved, tmp_path / "net")
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}
    )


def test_a_segmenter_is_not_taken_for_a_2d_source(tmp_path):
    segmenter(backbone(), classes=2, decoder="linear").save_pretrained(tmp_path / "saved")
    with pytest.raises(ConfigError, match="3D already") as error:
        convert(tmp_path / "saved", tmp_path / "out")
    assert "inflate_zoo.load" in (error.value.hint or "")
