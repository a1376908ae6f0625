import pytest

from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.patterns import (
    Match,
    covers,
    expected_parts,
    is_optional,
    match_header,
    match_name,
    sources_of,
)

VIT, DINO_V2 = families_by_name()["hf_vit"], families_by_name()["hf_dinov2"]
ATTENTION = "encoder.layer.{}.attention.attention.{}.{}"


@pytest.mark.parametrize(
    "name, target, part",
    [
        ("embeddings.cls_token", "cls_token", 0),
        ("embeddings.patch_embeddings.projection.bias", "patch_embed.bias", 0),
        ("encoder.layer.10.layernorm_after.weight", "blocks.10.norm2.weight", 0),
        (ATTENTION.format(3, "query", "bias"), "blocks.3.attn.qkv.bias", 0),
        (ATTENTION.format(3, "key", "bias"), "blocks.3.attn.qkv.bias", 1),
        (ATTENTION.format(3, "value", "weight"), "blocks.3.attn.qkv.weight", 2),
    ],
)
def test_a_known_name_is_understood(name, target, part):
    assert match_name(VIT, name) == Match(target, part)


@pytest.mark.parametrize(
    "name",
    [
        "embeddings_cls_token",  # a dot is a dot
        "xembeddings.cls_token",
        "embeddings.cls_token.x",
        "encoder.layer..layernorm_after.weight",
        "encoder.layer.01.layernorm_after.weight",  # would collide with 1
        "encoder.layer.-1.layernorm_after.weight",
        "encoder.layer.\u0663.layernorm_after.weight",
        f"encoder.layer.{'9' * 5000}.layernorm_after.weight",
        "encoder.layer.1.layernorm_after.gamma",
        ATTENTION.format(3, "qkv", "weight"),
    ],
)
def test_a_name_that_only_resembles_is_not(name):
    assert match_name(VIT, name) is None


def test_every_name_of_a_header_is_sorted_once():
    names = [
        ATTENTION.format(0, part, "weight") for part in ("value", "query", "key")
    ]  # the order of the file does not matter
    header = [f"vit.{name}" for name in names]
    header += ["vit.pooler.dense.weight", "classifier.weight", "vit.encoder.layer.0.norm1.weight"]
    matching = match_header(VIT, "vit.", header)
    assert matching.kept == {
        "blocks.0.attn.qkv.weight": tuple(
            f"vit.{ATTENTION.format(0, part, 'weight')}" for part in ("query", "key", "value")
        )
    }
    assert matching.parts == {"blocks.0.attn.qkv.weight": (0, 1, 2)}
    assert matching.dropped == ("vit.pooler.dense.weight",)
    assert matching.beside == ("classifier.weight",)
    assert matching.leftover == ("vit.encoder.layer.0.norm1.weight",)


def test_a_dropped_pattern_does_not_reach_into_other_names():
    matching = match_header(VIT, "", ["my_classifier.weight", "classifier", "classifierx.weight"])
    assert matching.dropped == ()


def test_expected_parts_counts_the_alternatives_of_a_join_only():
    assert expected_parts(VIT, "blocks.7.attn.qkv.bias") == 3
    assert expected_parts(VIT, "blocks.7.norm1.bias") == 1
    assert expected_parts(families_by_name()["timm_vit"], "blocks.7.attn.qkv.bias") == 1


@pytest.mark.parametrize("scheme", families_by_name().values(), ids=lambda scheme: scheme.name)
def test_sources_are_the_inverse_of_matching(scheme):
    for pattern in (*scheme.rename.values(), *scheme.join):
        for part in ("weight", "bias"):
            target = pattern.replace("{}", "11").replace("{wb}", part)
            sources = sources_of(scheme, "x.", target)
            assert sources, target
            found = [match_name(scheme, source.removeprefix("x.")) for source in sources]
            assert {match.target for match in found} == {target}
            if expected_parts(scheme, target) > 1:
                assert [match.part for match in found] == list(range(len(found)))


def test_a_tensor_with_two_spellings_has_two_sources():
    assert sources_of(DINO_V2, "", "blocks.2.mlp.fc1.weight") == [
        "encoder.layer.2.mlp.fc1.weight",
        "encoder.layer.2.mlp.weights_in.weight",
    ]


def test_covers_and_optional():
    assert covers(VIT, "cls_token")
    assert covers(VIT, "norm.{wb}")
    assert covers(VIT, "blocks.{}.attn.qkv.bias")
    assert not covers(VIT, "reg_token")
    assert is_optional(VIT, "blocks.{}.attn.qkv.bias")
    assert not is_optional(VIT, "blocks.{}.attn.qkv.weight")


DOUBLED = families_by_name()["torchvision_swin3d"]


@pytest.mark.parametrize(
    "name, target",
    [
        ("features.0.1.norm1.weight", "stages.0.blocks.1.norm1.weight"),
        ("features.6.0.mlp.3.bias", "stages.3.blocks.0.mlp.fc2.bias"),
        ("features.5.norm.bias", "merges.2.norm.bias"),
        ("features.1.reduction.weight", "merges.0.reduction.weight"),
    ],
)
def test_an_index_may_be_twice_ours_and_one_more(name, target):
    assert match_name(DOUBLED, name) == Match(target, 0)
    assert sources_of(DOUBLED, "x.", target) == [f"x.{name}"]


@pytest.mark.parametrize(
    "name", ["features.1.1.norm1.weight", "features.4.norm.bias", "features.0.reduction.weight"]
)
def test_an_index_between_is_not_known(name):
    assert match_name(DOUBLED, name) is None
