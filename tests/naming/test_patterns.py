import pytest

from inflate_zoo.files import budgets
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.patterns import (
    WHOLE,
    Share,
    covers,
    is_optional,
    match_header,
    match_name,
    sources_of,
    ways_of,
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
    (found,) = match_name(VIT, name)
    assert (found.target, found.part, found.share) == (target, part, WHOLE)


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
    assert match_name(VIT, name) == ()


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
    assert matching.whole == {"blocks.0.attn.qkv.weight"}
    assert matching.dropped == ("vit.pooler.dense.weight",)
    assert matching.beside == ("classifier.weight",)
    assert matching.leftover == ("vit.encoder.layer.0.norm1.weight",)


def test_a_dropped_pattern_does_not_reach_into_other_names():
    matching = match_header(VIT, "", ["my_classifier.weight", "classifier", "classifierx.weight"])
    assert matching.dropped == ()


@pytest.mark.parametrize(
    "parts", [("query", "key"), ("query", "key", "value", "q_proj"), ("query", "k_proj", "value")]
)
def test_parts_that_are_missing_doubled_or_of_two_patterns_are_no_whole(parts):
    names = [
        f"layers.0.attention.{part}.weight"
        if part.endswith("_proj")
        else ATTENTION.format(0, part, "weight")
        for part in parts
    ]
    matching = match_header(VIT, "", names)
    assert len(matching.kept["blocks.0.attn.qkv.weight"]) == len(parts)
    assert not matching.whole


def test_each_way_in_which_a_file_may_have_a_tensor_is_known():
    assert [len(way) for way in ways_of(VIT, "x.", "blocks.7.attn.qkv.bias").values()] == [3, 3]
    assert [len(way) for way in ways_of(VIT, "x.", "blocks.7.norm1.bias").values()] == [1, 1]
    assert list(ways_of(families_by_name()["timm_vit"], "", "blocks.7.attn.qkv.bias").values()) == [
        ("blocks.7.attn.qkv.bias",)
    ]


@pytest.mark.parametrize("scheme", families_by_name().values(), ids=lambda scheme: scheme.name)
def test_sources_are_the_inverse_of_matching(scheme):
    for pattern in scheme.targets:
        for part in ("weight", "bias"):
            target = pattern.replace("{}", "11").replace("{wb}", part)
            sources = sources_of(scheme, "x.", target)
            assert sources, target
            found = [match_name(scheme, source.removeprefix("x.")) for source in sources]
            assert all(target in [match.target for match in matches] for matches in found)
            assert all(len(matches) == 1 or scheme.split for matches in found)
            for source, names in ways_of(scheme, "", target).items():
                matches = [match for name in names for match in match_name(scheme, name)]
                parts = [match for match in matches if match.target == target]
                assert [match.part for match in parts] == list(range(parts[0].parts))
                assert {match.source for match in parts} == {source}


def test_a_tensor_of_several_spellings_has_several_sources():
    assert sources_of(DINO_V2, "", "blocks.2.mlp.fc1.weight") == [
        f"encoder.layer.2.mlp.{name}.weight"
        for name in ("fc1", "weights_in", "gate_proj", "up_proj")
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
    (found,) = match_name(DOUBLED, name)
    assert (found.target, found.part, found.parts) == (target, 0, 1)
    assert sources_of(DOUBLED, "x.", target) == [f"x.{name}"]


@pytest.mark.parametrize(
    "name", ["features.1.1.norm1.weight", "features.4.norm.bias", "features.0.reduction.weight"]
)
def test_an_index_between_is_not_known(name):
    assert match_name(DOUBLED, name) == ()


STAGED = families_by_name()["hf_hiera"]
LAYER = "encoder.stages.{}.layers.{}.layernorm_before.weight"


def test_blocks_that_are_counted_anew_in_each_stage_are_counted_on():
    header = [f"x.{LAYER.format(*place)}" for place in ((1, 1), (0, 0), (2, 0), (1, 0), (1, 2))]
    matching = match_header(STAGED, "x.", [*header, "x.embeddings.position_embeddings", "head.1"])
    assert matching.starts == (0, 1, 4)
    assert matching.kept == {
        "blocks.0.norm1.weight": (header[1],),
        "blocks.1.norm1.weight": (header[3],),
        "blocks.2.norm1.weight": (header[0],),
        "blocks.3.norm1.weight": (header[4],),
        "blocks.4.norm1.weight": (header[2],),
        "pos_embed": ("x.embeddings.position_embeddings",),
    }
    for target, (source,) in matching.kept.items():
        assert sources_of(STAGED, "x.", target, matching.starts) == [source]
        ways = ways_of(STAGED, "x.", target, matching.starts)
        assert list(ways.values()) == [(source,)]
    beyond = sources_of(STAGED, "", "blocks.9.norm1.weight", matching.starts)
    assert beyond == [LAYER.format(2, 5)]


def test_without_a_file_no_two_blocks_are_the_same():
    found = {
        match_name(STAGED, LAYER.format(stage, block))[0].target
        for stage in range(9)
        for block in (0, 1, 9_999)
    }
    assert len(found) == 27
    assert {"blocks.0.norm1.weight", "blocks.1.norm1.weight"} < found
    assert match_header(VIT, "", [LAYER.format(0, 0)]).starts == ()


def test_a_stage_that_is_missing_and_one_of_another_tower_count_for_nothing():
    header = [LAYER.format(2, 0), f"x.{LAYER.format(0, 7)}", LAYER.format(0, 0)]
    assert match_header(STAGED, "", header).starts == (0, 1, 1)
    assert match_header(STAGED, "x.", header).starts == (0,)


def test_more_blocks_than_any_network_has_are_not_known():
    inside = [LAYER.format(0, budgets.MOST_BLOCKS - 2), LAYER.format(1, 0)]
    assert len(match_header(STAGED, "", inside).kept) == 2
    beyond = [LAYER.format(stage, 9_999) for stage in (0, 1, 9_999)]
    assert match_header(STAGED, "", beyond).leftover == tuple(beyond)


SPLIT = families_by_name()["dinov3"]
PACKED = "blocks.3.attn.qkv.bias"


def test_a_name_that_is_split_gives_several_of_ours_and_leaves_a_part_out():
    found = match_name(SPLIT, PACKED)
    assert [(match.target, match.share) for match in found] == [
        ("blocks.3.attn.q_bias", Share(0, 3)),
        ("blocks.3.attn.v_bias", Share(2, 3)),
    ]
    assert {(match.part, match.parts, match.source) for match in found} == {
        (0, 1, "blocks.{}.attn.qkv.bias")
    }
    for match in found:
        assert sources_of(SPLIT, "x.", match.target) == [f"x.{PACKED}"]
        assert covers(SPLIT, match.target.replace("3", "{}"))
    assert match_name(SPLIT, PACKED.replace("bias", "gamma")) == ()


def test_a_header_has_each_part_of_what_is_split():
    matching = match_header(SPLIT, "x.", [f"x.{PACKED}", f"x.{PACKED}_mask", "x.cls_token"])
    ours = {"blocks.3.attn.q_bias": Share(0, 3), "blocks.3.attn.v_bias": Share(2, 3)}
    assert matching.shares == ours | {"cls_token": WHOLE}
    assert matching.kept == dict.fromkeys(ours, (f"x.{PACKED}",)) | {"cls_token": ("x.cls_token",)}
    assert matching.whole == matching.kept.keys()
    assert matching.dropped == (f"x.{PACKED}_mask",)


def test_a_part_that_a_file_has_by_itself_too_is_given_twice():
    both = SPLIT.model_copy(
        update={"rename": {**SPLIT.rename, "query.{}": "blocks.{}.attn.q_bias"}}
    )
    matching = match_header(both, "", [PACKED, "query.3"])
    assert matching.whole == {"blocks.3.attn.v_bias"}
