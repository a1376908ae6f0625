"""Towers under any wrapper: found by their form, chosen by rule or by name."""

import pytest

from inflate_zoo.errors import (
    AccountingError,
    AmbiguousSourceError,
    ConfigError,
    UnsupportedModelError,
    UsageError,
)
from inflate_zoo.files.header import TensorInfo
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.detection import choose_family
from inflate_zoo.naming.plan import make_plan
from inflate_zoo.naming.towers import best_matching, choose_tower, complete_towers, left_out
from tests.support.recorded import case

SCHEMES = families_by_name()
TIMM = SCHEMES["timm_vit"]
INFO = TensorInfo("F32", (4,))


def bare():
    return case("augreg_file").header


def under(*prefixes, header=None):
    return {f"{p}{name}": info for p in prefixes for name, info in (header or bare()).items()}


def chunked(name):
    return name.replace("blocks.", "blocks.0.", 1)


WRAPPED = {
    "bare": ("", lambda name: name),
    "data parallel": ("module.", lambda name: name),
    "compiled": ("_orig_mod.", lambda name: name),
    "lightning": ("state_dict.model.", lambda name: name),
    "all of them": ("state_dict.module._orig_mod.model.backbone.module.", lambda name: name),
    "no known word": ("a.0.b.", lambda name: name),
    "open_clip": ("visual.trunk.", lambda name: name),
    "compiled blocks": ("m.", lambda name: name.replace("blocks.1.", "blocks.1._orig_mod.")),
    "compiled stem": ("m.", lambda name: name.replace("embed.proj", "embed._orig_mod.proj")),
    "recomputed": ("", lambda n: n.replace(".mlp.", "._checkpoint_wrapped_module.mlp.")),
    "chunked": ("teacher.", chunked),
    "sharded chunks": ("", lambda n: chunked(n).replace(".attn.", "._fsdp_wrapped_module.attn.")),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_a_tower_is_found_under_any_wrapper(kind):
    prefix, spelled = WRAPPED[kind]
    header = {f"{prefix}{spelled(name)}": info for name, info in bare().items()}
    assert complete_towers(TIMM, header) == (prefix,)
    matching, plain = best_matching(TIMM, header), best_matching(TIMM, bare())
    assert matching.leftover == ()
    assert {
        target: tuple(prefix + spelled(source) for source in sources)
        for target, sources in plain.kept.items()
    } == matching.kept


def test_transformers_names_under_a_wrapper():
    recorded = case("vit_classifier")
    header = under("state_dict.model.", header=recorded.header)
    scheme = choose_family(SCHEMES, header, recorded.config)
    plan = make_plan(scheme, header, recorded.config)
    assert plan.prefix == "state_dict.model.vit."
    assert "state_dict.model.classifier.weight" in plan.dropped


def test_every_name_is_taken_or_listed():
    header = under("model.", "model_ema.module.") | {
        "optimizer.state.0.exp_avg": INFO,
        "model.mask_token": INFO,
        "scheduler.x": INFO,
    }
    matching = best_matching(TIMM, header)
    assert (matching.prefix, matching.copies) == ("model.", ("model_ema.module.",))
    kept = [name for sources in matching.kept.values() for name in sources]
    assert sorted([*kept, *matching.dropped, *matching.beside]) == sorted(header)
    assert set(matching.dropped) == {"model.head.weight", "model.head.bias", "model.mask_token"}
    assert left_out("model.", [*matching.dropped, *matching.beside]) == {
        "model.head.*": 2,
        "model.mask_token": 1,
        "model_ema.*": len(bare()),
        "optimizer.*": 1,
        "scheduler.*": 1,
    }


@pytest.mark.parametrize(
    "name",
    ["optimizer.state.3.exp_avg", "my_opt.state.0.step", "scaler.scale", "lr_schedulers.0.x"],
)
def test_training_state_beside_a_bare_tower_is_left_out(name):
    assert best_matching(TIMM, bare() | {name: INFO}).beside == (name,)


def test_a_copy_inside_the_tower_is_beside_it():
    header = under("", "ema.")
    matching = best_matching(TIMM, header)
    assert matching.prefix == ""
    assert matching.leftover == ()
    assert set(matching.beside) == {name for name in header if name.startswith("ema.")}


@pytest.mark.parametrize(
    "prefixes, wanted, taken",
    [
        (["model.", "model_ema."], None, "model."),
        (["state_dict_ema.", "state_dict."], None, "state_dict."),
        (["ema."], None, "ema."),
        (["m.base_encoder.", "m.momentum_encoder."], None, "m.base_encoder."),
        (["student.module.backbone.", "teacher.backbone."], None, "teacher.backbone."),
        (["student.x.", "teacher.x.", "ema.x."], None, "teacher.x."),
        (["student_model.", "teacher_model."], None, "teacher_model."),
        (["gram_teacher.backbone.", "teacher.backbone."], None, "teacher.backbone."),
        (["student.b.", "teacher.b.", "model_ema.b.", "gram_teacher.b."], None, "teacher.b."),
        (["student.b.", "teacher.b.", "gram_teacher.b."], "teacher", "teacher.b."),
        (["teacher.b.", "gram_teacher.b."], "gram", "gram_teacher.b."),
        (["gram_teacher.b.", "model_ema.b."], "ema", "model_ema.b."),
        (["net.", "shadow.net."], None, "net."),
        (["model.", "model_ema."], "model", "model."),
        (["model.", "model_ema."], "ema", "model_ema."),
        (["model.", "model.ema."], "model", "model."),
        (["model.", "model.ema."], "ema", "model.ema."),
        (["state_dict.", "state_dict_ema."], "ema", "state_dict_ema."),
        (["m.base_encoder.", "m.momentum_encoder."], "ema", "m.momentum_encoder."),
        (["m.base_encoder.", "m.momentum_encoder."], "momentum_encoder", "m.momentum_encoder."),
        (["student.module.backbone.", "teacher.backbone."], "student", "student.module.backbone."),
        (
            ["student.module.backbone.", "teacher.backbone."],
            "teacher.backbone",
            "teacher.backbone.",
        ),
        (["", "vit."], "*", ""),
        (["", "vit."], "vit.*", "vit."),
        (["a.b.", "a.c.b."], "a.b", "a.b."),
    ],
)
def test_the_copy_that_is_taken(prefixes, wanted, taken):
    assert choose_tower(prefixes, wanted) == taken
    assert choose_tower(prefixes[::-1], wanted) == taken


@pytest.mark.parametrize(
    "prefixes, wanted, flags",
    [
        (["first.", "second."], None, "--weights first or --weights second"),
        (["", "vit."], None, "--weights '*' or --weights vit"),
        (["gram.", "vit."], None, "--weights gram or --weights vit"),
        (["encoder.module.", "target_encoder.module."], None,
         "--weights encoder or --weights target_encoder"),
        (["a.x.", "a.y.", "a.ema."], None, "--weights x or --weights y"),
        (["x.a.", "x.b.", "y."], "x", "--weights a or --weights b"),
        (["model.", "model.copy."], None, "--weights model or --weights copy"),
    ],
)  # fmt: skip
def test_equally_good_copies_are_all_named_with_what_chooses_them(prefixes, wanted, flags):
    with pytest.raises(AmbiguousSourceError) as caught:
        choose_tower(prefixes, wanted)
    assert caught.value.hint == f"say which: {flags}"
    for flag in flags.split(" or "):
        name = flag.removeprefix("--weights ").strip("'")
        chosen = choose_tower(prefixes, name)
        assert f"'{chosen}*'" in caught.value.message


def test_a_copy_that_is_not_there_is_answered_with_those_that_are():
    with pytest.raises(UsageError, match="no weights called 'ema'") as caught:
        choose_tower(["teacher.", "student."], "ema")
    assert "--weights teacher or --weights student" in caught.value.hint


def test_a_stray_name_in_the_tower_is_still_left_over():
    header = under("state_dict.model.") | {"state_dict.model.blocks.0.attn.gate": INFO}
    assert best_matching(TIMM, header).leftover == ("state_dict.model.blocks.0.attn.gate",)


def test_an_incomplete_tower_is_none():
    header = {name: info for name, info in under("model.").items() if "blocks.0." not in name}
    assert complete_towers(TIMM, header) == ()
    assert best_matching(TIMM, header).prefix == "model."


def test_thousands_of_stems_cost_little_time():
    header = {f"{index}.patch_embed.proj.weight": INFO for index in range(20_000)}
    assert complete_towers(TIMM, header) == ()


@pytest.mark.parametrize(
    "names, options, told, step",
    [
        (["base_model.model.blocks.0.lora_A.weight"], {}, "an adapter", "merge_and_unload"),
        (["x.lora_B.default.weight"], {"arch": "test_vit"}, "an adapter", "merge_and_unload"),
        (["visual.transformer.resblocks.0.attn.in_proj_weight", "visual.conv1.weight"], {},
         "OpenCLIP's", "nearest supported: open_clip"),
        (["visual.transformer.resblocks.0.attn.in_proj_weight"], {"arch": "test_vit"},
         "OpenCLIP's", "nearest supported: open_clip"),
        (["layer1.0.conv1.weight"], {"arch": "test_vit"}, "CNN", "nearest supported"),
    ],
)  # fmt: skip
def test_what_is_no_tower_is_told_as_what_it_is(names, options, told, step):
    with pytest.raises(UnsupportedModelError) as caught:
        choose_family(SCHEMES, dict.fromkeys(names, INFO), None, **options)
    assert told in caught.value.message
    assert step in caught.value.hint


def test_an_adapter_that_is_not_merged_is_told_as_one():
    header = under("model.") | {"model.blocks.1.attn.qkv.lora_A.default.weight": INFO}
    with pytest.raises(UnsupportedModelError, match="adapter"):
        best_matching(TIMM, header)


@pytest.mark.parametrize(
    "kind, family",
    [("dino_full", "dino"), ("moco_v3", "moco_v3")],
)
def test_a_kind_is_known_by_its_wrapper(kind, family):
    assert choose_family(SCHEMES, case(kind).header, None).name == family


def test_of_originals_with_the_same_names_the_one_that_knows_all_is_chosen():
    header = under("model.") | {"model.decoder_embed.weight": INFO}  # a MAE's
    assert choose_family(SCHEMES, header, None).name == "timm_vit"


@pytest.mark.parametrize("outer", ["", "model."])
@pytest.mark.parametrize(
    "kind, inside, wrapper",
    [  # as transformers 5 saves ViTMSNForImageClassification and SwinBackbone
        ("vit_msn", ("embeddings.", "layernorm."), "vit."),
        ("swin", ("encoder.", "embeddings."), "swin."),
    ],
)
def test_parts_under_another_wrapper_than_the_rest_are_told(kind, inside, wrapper, outer):
    source = case(kind)
    header = {
        outer + (wrapper if name.startswith(inside) else "") + name: info
        for name, info in source.header.items()
    }
    with pytest.raises(UnsupportedModelError) as caught:
        best_matching(SCHEMES[source.definition], header)
    assert f"under '{outer}{wrapper}*', others under '{outer}*'" in caught.value.message
    assert "save_pretrained" in caught.value.hint


@pytest.mark.parametrize("outer", ["", "model."])
def test_an_optional_piece_under_another_wrapper_is_told_before_a_disagreement(outer):
    source = case("beit_pretrained")  # as transformers 5 saves BeitBackbone
    piece = "encoder.relative_position_bias.relative_position_bias_table"
    header = {outer + name.removeprefix("beit."): info for name, info in source.header.items()}
    header[f"{outer}beit.{piece}"] = header.pop(outer + piece)
    family = SCHEMES["hf_beit"]
    with pytest.raises(UnsupportedModelError, match=rf"under '{outer}beit\.\*', others under"):
        make_plan(family, header, source.config)
    del header[f"{outer}beit.{piece}"]
    with pytest.raises(ConfigError, match="disagree"):
        make_plan(family, header, source.config)


def test_what_a_text_tower_has_besides_is_no_part_of_the_image_tower():
    source = case("vit")
    name = "encoder.layer.{}.attention.attention.query.bias"
    found = {n: info for n, info in source.header.items() if not n.endswith("query.bias")}
    found |= {f"text.{n}": info for n, info in found.items() if n.startswith("encoder")}
    found["text." + name.format(0)] = source.header[name.format(0)]
    with pytest.raises(AccountingError, match="not every tensor"):
        make_plan(SCHEMES["hf_vit"], found, source.config)
