"""EVA-02 on volumes against timm's 2D network, and what every backbone must do."""

import pytest
import torch
from timm.models.eva import Eva
from torch import nn

from inflate_zoo.inflation.schemes import SCHEMES
from inflate_zoo.networks.eva02.config import Eva02Config, tensor_shapes
from inflate_zoo.networks.eva02.network import Eva02

PLAIN = {
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 2,
    "mlp_dim": 48,
    "activation": "silu",
    "attn_norm": False,
    "mlp_norm": False,
    "norm_eps": 1e-6,
    "rotary_theta": 10000.0,
    "rotary_grid": (16, 7),
    "in_channels": 2,
    "patch_size": (4, 2),
    "position_grid": (3, 5),
    "final_norm": "pooled",
    "pool": "mean",
    "patch_depth": 2,
    "volume": (6, 12, 10),
}
SPLIT = {"qkv_fused": False, "scale_mlp": True}
CASES = {
    "packed": ({}, {}),
    "split, norm in the mlp": (SPLIT, {"mlp_norm": True}),
    "split, both norms, cls": (
        {**SPLIT, "scale_attn_inner": True, "global_pool": "token"},
        {"mlp_norm": True, "attn_norm": True, "final_norm": "tokens", "pool": "cls"},
    ),
    "norm on all tokens": ({"use_fc_norm": False}, {"final_norm": "tokens"}),
    "another theta and grid": (
        {"rope_temperature": 30.0, "ref_feat_shape": (2, 9)},
        {"rotary_theta": 30.0, "rotary_grid": (2, 9)},
    ),
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
    return randomised(Eva02(Eva02Config(**{**PLAIN, **changes})))


def original(**changes):
    """Timm's network on images of 12 x 10, which are no square."""
    fields = {
        "img_size": (12, 10), "patch_size": (4, 2), "in_chans": 2, "num_classes": 0,
        "embed_dim": 32, "depth": 2, "num_heads": 2, "mlp_ratio": 1.5, "swiglu_mlp": True,
        "use_rot_pos_emb": True, "ref_feat_shape": (16, 7), **changes,
    }  # fmt: skip
    return randomised(Eva(**fields))


def ours_of(theirs, scheme, **changes):
    """Ours with the weights of theirs."""
    net, state = build(**changes), {}
    found = theirs.state_dict()
    for name, tensor in found.items():
        for part, joined in (("q_proj", "qkv"), ("fc1_g", "fc1")):
            if f".{part}.weight" in name:
                parts = {"qkv": ("q_proj", "k_proj", "v_proj"), "fc1": ("fc1_g", "fc1_x")}[joined]
                rows = [found[name.replace(part, each)] for each in parts]
                state[name.replace(part, joined)] = torch.cat(rows)
        if "_proj.weight" in name or "fc1_" in name:
            continue
        state[name.replace("q_proj.bias", "q_bias").replace("v_proj.bias", "v_bias")] = tensor
    for name in [name for name in found if "fc1_g.bias" in name]:
        rows = [found[name], found[name.replace("fc1_g", "fc1_x")]]
        state[name.replace("fc1_g", "fc1")] = torch.cat(rows)
    state["patch_embed.bias"] = state.pop("patch_embed.proj.bias")
    kernel = state.pop("patch_embed.proj.weight")
    state["patch_embed.weight"] = SCHEMES[scheme](kernel, net.config.patch_depth)
    net.load_state_dict({**state, "depth_embed": net.depth_embed}, strict=True)
    return net


@pytest.mark.parametrize("scheme", ["average", "center", "taper"])
@pytest.mark.parametrize("case", CASES)
def test_equal_slices_give_timms_2d_tokens_at_every_depth(case, scheme):
    theirs_changes, ours_changes = CASES[case]
    theirs, image = original(**theirs_changes), torch.randn(2, 2, 12, 10)
    with torch.inference_mode():
        expected = theirs.forward_features(image)
        pooled = theirs.forward_head(expected, pre_logits=True)
        for depth in (2, 6, 8):
            net = ours_of(theirs, scheme, **{**ours_changes, "volume": (depth, 12, 10)})
            volume = image.unsqueeze(2).repeat(1, 1, depth, 1, 1)
            got = net.forward_features(volume)
            layers = got[:, 1:].unflatten(1, (depth // 2, -1))
            scale = expected.square().mean().sqrt()
            assert ((layers - expected[:, None, 1:]).abs().max() / scale).item() < 1e-5
            assert ((got[:, :1] - expected[:, :1]).abs().max() / scale).item() < 1e-5
            torch.testing.assert_close(net(volume), pooled, rtol=0, atol=1e-5)


def test_its_tensors_are_those_of_its_config():
    net = build(attn_norm=True, mlp_norm=True)
    expected = tensor_shapes(net.config, net.config.patch_depth) | {"depth_embed": (1, 3, 32)}
    assert {name: tuple(p.shape) for name, p in net.named_parameters()} == expected
    assert not list(net.buffers())


def test_the_depth_table_moves_slices_apart_and_all_learn():
    net = build(attn_norm=True, mlp_norm=True)
    volume = torch.randn(1, 2, 1, 12, 10).repeat(1, 1, 6, 1, 1)
    with torch.no_grad():
        net.depth_embed.normal_()
        first, second, third = net.forward_features(volume)[:, 1:].unflatten(1, (3, -1))[0]
    assert min((first - second).abs().max(), (second - third).abs().max()) > 0.1
    net.train()(volume).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in net.parameters())


def test_maps_are_the_patch_tokens_after_a_block():
    net, volume = build(), torch.randn(1, 2, 6, 12, 10)
    with torch.inference_mode():
        first, last = net.forward_intermediates(volume, [0, -1], intermediates_only=True)
        tokens = net.forward_features(volume)[:, 1:]
    assert first.shape == (1, 32, 3, 3, 5)
    assert torch.equal(last.flatten(2).mT, tokens)


def test_a_form_of_other_parts_compiles_without_graph_breaks_and_is_exported():
    net, volume = build(attn_norm=True, mlp_norm=True, pool="cls"), torch.randn(1, 2, 6, 12, 10)
    with torch.no_grad():
        expected = net(volume)
        compiled = torch.compile(net, fullgraph=True, backend="aot_eager")(volume)
        exported = torch.export.export(net, (volume,)).module()(volume)
    torch.testing.assert_close(compiled, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(exported, expected, rtol=0, atol=1e-5)


def test_heads_that_cannot_be_turned_are_refused():
    with pytest.raises(ValueError, match="times 4"):
        Eva02Config(**{**PLAIN, "num_heads": 16})


class Drawn(nn.Module):
    """Timm's DropPath, its draws given."""

    def __init__(self, draws, rate):
        super().__init__()
        self.draws, self.keep = draws, 1 - rate

    def forward(self, x):
        return x * ((self.draws < self.keep).to(x.dtype) / self.keep).view(-1, 1, 1)


def test_drop_path_drops_the_branches_that_timm_drops():
    theirs, image = original().train(), torch.randn(3, 2, 12, 10)
    net = ours_of(theirs, "average", volume=(2, 12, 10)).train()
    net.set_drop_path(0.5)
    draws = torch.tensor([[[0.9] * 3, [0.9] * 3], [[0.9, 0.1, 0.1], [0.1, 0.9, 0.1]]])
    net.fix_drops(draws)
    for block, rows, rate in zip(theirs.blocks, draws, (0.0, 0.5), strict=True):
        block.drop_path1, block.drop_path2 = (Drawn(each, rate) for each in rows)
    with torch.no_grad():
        volume = image.unsqueeze(2).repeat(1, 1, 2, 1, 1)
        got, undropped = net.forward_features(volume), net.eval().forward_features(volume)
        expected = theirs.forward_features(image)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)
    assert (got - undropped).abs().max() > 0.1
