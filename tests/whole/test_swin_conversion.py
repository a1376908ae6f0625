"""Swin's files of timm and of its authors."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file

from inflate_zoo.conversion.converting import convert
from inflate_zoo.errors import (
    AmbiguousSourceError,
    ConfigError,
    UnsupportedModelError,
    VerificationError,
)
from tests.support.checkpoints import (
    TIMM_STAGED,
    save_timm,
    swin_original,
    swinv2_original,
)

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")


def proof_of(folder):
    return json.loads((folder / "conversion.json").read_text())["verification"]


@pytest.mark.parametrize("kind", TIMM_STAGED)
def test_every_timm_kind_equals_the_original(kind, tmp_path):
    source = save_timm(kind, tmp_path / "source")
    recipe = {"scheme": "average", "patch_depth": 3, "channels": 2, "fold_normalization": True}
    for number, options in enumerate(({"patch_depth": 2}, recipe)):
        proof = proof_of(convert(source, tmp_path / f"out{number}", **options))
        assert proof["max_error_over_rms"] < 2e-5
        assert re.fullmatch(r"timm [0-9.]+ Swin\w+", proof["reference"])
        assert ("equal slices, pooled" in proof["errors"]) == ("max" not in kind)


def test_the_originals_pth_is_proved_and_gives_the_same_tensors(tmp_path):
    torch.save(swin_original(), tmp_path / "swin.pth")
    folder = convert(tmp_path / "swin.pth", tmp_path / "out")
    assert proof_of(folder)["passed"]
    assert proof_of(folder)["reference"].startswith("timm ")
    record = json.loads((folder / "conversion.json").read_text())
    assert record["source"]["family"] == "swin"
    assert "model.layers.0.blocks.1.attn_mask" in record["dropped"]
    config = json.loads((folder / "config.json").read_text())
    assert (config["image_size"], config["windows"]) == ([64, 64], [[4, 4]] * 3)
    assert (config["clipping"], config["padding"]) == ("plane", "before_shift")
    timm = convert(save_timm("swin_timm", tmp_path / "timm"), tmp_path / "out2")
    assert_same(folder, timm)


def test_swinv2s_pth_is_proved_and_gives_the_same_tensors(tmp_path):
    torch.save(swinv2_original(), tmp_path / "swinv2.pth")
    folder = convert(tmp_path / "swinv2.pth", tmp_path / "out", patch_depth=3)
    assert proof_of(folder)["max_error_over_rms"] < 2e-5
    assert proof_of(folder)["reference"].endswith("SwinTransformerV2")
    record = json.loads((folder / "conversion.json").read_text())
    assert record["source"]["family"] == "swinv2"
    timm = convert(save_timm("swinv2_timm", tmp_path / "timm"), tmp_path / "out2", patch_depth=3)
    assert_same(folder, timm)


def test_coordinates_of_other_windows_are_seen(tmp_path):
    """A model that was fine-tuned at larger windows: no name and no shape tells it."""
    torch.save(swinv2_original("swinv2_timm_pretrained"), tmp_path / "swinv2.pth")
    with pytest.raises(VerificationError, match="measures offsets by other windows") as error:
        convert(tmp_path / "swinv2.pth", tmp_path / "out")
    assert "layers.0.blocks.0.attn.relative_coords_table" in error.value.details[0]


def assert_same(folder, other):
    ours, theirs = (load_file(each / "model.safetensors") for each in (folder, other))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_bare_timm_file_takes_its_architectures_name(tmp_path):
    source = save_timm("swin_timm", tmp_path / "source", layout="file")
    with pytest.raises((AmbiguousSourceError, ConfigError), match=r"fit|architecture"):
        convert(source, tmp_path / "out")
    with pytest.raises(ConfigError, match="--arch swin_tiny_patch4_window7_224 and the tensors"):
        convert(source, tmp_path / "out", arch="swin_tiny_patch4_window7_224")


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("always_partition", True, "always_partition must be false or absent"),
        ("head_dim", 3, "head_dim must be null or absent"),
        ("depths", [2, 1000], "depths must be a list of at most 8 whole numbers from 1 to 100"),
        ("window_size", [4, 4000], "window_size must be"),
        ("window_size", [[[4]], 4], "window_size must be"),
        ("norm_layer", "rmsnorm", "norm_layer must be one of layernorm"),
    ],
)
def test_arguments_that_the_network_lacks_are_refused(field, value, message, tmp_path):
    source = save_timm("swin_timm", tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    config["model_args"][field] = value
    (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=message):
        convert(source, tmp_path / "out")


def test_swins_kin_of_another_arithmetic_is_refused(tmp_path):
    source = save_timm("swin_timm", tmp_path / "source", layout="file")
    with pytest.raises(UnsupportedModelError, match="swin_transformer_v2_cr"):
        convert(source, tmp_path / "out", arch="swinv2_cr_tiny_224")
