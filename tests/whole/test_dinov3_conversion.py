"""DINOv3's proof: what the config states is followed, and a wrong rule is noticed."""

import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from inflate_zoo import load, verify
from inflate_zoo.conversion import converting, proof
from inflate_zoo.conversion.converting import convert
from inflate_zoo.errors import UnsupportedModelError, UsageError, VerificationError
from inflate_zoo.inflation import tensors
from inflate_zoo.naming.patterns import Share
from inflate_zoo.networks.dinov3 import network
from inflate_zoo.networks.layers import rotary
from inflate_zoo.networks.layers.rotary import Axis
from tests.support.checkpoints import (
    dinov3_original,
    dinov3_training,
    save_dinov3_twin,
    save_timm,
    save_transformers,
)

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


def saved(path, state, dtype=None):
    """Meta's own tensors as a file, but for its buffers in that type."""
    kept = ("rope_embed.periods", "bias_mask")
    state = {n: t if dtype is None or n.endswith(kept) else t.to(dtype) for n, t in state.items()}
    torch.save(state, path) if path.suffix == ".pth" else save_file(state, path)
    return path


@pytest.mark.parametrize(
    "kind, more",
    [
        ("dinov3", {}),
        ("dinov3_gated", {}),
        ("dinov3_no_bias", {}),
        ("dinov3", {"num_register_tokens": 0}),
    ],
)
def test_metas_own_file_gives_what_transformers_gives(kind, more, tmp_path):
    """The same random weights under both names: one network, tensor by tensor."""
    source = saved(tmp_path / "dinov3_vits16.pth", dinov3_original(kind, **more))
    own = convert(source, tmp_path / "own", patch_depth=3)
    twin = convert(
        save_dinov3_twin(tmp_path / "twin", kind, **more), tmp_path / "3d", patch_depth=3
    )
    tensors, expected = (load_file(folder / "model.safetensors") for folder in (own, twin))
    assert tensors.keys() == expected.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, expected[name]), name
    volume = torch.randn(2, 1, 6, 24, 40, generator=torch.Generator().manual_seed(2))
    networks = [load(folder, volume=(6, 24, 40)).eval() for folder in (own, twin)]
    with torch.inference_mode():
        assert torch.equal(*(network.forward_features(volume) for network in networks))
    proof = proof_of(own)
    assert proof["max_error_over_rms"] < 2e-5
    assert proof["reference"].startswith("timm ")
    assert "equal slices, pooled" in proof["errors"]
    assert verify(own, source).passed


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_halves_of_metas_own_file_are_kept(dtype, suffix, tmp_path):
    state = dinov3_original(num_register_tokens=0)
    out = convert(saved(tmp_path / f"a{suffix}", state, dtype), tmp_path / "out")
    tensors = load_file(out / "model.safetensors")
    assert {tensor.dtype for name, tensor in tensors.items() if "embed" not in name} == {dtype}
    key = state["blocks.1.attn.qkv.bias"].to(dtype)[256:]
    assert torch.equal(tensors["blocks.1.attn.v_bias"], key)
    assert proof_of(out)["passed"]


def test_behind_another_patch_it_is_proved_as_well(tmp_path):
    source = saved(tmp_path / "a.pth", dinov3_original("dinov3_gated"))
    proof = proof_of(convert(source, tmp_path / "out", patch_size=(16, 16)))
    assert proof["passed"]
    assert proof["reference"].startswith("timm ")


def test_of_a_training_of_metas_the_teacher_is_converted(tmp_path):
    torch.save(dinov3_training(), tmp_path / "teacher_checkpoint.pth")
    made = {
        weights: load_file(
            convert(tmp_path / "teacher_checkpoint.pth", tmp_path / f"{weights}", weights=weights)
            / "model.safetensors"
        )
        for weights in (None, "student", "gram_teacher")
    }
    for weights, seed in ((None, 0), ("student", 1000), ("gram_teacher", 2000)):
        bias = dinov3_original(seed=seed)["blocks.0.attn.qkv.bias"][:128]
        assert torch.equal(made[weights]["blocks.0.attn.q_bias"], bias)


MASK, PERIODS = "blocks.0.attn.qkv.bias_mask", "rope_embed.periods"
KEY = slice(128, 256)


def unmasked(state):
    state[MASK][KEY] = 1


def masked_values(state):
    state[MASK][256:] = 0


def never_initialised(state):
    state[MASK][:] = torch.nan


def of_another_base(state):
    state[PERIODS] = 10000.0 ** (torch.arange(16) / 16)


@pytest.mark.parametrize("spoil", [unmasked, masked_values, never_initialised, of_another_base])
def test_another_mask_or_base_does_not_pass_the_proof(spoil, tmp_path):
    state = dinov3_original()
    spoil(state)
    with pytest.raises(VerificationError):
        convert(saved(tmp_path / "a.pth", state), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_share_at_the_wrong_place_is_noticed(tmp_path, monkeypatch):
    right = tensors.stacked

    def turned(kept, parts):
        return right(replace(kept, share=Share(1, 3)) if "v_bias" in kept.name else kept, parts)

    for module in (tensors, converting, proof):
        monkeypatch.setattr(module, "stacked", turned)
    with pytest.raises(VerificationError):
        convert(saved(tmp_path / "a.pth", dinov3_original()), tmp_path / "out")


def test_the_gate_and_what_it_gates_are_told_apart(tmp_path):
    """Turned round, the file is another network: timm's names and ours would have to agree."""
    state = dinov3_original("dinov3_gated")
    turned = {
        n.replace("w1", "w0").replace("w2", "w1").replace("w0", "w2"): state[n] for n in state
    }
    made = [
        load_file(convert(saved(tmp_path / f"{n}.pth", s), tmp_path / n) / "model.safetensors")
        for n, s in (("a", state), ("b", turned))
    ]
    name = "blocks.0.mlp.{}.weight"
    assert torch.equal(made[0][name.format("gate")], made[1][name.format("fc1")])
    assert torch.equal(made[0][name.format("gate")], state["blocks.0.mlp.w1.weight"])


def test_a_bias_of_keys_is_refused_before_anything_is_read(tmp_path):
    state = dinov3_original()
    del state[MASK]
    with pytest.raises(UnsupportedModelError, match="keys have a bias"):
        convert(saved(tmp_path / "a.pth", state), tmp_path / "out", verify=False)


def test_beside_a_config_of_transformers_it_is_told_what_to_do(tmp_path):
    folder = save_dinov3_twin(tmp_path / "source")
    saved(folder / "model.safetensors", dinov3_original())
    with pytest.raises(UsageError, match="tensors are those of dinov3") as caught:
        convert(folder, tmp_path / "out")
    assert "--family dinov3" in caught.value.hint
    assert proof_of(convert(folder, tmp_path / "out", family="dinov3"))["passed"]


def test_an_architecture_of_timms_is_told_to_be_left_out(tmp_path):
    source = saved(tmp_path / "a.pth", dinov3_original())
    with pytest.raises(UsageError, match="tensors are those of dinov3") as caught:
        convert(source, tmp_path / "out", arch="vit_base_patch16_dinov3")
    assert caught.value.hint == "leave out --arch"


def test_beside_a_config_of_timms_it_is_told_what_to_do(tmp_path):
    saved(tmp_path / "model.safetensors", dinov3_original())
    (tmp_path / "config.json").write_text('{"architecture": "vit_base_patch16_dinov3"}')
    with pytest.raises(UsageError, match="tensors are those of dinov3") as caught:
        convert(tmp_path, tmp_path / "out")
    assert "--family dinov3" in caught.value.hint
    assert proof_of(convert(tmp_path, tmp_path / "out", family="dinov3"))["passed"]
