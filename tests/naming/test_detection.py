import re

import pytest

from inflate_zoo.errors import (
    AccountingError,
    AmbiguousSourceError,
    ConfigError,
    UnknownNameError,
    UnsupportedModelError,
    UsageError,
)
from inflate_zoo.files.header import TensorInfo
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.detection import choose_family, section_of
from inflate_zoo.naming.towers import best_matching
from inflate_zoo.naming.understanding import understand
from tests.support.recorded import case, cases, definitions, plan_of

SCHEMES = families_by_name()
EVERY = [c for name in definitions() for c in cases(name)]
WITH_CONFIG = [c for c in EVERY if c.config is not None]
FROM_TRANSFORMERS = [c for c in WITH_CONFIG if SCHEMES[c.definition].library == "transformers"]


def kinds(chosen):
    return {"argvalues": chosen, "ids": [c.kind for c in chosen]}


def choose(header, config=None, **options):
    return choose_family(SCHEMES, header, config, **options)


def header_of(*names):
    return {name: TensorInfo("F32", (4, 4)) for name in names}


@pytest.mark.parametrize("recorded", **kinds(WITH_CONFIG))
def test_the_config_decides(recorded):
    assert choose(recorded.header, recorded.config).name == recorded.definition


@pytest.mark.parametrize("recorded", **kinds(FROM_TRANSFORMERS))
def test_a_transformers_file_without_its_config_asks_for_it(recorded):
    with pytest.raises(ConfigError, match=r"no config\.json") as caught:
        choose(recorded.header)
    assert recorded.definition in caught.value.message
    with pytest.raises(ConfigError, match=r"no config\.json"):
        choose(recorded.header, family=recorded.definition)


def test_bare_timm_names_could_be_dinos():
    for kind in ("augreg_file", "dino_backbone"):
        with pytest.raises(AmbiguousSourceError) as caught:
            choose(case(kind).header)
        assert "dino, timm_vit" in caught.value.message
        assert "--arch NAME" in caught.value.hint
        assert "--family dino" in caught.value.hint


def test_a_family_is_not_proposed_at_a_width_at_which_its_heads_are_unknown():
    header = case("dino_backbone").header
    huge = {
        name: TensorInfo(i.dtype, tuple(10 * side for side in i.shape))
        for name, i in header.items()
    }
    with pytest.raises(AmbiguousSourceError) as caught:
        choose(huge)
    assert "--arch NAME" in caught.value.hint
    assert "--family" not in caught.value.hint
    with pytest.raises(ConfigError, match="1280 wide"):
        understand(huge, None, "dino", None)


def test_of_several_kinds_of_timm_the_tensors_tell_which_it_is():
    other = SCHEMES["hf_vit"].model_copy(update={"name": "timm_other", "library": "timm"})
    other = other.model_copy(update={"modules": ("vision_transformer",)})
    both = {"timm_other": other, "timm_vit": SCHEMES["timm_vit"]}
    stated = {"architecture": "vit_base_patch16_224"}
    for kind, name in (("augreg", "timm_vit"), ("vit", "timm_other")):
        header = case(kind).header
        assert choose_family(both, header, stated).name == name
        assert choose_family(both, header, None, arch="vit_base_patch16_224").name == name


@pytest.mark.parametrize("stated", ["arch", "config", "open_clip"])
@pytest.mark.parametrize(
    "kind, arch, family",
    [
        ("swin_timm", "vit_tiny_patch16_224", "timm_vit"),  # not AIMv2, which is of its module
        ("swin_timm", "timm/aimv2_large_patch14_224.apple_pt", "timm_aimv2"),
        ("augreg", "vit_small_patch16_rope_ape_224", "timm_eva02"),
        ("augreg", "swinv2_tiny_window8_256", "timm_swinv2"),
    ],
)
def test_an_architecture_that_timm_knows_is_of_its_module_whatever_the_names(
    stated, kind, arch, family
):
    config = {"architecture": arch} if stated == "config" else None
    options = {"arch": {"arch": arch}, "open_clip": {"stated": arch}}.get(stated, {})
    assert choose(case(kind).header, config, **options).name == family


@pytest.mark.parametrize(
    "arch, told, nearest",
    [
        ("swinv2_cr_tiny_224", "swin_transformer_v2_cr, which no family converts", "timm_swinv2"),
        ("vit_relpos_small_patch16_224", "vision_transformer_relpos, which no", "timm_vit"),
        ("resnet50", "resnet, a CNN .ResNet.; only vision transformers", "timm_vit"),
    ],
)
def test_an_architecture_of_a_module_that_no_family_has_is_refused_by_it(arch, told, nearest):
    for names in ("blocks.0.x", "layer1.0.conv1.weight", "stages.0.x"):
        with pytest.raises(UnsupportedModelError, match=f"'{arch}' is of timm's {told}") as caught:
            choose(header_of(names), arch=arch)
        assert f"nearest supported: {nearest};" in caught.value.hint


@pytest.mark.parametrize(
    "kind, arch, told",
    [
        ("swin_timm", "vit_tiny_patch16_224", "is of timm_vit, the tensors are those of timm_swin"),
        ("augreg", "swin_tiny_patch4_window7_224", "the tensors are those of timm_vit"),
    ],
)
def test_the_names_of_another_network_of_timms_are_told(kind, arch, told):
    header = case(kind).header
    for config, named in (({"architecture": arch}, None), (None, arch)):
        with pytest.raises(UsageError, match=told) as caught:
            understand(header, config, None, named)
        assert "--arch" in caught.value.hint


def test_bare_timm_names_are_settled_by_hand():
    header = case("augreg_file").header
    assert choose(header, arch="vit_base_patch16_224").name == "timm_vit"
    assert choose(header, family="dino").name == "dino"


def test_each_of_several_timm_networks_is_told_by_its_names():
    names = {"trunk.stem.{wb}": "patch_embed.{wb}", **SCHEMES["timm_vit"].rename}
    del names["patch_embed.proj.{wb}"]
    other = SCHEMES["timm_vit"].model_copy(update={"name": "a_timm", "rename": names})
    schemes = {"a_timm": other, **SCHEMES}
    header = case("augreg_file").header
    renamed = {n.replace("patch_embed.proj", "trunk.stem"): i for n, i in header.items()}
    for found, expected in ((header, "timm_vit"), (renamed, "a_timm")):
        for config, arch in ((None, "vit_base_patch16_224"), ({"architecture": "x"}, None)):
            assert choose_family(schemes, found, config, arch=arch).name == expected


def test_several_timm_networks_of_the_same_names_are_ambiguous():
    twin = SCHEMES["timm_vit"].model_copy(update={"name": "a_timm"})
    with pytest.raises(AmbiguousSourceError, match="a_timm, timm_vit") as caught:
        choose_family({"a_timm": twin, **SCHEMES}, case("augreg_file").header, None, arch="x")
    assert caught.value.hint == "say which: --family a_timm, or --family timm_vit"


def test_a_full_dino_checkpoint_needs_no_help():
    assert choose(case("dino_full").header).name == "dino"


def test_a_config_without_model_type_leaves_it_to_the_names():
    recorded = case("vit")
    del recorded.config["model_type"]
    with pytest.raises(AmbiguousSourceError) as caught:
        choose(recorded.header, recorded.config)
    assert "--family hf_vit" in caught.value.hint
    recorded = case("siglip")
    del recorded.config["model_type"]
    assert choose(recorded.header, recorded.config).name == "hf_siglip"


def test_a_stem_that_is_a_matrix_tells_what_names_do_not():
    for kind, family in (("siglip2", "hf_siglip2"), ("siglip_vision", "hf_siglip")):
        recorded = case(kind)
        del recorded.config["model_type"]
        assert choose(recorded.header, recorded.config).name == family


def test_a_mistyped_family_is_answered_with_the_right_one():
    with pytest.raises(UnknownNameError) as caught:
        choose({}, family="hf_dinvo2")
    assert caught.value.lines() == ["no family named 'hf_dinvo2'", "did you mean 'hf_dinov2'?"]


@pytest.mark.parametrize("value", [3, ["vit"], {"a": 1}, True])
def test_a_model_type_that_is_no_text_is_named(value):
    with pytest.raises(ConfigError, match="model_type must be text"):
        choose(case("vit").header, {"model_type": value})


def test_an_empty_file_is_unsupported():
    with pytest.raises(UnsupportedModelError):
        choose({})


def test_two_prefixes_at_once_are_ambiguous():
    header = case("vit_mae_bare").header
    both = header | {f"vit.{name}": info for name, info in header.items()}
    with pytest.raises(
        AmbiguousSourceError, match=r"2 complete copies of the network: '\*' and 'vit\.\*'"
    ):
        best_matching(SCHEMES["hf_vit_mae"], both)


def test_two_prefixes_with_a_few_names_each_do_not_make_a_file_fit():
    with pytest.raises(UnsupportedModelError):
        choose(header_of("cls_token", "model.cls_token"))


def test_the_fullest_prefix_wins():
    recorded = case("vit_classifier")
    assert best_matching(SCHEMES["hf_vit"], recorded.header).prefix == "vit."
    more = recorded.header | {"embeddings.cls_token": TensorInfo("F32", (1, 1, 48))}
    assert best_matching(SCHEMES["hf_vit"], more).prefix == "vit."


def test_the_section_of_a_two_tower_model():
    clip = SCHEMES["hf_clip"]
    part = {"hidden_size": 5}
    config = {"model_type": "clip", "vision_config": part}
    assert section_of(clip, config) == (part, "vision_config.")
    assert section_of(clip, {"vision_config": part}) == (part, "vision_config.")
    alone = {"model_type": "clip_vision_model", "hidden_size": 5}
    assert section_of(clip, alone) == (alone, "")
    assert section_of(clip, {"model_type": "clip", "vision_config": None}) == (
        {},
        "vision_config.",
    )


def test_the_section_of_a_larger_model_is_the_one_of_that_kind():
    part = {"model_type": "dinov2", "hidden_size": 5}
    larger = {"model_type": "llava", "hidden_size": 9, "vision_config": part}
    assert section_of(SCHEMES["hf_dinov2"], larger) == (part, "vision_config.")
    assert section_of(SCHEMES["hf_vit"], larger) == (larger, "")
    assert section_of(SCHEMES["hf_dinov2"], part) == (part, "")
    own = {"model_type": "dinov2", "vision_config": part}
    assert section_of(SCHEMES["hf_dinov2"], own) == (own, "")


@pytest.mark.parametrize("field", ["backbone_config", "encoder", "patch_model_config"])
def test_the_section_of_a_larger_model_stands_under_any_name(field):
    part = {"model_type": "dinov2", "hidden_size": 5}
    larger = {"model_type": "their_own", field: part, "text_config": {"model_type": "bert"}}
    assert section_of(SCHEMES["hf_dinov2"], larger) == (part, f"{field}.")
    with pytest.raises(UnsupportedModelError, match="an image tower of type 'dinov2'") as caught:
        choose(case("dinov2").header, larger)
    assert caught.value.hint == "the tower alone is taken with --family hf_dinov2"


def test_of_several_towers_of_a_larger_model_each_is_named_with_its_family():
    part, other = {"model_type": "siglip_vision_model"}, {"model_type": "sam_vision_model"}
    larger = {"model_type": "their_own", "vision_config": part, "high_res_vision_config": other}
    with pytest.raises(UnsupportedModelError, match="'siglip_vision_model' and one of") as caught:
        choose(case("siglip").header, larger)
    assert re.findall(r"--family (\w+)", caught.value.hint) == ["hf_siglip", "hf_sam"]
    assert section_of(SCHEMES["hf_sam"], larger) == (other, "high_res_vision_config.")


def test_towers_of_a_larger_model_are_alike_or_refused():
    part = {"model_type": "dinov2", "hidden_size": 5}
    larger = {"model_type": "depth_pro", "image_model_config": part, "fov_model_config": {**part}}
    assert section_of(SCHEMES["hf_dinov2"], larger) == (part, "image_model_config.")
    larger["fov_model_config"]["hidden_size"] = 6
    with pytest.raises(ConfigError, match="image_model_config, fov_model_config describe"):
        section_of(SCHEMES["hf_dinov2"], larger)


@pytest.mark.parametrize("value", ["abc", 3, [1], [["hidden_size", 4]], True])
@pytest.mark.parametrize("key", ["vision_config", "vision_config_dict"])
def test_a_section_that_is_no_object_is_named(key, value):
    with pytest.raises(ConfigError, match=rf"config\.json: {key} must be an object"):
        section_of(SCHEMES["hf_clip"], {"model_type": "clip", "vision_config": {}, key: value})


@pytest.mark.parametrize("kind, theirs", [("clip", "CLIP"), ("metaclip_2", "MetaClip2")])
def test_clips_vision_config_dict_wins_with_the_librarys_defaults(kind, theirs):
    import transformers

    recorded = case(kind)
    given = {key: recorded.config["vision_config"][key] for key in ("hidden_size", "patch_size")}
    given |= {"num_hidden_layers": 2, "intermediate_size": 96, "image_size": 32}
    stated = {"num_attention_heads": 4, "hidden_act": "gelu", "layer_norm_eps": 1e-3}
    recorded.config["vision_config"] |= stated
    recorded.config["vision_config_dict"] = given
    theirs = getattr(transformers, f"{theirs}Config").from_dict(recorded.config).vision_config
    ours = plan_of(recorded).architecture
    assert ours.num_heads == theirs.num_attention_heads == 12  # the default, not the stated 4
    assert ours.activation == theirs.hidden_act == "quick_gelu"
    assert ours.norm_eps == theirs.layer_norm_eps == 1e-5


@pytest.mark.parametrize("heir, theirs", [("chinese_clip", "ChineseCLIP"), ("clipseg", "CLIPSeg")])
def test_clips_heirs_have_that_rule(heir, theirs):
    import transformers

    given = {"hidden_size": 48, "num_hidden_layers": 2}
    stated = {"model_type": f"{heir}_vision_model", "num_hidden_layers": 3}
    config = {"model_type": heir, "vision_config": stated, "vision_config_dict": given}
    assert section_of(SCHEMES["hf_clip"], config) == (given, "vision_config_dict.")
    theirs = getattr(transformers, f"{theirs}Config").from_dict(config).vision_config
    assert theirs.num_hidden_layers == 2


def test_siglip_has_no_such_rule():
    config = {"model_type": "siglip", "vision_config": {"a": 1}, "vision_config_dict": {"b": 2}}
    assert section_of(SCHEMES["hf_siglip"], config) == ({"a": 1}, "vision_config.")


def test_an_architecture_for_transformers_names_says_whose_they_are():
    with pytest.raises(UsageError, match="the tensors are those of hf_siglip"):
        choose_family(SCHEMES, case("siglip").header, None, arch="test_vit")


def test_of_two_kinds_of_the_same_names_the_rank_of_the_stem_tells():
    flat, deep = case("swin_original").header, case("video_swin").header
    assert choose(flat).name == "swin"
    assert choose(case("swinv2_original").header).name == "swinv2"
    assert choose(deep).name == "video_swin"
    bare = {name.removeprefix("state_dict.backbone."): info for name, info in deep.items()}
    assert choose(bare).name == "video_swin"
    assert choose(case("swin3d").header).name == "torchvision_swin3d"


def test_a_3d_stem_of_a_kind_that_is_2d_alone_is_told_when_it_is_read():
    recorded = case("vit")
    name = "embeddings.patch_embeddings.projection.weight"
    recorded.header[name] = TensorInfo("F32", (48, 3, 4, 8, 8))
    assert choose(recorded.header, recorded.config).name == "hf_vit"
    with pytest.raises(AccountingError) as caught:
        plan_of(recorded)
    assert "is this a 3D or a 1D model?" in caught.value.hint
