"""BEiT, end to end: what the libraries saved, converted and proved."""

import json

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from inflate_zoo import convert, load, verify
from inflate_zoo.cli import app
from inflate_zoo.errors import VerificationError
from inflate_zoo.networks.layers import bias_tables
from tests.support.checkpoints import (
    beit_original,
    save_timm,
    save_transformers,
)

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")
ORIGINALS = {
    "pretrained": beit_original(),
    "finetuned": beit_original(finetuned=True),
    "v2": beit_original(version=2),
}


def proof_of(folder):
    return json.loads((folder / "conversion.json").read_text())["verification"]


@pytest.mark.parametrize("kind", ORIGINALS)
def test_originals_equal_timms_network(kind, tmp_path):
    torch.save(ORIGINALS[kind], tmp_path / "beit.pth")
    family = "beit" if kind == "finetuned" else None
    folder = convert(tmp_path / "beit.pth", tmp_path / "out", family=family)
    proof = proof_of(folder)
    assert proof["max_error_over_rms"] < 2e-5
    assert proof["reference"].startswith("timm ")
    assert "equal slices, pooled" in proof["errors"]
    assert verify(folder, tmp_path / "beit.pth").passed


@pytest.mark.parametrize("kind", ["beit_large_grid", "beit_rectangular"])
def test_transformers_resizes_its_tables_itself_in_the_proof(kind, tmp_path):
    proof = proof_of(convert(save_transformers(kind, tmp_path / "source"), tmp_path / "out"))
    assert proof["reference"].startswith("transformers ")
    assert proof["grid"][1:] == ([17, 17] if kind == "beit_large_grid" else [4, 6])


def test_timm_resizes_its_tables_itself_in_the_proof(tmp_path):
    folder = convert(save_timm("beit_timm_large_grid", tmp_path / "source"), tmp_path / "out")
    assert proof_of(folder)["reference"].startswith("timm ")
    assert proof_of(folder)["grid"][1:] == [17, 17]


@pytest.mark.parametrize("resizing", ["bilinear", "geometric"])
def test_the_other_librarys_resizing_fails_the_proof(resizing, tmp_path, monkeypatch):
    if resizing == "geometric":
        source = save_timm("beit_timm_large_grid", tmp_path / "source")
    else:
        source = save_transformers("beit_large_grid", tmp_path / "source")
    other = {"bilinear": "geometric", "geometric": "bilinear"}[resizing]
    swapped = {**bias_tables.RESIZINGS, resizing: bias_tables.RESIZINGS[other]}
    monkeypatch.setattr(bias_tables, "RESIZINGS", swapped)
    with pytest.raises(VerificationError):
        convert(source, tmp_path / "out")


def test_without_log_depth_the_proof_fails(tmp_path, monkeypatch):
    right = bias_tables.assemble_bias

    def uncounted(plane, depth, grid, copies):
        return right(plane, depth, grid, 1)

    monkeypatch.setattr(bias_tables, "assemble_bias", uncounted)
    with pytest.raises(VerificationError):
        convert(save_transformers("beit", tmp_path / "source"), tmp_path / "out")


@pytest.mark.parametrize("hidden_act", ["gelu_pytorch_tanh", "quick_gelu", "silu", "relu"])
def test_activation_and_epsilon_are_the_configs(hidden_act, tmp_path):
    stated = {"hidden_act": hidden_act, "layer_norm_eps": 1e-2}
    source = save_transformers("beit", tmp_path / "source", **stated)
    assert proof_of(convert(source, tmp_path / "out"))["max_error_over_rms"] < 2e-5


def test_the_pooled_vector_is_compared_where_the_file_has_its_norm(tmp_path):
    for kind, compared in (("beit", True), ("beit_cls", True), ("data2vec", False)):
        source = save_transformers(kind, tmp_path / kind)
        proof = proof_of(convert(source, tmp_path / f"out-{kind}"))
        assert ("equal slices, pooled" in proof["errors"]) == compared
        assert proof["reference"].startswith("transformers ")


def test_tables_are_copied_bit_by_bit_and_loaded_at_another_grid(tmp_path):
    source = save_transformers("beit", tmp_path / "source")
    folder = convert(source, tmp_path / "out")
    name = "attention.attention.relative_position_bias.relative_position_bias_table"
    table = load_file(source / "model.safetensors")[f"beit.encoder.layer.1.{name}"]
    written = load_file(folder / "model.safetensors")
    assert torch.equal(written["blocks.1.position_bias.plane"], table)
    assert not any(name.endswith("position_bias.depth") for name in written)
    network = load(folder, volume=(16, 48, 40))
    expected = bias_tables.resize_table(table, (4, 4), (6, 5), "bilinear")
    assert torch.equal(network.blocks[1].position_bias.plane, expected)


def test_it_is_inspected(tmp_path):
    source = save_transformers("beit", tmp_path / "source")
    result = CliRunner().invoke(app.app, ["inspect", str(source), "--volume", "16,32,32"])
    assert result.exit_code == 0, result.output
    assert "a table of relative positions per block" in result.output
