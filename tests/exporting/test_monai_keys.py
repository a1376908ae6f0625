"""A plain vision transformer under MONAI's names, and what has no place there."""

import pytest
import torch

from inflate_zoo.exporting.monai_keys import layout, monai_tensors, obstacles
from inflate_zoo.networks.vit.config import VitConfig
from tests.networks.vit.test_network import CLS_REG, PLAIN
from tests.support.networks import SMALL

BARE = {"cls_token": False, "position_prefix": 0, "reg_tokens": 0, "dist_token": False}
SOURCE = {**PLAIN, **BARE, "pool": "mean", "activation": "gelu", "mlp": "mlp", "pre_norm": False,
          "final_norm": "tokens"}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"activation": "quick_gelu"}, "quick GELU"),
        ({"activation": "gelu_tanh"}, "tanh approximation"),
        ({"activation": "relu"}, "ReLU"),
        ({"activation": "silu"}, "SiLU"),
        ({"mlp": "swiglu", "activation": "silu"}, "SwiGLU"),
        ({"pre_norm": True}, "norm before the blocks"),
        ({"final_norm": "none"}, "no final norm"),
        ({"final_norm": "pooled"}, "on the pooled vector"),
    ],
)
def test_what_cannot_be_exact_is_named(changes, told):
    (found,) = obstacles(VitConfig(**SOURCE | changes))
    assert told in found


def test_what_can_be_exact_has_no_obstacle_and_several_are_all_named():
    assert obstacles(VitConfig(**SOURCE)) == []
    assert obstacles(VitConfig(**SOURCE | {"layer_scale": True, "norm_eps": 1e-12})) == []
    both = {"activation": "quick_gelu", "pre_norm": True, "final_norm": "none"}
    assert len(obstacles(VitConfig(**SOURCE | both))) == 3


@pytest.mark.parametrize("kind", sorted(SMALL.keys() - {"inflated_vit"}))
def test_no_other_network_is_taken_for_a_plain_one(kind):
    (found,) = obstacles(SMALL[kind].config)
    assert kind.removeprefix("inflated_") in found


def test_a_layer_scale_multiplies_the_rows_of_what_it_follows():
    config = VitConfig(**SOURCE | {"layer_scale": True})
    tensors = {name: torch.randn(shape) for name, shape in config.shapes().items()}
    tokens = 8
    found = monai_tensors(config, tensors, torch.randn(1, tokens, config.embed_dim))
    gamma = tensors["blocks.0.ls1.gamma"]
    weight = tensors["blocks.0.attn.proj.weight"]
    torch.testing.assert_close(
        found["blocks.0.attn.out_proj.weight"], torch.diag(gamma) @ weight, rtol=1e-6, atol=0
    )
    bias = tensors["blocks.0.mlp.fc2.bias"] * tensors["blocks.0.ls2.gamma"]
    torch.testing.assert_close(found["blocks.0.mlp.linear2.bias"], bias, rtol=1e-6, atol=0)


def test_prefix_tokens_stand_once_for_each_depth_token():
    config = VitConfig(**PLAIN | CLS_REG)
    prefix, depth = config.num_prefix_tokens, config.grid_size[0]
    assert prefix > 1
    assert depth > 1
    facts = layout(config)
    assert (facts.prefix_tokens, facts.prefix_copies) == (prefix * depth, depth)
    tensors = {name: torch.randn(shape) for name, shape in config.shapes().items()}
    entering = torch.randn(1, prefix + 8, config.embed_dim)
    found = monai_tensors(config, tensors, entering)["cls_token"]
    assert found.shape == (1, prefix * depth, config.embed_dim)
    for copy in found.split(prefix, dim=1):
        assert torch.equal(copy, entering[:, :prefix])


def test_a_source_without_prefix_tokens_has_none_there():
    config = VitConfig(**SOURCE)
    assert (layout(config).prefix_tokens, layout(config).prefix_copies) == (0, 0)
    tensors = {name: torch.randn(shape) for name, shape in config.shapes().items()}
    assert "cls_token" not in monai_tensors(config, tensors, torch.randn(1, 8, config.embed_dim))
