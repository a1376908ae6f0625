"""The 3D vision transformer against arithmetic written out, `conv3d` and timm's 2D network."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from timm.layers import SwiGLUPacked
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer as TimmViT
from torch import nn

from inflate_zoo.inflation.schemes import SCHEMES
from inflate_zoo.networks.layers import attention
from inflate_zoo.networks.vit.config import VitConfig, tensor_shapes
from inflate_zoo.networks.vit.network import VisionTransformer

PLAIN = {
    "embed_dim": 24,
    "depth": 3,
    "num_heads": 3,
    "mlp": "mlp",
    "mlp_dim": 40,
    "activation": "gelu",
    "norm_eps": 1e-6,
    "in_channels": 2,
    "patch_size": (3, 2),
    "position_grid": (4, 5),
    "position_prefix": 1,
    "cls_token": True,
    "dist_token": False,
    "reg_tokens": 0,
    "qkv_bias": True,
    "layer_scale": False,
    "stem_bias": True,
    "pre_norm": False,
    "final_norm": "tokens",
    "pool": "cls",
    "patch_depth": 4,
    "volume": (12, 12, 10),
}
FLAT = {"patch_depth": 1, "volume": (1, 12, 10)}
TIMM_PLAIN = {
    "img_size": (12, 10),
    "patch_size": (3, 2),
    "in_chans": 2,
    "num_classes": 0,
    "embed_dim": 24,
    "depth": 3,
    "num_heads": 3,
    "mlp_ratio": 40 / 24,
}
CLS_REG = {"reg_tokens": 2, "position_prefix": 1}

# name: (timm's arguments, ours)
TIMM_CASES = {
    "plain": ({}, {}),
    "registers without positions": (
        {"reg_tokens": 3, "no_embed_class": True},
        {"reg_tokens": 3, "position_prefix": 0},
    ),
    "registers with positions": ({"reg_tokens": 3}, {"reg_tokens": 3, "position_prefix": 4}),
    "pre_norm": ({"pre_norm": True}, {"pre_norm": True, "stem_bias": False}),
    "layer scale": ({"init_values": 0.1}, {"layer_scale": True}),
    "mean, norm on the pooled": ({"global_pool": "avg"}, {"pool": "mean", "final_norm": "pooled"}),
    "mean with registers": (
        {"global_pool": "avg", "reg_tokens": 2, "fc_norm": False},
        {"pool": "mean", "reg_tokens": 2, "position_prefix": 3},
    ),
    "several class tokens": (
        {"class_token": False, "reg_tokens": 3, "global_pool": "avg", "fc_norm": False},
        {"pool": "mean", "cls_token": False, "reg_tokens": 3, "position_prefix": 3},
    ),
    "mean without cls": (
        {"global_pool": "avg", "class_token": False, "fc_norm": False},
        {"pool": "mean", "cls_token": False, "position_prefix": 0},
    ),
    "cls, norm on the pooled": ({"fc_norm": True}, {"final_norm": "pooled"}),
    "no final norm": ({"final_norm": False}, {"final_norm": "none"}),
    "no qkv bias": ({"qkv_bias": False}, {"qkv_bias": False}),
    "swiglu": (
        {"mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU, "mlp_ratio": 80 / 24},
        {"mlp": "swiglu", "activation": "silu"},
    ),
    "quick_gelu": ({"act_layer": "quick_gelu"}, {"activation": "quick_gelu"}),
    "gelu_tanh": ({"act_layer": "gelu_tanh"}, {"activation": "gelu_tanh"}),
    "silu": ({"act_layer": nn.SiLU}, {"activation": "silu"}),
    "relu": ({"act_layer": nn.ReLU}, {"activation": "relu"}),
    "large eps": ({"norm_layer": partial(nn.LayerNorm, eps=0.1)}, {"norm_eps": 0.1}),
    "distilled": ({}, {"dist_token": True, "position_prefix": 2, "pool": "cls_dist"}),
}

close = partial(torch.testing.assert_close, rtol=0, atol=1e-10)  # of float64


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def randomise(net):
    """Random weights and biases; the depth table stays as it starts."""
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name != "depth_embed":
                parameter.copy_(torch.randn_like(parameter) * 0.3)
    return net


def build(dtype=torch.float64, **changes):
    return randomise(VisionTransformer(VitConfig(**{**PLAIN, **changes}))).to(dtype).eval()


def volumes(net, batch=2, dtype=torch.float64):
    return torch.randn(batch, net.config.in_channels, *net.config.volume, dtype=dtype)


def build_timm(net, **arguments):
    """timm's 2D network, random weights; `net` tells its kind only."""
    kind = VisionTransformerDistilled if net.config.dist_token else TimmViT
    return randomise(kind(**{**TIMM_PLAIN, **arguments})).double().eval()


def copy_from_timm(net, timm_net, inflate):
    """By name: only the stem's name and rank differ; the depth table is ours alone."""
    weights = {
        k.replace("patch_embed.proj.", "patch_embed."): v for k, v in timm_net.state_dict().items()
    }
    weights["patch_embed.weight"] = inflate(weights["patch_embed.weight"], net.config.patch_depth)
    missing, unexpected = net.load_state_dict(weights, strict=False)
    assert (missing, unexpected) == (["depth_embed"], [])


# --- one slice: timm's 2D network --------------------------------------------------------------


@pytest.mark.parametrize("case", TIMM_CASES)
def test_one_slice_equals_timm(case):
    theirs, ours = TIMM_CASES[case]
    net = build(**FLAT, **ours)
    timm_net = build_timm(net, **theirs)
    copy_from_timm(net, timm_net, SCHEMES["center"])
    x = volumes(net)
    with torch.no_grad():
        close(net.forward_features(x), timm_net.forward_features(x[:, :, 0]))
        close(net(x), timm_net(x[:, :, 0]))


@pytest.mark.parametrize("case", TIMM_CASES)
def test_tensors_are_those_the_architecture_lists(case):
    net = build(**TIMM_CASES[case][1])
    shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    assert shapes.pop("depth_embed") == (1, 3, 24)
    assert shapes == tensor_shapes(net.config, net.config.patch_depth)


# --- equal slices ------------------------------------------------------------------------------


def equal_slices_error(scheme, **changes):
    """Largest deviation of any token of a stack of equal slices from timm's 2D tokens."""
    net = build(**changes)
    timm_net = build_timm(net, reg_tokens=net.config.reg_tokens)
    copy_from_timm(net, timm_net, SCHEMES[scheme])
    image = torch.randn(2, 2, 12, 10, dtype=torch.float64)
    with torch.no_grad():
        flat = timm_net.forward_features(image)
        deep = net.forward_features(image.unsqueeze(2).repeat(1, 1, net.config.volume[0], 1, 1))
    prefix, copies = net.num_prefix_tokens, net.grid_size[0]
    expected = torch.cat([flat[:, :prefix], flat[:, prefix:].repeat(1, copies, 1)], dim=1)
    assert deep.shape == expected.shape
    return (deep - expected).abs().max().item()


REGISTERS = {"reg_tokens": 2, "position_prefix": 3}


@pytest.mark.parametrize("scheme", ["average", "center", "taper"])
@pytest.mark.parametrize("changes", [{}, REGISTERS, {"patch_depth": 3}], ids=str)
def test_equal_slices_give_the_2d_tokens_everywhere(scheme, changes):
    assert equal_slices_error(scheme, **changes) < 1e-10


@pytest.mark.parametrize("changes", [{}, REGISTERS], ids=str)
def test_without_the_prefix_correction_they_would_not(monkeypatch, changes):
    def uncorrected(query, key, value, prefix, copies):
        return F.scaled_dot_product_attention(query, key, value)

    monkeypatch.setattr(attention, "attend", uncorrected)
    assert equal_slices_error("center", **changes) > 1e-2


def test_center_sees_only_the_middle_slice_of_a_patch():
    net = build(volume=(4, 12, 10))
    timm_net = build_timm(net)
    copy_from_timm(net, timm_net, SCHEMES["center"])
    x = volumes(net)
    with torch.no_grad():
        close(net.forward_features(x), timm_net.forward_features(x[:, :, 2]))


# --- order of tokens ---------------------------------------------------------------------------


@pytest.mark.parametrize("position_prefix", [0, 1, 3])
def test_tokens_stand_in_depth_height_width_order(position_prefix):
    net = build(reg_tokens=2, position_prefix=position_prefix)
    nn.init.normal_(net.depth_embed)
    x = volumes(net)
    maps = F.conv3d(x, net.patch_embed.weight, net.patch_embed.bias, stride=(4, 3, 2))
    expected = [net.cls_token[0, 0], *net.reg_token[0]]
    for row in range(position_prefix):
        expected[row] = expected[row] + net.pos_embed[0, row]
    expected = [token.expand(2, -1) for token in expected]
    for d in range(3):
        for h in range(4):
            for w in range(5):
                plane = net.pos_embed[0, position_prefix + 5 * h + w]
                expected.append(maps[:, :, d, h, w] + plane + net.depth_embed[0, d])
    close(net._tokens(x, net.grid_size), torch.stack(expected, dim=1))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_flip_moves_tokens_and_the_tables_tell(axis):
    """Without tables the network is blind to order; each table makes it see its own axes."""
    net = build()
    steps = (4, 3, 2)
    x = volumes(net)
    size = x.shape[2 + axis] // steps[axis]
    flipped = torch.cat(x.chunk(size, dim=2 + axis)[::-1], dim=2 + axis)

    def moved():
        maps, other = (net.forward_intermediates(v, 1)[1][0] for v in (x, flipped))
        return (other.flip(2 + axis) - maps).abs().max().item()

    with torch.no_grad():
        net.pos_embed.zero_()
        assert moved() < 1e-10
        nn.init.normal_(net.pos_embed)
        assert (moved() > 1e-2) == (axis > 0)
        net.pos_embed.zero_()
        nn.init.normal_(net.depth_embed)
        assert (moved() > 1e-2) == (axis == 0)


# --- interface ---------------------------------------------------------------------------------


def test_samples_of_a_batch_do_not_meet():
    net = build()
    x = volumes(net, batch=3)
    close(net(x), torch.cat([net(one) for one in x.split(1)]))
    assert net.forward_features(x).shape == (3, 1 + 3 * 4 * 5, 24)
    assert (net.embed_dim, net.grid_size, net.num_prefix_tokens) == (24, (3, 4, 5), 1)


def test_the_depth_table_starts_at_zero_and_learns():
    net = build()
    assert not net.depth_embed.any()
    net(volumes(net)).square().sum().backward()
    assert (net.depth_embed.grad.abs().sum(dim=2) > 0).all()


def test_every_parameter_gets_a_gradient():
    net = build(reg_tokens=2, position_prefix=3, layer_scale=True, pre_norm=True).train()
    net(volumes(net)).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_a_fresh_network_has_no_constant_weights():
    net = VisionTransformer(VitConfig(**PLAIN))
    for name, parameter in net.named_parameters():
        if parameter.ndim > 1 and name != "depth_embed":
            assert 0 < parameter.std() < 0.1, name


# --- compilers and number types ----------------------------------------------------------------


def test_inductor_equals_eager():
    net = build(torch.float32, depth=1, **CLS_REG)
    x = volumes(net, dtype=torch.float32)
    with torch.no_grad():
        got = torch.compile(net, fullgraph=True)(x)
    torch.testing.assert_close(got, net(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("changes", [{}, CLS_REG, {"layer_scale": True}], ids=str)
def test_bfloat16_and_autocast_stay_near(changes):
    net = build(torch.float32, **changes)
    x = volumes(net, dtype=torch.float32)
    expected = net(x)
    scale = expected.std().item()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = net(x)
    mixed.float().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    half = net.to(torch.bfloat16)(x.to(torch.bfloat16))
    assert half.dtype == torch.bfloat16
    for got in (mixed, half):
        assert (got.float() - expected).square().mean().sqrt() < 0.1 * scale


def test_several_class_tokens_are_pooled_by_their_mean():
    net = build(cls_token=False, reg_tokens=3, position_prefix=3, pool="prefix")
    volume = volumes(net)
    with torch.no_grad():
        close(net(volume), net.forward_features(volume)[:, :3].mean(dim=1))
