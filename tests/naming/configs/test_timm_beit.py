"""What timm says of its Beit."""

import pytest

from inflate_zoo.errors import UnsupportedModelError
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.configs.timm_models import describe_timm, finetuned
from inflate_zoo.naming.towers import best_matching
from tests.support.recorded import case

FAMILIES = families_by_name()


def test_timm_says_what_its_beit_is():
    family = FAMILIES["timm_beit"]
    said = describe_timm(family, "beit_base_patch16_224", {"depth": 3, "img_size": 32})
    assert said["depth"] == 3
    assert said["norm_eps"] == 1e-6
    assert (said["block_tables"], said["shared_table"], said["qv_bias"]) == (True, False, True)
    with pytest.raises(UnsupportedModelError, match="special absolute positions"):
        describe_timm(family, "beit_base_patch16_224", {"depth": 1, "use_abs_pos_emb": True})
    for special in ({"swiglu_mlp": True}, {"scale_mlp": True}):
        with pytest.raises(UnsupportedModelError, match="special MLP"):
            describe_timm(family, "beit_base_patch16_224", {"depth": 1, **special})


def test_a_pretrained_file_of_a_bare_architecture_is_understood():
    matching = best_matching(FAMILIES["timm_beit"], case("beit_original_pretrained").header)
    changed = {"global_pool": "token", "use_rel_pos_bias": False, "use_shared_rel_pos_bias": True}
    assert finetuned(FAMILIES["timm_beit"], matching) == changed
    matching = best_matching(FAMILIES["timm_beit"], case("beit_timm").header)
    assert finetuned(FAMILIES["timm_beit"], matching) == {}


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ({"use_rel_pos_bias": False, "use_shared_rel_pos_bias": True}, {"shared_table": True}),
        ({"use_rel_pos_bias": False, "use_shared_rel_pos_bias": True}, {"block_tables": False}),
        ({"qkv_bias": False, "init_values": 0.0}, {"qv_bias": False, "layer_scale": False}),
        ({}, {"final_norm": "pooled", "pool": "mean", "pool_dropped": False}),
        ({"global_pool": "token"}, {"final_norm": "tokens", "pool": "cls"}),
        ({"global_pool": ""}, {"pool_dropped": True}),
        ({"img_size": (32, 48)}, {"img_size": [32, 48], "patch_size": [16, 16]}),
    ],
)
def test_parts_and_sizes_are_those_that_timm_builds(arguments, expected):
    said = describe_timm(FAMILIES["timm_beit"], "beit_base_patch16_224", {"depth": 1, **arguments})
    assert {field: said[field] for field in expected} == expected


def test_another_class_is_named():
    with pytest.raises(UnsupportedModelError, match="VisionTransformer, not a Beit") as caught:
        describe_timm(FAMILIES["timm_beit"], "vit_tiny_patch16_224", {"depth": 1})
    assert "timm_beit" in caught.value.hint
