"""Stages of residual blocks and what merges tokens between them, checked on Swin's."""

import itertools

import pytest
import torch

from inflate_zoo.networks.layers.stages import merge_parts
from tests.networks.swin.test_network import network


def test_levels_are_what_the_config_states():
    made = network()
    volume = torch.randn(1, 3, 8, 16, 16)
    maps = made.forward_intermediates(volume, [1, 0, -1], intermediates_only=True)
    for each, index in zip(maps, (0, 1), strict=True):
        level = made.config.levels[index]
        grid = [n // step for n, step in zip((8, 16, 16), level.stride, strict=True)]
        assert each.shape == (1, level.width, *grid)
    last = made.norm(maps[1].movedim(1, -1).flatten(1, 3))
    torch.testing.assert_close(last, made.forward_features(volume))
    assert (made.num_prefix_tokens, made.grid_size, made.embed_dim) == (0, (4, 4, 4), 24)
    with pytest.raises(ValueError, match="stage indices"):
        made.forward_intermediates(volume, [2], intermediates_only=True)
    with pytest.raises(ValueError, match="prepares the backbone for another size"):
        made(volume[:, :, :4])


@pytest.mark.parametrize("depth", [False, True])
def test_merged_are_neighbours_with_depth_outermost_then_width(depth):
    grid = torch.randn(2, 4, 6, 2, 3)
    merged = merge_parts(grid, depth=depth)
    deep = 2 if depth else 1
    assert merged.shape == (2, 4 // deep, 3, 1, 4 * deep * 3)
    for d, h, w in itertools.product(range(4 // deep), range(3), range(1)):
        parts = [
            grid[:, deep * d + k, 2 * h + i, 2 * w + j]
            for k, j, i in itertools.product(range(deep), range(2), range(2))
        ]
        assert torch.equal(merged[:, d, h, w], torch.cat(parts, dim=1))


def test_maps_run_no_stage_more_than_needed():
    made, volume, seen = network(), torch.randn(1, 3, 8, 16, 16), []
    made.stages[1].blocks[0].register_forward_hook(lambda *_: seen.append(1))
    only = {"stop_early": True, "intermediates_only": True}
    assert made.forward_intermediates(volume, [], **only) == []
    made.forward_intermediates(volume, [0], **only)
    assert seen == []
    made.forward_intermediates(volume, [-1], **only)
    assert seen == [1]


@pytest.mark.parametrize(
    "name, layer",
    [
        ("patch_embed.weight", 0),
        ("norm_pre.bias", 0),
        ("stages.0.blocks.0.norm1.weight", 1),
        ("stages.0.blocks.1.mlp.fc1.weight", 2),
        ("merges.0.reduction.weight", 3),
        ("stages.1.blocks.0.norm2.bias", 3),
        ("stages.1.blocks.2.attn.proj.bias", 5),
        ("norm.weight", 6),
    ],
)
def test_blocks_are_counted_over_all_stages_and_merges_go_with_the_block_after(name, layer):
    made = network(depths=(2, 3))
    assert name in dict(made.named_parameters())
    assert (made.layers, made.layer_of(name)) == (5, layer)


def test_a_reader_of_maps_does_not_read_the_last_norm():
    made = network()
    assert made.unread(maps=False) == ()
    (norm,) = made.unread(maps=True)
    assert norm is made.norm
