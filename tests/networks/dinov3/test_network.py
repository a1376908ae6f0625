"""DINOv3 on volumes against transformers' 2D network, and what every backbone must do."""

import math

import pytest
import torch
import transformers as hf

from inflate_zoo.inflation.schemes import SCHEMES
from inflate_zoo.networks.dinov3.config import Dinov3Config, tensor_shapes
from inflate_zoo.networks.dinov3.network import Dinov3

PLAIN = {
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 2,
    "gated": False,
    "mlp_dim": 48,
    "activation": "gelu",
    "norm_eps": 1e-5,
    "rotary_theta": 100.0,
    "in_channels": 2,
    "patch_size": (4, 2),
    "image_grid": (3, 5),
    "reg_tokens": 3,
    "qv_bias": True,
    "pool": "cls",
    "patch_depth": 2,
    "volume": (6, 12, 10),
}
CASES = {
    "plain": ({}, {}),
    "gated, silu": (
        {"use_gated_mlp": True, "hidden_act": "silu"},
        {"gated": True, "activation": "silu"},
    ),
    "gated, gelu": ({"use_gated_mlp": True}, {"gated": True}),
    "no biases": ({"query_bias": False, "value_bias": False}, {"qv_bias": False}),
    "no registers": ({"num_register_tokens": 0}, {"reg_tokens": 0}),
    "large eps": ({"layer_norm_eps": 0.1}, {"norm_eps": 0.1}),
    "another theta": ({"rope_theta": 7.0}, {"rotary_theta": 7.0}),
    "one head": ({"num_attention_heads": 1}, {"num_heads": 1}),
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def randomised(net):
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name != "depth_embed":
                parameter.copy_(torch.randn_like(parameter) * 0.3)
    return net.eval()


def build(**changes):
    return randomised(Dinov3(Dinov3Config(**{**PLAIN, **changes})))


def original(**changes):
    """Transformers' network on images of 12 x 10, which are no square."""
    config = hf.DINOv3ViTConfig(
        **{
            "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
            "intermediate_size": 48, "num_channels": 2, "patch_size": (4, 2),
            "image_size": (12, 10), "num_register_tokens": 3, **changes,
        }
    )  # fmt: skip
    return randomised(hf.DINOv3ViTModel(config))


def ours_of(theirs, scheme, **changes):
    """Ours with the weights of theirs, by the names that transformers has in memory."""
    net, found = build(**changes), theirs.state_dict()
    blocks = {
        "norm1.": "norm1.", "norm2.": "norm2.", "attention.o_proj.": "attn.proj.",
        "layer_scale1.lambda1": "ls1.gamma", "layer_scale2.lambda1": "ls2.gamma",
        "mlp.gate_proj.": "mlp.gate.", "mlp.up_proj.": "mlp.fc1.", "mlp.down_proj.": "mlp.fc2.",
        "attention.q_proj.bias": "attn.q_bias", "attention.v_proj.bias": "attn.v_bias",
    }  # fmt: skip
    state = {
        "cls_token": found["embeddings.cls_token"],
        "reg_token": found["embeddings.register_tokens"],
        "patch_embed.weight": SCHEMES[scheme](
            found["embeddings.patch_embeddings.weight"], net.config.patch_depth
        ),
        "patch_embed.bias": found["embeddings.patch_embeddings.bias"],
        "norm.weight": found["norm.weight"],
        "norm.bias": found["norm.bias"],
        "depth_embed": net.depth_embed,
    }
    for index in range(net.config.depth):
        prefix = next(n for n in found if n.endswith(f"layer.{index}.norm1.weight"))
        prefix = prefix.removesuffix("norm1.weight")
        parts = [found[f"{prefix}attention.{name}_proj.weight"] for name in "qkv"]
        state[f"blocks.{index}.attn.qkv.weight"] = torch.cat(parts)
        for theirs_name, ours_name in blocks.items():
            for name in [n for n in found if n.startswith(prefix + theirs_name)]:
                rest = name.removeprefix(prefix + theirs_name)
                state[f"blocks.{index}.{ours_name}{rest}"] = found[name]
    net.load_state_dict(state, strict=True)
    return net


@pytest.mark.parametrize("scheme", ["average", "center", "taper"])
@pytest.mark.parametrize("case", CASES)
def test_equal_slices_give_transformers_2d_tokens_at_every_depth(case, scheme):
    theirs_changes, ours_changes = CASES[case]
    theirs = original(**theirs_changes)
    image = torch.randn(2, 2, 12, 10)
    with torch.inference_mode():
        expected = theirs(image).last_hidden_state
        for depth in (2, 6, 8):
            net = ours_of(theirs, scheme, **{**ours_changes, "volume": (depth, 12, 10)})
            prefix = net.num_prefix_tokens
            got = net.forward_features(image.unsqueeze(2).repeat(1, 1, depth, 1, 1))
            layers = got[:, prefix:].unflatten(1, (depth // 2, -1))
            scale = expected.square().mean().sqrt()
            assert ((layers - expected[:, None, prefix:]).abs().max() / scale).item() < 1e-5
            assert ((got[:, :prefix] - expected[:, :prefix]).abs().max() / scale).item() < 1e-5


def test_pooling_is_that_of_the_original():
    theirs, image = original(), torch.randn(2, 2, 12, 10)
    with torch.inference_mode():
        found = theirs(image)
        volume = image.unsqueeze(2).repeat(1, 1, 6, 1, 1)
        got = ours_of(theirs, "average")(volume)
        mean = ours_of(theirs, "average", pool="mean")(volume)
    torch.testing.assert_close(got, found.pooler_output, rtol=0, atol=1e-5)
    expected = found.last_hidden_state[:, 4:].mean(dim=1)
    torch.testing.assert_close(mean, expected, rtol=0, atol=1e-5)


def test_the_depth_table_moves_slices_apart_and_learns():
    net = build()
    volume = torch.randn(1, 2, 1, 12, 10).repeat(1, 1, 6, 1, 1)
    with torch.no_grad():
        slices = net.forward_features(volume)[:, 4:].unflatten(1, (3, -1))
        torch.testing.assert_close(slices, slices[:, :1].expand_as(slices), rtol=0, atol=1e-5)
        net.depth_embed.normal_()
        first, second, third = net.forward_features(volume)[:, 4:].unflatten(1, (3, -1))[0]
    assert min((first - second).abs().max(), (second - third).abs().max()) > 0.1
    net.train().forward_features(volume).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in net.parameters())


def test_its_tensors_are_those_of_its_config():
    net = build(gated=True)
    expected = tensor_shapes(net.config, net.config.patch_depth) | {"depth_embed": (1, 3, 32)}
    assert {name: tuple(p.shape) for name, p in net.named_parameters()} == expected
    assert not list(net.buffers())


def test_maps_are_the_patch_tokens_after_a_block():
    net, volume = build(), torch.randn(1, 2, 6, 12, 10)
    with torch.inference_mode():
        first, last = net.forward_intermediates(volume, [0, -1], intermediates_only=True)
        tokens = net.forward_features(volume)[:, 4:]
        normed = net.norm(last.flatten(2).mT)
    assert first.shape == (1, 32, 3, 3, 5)
    torch.testing.assert_close(normed, tokens, rtol=0, atol=1e-5)


def test_a_form_of_other_parts_compiles_without_graph_breaks_and_is_exported():
    net, volume = build(gated=True, qv_bias=False, reg_tokens=0), torch.randn(1, 2, 6, 12, 10)
    with torch.no_grad():
        expected = net(volume)
        compiled = torch.compile(net, fullgraph=True, backend="aot_eager")(volume)
        exported = torch.export.export(net, (volume,)).module()(volume)
    torch.testing.assert_close(compiled, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(exported, expected, rtol=0, atol=1e-5)


def test_dropped_branches_leave_the_tokens_alone():
    net, volume = build().train(), torch.randn(2, 2, 6, 12, 10)
    net.set_drop_path(0.5)
    assert net.drop_shape == (2, 2)
    net.fix_drops(torch.tensor([[[0.0, 0.0], [0.0, 0.0]], [[0.9, 0.1], [0.9, 0.1]]]))
    first, last = net.forward_intermediates(volume, [0, 1], intermediates_only=True)
    torch.testing.assert_close(last[0], first[0])  # both branches of the last block dropped
    assert (last[1] - first[1]).abs().max() > 0.1


def test_under_autocast_it_stays_near(monkeypatch):
    net, volume = build(), torch.randn(1, 2, 6, 12, 10)
    with torch.inference_mode():
        expected = net(volume)
        with torch.autocast("cpu", torch.bfloat16):
            got = net(volume)
    assert (got - expected).abs().max() / expected.square().mean().sqrt() < 0.1


def test_heads_that_cannot_be_turned_are_refused():
    with pytest.raises(ValueError, match="times 4"):
        Dinov3Config(**{**PLAIN, "num_heads": 16})


def test_layers_are_counted_from_the_stem():
    net = build()
    layers = {name: net.layer_of(name) for name, _ in net.named_parameters()}
    assert layers["patch_embed.weight"] == layers["reg_token"] == layers["depth_embed"] == 0
    assert layers["blocks.1.attn.qkv.weight"] == 2
    assert layers["norm.weight"] == 3
    assert math.prod(net.grid_size) == 45
