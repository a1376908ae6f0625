"""What timm says of its plain vision transformer."""

import pytest

from inflate_zoo.errors import UnsupportedModelError
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.configs.timm_models import (
    TIMM_NETWORKS,
    create_timm,
    describe_timm,
    finetuned,
)
from inflate_zoo.naming.towers import best_matching
from tests.support.recorded import case

FAMILIES = families_by_name()
VIT = FAMILIES["timm_vit"]


def test_sizes_and_parts_are_those_that_timm_builds():
    arguments = {"img_size": (32, 48), "qkv_bias": False, "init_values": 1.0}
    told = describe_timm(VIT, "vit_tiny_patch16_224", arguments)
    assert (told["depth"], told["embed_dim"], told["num_heads"]) == (12, 192, 3)
    assert (told["img_size"], told["patch_size"]) == ([32, 48], [16, 16])
    assert (told["qkv_bias"], told["layer_scale"], told["class_token"]) == (False, True, True)
    assert (told["mlp"], told["mlp_dim"], told["activation"]) == ("mlp", 768, "gelu")
    assert (told["pool"], told["pool_dropped"], told["position_prefix"]) == ("cls", False, 1)


@pytest.mark.parametrize(
    "arch, expected",
    [
        ("deit_tiny_distilled_patch16_224", {"distillation_token": True, "pool": "cls_dist"}),
        ("deit_tiny_distilled_patch16_224", {"position_prefix": 2, "pool_dropped": False}),
        ("vit_small_patch14_reg4_dinov2", {"reg_tokens": 4, "position_prefix": 0}),
        ("vit_giant_patch14_dinov2", {"mlp": "swiglu", "mlp_dim": 4096, "activation": "silu"}),
        ("vit_base_patch32_clip_224", {"pre_norm": True, "norm_eps": 1e-5}),
        ("vit_base_patch16_siglip_224", {"class_token": False, "pool_dropped": True}),
    ],
)
def test_published_architectures_are_described(arch, expected):
    told = describe_timm(VIT, arch, {"depth": 1})
    assert {field: told[field] for field in expected} == expected


@pytest.mark.parametrize(
    "arguments, norm, pool, dropped",
    [
        ({}, "tokens", "cls", False),
        ({"global_pool": "avg"}, "pooled", "mean", False),
        ({"global_pool": "avg", "fc_norm": False}, "tokens", "mean", False),
        ({"global_pool": "avg", "pool_include_prefix": True}, "pooled", "mean", True),
        ({"global_pool": "max"}, "pooled", "mean", True),
        ({"final_norm": False}, "none", "cls", False),
    ],
)
def test_norm_and_pool_are_those_of_the_head(arguments, norm, pool, dropped):
    told = describe_timm(VIT, "vit_tiny_patch16_224", {"depth": 1, **arguments})
    assert (told["final_norm"], told["pool"], told["pool_dropped"]) == (norm, pool, dropped)


@pytest.mark.parametrize(
    "arguments, odd",
    [
        ({"qk_norm": True}, "norm inside attention or MLP"),
        ({"pos_embed": "none"}, "position table"),
        ({"norm_layer": "rmsnorm"}, "norm"),
    ],
)
def test_other_arithmetic_under_the_names_of_a_plain_one_is_refused(arguments, odd):
    with pytest.raises(UnsupportedModelError, match="is no plain vision transformer: special"):
        describe_timm(VIT, "vit_tiny_patch16_224", arguments)
    with pytest.raises(UnsupportedModelError, match=odd):
        describe_timm(VIT, "vit_tiny_patch16_224", arguments)


@pytest.mark.parametrize(
    "arguments, odd",
    [({"reg_tokens": 4}, "registers"), ({"no_embed_class": True}, "positions of patches alone")],
)
def test_a_distilled_one_that_timm_does_not_run_as_it_stands_is_refused(arguments, odd):
    with pytest.raises(UnsupportedModelError, match=f"no distilled .* special {odd}") as caught:
        describe_timm(VIT, "deit_tiny_distilled_patch16_224", {"depth": 1, **arguments})
    assert "deit_base_distilled_patch16_224" in caught.value.hint


def test_another_class_is_named():
    model = create_timm(FAMILIES["timm_beit"], "beit_base_patch16_224", {"depth": 1})
    with pytest.raises(UnsupportedModelError, match="is timm's Beit, not a plain") as caught:
        TIMM_NETWORKS[VIT.network, VIT.reference].describe("beit_base_patch16_224", model)
    assert "timm_vit" in caught.value.hint


def test_names_tell_that_a_bare_file_norms_the_pooled_vector():
    header = case("augreg").header
    assert finetuned(VIT, best_matching(VIT, header)) == {}
    pooled = {
        f"fc_{name}" if name.startswith("norm.") else name: info for name, info in header.items()
    }
    assert finetuned(VIT, best_matching(VIT, pooled)) == {"global_pool": "avg", "fc_norm": True}
    assert finetuned(VIT, best_matching(VIT, {**header, **pooled})) == {}
