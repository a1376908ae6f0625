"""What timm says of its plain vision transformer."""

import pytest

from inflate_zoo.errors import UnsupportedModelError
from inflate_zoo.files.header import TensorInfo
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.configs.rules import MOST_REGISTERS
from inflate_zoo.naming.configs.timm_models import (
    TIMM_NETWORKS,
    create_timm,
    describe_timm,
    finetuned,
    passed_in_code,
)
from inflate_zoo.naming.towers import best_matching
from tests.support.recorded import case, cases

FAMILIES = families_by_name()
VIT = FAMILIES["timm_vit"]
NO_CLS = {"class_token": False, "global_pool": "avg"}


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


def shown(kind, arch, **model_args):
    """What the tensors of a recorded source show beyond another architecture."""
    source = next(each for each in cases("timm_vit") if each.kind == kind)
    assert source.config is not None
    stated = source.config["model_args"]
    small = {name: stated[name] for name in ("embed_dim", "img_size", "patch_size", "num_heads")}
    described = describe_timm(VIT, arch, {"depth": 1, **small, **model_args})
    return passed_in_code(VIT, best_matching(VIT, source.header), source.header, described)


PLAIN = "vit_base_patch16_224"


@pytest.mark.parametrize(
    "kind, arch, more",
    [
        ("augreg", PLAIN, {}),
        ("rectangular", PLAIN, {}),
        ("dinov2", PLAIN, {"init_values": 1.0}),
        ("dinov2", "vit_small_patch14_dinov2", {}),
        ("reg_with_positions", PLAIN, {"reg_tokens": 4}),
        ("deit3", PLAIN, {"init_values": 1.0, "no_embed_class": True}),
        ("deit3", "deit3_small_patch16_224", {}),
        ("reg1", PLAIN, {"init_values": 1.0, "reg_tokens": 1, "no_embed_class": True}),
        ("reg1", "vit_small_patch14_reg4_dinov2", {}),
        ("siglip", "vit_base_patch16_siglip_224", {}),
    ],
)
def test_tensors_show_what_a_config_leaves_out(kind, arch, more):
    assert shown(kind, arch) == more


def test_registers_alone_may_have_no_positions_either():
    header = {name: info for name, info in case("reg1").header.items() if name != "cls_token"}
    described = describe_timm(VIT, PLAIN, {"depth": 1, "img_size": 32, "patch_size": 8} | NO_CLS)
    found = passed_in_code(VIT, best_matching(VIT, header), header, described)
    assert found == {"init_values": 1.0, "reg_tokens": 1, "no_embed_class": True}


@pytest.mark.parametrize("shape", [(1, MOST_REGISTERS + 1, 48), (4, 48)])
def test_tokens_that_no_network_has_show_nothing(shape):
    header = {**case("augreg").header, "reg_token": TensorInfo("F32", shape)}
    described = describe_timm(VIT, PLAIN, {"depth": 1})
    assert passed_in_code(VIT, best_matching(VIT, header), header, described) == {}


def test_a_gate_that_config_json_names_is_built():
    gated = {"depth": 1, "mlp_ratio": 5.3375, "mlp_layer": "SwiGLUPacked", "act_layer": "silu"}
    told = describe_timm(VIT, "vit_huge_patch14_224", gated)
    assert (told["mlp"], told["mlp_dim"], told["activation"]) == ("swiglu", 3416, "silu")
