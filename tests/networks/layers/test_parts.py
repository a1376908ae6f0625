"""Parts that vision transformers are made of, against plain torch and the libraries."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from timm.layers import GluMlp
from timm.layers import Mlp as TimmMlp
from timm.models.vision_transformer import LayerScale as TimmLayerScale
from torch import nn
from transformers.activations import ACT2FN

from inflate_zoo.networks.layers.parts import (
    ACTIVATIONS,
    LayerScale,
    Mlp,
    PatchEmbed,
    initialise,
)

close = partial(torch.testing.assert_close, rtol=0, atol=1e-10)  # of float64


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def randomised(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return module.double()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("patch", [(4, 3, 2), (1, 2, 5), (3, 1, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_stem_is_a_convolution(patch, channels, bias):
    stem = randomised(PatchEmbed(channels, 24, patch, bias=bias))
    x = torch.randn(2, channels, *(n * step for n, step in zip((2, 3, 4), patch, strict=True)))
    x = x.double()
    assert (stem.bias is not None) == bias
    expected = F.conv3d(x, stem.weight, stem.bias, stride=patch)
    close(stem(x), expected.flatten(2).transpose(1, 2))
    strided = x.transpose(2, 4).contiguous().transpose(2, 4)
    close(stem(strided), stem(x))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_feed_forward_part_is_timms(activation):
    theirs = randomised(TimmMlp(6, 10))
    theirs.act = ACT2FN[{"gelu_tanh": "gelu_pytorch_tanh"}.get(activation, activation)]
    ours = Mlp(6, 10, activation, gated=False).double()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    close(ours(x), theirs(x))


def test_a_gated_one_has_its_gate_in_the_first_half():
    theirs = randomised(GluMlp(6, 20, act_layer=nn.SiLU, gate_last=False))
    ours = Mlp(6, 10, "silu", gated=True).double()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    close(ours(x), theirs(x))


def test_without_biases_only_the_products_are_left():
    theirs = randomised(GluMlp(6, 20, act_layer=nn.SiLU, gate_last=False, bias=False))
    ours = Mlp(6, 10, "silu", gated=True, bias=False).double()
    assert [name for name, _ in ours.named_parameters()] == ["fc1.weight", "fc2.weight"]
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    close(ours(x), theirs(x))


def test_a_scale_is_learned_for_each_channel_and_starts_at_one():
    theirs, ours = randomised(TimmLayerScale(6)), LayerScale(6).double()
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    close(ours(x), x)
    ours.load_state_dict(theirs.state_dict())
    close(ours(x), theirs(x))


def test_random_weights_are_those_of_vision_transformers():
    network = nn.Sequential(nn.Linear(200, 300), nn.Linear(300, 200, bias=False), nn.LayerNorm(200))
    nn.init.ones_(network[0].bias)
    token = nn.Parameter(torch.zeros(1, 100, 400))
    initialise(network, token, None)
    stem = PatchEmbed(3, 100, (4, 8, 8), bias=True)
    for filled in (network[0].weight, network[1].weight, token, stem.weight):
        assert filled.std().item() == pytest.approx(0.02, rel=0.02)
        assert filled.mean().item() == pytest.approx(0, abs=4e-4)
    assert not network[0].bias.any()
    assert not stem.bias.any()
    assert (network[2].weight == 1).all()
