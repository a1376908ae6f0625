"""SAM's encoder as data: its fields and tensors, and tables resized for a volume."""

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from inflate_zoo import Backbone, load
from inflate_zoo.networks.base import Windows
from inflate_zoo.networks.layers.positions import resize_in_plane
from inflate_zoo.networks.sam.config import SamConfig, SamForm
from inflate_zoo.networks.sam.network import Sam
from tests.support.checkpoints import randomize

PLANE = {
    "embed_dim": 24, "depth": 3, "num_heads": 2, "mlp_dim": 40, "activation": "gelu",
    "norm_eps": 1e-5, "neck_eps": 1e-6, "neck_dim": 8, "in_channels": 2, "patch_size": (4, 2),
    "position_grid": (3, 5), "window_size": 2, "global_blocks": (1,), "qkv_bias": True,
}  # fmt: skip
FORM = {**PLANE, "patch_depth": 2, "volume": (6, 12, 10), "depth_window": 2}


def config(**changes):
    return SamConfig(**{**FORM, **changes})


def saved(folder, *, learned=False, **changes):
    """A network with random tables, those of depth where they are learned, and its files."""
    net = randomize(Backbone(config(**changes)))
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if not learned and name.endswith(net.config.depth_table):
                parameter.zero_()
    return net, net.save_pretrained(folder)


@pytest.mark.parametrize("changes", [{}, {"qkv_bias": False}, {"global_blocks": ()}], ids=str)
def test_shapes_are_those_of_the_network(changes):
    made = Sam(config(**changes))
    shapes = {name: tuple(tensor.shape) for name, tensor in made.state_dict().items()}
    assert made.config.model_copy(update={"depth_positions": 3}).shapes() == shapes
    deep = {name for name in shapes if name.endswith(SamConfig.depth_table)}
    assert len(deep) == 4
    assert made.config.shapes() == {n: s for n, s in shapes.items() if n not in deep}


def test_a_form_lists_the_tensors_of_the_plane():
    plane, depth = SamForm(**PLANE).shapes(), config().shapes()
    assert plane.keys() == depth.keys()
    changed = {name for name in plane if plane[name] != depth[name]}
    assert changed == {"patch_embed.weight", "neck.conv1.weight", "neck.conv2.weight"}
    assert (plane["neck.conv2.weight"], depth["neck.conv2.weight"]) == (
        (8, 8, 3, 3),
        (8, 8, 3, 3, 3),
    )
    assert plane["blocks.0.attn.rel_pos_w"] == (3, 12)  # of a window
    assert plane["blocks.1.attn.rel_pos_w"] == (9, 12)  # of the whole grid
    assert plane["pos_embed"] == (1, 15, 24)


def test_a_form_is_inflated_with_windows_as_deep_as_they_are_high():
    form = SamForm(**PLANE)
    made = form.inflated(channels=1, patch_depth=4, volume=(8, 12, 10), stem_bias=False)
    assert (made.in_channels, made.patch_depth, made.volume) == (1, 4, (8, 12, 10))
    assert (made.depth_window, made.model_type) == (2, "inflated_sam")
    assert (form.window, form.merges, form.native_grid) == (2, False, (3, 5))
    assert made.with_windows(Windows(7, merge_depth=False)).depth_window == 7
    assert "windows 2x2 (global: 1)" in form.described()


def test_final_tokens_are_as_wide_as_the_neck_and_levels_as_the_blocks():
    made = config()
    assert made.final_width == 8
    assert [level.width for level in made.levels] == [24] * 3
    assert made.geometry() == "patch 2x4x2, position grid 3x5, windows 2x2x2"
    assert made.num_prefix_tokens == 0


def test_tables_of_a_global_block_follow_the_volume_and_those_of_windows_do_not():
    made = config().for_volume((10, 24, 20))
    assert made.table_sides(1) == (5, 6, 10)
    assert made.table_sides(0) == (2, 2, 2)
    assert made.without_weights() == config().without_weights()


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"num_heads": 5}, "embed_dim 24 is not divisible by num_heads 5"),
        ({"global_blocks": (3,)}, "global_blocks are not ascending indices of 3 blocks"),
        ({"global_blocks": (1, 0)}, "ascending"),
        ({"global_blocks": (1, 1)}, "ascending"),
        ({"window_size": 0}, "greater than 0"),
        ({"window_size": 129}, "less than or equal to 128"),
        ({"depth_window": 0}, "greater than 0"),
        ({"position_grid": (1 << 13, 1 << 13)}, "more than 16,777,216 places"),
    ],
)
def test_what_is_no_such_network_is_refused(changes, told):
    with pytest.raises(ValidationError, match=told):
        config(**changes)


def test_zero_depth_tables_are_left_out_and_it_comes_back(tmp_path):
    net, folder = saved(tmp_path / "saved")
    again, x = load(folder).eval(), torch.randn(1, 2, 6, 12, 10)
    assert again.config == net.config
    assert again.config.depth_positions == 0
    with torch.inference_mode():
        assert torch.equal(again(x), net(x))


def test_learned_depth_tables_are_in_the_file_and_resized(tmp_path):
    net, folder = saved(tmp_path / "saved", learned=True)
    assert load(folder).config.depth_positions == 3
    for name, tensor in load(folder).state_dict().items():
        assert torch.equal(tensor, net.state_dict()[name])
    deeper, held = load(folder, volume=(10, 12, 10)).state_dict(), net.state_dict()
    lines = {"depth_embed": 5, "blocks.1.attn.rel_pos_d": 9}
    for name, rows in lines.items():
        line = held[name].view(1, -1, held[name].shape[-1]).mT
        expected = F.interpolate(line, size=rows, mode="linear").mT
        torch.testing.assert_close(deeper[name].view(expected.shape), expected)
    name = "blocks.0.attn.rel_pos_d"  # of windows, which stay as deep
    assert torch.equal(deeper[name], held[name])


def test_tables_are_resized_once_linearly_and_the_position_table_as_others_are(tmp_path):
    net, folder = saved(tmp_path / "saved")
    larger = load(folder, volume=(8, 24, 14))
    made, held = larger.state_dict(), net.state_dict()
    for axis, rows in (("h", 11), ("w", 13)):
        name = f"blocks.1.attn.rel_pos_{axis}"
        expected = F.interpolate(held[name].mT.unsqueeze(0), size=rows, mode="linear")[0].mT
        torch.testing.assert_close(made[name], expected)
        name = f"blocks.0.attn.rel_pos_{axis}"
        assert torch.equal(made[name], held[name])
    expected = resize_in_plane(held["pos_embed"], 0, (3, 5), (6, 7))
    assert torch.equal(made["pos_embed"], expected)
    again = load(larger.save_pretrained(tmp_path / "larger")).state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in made.items())


def test_memory_grows_with_what_tokens_see():
    made = config(volume=(4, 16, 16), position_grid=(4, 8), window_size=4)
    inference, training = made.memory(64)
    assert 0 < inference < training
    padded = config(volume=(4, 16, 16), position_grid=(4, 8), window_size=5)
    assert padded.memory(64)[1] > training
    everywhere = config(volume=(4, 16, 16), position_grid=(4, 8), window_size=4, global_blocks=())
    assert everywhere.memory(64)[1] < training
