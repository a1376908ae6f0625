"""What timm says of AIMv2."""

import pytest

from inflate_zoo.errors import UnsupportedModelError
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.configs.timm_models import describe_timm, finetuned
from inflate_zoo.naming.towers import best_matching
from tests.support.recorded import case

FAMILIES = families_by_name()
AIMV2 = FAMILIES["timm_aimv2"]
ARCH = "aimv2_large_patch14_224"


@pytest.mark.parametrize(
    "arch, expected",
    [
        (ARCH, {"embed_dim": 1024, "num_heads": 8, "mlp_dim": 2816, "activation": "silu"}),
        (ARCH, {"norm_eps": 1e-5, "img_size": [224, 224], "pool_dropped": False}),
        ("aimv2_huge_patch14_448", {"mlp_dim": 4096, "img_size": [448, 448]}),
        ("aimv2_3b_patch14_336", {"embed_dim": 3072, "num_heads": 24, "mlp_dim": 8192}),
    ],
)
def test_published_architectures_are_described(arch, expected):
    told = describe_timm(AIMV2, arch, {"depth": 1})
    assert {field: told[field] for field in expected} == expected


@pytest.mark.parametrize(
    "arguments, part",
    [
        ({"class_token": True, "global_pool": "token"}, "tokens"),
        ({"reg_tokens": 2}, "tokens"),
        ({"qkv_bias": True}, "biases"),
        ({"proj_bias": True}, "biases"),
        ({"init_values": 1.0}, "norm or scale inside"),
        ({"qk_norm": True}, "norm or scale inside"),
        ({"fc_norm": True}, "norm after pooling"),
        ({"pos_embed": "none"}, "position table"),
        ({"pre_norm": True}, "norm before the blocks"),
    ],
)
def test_what_is_special_is_refused_by_its_part(arguments, part):
    with pytest.raises(UnsupportedModelError, match=part):
        describe_timm(AIMV2, ARCH, {"depth": 1, **arguments})


def test_each_of_timms_vision_transformers_is_refused_as_the_other():
    with pytest.raises(UnsupportedModelError, match="'vit_tiny_patch16_224' is no AIMv2"):
        describe_timm(AIMV2, "vit_tiny_patch16_224", {"depth": 1})
    with pytest.raises(UnsupportedModelError, match="norm in the stem"):
        describe_timm(FAMILIES["timm_vit"], ARCH, {"depth": 1})


def test_nothing_of_a_bare_file_is_fine_tuned():
    assert finetuned(AIMV2, best_matching(AIMV2, case("aimv2_timm").header)) == {}


def test_another_pooling_is_told():
    assert describe_timm(AIMV2, ARCH, {"depth": 1, "global_pool": "max", "fc_norm": False})[
        "pool_dropped"
    ]
