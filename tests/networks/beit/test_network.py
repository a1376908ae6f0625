"""The 3D BEiT against timm's and transformers' 2D networks, and as a network of ours."""

import re
from functools import partial

import pytest
import torch
from timm.models.beit import Beit as TimmBeit
from torch import nn

from inflate_zoo import param_groups
from inflate_zoo.inflation.schemes import SCHEMES
from inflate_zoo.networks.beit.config import BeitConfig, tensor_shapes
from inflate_zoo.networks.beit.network import Beit
from inflate_zoo.networks.layers import bias_tables
from tests.support.marks import takes_minutes

PLAIN = {
    "embed_dim": 24,
    "depth": 3,
    "num_heads": 3,
    "mlp_dim": 40,
    "activation": "gelu",
    "norm_eps": 1e-6,
    "in_channels": 2,
    "patch_size": (3, 2),
    "position_grid": (4, 5),
    "block_tables": True,
    "shared_table": False,
    "table_resizing": "geometric",
    "qv_bias": True,
    "layer_scale": True,
    "stem_bias": True,
    "final_norm": "pooled",
    "pool": "mean",
    "patch_depth": 4,
    "volume": (12, 12, 10),
}
FLAT = {"patch_depth": 1, "volume": (1, 12, 10)}
SHARED = {"block_tables": False, "shared_table": True}
TIMM_PLAIN = {
    "img_size": (12, 10),
    "patch_size": (3, 2),
    "in_chans": 2,
    "num_classes": 0,
    "embed_dim": 24,
    "depth": 3,
    "num_heads": 3,
    "mlp_ratio": 40 / 24,
    "init_values": 0.1,
    "use_abs_pos_emb": False,
    "use_rel_pos_bias": True,
    "norm_layer": partial(nn.LayerNorm, eps=1e-6),
}
# name: (timm's arguments, ours)
CASES = {
    "a table per block": ({}, {}),
    "a shared table": ({"use_rel_pos_bias": False, "use_shared_rel_pos_bias": True}, SHARED),
    "both": ({"use_shared_rel_pos_bias": True}, {"shared_table": True}),
    "no tables": ({"use_rel_pos_bias": False}, {"block_tables": False}),
    "no bias": ({"qkv_bias": False}, {"qv_bias": False}),
    "no layer scale": ({"init_values": None}, {"layer_scale": False}),
    "cls": ({"global_pool": "token"}, {"final_norm": "tokens", "pool": "cls"}),
    "cls, norm on the pooled": ({"global_pool": "token", "use_fc_norm": True}, {"pool": "cls"}),
    "mean, norm on tokens": ({"use_fc_norm": False}, {"final_norm": "tokens"}),
    "large eps": ({"norm_layer": partial(nn.LayerNorm, eps=0.1)}, {"norm_eps": 0.1}),
}
close = partial(torch.testing.assert_close, rtol=0, atol=1e-10)  # of float64
every_case = pytest.mark.parametrize("case", CASES)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def randomise(net):
    """Random weights, biases and tables; those of depth stay as they start."""
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if not name.endswith("position_bias.depth"):
                parameter.copy_(torch.randn_like(parameter) * 0.3)
            if name.endswith(("position_bias.plane", "relative_position_bias_table")):
                parameter.mul_(3)
    return net


def build(dtype=torch.float64, **changes):
    return randomise(Beit(BeitConfig(**{**PLAIN, **changes}))).to(dtype).eval()


def volumes(net, batch=2, dtype=torch.float64):
    return torch.randn(batch, net.config.in_channels, *net.config.volume, dtype=dtype)


def timm_of(case):
    return randomise(TimmBeit(**{**TIMM_PLAIN, **CASES[case][0]})).double().eval()


OURS = {
    "patch_embed.proj.": "patch_embed.",
    "gamma_1": "ls1.gamma",
    "gamma_2": "ls2.gamma",
    "attn.relative_position_bias_table": "position_bias.plane",
    "rel_pos_bias.relative_position_bias_table": "position_bias.plane",
}


def copy_from_timm(net, timm_net, scheme):
    weights = {}
    for name, tensor in timm_net.state_dict().items():
        for theirs, ours in OURS.items():
            name = name.replace(theirs, ours)
        weights[name] = tensor
    kernel = weights["patch_embed.weight"]
    weights["patch_embed.weight"] = SCHEMES[scheme](kernel, net.config.patch_depth)
    missing, unexpected = net.load_state_dict(weights, strict=False)
    assert unexpected == []
    assert all(name.endswith("position_bias.depth") for name in missing)


@every_case
def test_one_slice_equals_timm(case):
    net, timm_net = build(**FLAT, **CASES[case][1]), timm_of(case)
    copy_from_timm(net, timm_net, "center")
    x = volumes(net)
    with torch.no_grad():
        close(net.forward_features(x), timm_net.forward_features(x[:, :, 0]))
        close(net(x), timm_net(x[:, :, 0]))


def equal_slices_error(case, scheme="center", **changes):
    """Largest deviation of any token of a stack of equal slices from timm's 2D tokens."""
    net, timm_net = build(**CASES[case][1], **changes), timm_of(case)
    copy_from_timm(net, timm_net, scheme)
    image = torch.randn(2, 2, 12, 10, dtype=torch.float64)
    with torch.no_grad():
        flat = timm_net.forward_features(image)
        deep = net.forward_features(image.unsqueeze(2).repeat(1, 1, net.config.volume[0], 1, 1))
    copies = net.grid_size[0]
    expected = torch.cat([flat[:, :1], flat[:, 1:].repeat(1, copies, 1)], dim=1)
    assert deep.shape == expected.shape
    return (deep - expected).abs().max().item()


@every_case
@pytest.mark.parametrize("depth, patch", [(12, 4), (8, 4), (9, 1), (4, 4)])
@pytest.mark.parametrize("scheme", ["average", "center", "taper"])
def test_equal_slices_give_the_2d_tokens_everywhere(case, depth, patch, scheme):
    volume = {"volume": (depth, 12, 10), "patch_depth": patch}
    assert equal_slices_error(case, scheme, **volume) < 1e-10


@pytest.mark.parametrize("case", ["a table per block", "a shared table", "both"])
def test_without_log_depth_in_the_rows_of_the_cls_token_they_would_not(monkeypatch, case):
    right = bias_tables.assemble_bias

    def uncounted(plane, depth, grid, copies):
        return right(plane, depth, grid, 1)

    monkeypatch.setattr(bias_tables, "assemble_bias", uncounted)
    assert equal_slices_error(case) > 1e-2


@every_case
def test_tensors_are_those_the_config_lists(case):
    net = build(**CASES[case][1])
    shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    assert {n: s for n, s in shapes.items() if not n.endswith("position_bias.depth")} == (
        tensor_shapes(net.config, net.config.patch_depth)
    )
    assert net.config.model_copy(update={"depth_positions": 3}).shapes() == shapes


@every_case
def test_every_parameter_gets_a_gradient(case):
    net = build(**CASES[case][1]).train()
    maps = net.forward_features(volumes(net))  # the cls token alone sees no depth at the end
    (net.fc_norm(net._pool(maps)).square().sum() + maps.square().sum()).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_depth_is_learned_and_is_a_position_of_its_own():
    net = build()
    x = volumes(net)
    turned = x.unflatten(2, (3, 4)).flip(2).flatten(2, 3)
    with torch.no_grad():
        close(net(turned), net(x))  # blind to order in depth, as long as its tables are zero
        for block in net.blocks:
            nn.init.normal_(block.position_bias.depth)
        assert (net(turned) - net(x)).abs().max() > 1e-3


@pytest.mark.parametrize("shape", [(2, 2, 12, 10, 12), (2, 1, 12, 12, 10), (2, 2, 12, 10)], ids=str)
def test_a_wrong_volume_is_named_beside_the_right_one(shape):
    message = f"expected a volume [batch, 2, 12, 12, 10], got {list(shape)}"
    with pytest.raises(ValueError, match=re.escape(message)):
        build()(torch.zeros(shape, dtype=torch.float64))


@pytest.mark.parametrize("case", ["a table per block", "a shared table"])
@pytest.mark.parametrize("drop_path", [0.0, 0.5])
def test_checkpointing_changes_no_gradient(case, drop_path):
    net = build(**CASES[case][1]).train()
    net.set_drop_path(drop_path)
    x = volumes(net, batch=4)

    def gradients(enable):
        net.set_grad_checkpointing(enable)
        net.zero_grad()
        torch.manual_seed(1)
        net(x).square().sum().backward()
        return [parameter.grad.clone() for parameter in net.parameters()]

    close(gradients(True), gradients(False))


def test_drops_are_those_that_are_fixed():
    net = build().train()
    x = volumes(net, batch=4)
    whole = net(x)
    net.set_drop_path(0.5)
    assert net.drop_shape == (3, 2)
    draws = torch.zeros(3, 2, 4)
    draws[2, 1, 3] = 1  # the last branch of the last sample
    net.fix_drops(draws)
    dropped = net(x)
    assert torch.equal(dropped, net(x))
    for block in net.blocks:
        block.drop_draws = torch.zeros(2, 4)
    kept = net(x)
    assert torch.equal(dropped[:3], kept[:3])
    assert not torch.equal(dropped[3], kept[3])
    net.set_drop_path(0)
    close(net(x), whole)


@pytest.mark.parametrize("case", ["a table per block", "a shared table", "both", "no tables"])
def test_every_kind_of_tables_compiles_without_a_graph_break(case):
    torch.compiler.reset()
    net = build(**CASES[case][1])
    x = volumes(net)
    close(torch.compile(net, fullgraph=True, backend="eager")(x), net(x))


@takes_minutes  # half a minute of a C++ compiler, as the same test of ViT's does
def test_inductor_equals_eager():
    torch.compiler.reset()
    net = build(torch.float32, depth=1)
    x = volumes(net, dtype=torch.float32)
    with torch.no_grad():
        got = torch.compile(net, fullgraph=True)(x)
    torch.testing.assert_close(got, net(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", ["a table per block", "a shared table", "no tables"])
def test_export(case):
    net = build(**CASES[case][1])
    x = volumes(net)
    close(torch.export.export(net, (x,)).module()(x), net(x))


@pytest.mark.parametrize("case", ["a table per block", "a shared table", "no tables"])
def test_bfloat16_and_autocast_stay_near(case):
    net = build(torch.float32, **CASES[case][1])
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


@pytest.mark.parametrize("case", ["a table per block", "a shared table"])
def test_tables_and_tokens_do_not_decay(case):
    net = build(**CASES[case][1])
    groups = param_groups(net, learning_rate=1.0, weight_decay=0.1, layer_decay=0.5)
    names = {id(p): name for name, p in net.named_parameters()}
    told = {group["name"]: {names[id(p)] for p in group["params"]} for group in groups}
    free = set().union(*(told[name] for name in told if name.endswith(".no_decay")))
    assert {n for n in names.values() if "position_bias" in n or n == "cls_token"} <= free
    assert told["stem.decay"] == {"patch_embed.weight"}
    own = "blocks.1.position_bias.plane"
    assert own in told["block.1.no_decay"] if case == "a table per block" else own not in free
    assert ("position_bias.plane" in told["stem.no_decay"]) == (case == "a shared table")
