"""AIMv2 on volumes against the libraries' 2D networks, and what every backbone must do."""

from functools import partial

import pytest
import torch
import transformers as hf
from timm.layers import RmsNorm, SwiGLU
from timm.models.vision_transformer import VisionTransformer

from inflate_zoo.inflation.schemes import SCHEMES
from inflate_zoo.networks.aimv2.config import Aimv2Config, tensor_shapes
from inflate_zoo.networks.aimv2.network import Aimv2

PLAIN = {
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 2,
    "mlp_dim": 48,
    "activation": "silu",
    "norm_eps": 1e-5,
    "in_channels": 2,
    "patch_size": (4, 2),
    "positions": "learned",
    "position_grid": (3, 5),
    "patch_depth": 2,
    "volume": (6, 12, 10),
}
WAVES = {"positions": "sincos", "patch_size": (4, 4), "volume": (6, 12, 20)}


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
    return randomised(Aimv2(Aimv2Config(**{**PLAIN, **changes})))


def timms():
    """Timm's network on images of 12 x 10, which are no square."""
    norm = partial(RmsNorm, eps=1e-5)
    net = VisionTransformer(
        img_size=(12, 10), patch_size=(4, 2), in_chans=2, num_classes=0, embed_dim=32, depth=2,
        num_heads=2, mlp_ratio=1.5, class_token=False, fc_norm=False, global_pool="avg",
        qkv_bias=False, proj_bias=False, act_layer="silu", norm_layer=norm, embed_norm_layer=norm,
        mlp_layer=SwiGLU,
    )  # fmt: skip
    return randomised(net)


def transformers():
    """Transformers' network of native resolution, on whatever images."""
    config = hf.Aimv2VisionConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        num_channels=2, patch_size=4, image_size=8, is_native=True, use_head=False,
    )  # fmt: skip
    return randomised(hf.Aimv2VisionModel(config))


def with_stem(net, state, kernel, scheme):
    stem = SCHEMES[scheme](kernel, net.config.patch_depth)
    rest = {"patch_embed.weight": stem, "depth_embed": net.depth_embed}
    net.load_state_dict({**state, **rest}, strict=True)
    return net


def of_timms(theirs, scheme, **changes):
    found, state = theirs.state_dict(), {}
    for name, tensor in found.items():
        if "fc1_g" in name:
            rows = [tensor, found[name.replace("fc1_g", "fc1_x")]]
            state[name.replace("fc1_g", "fc1")] = torch.cat(rows)
        elif "fc1_x" not in name:
            renamed = name.replace("patch_embed.proj", "patch_embed")
            state[renamed.replace("patch_embed.norm", "patch_norm")] = tensor
    return with_stem(build(**changes), state, state.pop("patch_embed.weight"), scheme)


def of_transformers(theirs, scheme, **changes):
    found, state = theirs.state_dict(), {}
    names = {
        "embeddings.patch_embed.bias": "patch_embed.bias",
        "embeddings.rms_norm.weight": "patch_norm.weight",
        "rms_norm.weight": "norm.weight",
    }
    for block in range(2):
        old, new = f"encoder.layers.{block}.", f"blocks.{block}."
        names |= {old + f"rms_norm{n}.weight": new + f"norm{n}.weight" for n in (1, 2)}
        names[old + "attention.out_proj.weight"] = new + "attn.proj.weight"
        names[old + "ffn.down_proj.weight"] = new + "mlp.fc2.weight"
        qkv = [found[f"{old}attention.{part}_proj.weight"] for part in "qkv"]
        gate = [found[f"{old}ffn.{part}_proj.weight"] for part in ("gate", "up")]
        state |= {new + "attn.qkv.weight": torch.cat(qkv), new + "mlp.fc1.weight": torch.cat(gate)}
    state |= {ours: found[theirs] for theirs, ours in names.items()}
    kernel = found["embeddings.patch_embed.weight"]
    return with_stem(build(**{**WAVES, **changes}), state, kernel, scheme)


@pytest.mark.parametrize("scheme", ["average", "center"])
def test_equal_slices_give_timms_2d_tokens_at_every_depth(scheme):
    theirs, image = timms(), torch.randn(2, 2, 12, 10)
    with torch.inference_mode():
        expected = theirs.forward_features(image)
        pooled = theirs.forward_head(expected, pre_logits=True)
        for depth in (2, 6, 8):
            net = of_timms(theirs, scheme, volume=(depth, 12, 10))
            volume = image.unsqueeze(2).repeat(1, 1, depth, 1, 1)
            layers = net.forward_features(volume).unflatten(1, (depth // 2, -1))
            scale = expected.square().mean().sqrt()
            assert ((layers - expected[:, None]).abs().max() / scale).item() < 1e-5
            torch.testing.assert_close(net(volume), pooled, rtol=0, atol=1e-5)


@pytest.mark.parametrize("plane", [(12, 20), (16, 16), (24, 4)])
@pytest.mark.parametrize("scheme", ["average", "center"])
def test_computed_positions_are_transformers_at_any_resolution(scheme, plane):
    theirs, image = transformers(), torch.randn(2, 2, *plane)
    grid = (plane[0] // 4, plane[1] // 4)
    with torch.inference_mode():
        expected = theirs(image).last_hidden_state
        net = of_transformers(theirs, scheme, volume=(6, *plane), position_grid=grid)
        got = net.forward_features(image.unsqueeze(2).repeat(1, 1, 6, 1, 1))
    scale = expected.square().mean().sqrt()
    layers = got.unflatten(1, (3, -1))
    assert ((layers - expected[:, None]).abs().max() / scale).item() < 1e-5


@pytest.mark.parametrize("changes", [{}, WAVES])
def test_its_tensors_are_those_of_its_config(changes):
    net = build(**changes)
    expected = tensor_shapes(net.config, net.config.patch_depth) | {"depth_embed": (1, 3, 32)}
    assert {name: tuple(p.shape) for name, p in net.named_parameters()} == expected
    assert ("pos_embed" in expected) is not bool(changes)
    assert not list(net.buffers())


@pytest.mark.parametrize("changes", [{}, WAVES])
def test_the_depth_table_moves_slices_apart_and_all_learn(changes):
    net = build(**changes)
    volume = torch.randn(1, 2, 1, *net.config.volume[1:]).repeat(1, 1, 6, 1, 1)
    with torch.no_grad():
        net.depth_embed.normal_()
        first, second, third = net.forward_features(volume).unflatten(1, (3, -1))[0]
    assert min((first - second).abs().max(), (second - third).abs().max()) > 0.1
    net.train()(volume).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in net.parameters())


def test_maps_are_the_patch_tokens_after_a_block():
    net, volume = build(), torch.randn(1, 2, 6, 12, 10)
    with torch.inference_mode():
        first, last = net.forward_intermediates(volume, [0, -1], intermediates_only=True)
        tokens = net.forward_features(volume)
    assert first.shape == (1, 32, 3, 3, 5)
    torch.testing.assert_close(net.norm(last.flatten(2).mT), tokens)


@pytest.mark.parametrize("changes", [{}, WAVES])
def test_it_compiles_without_graph_breaks_and_is_exported(changes):
    net = build(**changes)
    volume = torch.randn(1, 2, *net.config.volume)
    with torch.no_grad():
        expected = net(volume)
        compiled = torch.compile(net, fullgraph=True, backend="aot_eager")(volume)
        exported = torch.export.export(net, (volume,)).module()(volume)
    torch.testing.assert_close(compiled, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(exported, expected, rtol=0, atol=1e-5)


def test_checkpointing_gives_the_same_gradients():
    net, volume = build().train(), torch.randn(2, 2, 6, 12, 10)
    grads = []
    for enabled in (False, True):
        net.set_grad_checkpointing(enabled)
        net.zero_grad()
        net(volume).square().sum().backward()
        grads.append([p.grad.clone() for p in net.parameters() if p.grad is not None])
    for plain, recomputed in zip(*grads, strict=True):
        torch.testing.assert_close(recomputed, plain)


def test_whole_branches_are_dropped_in_training_alone():
    net, volume = build(), torch.randn(4, 2, 6, 12, 10)
    net.set_drop_path(0.9)
    with torch.no_grad():
        assert torch.equal(net(volume), net(volume))
        net.train()
        assert not torch.equal(net(volume), net(volume))


@pytest.mark.parametrize("changes", [{}, WAVES])
def test_in_bfloat16_it_is_near_to_float32(changes):
    net = build(**changes)
    volume = torch.randn(1, 2, *net.config.volume)
    with torch.no_grad():
        expected = net(volume)
        got = net.to(torch.bfloat16)(volume.to(torch.bfloat16))
    assert got.dtype == torch.bfloat16
    assert (got.float() - expected).abs().max() < 0.1 * expected.abs().max()
