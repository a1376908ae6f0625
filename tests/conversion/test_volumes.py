"""The proof of 3D sources must fail where our network is not the original."""

import json
import os
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from inflate_zoo import load
from inflate_zoo.conversion.converting import convert, verify
from inflate_zoo.conversion.volumes import depth_tokens
from inflate_zoo.errors import VerificationError
from inflate_zoo.files.digests import sha256
from inflate_zoo.networks.base import Windows
from inflate_zoo.networks.layers import grids, stages, windows
from inflate_zoo.networks.swin import network
from tests.support.checkpoints import build_swin3d, save_swin3d

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")
CASES = {f"any volume{flat}{pooled}" for flat in ("", ", flat") for pooled in ("", ", pooled")}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return save_swin3d(tmp_path_factory.mktemp("source"))


def proof_of(folder):
    return json.loads((folder / "conversion.json").read_text())["verification"]


def test_depths_are_two_windows_and_less_than_one():
    assert depth_tokens(Windows(8, merge_depth=False)) == {"any volume": 16, "any volume, flat": 7}
    assert depth_tokens(Windows(1, merge_depth=False)) == {"any volume": 2, "any volume, flat": 1}
    assert depth_tokens(None) == {"any volume": 2}


@pytest.mark.parametrize(
    "options",
    [{}, {"fold_normalization": True}, {"fold_normalization": True, "mean": [0.1], "std": [0.3]}],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:the source states no normalisation:UserWarning")
def test_it_is_proved_on_volumes_of_any_slices(source, tmp_path, options):
    found = proof_of(convert(source, tmp_path / "out", **options))
    assert set(found["errors"]) == CASES
    assert found["max_error_over_rms"] < 1e-5
    assert found["grid"] == [6, 4, 4]
    assert found["reference"].startswith("torchvision ")


def test_what_narrowing_costs_is_measured(source, tmp_path):
    found = proof_of(convert(source, tmp_path / "out", dtype="bfloat16"))
    assert found["rounded_exactly"]
    assert found["max_error_over_rms"] < 1e-5 < found["rounding_error_over_rms"]


def of_other_table(monkeypatch):
    """Rows of a table whose offsets are width, height, depth."""

    def turned(window, table, device):
        rows = windows.table_rows(window, table, device)
        depth, height, width = (2 * side - 1 for side in table)
        d, h, w = rows // (height * width), rows // width % height, rows % width
        return (w * height + h) * depth + d

    monkeypatch.setattr(network, "table_rows", turned)


def of_unshifted_depth(monkeypatch):
    def place(*arguments, **options):
        found = grids.place(*arguments, **options)
        return replace(found, late=(0, *found.late[1:]))

    monkeypatch.setattr(stages, "place", place)


def of_first_shifted(monkeypatch):
    """The first block of a pair is shifted, in place of the second."""

    def place(*arguments, shifted, **options):
        return grids.place(*arguments, shifted=not shifted, **options)

    monkeypatch.setattr(stages, "place", place)


@pytest.mark.parametrize("wrong", [of_other_table, of_unshifted_depth, of_first_shifted])
def test_wrong_windows_over_depth_are_seen(source, tmp_path, monkeypatch, wrong):
    wrong(monkeypatch)
    with pytest.raises(VerificationError, match="does not reproduce"):
        convert(source, tmp_path / "out")
    assert os.listdir(tmp_path) == []  # noqa: PTH208


@pytest.mark.parametrize(
    "name",
    [
        "patch_embed.weight",
        "norm_pre.bias",
        "stages.2.blocks.1.attn.relative_position_bias_table",
        "merges.1.reduction.weight",
    ],
)
def test_a_wrong_tensor_in_the_file_is_seen(source, tmp_path, name):
    folder = convert(source, tmp_path / "out", verify=False)
    assert proof_of(folder) is None
    state = load_file(folder / "model.safetensors")
    state[name] = state[name].flip(2 if name == "patch_embed.weight" else -1)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    record = json.loads((folder / "conversion.json").read_text())
    record["files"]["model.safetensors"]["sha256"] = sha256(folder / "model.safetensors")
    (folder / "conversion.json").write_text(json.dumps(record))
    assert not verify(folder, source).passed


def test_padding_along_depth_is_where_the_two_differ(source, tmp_path):
    """The reason for the depths of the proof: between whole windows torchvision's padding leaks."""
    folder, theirs = convert(source, tmp_path / "out", verify=False), build_swin3d()
    for depth, same in ((2, True), (3, True), (4, False), (5, False), (6, True)):
        volume = torch.randn(1, 3, 2 * depth, 64, 64, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            expected = theirs.norm(theirs.features(theirs.patch_embed(volume))).flatten(1, 3)
            got = load(folder, volume=volume.shape[2:]).eval().forward_features(volume)
        assert ((got - expected).abs().max() < 1e-4) == same
