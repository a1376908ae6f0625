"""DINOv3 as data: what its config says of it."""

import pytest
import torch

from inflate_zoo.networks.dinov3.config import Dinov3Config, Dinov3Form
from inflate_zoo.networks.dinov3.network import Dinov3
from tests.networks.dinov3.test_network import PLAIN
from tests.support.saved import saved_bytes

FORM = {name: value for name, value in PLAIN.items() if name in Dinov3Form.model_fields}


def test_a_form_tells_its_grid_and_itself():
    form = Dinov3Form(**FORM)
    assert form.native_grid == (3, 5)
    assert form.shapes()["patch_embed.weight"] == (32, 2, 4, 2)
    assert "rotary positions, mlp 48 gelu" in form.described()
    assert "gated mlp 48" in Dinov3Form(**{**FORM, "gated": True}).described()


def test_inflated_it_keeps_all_but_channels_and_gains_depth():
    form = Dinov3Form(**FORM)
    config = form.inflated(channels=1, patch_depth=2, volume=(4, 12, 10), stem_bias=False)
    assert config == Dinov3Config(**{**PLAIN, "in_channels": 1, "volume": (4, 12, 10)})
    assert config.shapes()["patch_embed.weight"] == (32, 1, 2, 4, 2)
    assert config.num_prefix_tokens == 4
    assert config.levels == ((32, (2, 4, 2)),) * 2


def test_what_a_segmenter_does_not_use_is_forgotten():
    first, second = Dinov3Config(**PLAIN), Dinov3Config(**{**PLAIN, "pool": "mean"})
    assert first.without_weights() == second.without_weights() != first


@pytest.mark.parametrize("gated", [False, True])
def test_what_training_keeps_is_estimated(gated):
    torch.manual_seed(0)
    size = {"embed_dim": 64, "depth": 6, "num_heads": 4, "mlp_dim": 256, "volume": (12, 24, 20)}
    net = Dinov3(Dinov3Config(**{**PLAIN, **size, "gated": gated}))
    kept, tokens = saved_bytes(net)
    assert net.config.memory(tokens)[1] == pytest.approx(kept, rel=0.1)
