"""EVA-02's proof: what timm states is followed at any grid, and a wrong rule is noticed."""

import json

import pytest

from inflate_zoo.conversion.converting import convert
from inflate_zoo.errors import VerificationError
from inflate_zoo.networks.eva02 import network
from inflate_zoo.networks.layers.rotary import Axis
from tests.support.checkpoints import save_timm

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")


def proof_of(folder):
    return json.loads((folder / "conversion.json").read_text())["verification"]


@pytest.mark.parametrize(
    "kind, stated",
    [
        ("eva02_timm", {"img_size": 160}),  # of too many tokens: proved at a smaller grid
        ("eva02_timm", {"ref_feat_shape": (5, 9), "rope_temperature": 30.0}),
        ("eva02_timm", {"use_fc_norm": False}),
        ("eva02_timm_split", {"global_pool": "token", "dynamic_img_size": True}),
    ],
)
def test_what_timm_states_is_followed(kind, stated, tmp_path):
    proof = proof_of(convert(save_timm(kind, tmp_path / "source", **stated), tmp_path / "out"))
    assert proof["max_error_over_rms"] < 2e-5
    assert proof["reference"].startswith("timm ")
    assert "equal slices, pooled" in proof["errors"]


def test_an_unstretched_grid_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(network, "stretched", lambda tokens, _: Axis(tokens, 0.0, 1.0))
    with pytest.raises(VerificationError):
        convert(save_timm("eva02_timm", tmp_path / "source"), tmp_path / "out")


def test_a_swapped_gate_is_noticed(tmp_path, monkeypatch):
    def swapped(self, x):
        value, gate = self.fc1(x).chunk(2, dim=-1)
        return self.fc2(self.norm(self.activation(gate) * value))

    monkeypatch.setattr(network.NormedGlu, "forward", swapped)
    with pytest.raises(VerificationError):
        convert(save_timm("eva02_timm_split", tmp_path / "source"), tmp_path / "out")


def test_rotated_prefix_is_noticed(tmp_path, monkeypatch):
    right = network.Rotation.turn

    def shifted(self, x):
        return right(self, x.roll(-self.prefix, dims=2)).roll(self.prefix, dims=2)

    monkeypatch.setattr(network.Rotation, "turn", shifted)
    with pytest.raises(VerificationError):
        convert(save_timm("eva02_timm", tmp_path / "source"), tmp_path / "out")


def test_the_file_is_the_sources_rounded_where_it_is_narrowed(tmp_path):
    out = convert(save_timm("eva02_timm_split", tmp_path / "s"), tmp_path / "o", dtype="bfloat16")
    assert proof_of(out)["rounded_exactly"]
