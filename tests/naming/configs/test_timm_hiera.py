"""What timm says of its Hiera and its HieraDet."""

import pytest
from torch import nn

from inflate_zoo.errors import UnsupportedModelError
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.configs.timm_models import describe_timm, finetuned
from inflate_zoo.naming.towers import best_matching
from tests.support.recorded import case

SAM2 = families_by_name()["timm_sam2"]
HIERA = families_by_name()["timm_hiera"]
ARCH, PLAIN_ARCH = "sam2_hiera_tiny", "hiera_tiny_224"


def test_a_published_sam_2_is_described():
    assert describe_timm(SAM2, "sam2_hiera_base_plus", {}) == {
        "embed_dim": 112, "widths": [112, 224, 448, 896], "depths": [2, 3, 16, 3],
        "num_heads": [2, 4, 8, 16], "mlp_dims": [448, 896, 1792, 3584], "in_chans": 3,
        "patch_size": [4, 4], "img_size": [896, 896], "kernel": [7, 7], "padding": [3, 3],
        "query_stride": [2, 2], "position_grid": [14, 14], "windows": [8, 4, 14, 7],
        "global_blocks": [12, 16, 20],
        "activation": "gelu", "norm_eps": 1e-6,
    }  # fmt: skip


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ({"global_att_blocks": ()}, {"global_blocks": []}),
        ({"act_layer": nn.SiLU, "in_chans": 1}, {"activation": "silu", "in_chans": 1}),
        ({"pretrained_cfg": {"input_size": (3, 64, 96)}}, {"img_size": [64, 96]}),
        ({"stages": (1, 1, 1, 3)}, {"depths": [1, 1, 1, 3]}),
        ({"patch_kernel": (3, 5), "patch_padding": (1, 2)}, {"kernel": [3, 5], "padding": [1, 2]}),
    ],
)
def test_what_is_asked_of_timm_is_described(arguments, expected):
    said = describe_timm(SAM2, ARCH, arguments)
    assert {field: said[field] for field in expected} == expected


@pytest.mark.parametrize(
    "arguments, told",
    [
        ({"patch_size": (16, 16)}, "special stem"),
        ({"init_values": 0.1}, "special layer scale"),
        ({"q_pool": 2}, "special pooling"),
        ({"norm_layer": nn.RMSNorm}, "special norm"),
    ],
)
def test_what_has_its_names_but_other_arithmetic_is_refused(arguments, told):
    with pytest.raises(UnsupportedModelError, match=told) as caught:
        describe_timm(SAM2, ARCH, arguments)
    assert "timm_sam2" in caught.value.hint


def test_a_published_hiera_is_described():
    assert describe_timm(HIERA, "hiera_base_224", {}) == {
        "embed_dim": 96, "widths": [96, 192, 384, 768], "depths": [2, 3, 16, 3],
        "num_heads": [1, 2, 4, 8], "mlp_dims": [384, 768, 1536, 3072], "in_chans": 3,
        "patch_size": [4, 4], "img_size": [224, 224], "kernel": [7, 7], "padding": [3, 3],
        "query_stride": [2, 2], "position_grid": [56, 56], "windows": [8, 4, 2, 1],
        "global_blocks": list(range(6, 24)),
        "activation": "gelu", "norm_eps": 1e-6,
    }  # fmt: skip


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ({"mask_unit_attn": (True,) * 4}, {"global_blocks": []}),
        ({"mask_unit_attn": (True, False, False, False)}, {"global_blocks": list(range(2, 12))}),
        ({"img_size": (448, 256)}, {"img_size": [448, 256], "position_grid": [112, 64]}),
        ({"stages": (1, 1, 1), "q_pool": 2, "mask_unit_size": (4, 4)}, {"windows": [4, 2, 1]}),
        ({"stages": (1, 1, 1, 3)}, {"depths": [1, 1, 1, 3]}),
    ],
)
def test_what_is_asked_of_timms_hiera_is_described(arguments, expected):
    said = describe_timm(HIERA, PLAIN_ARCH, arguments)
    assert {field: said[field] for field in expected} == expected


@pytest.mark.parametrize(
    "arguments, told",
    [
        ({"init_values": 0.1}, "special layer scale"),
        ({"q_pool": 2}, "special pooling"),
        ({"norm_layer": nn.RMSNorm}, "special norm"),
        ({"use_expand_proj": False}, "special expansion"),
        ({"abs_win_pos_embed": True}, "special positions"),
        ({"mask_unit_size": (8, 16), "img_size": (256, 256)}, "special mask unit"),
        ({"mask_unit_size": (16, 16), "img_size": 256}, "special mask unit"),
        ({"q_stride": (1, 2), "mask_unit_size": (8, 8)}, "special mask unit"),
    ],
)
def test_a_hiera_of_other_arithmetic_is_refused(arguments, told):
    with pytest.raises(UnsupportedModelError, match=told) as caught:
        describe_timm(HIERA, PLAIN_ARCH, arguments)
    assert "timm_hiera" in caught.value.hint


@pytest.mark.parametrize("arch", ["hiera_small_abswin_256", "hiera_base_abswin_256"])
def test_published_ones_of_other_arithmetic_are_refused(arch):
    with pytest.raises(UnsupportedModelError, match=r"special .*(layer scale|expansion)"):
        describe_timm(HIERA, arch, {})


def test_another_class_is_named():
    with pytest.raises(UnsupportedModelError, match="VisionTransformer, not a HieraDet"):
        describe_timm(SAM2, "vit_tiny_patch16_224", {"depth": 1})


def test_fine_tuning_changes_nothing_of_the_encoder():
    assert finetuned(SAM2, best_matching(SAM2, case("sam2_timm").header)) == {}
