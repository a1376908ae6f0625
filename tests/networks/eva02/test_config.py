"""EVA-02 as data: what its config says of it."""

import pytest
import torch

from inflate_zoo.networks.eva02.config import Eva02Config, Eva02Form
from inflate_zoo.networks.eva02.network import Eva02
from tests.networks.eva02.test_network import PLAIN
from tests.support.saved import saved_bytes

FORM = {name: value for name, value in PLAIN.items() if name in Eva02Form.model_fields}


def test_a_form_tells_its_grid_and_itself():
    form = Eva02Form(**FORM)
    assert form.native_grid == (3, 5)
    assert form.shapes()["pos_embed"] == (1, 16, 32)
    assert "norms inside" not in form.described()
    both = Eva02Form(**{**FORM, "attn_norm": True, "mlp_norm": True})
    assert "norms inside attention and mlp, eps 1e-06" in both.described()


def test_for_a_volume_its_table_is_of_that_grid_and_the_rotary_grid_stays():
    config = Eva02Config(**PLAIN).for_volume((2, 20, 8))
    assert (config.position_grid, config.rotary_grid) == ((5, 4), (16, 7))


def test_a_table_is_resized_in_the_plane_and_keeps_the_row_of_the_cls_token():
    config = Eva02Config(**PLAIN)
    table = torch.randn(1, 16, 32)
    fitted = config.fit({"pos_embed": table}, config.for_volume((4, 20, 8)))
    assert fitted["pos_embed"].shape == (1, 21, 32)
    assert torch.equal(fitted["pos_embed"][:, 0], table[:, 0])
    assert fitted["depth_embed"].shape == (1, 2, 32)
    assert not fitted["depth_embed"].any()


@pytest.mark.parametrize("norms", [False, True])
def test_what_training_keeps_is_estimated(norms):
    torch.manual_seed(0)
    size = {"embed_dim": 64, "depth": 6, "num_heads": 4, "mlp_dim": 170, "volume": (12, 24, 20)}
    size |= {"position_grid": (6, 10), "attn_norm": norms, "mlp_norm": norms}
    net = Eva02(Eva02Config(**{**PLAIN, **size}))
    kept, tokens = saved_bytes(net)
    assert net.config.memory(tokens)[1] == pytest.approx(kept, rel=0.1)
