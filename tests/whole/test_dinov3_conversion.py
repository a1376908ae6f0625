"""DINOv3's proof: what the config states is followed, and a wrong rule is noticed."""

import json
import math

import pytest
import torch

from inflate_zoo.conversion.converting import convert
from inflate_zoo.errors import VerificationError
from inflate_zoo.networks.dinov3 import network
from inflate_zoo.networks.layers import rotary
from inflate_zoo.networks.layers.rotary import Axis
from tests.support.checkpoints import save_timm, save_transformers

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")


def proof_of(folder):
    return json.loads((folder / "conversion.json").read_text())["verification"]


@pytest.mark.parametrize(
    "stated",
    [
        {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-2},
        {"hidden_act": "gelu_pytorch_tanh", "rope_theta": 7.0},
        {"use_gated_mlp": True, "hidden_act": "gelu"},
        {"num_register_tokens": 0},
        {"image_size": 160},  # of too many tokens: proved at a smaller grid
        {"image_size": (44, 30)},  # of no whole number of patches
    ],
)
def test_what_the_config_states_is_followed(stated, tmp_path):
    source = save_transformers("dinov3", tmp_path / "source", **stated)
    proof = proof_of(convert(source, tmp_path / "out"))
    assert proof["max_error_over_rms"] < 2e-5
    assert proof["reference"].endswith("DINOv3ViTModel")


def test_a_depth_angle_is_noticed(tmp_path, monkeypatch):
    right = rotary.turns

    def deep(rotation, channels, dtype, device):
        cosine, sine = right(rotation, channels, dtype, device)
        patches = torch.arange(len(cosine) - rotation.prefix) // (
            rotation.height.tokens * rotation.width.tokens
        )
        angle = torch.cat([torch.zeros(rotation.prefix), 0.3 * patches]).unsqueeze(1)
        # The partner's factor is the sine of the pair's first channel, negated.
        half = channels // 2
        turned = torch.atan2(sine[:, half:], cosine[:, half:]) + angle
        cosine, sine = turned.cos(), turned.sin()
        return torch.stack([torch.cat([cosine, cosine], -1), torch.cat([-sine, sine], -1)])

    monkeypatch.setattr(rotary, "turns", deep)
    with pytest.raises(VerificationError):
        convert(save_transformers("dinov3", tmp_path / "source"), tmp_path / "out")


def test_axes_normalised_jointly_are_noticed(tmp_path, monkeypatch):
    def jointly(tokens):
        step = 4 * math.pi / 12  # of the longer axis of 4 x 12
        return Axis(tokens, step / 2 - 2 * math.pi, step)

    monkeypatch.setattr(network, "centres", jointly)
    with pytest.raises(VerificationError):
        convert(save_transformers("dinov3_rectangular", tmp_path / "source"), tmp_path / "out")


def test_prefix_keys_that_count_once_are_noticed(tmp_path, monkeypatch):
    right = rotary.attend
    monkeypatch.setattr(rotary, "attend", lambda q, k, v, prefix, copies: right(q, k, v, prefix, 1))
    with pytest.raises(VerificationError):
        convert(save_transformers("dinov3", tmp_path / "source"), tmp_path / "out")


def test_a_bare_file_of_timm_needs_its_architecture_alone(tmp_path):
    size = {"embed_dim": 192, "depth": 12, "num_heads": 3, "img_size": 224, "patch_size": 16}
    source = save_timm("dinov3_timm_qkvb", tmp_path, layout="file", **size, mlp_ratio=4.0)
    out = convert(source, tmp_path / "out", arch="vit_tiny_patch16_dinov3_qkvb")
    assert proof_of(out)["passed"]
    assert json.loads((out / "config.json").read_text())["volume"] == [16, 256, 256]
