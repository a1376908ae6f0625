"""Hiera from its files through every command that reads them."""

import json

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from inflate_zoo import convert, load, verify
from inflate_zoo.cli import app
from inflate_zoo.conversion.record import read_conversion
from inflate_zoo.errors import ConfigError
from inflate_zoo.networks.backbone import HieraBackbone
from tests.support.checkpoints import (
    as_published,
    build_timm,
    build_transformers,
    hiera_original,
    save_timm,
    save_transformers,
)

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")
CLASSES = ["hiera", "hiera_mae", "hiera_classifier", "hiera_backbone", "hiera_rectangular"]
TIMM = ["hiera_timm", "hiera_timm_classifier", "hiera_timm_units", "hiera_timm_rectangular"]


def test_it_is_inspected(tmp_path):
    source = save_transformers("hiera", tmp_path / "hiera")
    words = ["inspect", str(source), "--volume", "32,64,96", "--patch-depth", "4"]
    result = CliRunner().invoke(app.app, words)
    assert result.exit_code == 0, result.output
    assert "1+2+2 blocks of width 16 to 64" in result.output
    assert "(global: 2-4)" in " ".join(result.output.split())
    found = json.loads(CliRunner().invoke(app.app, [*words, "--format", "json"]).stdout)
    assert (found["family"], found["conversion"]["grid"]) == ("hf_hiera", [8, 4, 6])


@pytest.mark.parametrize("kind", CLASSES)
def test_each_class_is_proved(kind, tmp_path):
    source = save_transformers(kind, tmp_path / kind)
    folder = convert(source, tmp_path / "out", patch_depth=2, depth_window=2)
    record = read_conversion(folder)
    assert record.verification.reference.endswith("HieraModel")
    assert any("num_query_pool" in note for note in record.notes) == (kind == "hiera_mae")
    pools = kind in ("hiera", "hiera_classifier", "hiera_rectangular")
    assert any("pools its tokens with a head" in note for note in record.notes) == pools
    assert verify(folder, source).passed
    made = load(folder, volume=(6, 32, 96)).eval()
    assert type(made) is HieraBackbone
    assert made(torch.rand(1, 1, 6, 32, 96)).shape == (1, 64)


@pytest.mark.parametrize("kind", TIMM)
def test_timms_is_proved_and_its_pooling_noted(kind, tmp_path):
    folder = convert(save_timm(kind, tmp_path / kind), tmp_path / "out", channels=3)
    record = read_conversion(folder)
    assert record.verification.reference.split()[::2] == ["timm", "Hiera"]
    assert any("pools its tokens with a head" in note for note in record.notes)


@pytest.mark.parametrize("masked", [False, True])
def test_its_authors_file_is_proved_where_somebody_published_such_a_network(masked, tmp_path):
    torch.save(hiera_original(masked=masked), tmp_path / "hiera.pth")
    with pytest.raises(ConfigError, match="no published Hiera is 16 wide"):
        convert(tmp_path / "hiera.pth", tmp_path / "out", channels=3)
    with as_published():
        folder = convert(tmp_path / "hiera.pth", tmp_path / "out", channels=3)
    record = read_conversion(folder)
    assert (record.source.family, record.verification.passed) == ("hiera", True)
    assert record.verification.reference.split()[::2] == ["timm", "Hiera"]


@pytest.mark.parametrize("scheme", ["center", "repeat"])
def test_a_folded_normalisation_is_proved(scheme, tmp_path):
    source = save_transformers("hiera", tmp_path / "hiera")
    folder = convert(source, tmp_path / "out", scheme=scheme, fold_normalization=True)
    assert read_conversion(folder).verification.passed
    assert load(folder).config.stem_shift


def test_the_same_weights_of_both_libraries_are_the_same_network(tmp_path):
    fields = {"mlp_ratio": 4.0}
    state = build_transformers("hiera", **fields).state_dict()
    theirs = build_timm("hiera_timm")
    names = dict.fromkeys(theirs.state_dict())
    starts = {"0": 0, "1": 1, "2": 3}
    renamed = {
        "embeddings.patch_embeddings.projection": "patch_embed.proj",
        "embeddings.position_embeddings": "pos_embed", "pooler.layernorm": "head.norm",
        "layernorm_before": "norm1", "layernorm_after": "norm2",
    }  # fmt: skip
    for name, tensor in state.items():
        for old, new in renamed.items():
            name = name.replace(old, new)
        parts = name.split(".")
        if parts[0] == "encoder":
            name = ".".join(["blocks", str(starts[parts[2]] + int(parts[4])), *parts[5:]])
        assert name in names
        names[name] = tensor
    source = save_timm("hiera_timm", tmp_path / "timm")
    save_file({n: t.contiguous() for n, t in names.items()}, source / "model.safetensors")
    saved = save_transformers("hiera", tmp_path / "hf", **fields)
    ours = [load(convert(each, tmp_path / f"out-{each.name}")).eval() for each in (source, saved)]
    volume = torch.rand(1, 1, 4, 64, 64)
    assert ours[0].config == ours[1].config
    with torch.inference_mode():
        assert torch.equal(ours[0](volume), ours[1](volume))
