"""SAM 2's encoder from its files through every command that reads them."""

import json

import pytest
import torch
from typer.testing import CliRunner

from inflate_zoo import convert, load, verify
from inflate_zoo.cli import app
from inflate_zoo.conversion.record import read_conversion
from inflate_zoo.errors import ConfigError, VerificationError
from inflate_zoo.networks.backbone import HieraBackbone
from inflate_zoo.networks.hiera import network
from tests.support.checkpoints import (
    TIMM_HIERA,
    as_published,
    build_transformers,
    sam2_original,
    save_timm,
    save_transformers,
)

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")
CLASSES = ["sam2", "sam2_video", "sam2_vision", "sam2_hiera"]
STATED = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return save_transformers("sam2", tmp_path_factory.mktemp("source") / "sam2")


def test_it_is_inspected(source):
    words = ["inspect", str(source), "--volume", "32,64,96", "--patch-depth", "4"]
    result = CliRunner().invoke(app.app, [*words, "--depth-window", "2"])
    assert result.exit_code == 0, result.output
    assert "1+1+2 blocks of width 16 to 64" in result.output
    found = json.loads(CliRunner().invoke(app.app, [*words, "--format", "json"]).stdout)
    assert (found["family"], found["conversion"]["grid"]) == ("hf_sam2", [8, 4, 6])
    assert found["conversion"]["prefix_tokens"] == 0
    assert found["conversion"]["estimated_training_bytes"] > found["conversion"]["weights_bytes"]


@pytest.mark.parametrize("kind", CLASSES)
def test_each_class_is_proved_with_slabs_less_deep_than_windows(kind, tmp_path):
    source = save_transformers(kind, tmp_path / kind)
    folder = convert(source, tmp_path / "out", patch_depth=2, depth_window=2)
    verification = read_conversion(folder).verification
    assert verification.reference.endswith("Sam2HieraDetModel")
    assert tuple(verification.grid) == (3, 4, 4)
    assert verify(folder, source).passed
    made = load(folder, volume=(6, 32, 64)).eval()
    assert type(made) is HieraBackbone
    assert made(torch.rand(1, 1, 6, 32, 64)).shape == (1, 64)


@pytest.mark.parametrize("kind", [kind for kind in TIMM_HIERA if kind.startswith("sam2")])
def test_timms_is_proved_and_its_pooling_noted(kind, tmp_path):
    folder = convert(save_timm(kind, tmp_path / kind), tmp_path / "out", channels=3)
    record = read_conversion(folder)
    assert record.verification.reference.endswith("HieraDet")
    assert any("pools its tokens with a head" in note for note in record.notes)


def test_its_authors_file_is_proved_where_somebody_published_such_a_network(tmp_path):
    torch.save(sam2_original(), tmp_path / "sam2.pt")
    with pytest.raises(ConfigError, match="no published SAM 2 is 16 wide"):
        convert(tmp_path / "sam2.pt", tmp_path / "out", channels=3)
    with as_published():
        folder = convert(tmp_path / "sam2.pt", tmp_path / "out", channels=3)
    record = read_conversion(folder)
    assert (record.source.family, record.verification.passed) == ("sam2", True)
    assert record.verification.reference.endswith("HieraDet")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scheme", ["center", "average", "repeat"])
@torch.inference_mode()
def test_a_folded_normalisation_is_exact_up_to_the_border(scheme, channels, source, tmp_path):
    folder = convert(
        source, tmp_path / "out", scheme=scheme, channels=channels, fold_normalization=True
    )
    made = load(folder, volume=(8, 64, 64)).eval()
    assert made.config.stem_shift
    image = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    mean, std = (image.new_tensor(values).view(3, 1, 1) for values in STATED)
    tower = build_transformers("sam2").eval().vision_encoder.backbone
    expected = tower.patch_embed((image.expand(-1, 3, -1, -1) - mean) / std)
    volume = image.unsqueeze(2).expand(-1, channels, 8, -1, -1)
    got = made.patch_embed(volume).unflatten(1, (2, 16, 16))
    bias = tower.patch_embed.projection.bias
    times = 4 if scheme == "repeat" else 1  # as its law is: bias aside
    wanted = ((expected - bias) * times + bias).unsqueeze(1).expand_as(got)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


def test_without_what_the_border_takes_the_proof_fails(source, tmp_path, monkeypatch):
    def unshifted(self, volume):
        self.shift = None
        return forward(self, volume)

    forward = network.OverlappingPatchEmbed.forward
    monkeypatch.setattr(network.OverlappingPatchEmbed, "forward", unshifted)
    with pytest.raises(VerificationError):
        convert(source, tmp_path / "out", fold_normalization=True)


def test_a_wrong_pooling_fails_the_proof(source, tmp_path, monkeypatch):
    right = network.pooled
    monkeypatch.setattr(network, "pooled", lambda x, grid: -right(-x, grid))
    with pytest.raises(VerificationError):
        convert(source, tmp_path / "out")
