"""AIMv2 converted, loaded and proved: its config is followed, a wrong rule is noticed."""

import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from typer.testing import CliRunner

from inflate_zoo import Backbone, convert, load, param_groups, segmenter, verify
from inflate_zoo.cli import app
from inflate_zoo.errors import UsageError, VerificationError
from inflate_zoo.networks.aimv2 import network as networks
from inflate_zoo.networks.layers.parts import Mlp
from tests.support.checkpoints import TIMM, save_timm, save_transformers

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")
KINDS = ("aimv2_native", "aimv2_timm")


def save(kind, folder, **changes):
    return (save_timm if kind in TIMM else save_transformers)(kind, folder, **changes)


def proof_of(folder):
    return json.loads((folder / "conversion.json").read_text())["verification"]


@pytest.fixture(scope="module", params=KINDS)
def source(request, tmp_path_factory):
    return save(request.param, tmp_path_factory.mktemp("source") / request.param)


@pytest.fixture(scope="module")
def folder(source, tmp_path_factory):
    return convert(source, tmp_path_factory.mktemp("made") / source.name, patch_depth=2)


def test_it_is_loaded_for_any_volume_and_saved(folder, tmp_path):
    network = load(folder, volume=(6, 16, 24)).eval()
    assert network.config.model_type == "inflated_aimv2"
    assert (network.grid_size, network.num_prefix_tokens) == ((3, 2, 3), 0)
    volume = torch.rand(1, 1, 6, 16, 24)
    with torch.no_grad():
        network.depth_embed.normal_()
    again = Backbone.from_pretrained(network.save_pretrained(tmp_path / "saved")).eval()
    with torch.inference_mode():
        assert torch.equal(network(volume), again(volume))
    with pytest.raises(UsageError, match="volume width 20 is not divisible by the patch's 8"):
        load(folder, volume=(6, 16, 20))


def test_what_was_written_is_proved_again(source, folder):
    assert verify(folder, source).passed
    names = load_file(folder / "model.safetensors").keys()
    assert ("pos_embed" in names) is (source.name == "aimv2_timm")


def test_its_normalisation_is_folded_and_fed_by_the_library(source, tmp_path):
    proof = proof_of(convert(source, tmp_path / "out", fold_normalization=True))
    assert proof["passed"]
    assert proof["fed_by"]


def test_it_is_inspected(source):
    words = ["inspect", str(source), "--volume", "16,16,24"]
    result = CliRunner().invoke(app.app, words)
    assert result.exit_code == 0, result.output
    assert "RMS norms" in result.output
    found = json.loads(CliRunner().invoke(app.app, [*words, "--format", "json"]).stdout)
    assert found["conversion"]["grid"] == [2, 2, 3]


def test_tables_and_norms_do_not_decay(source, folder):
    model = segmenter(load(folder, volume=(4, 16, 16)), classes=2, decoder="linear")
    groups = param_groups(model, learning_rate=1.0, weight_decay=0.1, layer_decay=0.5)
    names = {id(p): name.removeprefix("backbone.") for name, p in model.named_parameters()}
    told = {group["name"]: {names[id(p)] for p in group["params"]} for group in groups}
    tables = {"depth_embed"} | ({"pos_embed"} if source.name == "aimv2_timm" else set())
    assert told["stem.decay"] == {"patch_embed.weight"}
    assert told["stem.no_decay"] == {"patch_embed.bias", "patch_norm.weight"} | tables
    assert told["block.1.no_decay"] == {"blocks.1.norm1.weight", "blocks.1.norm2.weight"}
    assert [g["lr"] for g in groups if g["name"] == "block.2.decay"] == [0.5]


# --- what is stated is followed, and wrong rules are noticed


@pytest.mark.parametrize(
    "kind, stated",
    [
        ("aimv2_vision", {"hidden_act": "gelu", "rms_norm_eps": 1e-2}),
        ("aimv2_vision", {"num_attention_heads": 2}),
        ("aimv2_native", {"image_size": 160}),  # of too many tokens: proved at a smaller grid
        ("aimv2_native", {"image_size": 44}),  # of no whole number of patches
        ("aimv2_timm", {"img_size": 160}),
    ],
)
def test_what_the_config_states_is_followed(kind, stated, tmp_path):
    proof = proof_of(convert(save(kind, tmp_path / "source", **stated), tmp_path / "out"))
    assert proof["max_error_over_rms"] < 2e-5
    assert proof["reference"].endswith(("Aimv2VisionModel", "VisionTransformer"))


def _swapped(self, x):
    value, gate = self.fc1(x).chunk(2, dim=-1)
    return self.fc2(self.activation(gate) * value)


def _late(self, x, grid):
    plane = self._plane(*grid[1:])
    positions = (plane.unsqueeze(1) + self.depth_embed.unsqueeze(2)).flatten(1, 2)
    return self.patch_norm(self.patch_embed(x) + positions)


WRONG = {
    "the value is activated": (Mlp, "forward", _swapped),
    "the norm comes after the positions": (networks.Aimv2, "_tokens", _late),
    "rows come before columns": (
        networks,
        "sincos_plane",
        lambda h, w, dim, device, right=networks.sincos_plane: right(h, w, dim, device).roll(
            dim // 2, dims=-1
        ),
    ),
    "the mean is taken off": (
        nn.RMSNorm,
        "forward",
        lambda self, x: nn.functional.layer_norm(
            x, self.normalized_shape, self.weight, None, self.eps
        ),
    ),
}


@pytest.mark.parametrize("rule", WRONG)
def test_a_wrong_rule_is_noticed(rule, tmp_path, monkeypatch):
    monkeypatch.setattr(*WRONG[rule])
    with pytest.raises(VerificationError):
        convert(save_transformers("aimv2_native", tmp_path / "source"), tmp_path / "out")
