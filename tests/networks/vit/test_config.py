"""The plain vision transformer as data."""

import pytest
import torch
from pydantic import ValidationError

from inflate_zoo.networks.base import Level
from inflate_zoo.networks.layers.positions import resize_in_plane
from inflate_zoo.networks.vit.config import CroppedForm, VitConfig, VitForm, tensor_shapes
from tests.segmentation.test_segmenter import config

FORM = {name: value for name, value in config() if name in VitForm.model_fields}


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"num_heads": 3}, "embed_dim 16 is not divisible by num_heads 3"),
        ({"cls_token": False}, "pool 'cls' needs cls_token"),
        ({"pool": "cls_dist"}, "pool 'cls_dist' needs cls_token and dist_token"),
        (
            {"pool": "prefix", "cls_token": False, "position_prefix": 0},
            "pool 'prefix' needs prefix tokens",
        ),
        ({"position_prefix": 2}, "position_prefix 2 exceeds the 1 prefix tokens"),
        ({"position_grid": (1 << 13, 1 << 12)}, "position_grid has more than 16,777,216 places"),
        ({"depth": 1001}, "less than or equal to 1000"),
        ({"norm_eps": 0.0}, "greater than 0"),
        ({"norm_eps": float("inf")}, "finite number"),
        ({"activation": "mish"}, "activation"),
        ({"patch_size": (2,)}, "patch_size"),
    ],
)
def test_a_form_that_no_network_has_is_refused(changes, told):
    with pytest.raises(ValidationError, match=told):
        VitForm(**(FORM | changes))


def test_prefix_tokens_are_counted_and_every_block_is_a_level():
    form = config(reg_tokens=4, dist_token=True)
    assert (form.num_prefix_tokens, VitForm(**FORM).num_prefix_tokens) == (6, 1)
    assert form.levels == (Level(16, (2, 2, 3)),) * 4
    assert form.grid_size == (3, 2, 2)


def test_an_inflated_form_has_the_same_blocks():
    form = VitForm(**(FORM | {"stem_bias": False}))
    made = form.inflated(channels=5, patch_depth=4, volume=(8, 4, 6), stem_bias=False)
    assert made == config(in_channels=5, patch_depth=4, volume=(8, 4, 6), stem_bias=False)
    folded = form.inflated(channels=5, patch_depth=4, volume=(8, 4, 6), stem_bias=True)
    assert folded.stem_bias
    assert form.shapes()["patch_embed.weight"] == (16, 2, 2, 3)
    assert made.shapes()["patch_embed.weight"] == (16, 5, 4, 2, 3)


@pytest.mark.parametrize(
    "changes, more, fewer",
    [
        ({"stem_bias": False}, set(), {"patch_embed.bias"}),
        ({"dist_token": True, "reg_tokens": 2}, {"dist_token", "reg_token"}, set()),
        ({"pre_norm": True}, {"norm_pre.weight", "norm_pre.bias"}, set()),
        (
            {"final_norm": "pooled"},
            {"fc_norm.weight", "fc_norm.bias"},
            {"norm.weight", "norm.bias"},
        ),
        ({"final_norm": "none"}, set(), {"norm.weight", "norm.bias"}),
        ({"qkv_bias": False}, set(), {"blocks.0.attn.qkv.bias"}),
        ({"layer_scale": True}, {"blocks.0.ls1.gamma", "blocks.0.ls2.gamma"}, set()),
        ({"depth_positions": 3}, {"depth_embed"}, set()),
    ],
)
def test_each_part_of_the_architecture_has_its_tensors(changes, more, fewer):
    plain, changed = (set(config(1, **c).shapes()) for c in ({}, changes))
    assert changed - plain == more
    assert plain - changed == fewer


def test_a_gated_network_packs_both_halves_in_one_tensor():
    shapes = tensor_shapes(config(mlp="swiglu", activation="silu"))
    assert shapes["blocks.3.mlp.fc1.weight"] == (32, 16)
    assert shapes["blocks.3.mlp.fc2.weight"] == (16, 16)


def test_for_a_volume_the_table_has_its_grid():
    other = config().for_volume((2, 8, 12))
    assert (other.volume, other.position_grid) == ((2, 8, 12), (4, 4))
    assert config().for_volume(None) == config()
    assert config(1, cls_token=False, pool="mean", position_prefix=0).geometry() == (
        "patch 2x2x3, position grid 2x2"
    )


def test_a_depth_table_of_zeros_is_not_stored_and_made_anew():
    form = config()
    tensors = {"pos_embed": torch.randn(1, 5, 16), "depth_embed": torch.zeros(1, 3, 16)}
    stored, kept = form.stored(tensors)
    assert (stored, list(kept)) == (form, ["pos_embed"])
    again = form.fit(kept, form)
    assert torch.equal(again["pos_embed"], tensors["pos_embed"])
    assert torch.equal(again["depth_embed"], tensors["depth_embed"])
    tensors["depth_embed"][0, 1, 2] = 1.0
    stored, kept = form.stored(tensors)
    assert stored.depth_positions == 3
    assert kept == tensors
    assert torch.equal(stored.fit(kept, stored)["depth_embed"], tensors["depth_embed"])


def test_memory_grows_with_tokens_and_blocks():
    assert config(8).memory(10)[1] == 2 * config(4).memory(10)[1]
    assert config(8).memory(10)[0] == config(4).memory(10)[0]
    assert config().memory(20) == tuple(2 * size for size in config().memory(10))
    # Four values per token at its widest, or the feed-forward part where that is wider.
    assert config().memory(1)[0] == 4 * 4 * 16
    assert config(mlp_dim=100).memory(1)[0] == 4 * (200 + 16)


def test_without_weights_two_sizes_of_one_network_are_the_same():
    one, two = config(depth_positions=3), config(volume=(2, 8, 12), position_grid=(4, 4))
    assert one.without_weights() == two.without_weights()
    assert one.without_weights() != config(5).without_weights()


def test_it_is_described_in_a_few_words():
    assert VitForm(**FORM).described() == "4 blocks of width 16, 2 heads, mlp 16 gelu, eps 1e-06"
    assert config().summary() == "4 blocks of width 16, patch 2x2x3"
    assert VitConfig.kind() == "inflated_vit"


def test_a_resizing_is_said_only_where_it_is_not_the_usual_one():
    usual, other = config(), config(position_resizing="bilinear")
    assert "position_resizing" not in usual.model_dump(mode="json")
    assert VitConfig(**usual.model_dump()).position_resizing == "bicubic"
    assert other.model_dump(mode="json")["position_resizing"] == "bilinear"
    assert VitConfig(**other.model_dump()) == other
    assert other.without_weights() == usual.without_weights()
    with pytest.raises(ValidationError, match="position_resizing"):
        config(position_resizing="nearest")


@pytest.mark.parametrize("resizing", ["bicubic", "bilinear"])
def test_a_table_is_resized_as_the_config_says(resizing):
    form = config(position_resizing=resizing)
    rows = form.position_prefix + form.position_grid[0] * form.position_grid[1]
    table = torch.randn(1, rows, form.embed_dim)
    target = form.for_volume((2, 10, 12))
    assert target.position_resizing == resizing
    expected = resize_in_plane(
        table, form.position_prefix, form.position_grid, target.position_grid, resizing
    )
    assert torch.equal(form.fit({"pos_embed": table}, target)["pos_embed"], expected)


def test_a_table_of_larger_images_is_kept_whole_and_the_network_is_for_its_own():
    form = CroppedForm(**FORM, image_grid=(1, 2))
    assert (form.native_grid, form.position_grid) == ((1, 2), (2, 2))
    made = form.inflated(channels=2, patch_depth=2, volume=(6, 2, 6), stem_bias=False)
    assert made == config(volume=(6, 2, 6))
    assert (made.grid_size, made.position_grid) == ((3, 1, 2), (2, 2))


def test_what_was_cropped_is_not_cropped_again():
    form = config(position_resizing="cropped")
    assert form.for_volume((2, 4, 6)).position_resizing == "cropped"  # of the table's own grid
    sized = form.for_volume((2, 10, 6))
    assert (sized.position_grid, sized.position_resizing) == ((5, 2), "bilinear")
