"""SAM 2's encoder as data: its fields and tensors, and the table of depth made for a volume."""

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from inflate_zoo import Backbone, load
from inflate_zoo.networks.base import Windows
from inflate_zoo.networks.hiera.config import HieraConfig, HieraForm, spans
from inflate_zoo.networks.hiera.network import Hiera
from tests.support.checkpoints import randomize

PLANE = {
    "embed_dim": 8, "depths": (1, 3), "num_heads": (1, 2), "mlp_dims": (16, 24),
    "activation": "gelu", "norm_eps": 1e-6, "in_channels": 2, "patch_size": (2, 4),
    "kernel": (3, 7), "image_size": (12, 32), "position_grid": (3, 2), "window_positions": True,
    "windows": (4, 2), "global_blocks": (2,),
}  # fmt: skip
FORM = {**PLANE, "patch_depth": 2, "volume": (6, 12, 24), "depth_window": 2}


def config(**changes):
    return HieraConfig(**{**FORM, **changes})


def saved(folder, *, learned=False, **changes):
    """A network with random tables, that of depth where it is learned, and its files."""
    net = randomize(Backbone(config(**changes)))
    if not learned:
        torch.nn.init.zeros_(net.depth_embed)
    return net, net.save_pretrained(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"stem_shift": True},
        {"depths": (2, 2), "global_blocks": ()},
        {"window_positions": False, "global_blocks": (1, 2)},
    ],
    ids=str,
)
def test_shapes_are_those_of_the_network(changes):
    made = Hiera(config(**changes))
    shapes = {name: tuple(tensor.shape) for name, tensor in made.state_dict().items()}
    assert made.config.model_copy(update={"depth_positions": 3}).shapes() == shapes
    assert shapes.pop("depth_embed") == (1, 3, 8)
    assert made.config.shapes() == shapes


def test_a_form_lists_the_tensors_of_the_plane():
    plane, depth = HieraForm(**PLANE).shapes(), config().shapes()
    assert plane.keys() == depth.keys()
    assert {name for name in plane if plane[name] != depth[name]} == {"patch_embed.weight"}
    assert plane["patch_embed.weight"] == (8, 2, 3, 7)
    assert depth["patch_embed.weight"] == (8, 2, 2, 3, 7)
    assert plane["pos_embed"] == (1, 8, 3, 2)
    assert plane["pos_embed_window"] == (1, 8, 4, 4)
    assert {name for name in plane if ".proj." in name and "attn" not in name} == {
        "blocks.1.proj.weight",
        "blocks.1.proj.bias",
    }
    assert plane["blocks.1.attn.qkv.weight"] == (48, 8)


def test_without_positions_inside_windows_the_table_is_one_of_rows():
    plane = HieraForm(**PLANE | {"window_positions": False}).shapes()
    assert plane["pos_embed"] == (1, 6, 8)
    assert HieraForm(**PLANE).shapes().keys() - plane.keys() == {"pos_embed_window"}


@pytest.mark.parametrize(
    "indices, told",
    [((), ""), ((3,), "3"), ((5, 7, 9), "5, 7, 9"), ((0, 1, 2, 5, 8, 9), "0-2, 5, 8-9")],
)
def test_indices_in_words(indices, told):
    assert spans(indices) == told


def test_a_form_is_inflated_with_windows_as_deep_as_they_are_high():
    form = HieraForm(**PLANE)
    made = form.inflated(channels=1, patch_depth=4, volume=(8, 12, 8), stem_bias=False)
    assert (made.in_channels, made.patch_depth, made.volume) == (1, 4, (8, 12, 8))
    assert (made.depth_window, made.model_type, made.stem_shift) == (4, "inflated_hiera", False)
    assert form.inflated(channels=1, patch_depth=4, volume=(8, 12, 8), stem_bias=True).stem_shift
    assert (form.window, form.merges, form.native_grid) == (4, False, (3, 4))
    assert made.with_windows(Windows(7, merge_depth=False)).depth_window == 7
    assert "windows of 4+2 (global: 2)" in form.described()


def test_each_stage_is_a_level_of_twice_the_width_and_stride():
    made = config()
    assert made.levels == ((8, (2, 2, 4)), (16, (2, 4, 8)))
    assert (made.final_width, made.grid_size, made.num_prefix_tokens) == (16, (3, 3, 3), 0)
    assert made.geometry() == "patch 2x2x4, windows 2x4x4 in the first stage"


def test_the_first_block_of_a_stage_may_be_global():
    made = config(global_blocks=(1, 2, 3), windows=(4, 1))
    assert [made.window_of(i) for i in range(4)] == [(2, 4, 4), None, None, None]
    assert made.memory(32)[1] > 0
    assert "(global: 1-3)" in made.described()


def test_the_first_block_of_a_stage_pools_in_the_windows_of_the_one_before():
    made = config()
    assert [made.pools(index) for index in range(4)] == [False, True, False, False]
    assert [made.window_of(i) for i in range(4)] == [(2, 4, 4), (2, 4, 4), None, (2, 2, 2)]


def test_a_volume_changes_no_table_of_the_plane():
    made = config().for_volume((10, 24, 48))
    assert (made.position_grid, made.depth_rows) == ((3, 2), 5)
    assert made.without_weights() == config(stem_shift=True).without_weights()


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"num_heads": (1, 3)}, "width 16 is not divisible by 3 heads"),
        ({"num_heads": (1,)}, "num_heads are not those of 2 stages"),
        ({"windows": (4, 2, 2)}, "windows are not those of 2 stages"),
        ({"windows": (3, 2)}, "cannot be halved where queries are pooled"),
        ({"windows": (130, 2)}, "a window is larger than 128"),
        ({"kernel": (4, 7)}, "has no middle"),
        ({"global_blocks": (4,)}, "global_blocks are not ascending indices of 4 blocks"),
        ({"global_blocks": (3, 2)}, "ascending"),
        ({"image_size": (3, 32)}, "leaves no token in the last stage"),
        ({"position_grid": (1 << 13, 1 << 13)}, "more than 16,777,216 places"),
        ({"embed_dim": 1 << 16, "num_heads": (1, 1)}, "the last stage is wider"),
        ({"depths": (1, 1_000)}, "depths are more than"),
        ({"depth_window": 0}, "greater than 0"),
    ],
)
def test_what_is_no_such_network_is_refused(changes, told):
    with pytest.raises(ValidationError, match=told):
        config(**changes)


def test_a_zero_depth_table_is_left_out_and_it_comes_back(tmp_path):
    net, folder = saved(tmp_path / "saved", stem_shift=True)
    again, x = load(folder).eval(), torch.randn(1, 2, 6, 12, 24)
    assert again.config == net.config
    assert again.config.depth_positions == 0
    with torch.inference_mode():
        assert torch.equal(again(x), net(x))


def test_a_learned_depth_table_is_in_the_file_and_resized(tmp_path):
    net, folder = saved(tmp_path / "saved", learned=True)
    assert load(folder).config.depth_positions == 3
    deeper, held = load(folder, volume=(10, 24, 24)).state_dict(), net.state_dict()
    expected = F.interpolate(held["depth_embed"].mT, size=5, mode="linear").mT
    torch.testing.assert_close(deeper.pop("depth_embed"), expected)
    assert all(torch.equal(deeper[name], held[name]) for name in deeper)


def test_memory_grows_with_what_tokens_see():
    made = config(volume=(4, 16, 32))
    inference, training = made.memory(32)
    assert 0 < inference < training
    assert made.memory(64)[1] == 2 * training
    padded = config(volume=(4, 16, 32), windows=(6, 2))
    assert padded.memory(32)[1] > training
