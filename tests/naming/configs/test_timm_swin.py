"""What timm says of its SwinTransformer and SwinTransformerV2."""

from functools import partial

import pytest
from torch import nn

from inflate_zoo.errors import UnsupportedModelError
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.configs.timm_models import describe_timm, finetuned
from inflate_zoo.naming.towers import best_matching
from tests.support.recorded import case

FAMILIES = families_by_name()
SWIN, SWINV2 = FAMILIES["timm_swin"], FAMILIES["timm_swinv2"]
TINY, TINY_V2 = "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"


def test_a_published_swin_is_described():
    assert describe_timm(SWIN, TINY, {}) == {
        "embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24],
        "mlp_dims": [384, 768, 1536, 3072], "in_chans": 3, "patch_size": [4, 4],
        "img_size": [224, 224], "activation": "gelu", "norm_eps": 1e-5, "pool_dropped": False,
        "windows": [[7, 7]] * 4, "qkv_bias": True, "stem_norm": True,
    }  # fmt: skip


def test_a_published_swinv2_is_described():
    said = describe_timm(SWINV2, "swinv2_base_window12to16_192to256", {})
    assert said == {
        "embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32],
        "mlp_dims": [512, 1024, 2048, 4096], "in_chans": 3, "patch_size": [4, 4],
        "img_size": [256, 256], "activation": "gelu", "norm_eps": 1e-5, "pool_dropped": False,
        "windows": [[16, 16], [16, 16], [16, 16], [8, 8]],
        "pretrained_windows": [[12, 12], [12, 12], [12, 12], [6, 6]], "qv_bias": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    "family, arch, arguments, expected",
    [
        (SWIN, "swin_s3_tiny_224", {}, {"windows": [[7, 7], [7, 7], [14, 14], [7, 7]]}),
        (SWIN, TINY, {"qkv_bias": False}, {"qkv_bias": False}),
        (SWIN, TINY, {"global_pool": "max"}, {"pool_dropped": True}),
        (SWIN, TINY, {"img_size": (112, 224)}, {"img_size": [112, 224]}),
        (SWIN, TINY, {"in_chans": 1}, {"in_chans": 1}),
        (SWINV2, TINY_V2, {"qkv_bias": False}, {"qv_bias": False}),
        (SWINV2, TINY_V2, {}, {"pretrained_windows": [[0, 0]] * 4}),
    ],
)
def test_what_is_asked_of_timm_is_described(family, arch, arguments, expected):
    said = describe_timm(family, arch, arguments)
    assert {field: said[field] for field in expected} == expected


@pytest.mark.parametrize(
    "family, arch, arguments, told",
    [
        (SWIN, TINY, {"head_dim": 16}, "no Swin that is converted: special width of heads"),
        (SWIN, TINY, {"always_partition": True}, "special windows larger than their grid"),
        (
            SWINV2,
            TINY_V2,
            {"always_partition": True},
            "no SwinV2 that is converted: special windows",
        ),
        (SWIN, TINY_V2, {}, f"'{TINY_V2}' is timm's SwinTransformerV2, not a SwinTransformer"),
        (SWINV2, TINY, {}, f"'{TINY}' is timm's SwinTransformer, not a SwinTransformerV2"),
    ],
)
def test_what_has_their_names_but_other_arithmetic_is_refused(family, arch, arguments, told):
    with pytest.raises(UnsupportedModelError, match=told) as caught:
        describe_timm(family, arch, arguments)
    assert family.name in caught.value.hint


def test_norms_of_another_kind_are_refused():
    with pytest.raises(UnsupportedModelError, match="special norm"):
        describe_timm(SWIN, TINY, {"norm_layer": nn.RMSNorm})


@pytest.mark.parametrize("family, arch", [(SWIN, TINY), (SWINV2, TINY_V2)])
def test_the_epsilon_is_that_of_all_norms(family, arch):
    said = describe_timm(family, arch, {"norm_layer": partial(nn.LayerNorm, eps=0.1)})
    assert said["norm_eps"] == 0.1


@pytest.mark.parametrize("family, kind", [(SWIN, "swin_timm"), (SWINV2, "swinv2_timm")])
def test_fine_tuning_changes_nothing_of_the_encoder(family, kind):
    assert finetuned(family, best_matching(family, case(kind).header)) == {}
