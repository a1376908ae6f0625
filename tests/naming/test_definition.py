"""The forms of the TOML files: what contradicts itself is refused."""

import pytest
from pydantic import ValidationError

from inflate_zoo.naming.definition import ConfigEntry, Family, Normalization

FIELDS = {
    "name": "mine",
    "network": "vit",
    "summary": "mine",
    "library": "timm",
    "modules": ("vision_transformer",),
    "reference": "VisionTransformer",
    "rename": {"stem.{wb}": "patch_embed.{wb}", "table": "pos_embed"},
    "roles": {"patch_embed.weight": "stem_kernel", "pos_embed": "position_table"},
    "config": {"pool": {"default": "cls"}},
    "normalization": {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
}


def test_the_stem_is_the_tensor_of_that_role():
    family = Family.model_validate(FIELDS)
    assert family.stem == "patch_embed.weight"
    assert family.wrappers == ("*",)


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"roles": {"pos_embed": "position_table"}}, "'stem_kernel' to one tensor"),
        (
            {"roles": {"patch_embed.weight": "stem_kernel", "pos_embed": "stem_kernel"}},
            "'stem_kernel' to one tensor",
        ),
        (
            {"roles": {"patch_embed.weight": "stem_kernel", "other": "token"}},
            r"roles names what nothing else mentions: \['other'\]",
        ),
        ({"roles": {"patch_embed.weight": "stem_kernel", "pos_embed": "copied"}}, "pos_embed"),
        ({"optional": ("cls_token",)}, r"optional names what .*\['cls_token'\]"),
        ({"sections": {"clip": "vision_config"}}, r"sections names what .*\['clip'\]"),
        ({"drop": ("head.*",), "pooling_head": ("pool.*",)}, r"pooling_head .*\['pool\.\*'\]"),
        ({"library": "transformers"}, "processor is named for transformers, and only there"),
        ({"processor": "ViTImageProcessor"}, "processor is named for transformers, and only"),
        ({"colour": "red"}, "Extra inputs"),
        ({"split": {"qkv": ("q",)}}, "split makes 'qkv' no two parts"),
        ({"split": {"qkv": ("", "", "")}}, "split makes 'qkv' no two parts"),
        ({"split": {"qkv": ("q", "", "q")}}, "split makes 'qkv' no two parts"),
        ({"split": {"qkv": ("q", "")}, "optional": ("k",)}, r"optional names what .*\['k'\]"),
        ({"normalization": {"mean": (0.5,), "std": (0.5,)}}, "normalization.mean"),
    ],
)
def test_what_contradicts_itself_or_is_dead_is_refused(changes, told):
    with pytest.raises(ValidationError, match=told):
        Family.model_validate(FIELDS | changes)


def test_what_may_be_left_out_and_joined_is_known_by_its_weight_and_bias():
    more = {
        "join": {"qkv.{wb}": "{q,k,v}.{wb}"},
        "optional": ("qkv.bias", "patch_embed.bias", "pos_embed"),
        "roles": {**FIELDS["roles"], "patch_embed.bias": "stem_bias"},
    }
    assert Family.model_validate(FIELDS | more).optional == more["optional"]


def test_what_is_split_is_ours_but_for_the_parts_that_are_left_out():
    more = {"split": {"qkv.{wb}": ("q.{wb}", "", "v.{wb}")}, "optional": ("q.bias", "v.{wb}")}
    family = Family.model_validate(FIELDS | more)
    assert family.targets == ("patch_embed.{wb}", "pos_embed", "q.{wb}", "v.{wb}")


@pytest.mark.parametrize(
    "fields, told",
    [
        ({}, "needs 'path', 'default' or 'rule'"),
        ({"rule": "heads", "path": "num_heads"}, "'rule' stands alone"),
        ({"rule": "heads", "default": 3}, "'rule' stands alone"),
        ({"paht": "num_heads"}, "Extra inputs"),
    ],
)
def test_a_field_comes_from_one_place(fields, told):
    with pytest.raises(ValidationError, match=told):
        ConfigEntry(**fields)


@pytest.mark.parametrize("field", [{"path": "a"}, {"default": 0}, {"path": "a", "default": 0}])
def test_a_path_a_default_or_both_will_do(field):
    assert ConfigEntry(**field).rule is None


@pytest.mark.parametrize(
    "mean, std",
    [
        ((), (0.5,)),
        ((0.5,), ()),
        ((0.5,), (0.0,)),
        ((0.5,), (-0.5,)),
        ((0.5,), (1e-7,)),
        ((2e6,), (0.5,)),
        ((float("nan"),), (0.5,)),
        ((0.5,), (float("inf"),)),
        (("0.5",), (0.5,)),
    ],
)
def test_what_no_fold_can_use_is_no_normalisation(mean, std):
    with pytest.raises(ValidationError):
        Normalization(mean=mean, std=std)
