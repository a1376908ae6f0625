"""AIMv2 as data: what its config says of it."""

import pytest
import torch
from pydantic import ValidationError

from inflate_zoo.networks.aimv2.config import Aimv2Config, Aimv2Form
from inflate_zoo.networks.aimv2.network import Aimv2
from inflate_zoo.networks.base import Level
from inflate_zoo.networks.layers.positions import resize_in_plane
from tests.networks.aimv2.test_network import PLAIN, WAVES
from tests.support.saved import saved_bytes

FORM = {name: value for name, value in PLAIN.items() if name in Aimv2Form.model_fields}


def test_a_form_tells_its_grid_and_itself():
    form = Aimv2Form(**FORM)
    assert form.native_grid == (3, 5)
    assert form.shapes()["pos_embed"] == (1, 15, 32)
    assert "RMS norms, a table of positions, gated mlp 48 silu" in form.described()
    waves = Aimv2Form(**{**FORM, "positions": "sincos"})
    assert "pos_embed" not in waves.shapes()
    assert "computed positions" in waves.described()


def test_an_inflated_form_has_the_same_blocks_and_no_prefix():
    form = Aimv2Form(**FORM)
    made = form.inflated(channels=1, patch_depth=2, volume=(6, 12, 10), stem_bias=True)
    assert made == Aimv2Config(**{**PLAIN, "in_channels": 1})
    assert made.levels == (Level(32, (2, 4, 2)),) * 2
    assert made.num_prefix_tokens == 0
    assert made.shapes()["blocks.1.mlp.fc1.weight"] == (96, 32)


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"num_heads": 3}, "embed_dim 32 is not divisible by num_heads 3"),
        ({"embed_dim": 6, "positions": "sincos"}, "embed_dim 6 is not divisible by 4"),
        ({"position_grid": (1 << 13, 1 << 12)}, "position_grid has more than 16,777,216 places"),
        ({"positions": "none"}, "positions"),
        ({"norm_eps": 0.0}, "greater than 0"),
    ],
)
def test_a_form_that_no_network_has_is_refused(changes, told):
    with pytest.raises(ValidationError, match=told):
        Aimv2Form(**(FORM | changes))


def test_a_table_is_resized_in_the_plane_and_one_of_depth_is_made():
    config = Aimv2Config(**PLAIN)
    target = config.for_volume((4, 20, 8))
    assert target.position_grid == (5, 4)
    table, bias = torch.randn(1, 15, 32), torch.zeros(32)
    fitted = config.fit({"pos_embed": table, "patch_embed.bias": bias}, target)
    assert torch.equal(fitted["pos_embed"], resize_in_plane(table, 0, (3, 5), (5, 4)))
    assert fitted["depth_embed"].shape == (1, 2, 32)
    assert not fitted["depth_embed"].any()


def test_computed_positions_are_in_no_file():
    config = Aimv2Config(**{**PLAIN, **WAVES})
    fitted = config.fit({"patch_embed.bias": torch.zeros(32)}, config.for_volume((4, 20, 8)))
    assert fitted.keys() == {"patch_embed.bias", "depth_embed"}
    learned = Aimv2Config(**{**PLAIN, "depth_positions": 3})
    assert learned.shapes()["depth_embed"] == (1, 3, 32)


def test_without_weights_it_is_still_an_aimv2():
    free = Aimv2Config(**PLAIN).without_weights()
    assert Aimv2Config(**free.model_dump()) == free
    assert (free.position_grid, free.norm_eps, free.positions) == ((1, 1), 1e-6, "learned")


def test_what_training_keeps_is_estimated():
    torch.manual_seed(0)
    size = {"embed_dim": 64, "depth": 6, "num_heads": 4, "mlp_dim": 170, "volume": (12, 24, 20)}
    net = Aimv2(Aimv2Config(**{**PLAIN, **size, "position_grid": (6, 10)}))
    kept, tokens = saved_bytes(net)
    assert net.config.memory(tokens)[1] == pytest.approx(kept, rel=0.1)
