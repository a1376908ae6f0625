"""What timm says of its NaFlexVit."""

import pytest

from inflate_zoo.errors import UnsupportedModelError
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.configs import timm_naflex
from inflate_zoo.naming.configs.timm_models import (
    create_timm,
    describe_timm,
    finetuned,
    is_converted,
    timm_arguments,
)
from inflate_zoo.naming.towers import best_matching
from tests.support.recorded import case

NAFLEX = families_by_name()["timm_naflex"]


@pytest.mark.parametrize(
    "arch, expected",
    [
        ("naflexvit_base_patch16_siglip", {"position_resizing": "bilinear", "position_rows": 256}),
        ("naflexvit_base_patch16_siglip", {"activation": "gelu_tanh", "pool_dropped": True}),
        ("naflexvit_so400m_patch16_siglip", {"embed_dim": 1152, "mlp_dim": 4304}),
        ("naflexvit_base_patch16_gap", {"position_resizing": "bicubic", "reg_tokens": 4}),
        ("naflexvit_base_patch16_gap", {"pool": "mean", "final_norm": "pooled"}),
        ("naflexvit_base_patch16_gap", {"layer_scale": True, "class_token": False}),
    ],
)
def test_published_architectures_are_described(arch, expected):
    told = describe_timm(NAFLEX, arch, {"depth": 1})
    assert {field: told[field] for field in expected} == expected


@pytest.mark.parametrize(
    "arguments, part",
    [
        ({"pos_embed": "factorized"}, "position table"),
        ({"pos_embed": "none"}, "position table"),
        ({"pos_embed_ar_preserving": True}, "bilinear, ar_preserving=True, antialias=True"),
        ({"rope_type": "axial"}, "position table"),
        ({"embed_proj_type": "conv"}, "stem"),
        ({"qk_norm": True}, "norm inside"),
        ({"swiglu_mlp": True}, "blocks"),
    ],
)
def test_what_is_special_is_refused_by_its_part(arguments, part):
    with pytest.raises(UnsupportedModelError, match=part):
        describe_timm(NAFLEX, "naflexvit_base_patch16_siglip", {"depth": 1, **arguments})


@pytest.mark.parametrize(
    "attribute, value, part",
    [
        ("pos_embed_antialias", False, "resizing of its table of positions"),
        ("pos_embed_align_corners", True, "resizing of its table of positions"),
        ("pos_embed_interp_mode", "nearest", "resizing of its table of positions"),
        ("channels_last", False, "stem"),
    ],
)
def test_what_only_later_releases_of_timm_can_be_told_is_refused_too(attribute, value, part):
    model = create_timm(NAFLEX, "naflexvit_base_patch16_siglip", {"depth": 1})
    setattr(model.embeds, attribute, value)
    with pytest.raises(UnsupportedModelError, match=part):
        timm_naflex.NAFLEX.describe("naflexvit_base_patch16_siglip", model)


@pytest.mark.parametrize("size", ["base", "huge"])
def test_radios_that_resize_otherwise_have_a_twin_of_one_grid(size):
    arch = f"naflexvit_{size}_patch16_radio_v3"
    with pytest.raises(UnsupportedModelError) as caught:
        describe_timm(NAFLEX, arch, {"depth": 1})
    assert "resizing of its table of positions (" in caught.value.message
    assert "align_corners=True" in caught.value.message
    assert caught.value.hint.endswith(f"timm/vit_{size}_patch16_radio_v3.c_radio")
    assert is_converted(families_by_name()["timm_vit"], f"vit_{size}_patch16_radio_v3")


def test_another_class_is_refused():
    with pytest.raises(UnsupportedModelError, match="vision_transformer"):
        timm_arguments(NAFLEX, "vit_base_patch16_224", {})


def test_a_bare_file_whose_norm_is_of_the_pooled_vector_says_so():
    recorded = case("naflex_timm_gap")
    changed = finetuned(NAFLEX, best_matching(NAFLEX, recorded.header))
    assert changed == {"global_pool": "avg", "fc_norm": True}
    assert finetuned(NAFLEX, best_matching(NAFLEX, case("naflex_timm").header)) == {}
