"""What timm says of its VisionTransformerSAM."""

import pytest
from torch import nn

from inflate_zoo.errors import UnsupportedModelError
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.configs.timm_models import describe_timm, finetuned
from inflate_zoo.naming.towers import best_matching
from tests.support.recorded import case

SAM = families_by_name()["timm_sam"]
ARCH = "samvit_base_patch16"


def test_a_published_sam_is_described():
    assert describe_timm(SAM, ARCH, {}) == {
        "window_size": 14,
        "global_attn_indexes": [2, 5, 8, 11],
        "embed_dim": 768, "depth": 12, "num_heads": 12, "in_chans": 3, "patch_size": [16, 16],
        "img_size": [1024, 1024], "mlp_dim": 3072, "activation": "gelu", "norm_eps": 1e-5,
        "neck_eps": 1e-6, "neck_dim": 256, "qkv_bias": True, "pool_dropped": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ({"qkv_bias": False}, {"qkv_bias": False}),
        ({"global_pool": "max"}, {"pool_dropped": True}),
        ({"global_pool": ""}, {"pool_dropped": True}),
        ({"img_size": (64, 96)}, {"img_size": [64, 96]}),
        ({"neck_chans": 32, "act_layer": nn.SiLU}, {"neck_dim": 32, "activation": "silu"}),
        ({"depth": 7}, {"depth": 7}),
    ],
)
def test_what_is_asked_of_timm_is_described(arguments, expected):
    said = describe_timm(SAM, ARCH, {"depth": 1, **arguments})
    assert {field: said[field] for field in expected} == expected


@pytest.mark.parametrize(
    "arguments, told",
    [
        ({"use_abs_pos": False}, "special absolute positions"),
        ({"use_rel_pos": False}, "special relative positions"),
        ({"pre_norm": True}, "special norm before the blocks"),
        ({"qk_norm": True}, "special norm of queries"),
        ({"init_values": 0.1}, "special layer scale"),
        ({"neck_chans": 0}, "special neck"),
        ({"norm_layer": nn.RMSNorm}, "special norm"),
    ],
)
def test_what_has_its_names_but_other_arithmetic_is_refused(arguments, told):
    with pytest.raises(UnsupportedModelError, match=told) as caught:
        describe_timm(SAM, ARCH, {"depth": 1, "img_size": 64, **arguments})
    assert "timm_sam" in caught.value.hint


def test_the_architecture_of_pictures_of_224_pixels_is_another():
    with pytest.raises(UnsupportedModelError, match="special absolute positions, neck"):
        describe_timm(SAM, "samvit_base_patch16_224", {})


def test_another_class_is_named():
    with pytest.raises(UnsupportedModelError, match="VisionTransformer, not a VisionTransformerS"):
        describe_timm(SAM, "vit_tiny_patch16_224", {"depth": 1})


def test_fine_tuning_changes_nothing_of_the_encoder():
    assert finetuned(SAM, best_matching(SAM, case("sam_timm").header)) == {}
