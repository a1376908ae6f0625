from dataclasses import replace

import pytest

from inflate_zoo.errors import AccountingError, ConfigError
from inflate_zoo.files.dtypes import FLOATS
from inflate_zoo.files.header import TensorInfo
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.patterns import WHOLE, role_of
from inflate_zoo.naming.understanding import understand
from tests.support.recorded import PLANNED, case, cases, plan_of, refused, vision

SCHEMES = families_by_name()
every_case = pytest.mark.parametrize("recorded", [c.kind for c in PLANNED], indirect=True)
QUERY = "encoder.layer.{}.attention.attention.query.bias"
STEM = "embeddings.patch_embeddings.projection.weight"


@every_case
def test_every_tensor_is_accounted_for(recorded):
    plan = plan_of(recorded)
    assert plan.family.name == recorded.definition
    used = [(source, kept.share) for kept in plan.kept for source in kept.sources]
    assert len(set(used)) == len(used)
    whole = [source for source, share in used if share == WHOLE]
    split = {source for source, share in used if share != WHOLE}
    assert sorted([*whole, *split, *plan.dropped]) == sorted(recorded.header)
    assert {kept.name: kept.shape for kept in plan.kept} == plan.architecture.shapes()
    assert list(plan.dropped) == sorted(plan.dropped)
    for kept in plan.kept:
        assert kept.role == role_of(plan.family, kept.name)
        assert kept.dtype == "F32"


def test_joined_parts_stand_in_the_order_query_key_value():
    plan = plan_of(case("vit"))
    kept = next(k for k in plan.kept if k.name == "blocks.1.attn.qkv.weight")
    assert [name.split(".")[-2] for name in kept.sources] == ["query", "key", "value"]
    assert kept.shape == (3 * 48, 48)


def test_a_stem_that_is_a_matrix_over_patches_is_planned_as_a_kernel():
    stem = next(k for k in plan_of(case("siglip2_vision")).kept if k.role == "stem_kernel")
    assert (stem.shape, stem.channels_last) == ((48, 3, 8, 8), True)
    stem = next(k for k in plan_of(case("siglip_vision")).kept if k.role == "stem_kernel")
    assert (stem.shape, stem.channels_last) == ((48, 3, 8, 8), False)


def test_types_are_kept_and_mixed_parts_become_float32():
    recorded = case("vit")
    for name, info in recorded.header.items():
        recorded.header[name] = TensorInfo("F16", info.shape)
    recorded.header[QUERY.format(0)] = TensorInfo("BF16", (48,))
    dtypes = {kept.name: kept.dtype for kept in plan_of(recorded).kept}
    assert dtypes.pop("blocks.0.attn.qkv.bias") == "F32"
    assert set(dtypes.values()) == {"F16"}
    assert FLOATS == ("F32", "F16", "BF16")


def test_a_dropped_pooling_head_is_noted():
    assert "pools its tokens with a head" in plan_of(case("siglip")).notes[0]
    assert plan_of(case("clip")).notes == ()


def test_a_tower_that_lacks_its_last_norm_alone_may_be_a_backbone_class():
    recorded = case("swinv2")  # as transformers 5 saves Swinv2Backbone
    bare = {n: info for n, info in recorded.header.items() if not n.startswith("layernorm.")}
    with pytest.raises(AccountingError) as caught:
        plan_of(replace(recorded, header=bare))
    assert [line.split(" [")[0] for line in caught.value.details] == [
        "missing: 'layernorm.weight'",
        "missing: 'layernorm.bias'",
    ]
    assert "take the weights as Swinv2Model" in caught.value.hint
    del bare["encoder.layers.0.blocks.0.layernorm_after.bias"]
    with pytest.raises(AccountingError) as caught:
        plan_of(replace(recorded, header=bare))
    assert "Swinv2Model" not in caught.value.hint


def test_a_table_of_no_registers_is_dropped():
    recorded = case("dinov2_with_registers")
    name = "embeddings.register_tokens"
    recorded.config["num_register_tokens"] = 0
    recorded.header[name] = TensorInfo("F32", (1, 0, 48))
    plan = plan_of(recorded)
    assert name in plan.dropped
    assert plan.architecture.reg_tokens == 0
    recorded.config["num_register_tokens"] = 4
    assert f"'{name}' says 0" in refused(recorded, ConfigError)


@pytest.mark.parametrize("outer", ["", "model."])
def test_a_norm_outside_the_network_is_noted(outer):
    recorded = case("pixio")  # as transformers 5 saves PixioBackbone
    inside = {f"{outer}encoder.{name}": info for name, info in recorded.header.items()}
    assert plan_of(replace(recorded, header=inside)).notes == ()
    norms = {f"{outer}layernorm.{part}": TensorInfo("F32", (48,)) for part in ("weight", "bias")}
    plan = plan_of(replace(recorded, header={**inside, **norms}))
    assert plan.dropped == tuple(sorted(norms))
    (note,) = plan.notes
    assert f"another norm, {outer}layernorm.weight, which was dropped" in note
    copy = {**inside, **{f"ema.{name}": info for name, info in inside.items()}}
    assert plan_of(replace(recorded, header=copy)).notes == ()


# What is left over, missing, misshapen


def test_a_leftover_tensor_is_listed_with_shape():
    recorded = case("vit")
    recorded.header["encoder.layer.0.adapter.down"] = TensorInfo("F16", (8, 48))
    assert "left over: 'encoder.layer.0.adapter.down' F16 [8, 48]" in refused(
        recorded, AccountingError
    )


@pytest.mark.parametrize("kind, prefix", [("vit", ""), ("vit_classifier", "vit.")])
def test_a_mistyped_name_is_listed_with_the_nearest_that_is_missing(kind, prefix):
    recorded = case(kind)
    right = f"{prefix}encoder.layer.1.layernorm_after.weight"
    wrong = f"{prefix}encoder.layer.1.layernorm_aftr.weight"
    recorded.header[wrong] = recorded.header.pop(right)
    text = refused(recorded, AccountingError)
    assert f"left over: '{wrong}' F32 [48]; nearest known name: '{right}'" in text
    assert f"missing: '{right}' [48]" in text


@pytest.mark.parametrize(
    "kind, absent",
    [
        ("clip_vision", "pre_layrnorm"),
        ("deit", "embeddings.distillation_token"),
        ("ijepa", "layernorm."),
        ("dino_backbone", "cls_token"),
        ("vit", "embeddings.patch_embeddings.projection.bias"),
    ],
)
def test_a_piece_that_a_family_always_has_is_missed(kind, absent):
    recorded = case(kind)
    gone = [n for n in recorded.header if n.removeprefix("vision_model.").startswith(absent)]
    assert gone
    for name in gone:
        del recorded.header[name]
    text = refused(recorded, AccountingError)
    assert all(f"missing: '{name}' [" in text for name in gone)


def test_a_wrong_shape_is_listed_with_the_expected():
    recorded = case("vit")
    recorded.header["encoder.layer.1.output.dense.weight"] = TensorInfo("F32", (48, 95))
    text = refused(recorded, AccountingError)
    assert "unexpected shape: 'encoder.layer.1.output.dense.weight' F32 [48, 95]" in text
    assert "expected [48, 96]" in text


def test_parts_of_unequal_size_do_not_pass_because_their_sum_fits():
    recorded = case("vit")
    for part, rows in (("query", 48), ("key", 50), ("value", 46)):
        name = QUERY.format(0).replace("query", part)
        recorded.header[name] = TensorInfo("F32", (rows,))
    assert f"unexpected shape: '{QUERY.format(0)}' F32 [48]" in refused(recorded, AccountingError)


def test_one_tensor_under_two_spellings_is_refused():
    recorded = case("dinov2")
    name = "encoder.layer.0.mlp.{}.weight"
    recorded.header[name.format("weights_in")] = recorded.header[name.format("fc1")]
    assert f"given twice: '{name.format('weights_in')}'" in refused(recorded, AccountingError)


@pytest.mark.parametrize("dtype", ["I64", "F64", "U8", "F8_E4M3"])
@pytest.mark.parametrize("name", [STEM, QUERY.format(1), "embeddings.cls_token"])
def test_a_type_that_is_not_kept_is_listed(dtype, name):
    recorded = case("vit")
    recorded.header[name] = TensorInfo(dtype, recorded.header[name].shape)
    assert f"type not among F32, F16, BF16: '{name}' {dtype}" in refused(recorded, AccountingError)


def test_a_bias_missing_from_one_block_is_named():
    recorded = case("vit")
    for part in ("query", "key", "value"):
        del recorded.header[QUERY.format(1).replace("query", part)]
    text = refused(recorded, AccountingError)
    assert "3 problems" in text
    assert f"missing: '{QUERY.format(1)}' [48]" in text


PACKED = "blocks.1.attn.qkv.bias"


def test_what_is_split_gives_each_its_share():
    plan = plan_of(case("dinov3_original"))
    shares = {k.name: (k.sources, k.share, k.shape) for k in plan.kept if k.share != WHOLE}
    assert shares == {
        f"blocks.{block}.attn.{part}_bias": (
            (f"blocks.{block}.attn.qkv.bias",), (place, 3), (128,)
        )
        for block in (0, 1)
        for part, place in (("q", 0), ("v", 2))
    }  # fmt: skip


@pytest.mark.parametrize(
    "info, told",
    [
        (None, f"missing: '{PACKED}' [384]"),
        (TensorInfo("F32", (128,)), f"unexpected shape: '{PACKED}' F32 [128], expected [384]"),
        (TensorInfo("F32", (385,)), f"unexpected shape: '{PACKED}' F32 [385], expected [384]"),
        (TensorInfo("I64", (384,)), f"type not among F32, F16, BF16: '{PACKED}' I64 [384]"),
    ],
)
def test_what_is_split_is_told_of_once_and_whole(info, told):
    recorded = case("dinov3_original")
    del recorded.header[PACKED], recorded.header[f"{PACKED}_mask"]
    if info is not None:
        recorded.header.update({PACKED: info, f"{PACKED}_mask": TensorInfo("F32", info.shape)})
    with pytest.raises(AccountingError) as caught:
        plan_of(recorded)
    assert list(caught.value.details) == [told]
    assert caught.value.message.endswith(": 1 problem")


def test_a_table_of_no_registers_that_a_file_lacks_is_empty():
    recorded = case("dinov3_original_no_registers")
    for name in ("patch_embed.proj.weight", "patch_embed.proj.bias"):
        recorded.header[name] = replace(recorded.header[name], dtype="BF16")
    (kept,) = (k for k in plan_of(recorded).kept if k.name == "reg_token")
    assert (kept.sources, kept.shape, kept.dtype) == ((), (1, 0, 128), "BF16")


def test_a_bias_of_the_query_alone_is_refused():
    recorded = case("vit")
    for index in range(2):
        del recorded.header[QUERY.format(index).replace("query", "key")]
    text = refused(recorded, AccountingError)
    assert f"missing: '{QUERY.format(0).replace('query', 'key')}' [48]" in text
    assert "2 problems" in text


def test_layer_scale_in_some_blocks_is_refused():
    recorded = case("dinov2")
    del recorded.header["encoder.layer.1.layer_scale1.lambda1"]
    text = refused(recorded, AccountingError)
    assert "missing: 'encoder.layer.1.layer_scale1.lambda1' [48]" in text
    assert text.splitlines()[0].endswith("hf_dinov2: 1 problem")


# What is a matter of architecture


# Where config and tensors disagree

BLOCK = "encoder.layer.{}.{}"
DISAGREEMENTS = [
    ("vit", "hidden_size", 64, f"hidden_size is 64, '{STEM}' says 48"),
    (
        "vit",
        "num_hidden_layers",
        3,
        "num_hidden_layers is 3, 'encoder.layer.1.layernorm_before.weight' says 2",
    ),
    ("vit", "num_channels", 1, f"num_channels is 1, '{STEM}' says 3"),
    ("vit", "patch_size", 4, f"patch_size is 4x4, '{STEM}' says 8x8"),
    ("vit_rectangular_patch", "patch_size", [4, 8], f"patch_size is 4x8, '{STEM}' says 8x4"),
    (
        "vit",
        "image_size",
        48,
        "image_size is 48x48 with patch 8x8: 37 or 36 position rows, "
        "'embeddings.position_embeddings' has 17",
    ),
    ("vit", "image_size", 4, "'embeddings.position_embeddings' has 17"),
    (
        "vit",
        "intermediate_size",
        192,
        "intermediate_size is 192, 'encoder.layer.0.intermediate.dense.weight' says 96",
    ),
    (
        "dinov2",
        "mlp_ratio",
        4,
        "hidden_size * mlp_ratio, as a width, is 192, 'encoder.layer.0.mlp.fc1.weight' says 96",
    ),
    ("dinov2", "use_swiglu_ffn", True, "is 64, 'encoder.layer.0.mlp.fc1.weight' says 48"),
    (
        "dinov2_with_registers",
        "num_register_tokens",
        5,
        "num_register_tokens is 5, 'embeddings.register_tokens' says 4",
    ),
    ("vit", "qkv_bias", False, f"qkv_bias is false, '{QUERY.format(0)}' says true"),
    (
        "vit_no_qkv_bias",
        "qkv_bias",
        True,
        f"qkv_bias is true, the absence of '{QUERY.format(0)}' says false",
    ),
    (
        "clip",
        "hidden_size",
        64,
        "vision_config.hidden_size is 64, 'vision_model.embeddings.patch_embedding.weight' says 48",
    ),
]


@pytest.mark.parametrize("kind, field, value, line", DISAGREEMENTS)
def test_a_disagreement_gives_both_values_and_the_tensor(kind, field, value, line):
    recorded = case(kind)
    vision(recorded)[field] = value
    if field == "hidden_size":
        vision(recorded)["num_attention_heads"] = 4
    assert line in refused(recorded, ConfigError)


def test_all_disagreements_are_listed_at_once():
    recorded = case("vit")
    recorded.config.update(num_channels=1, intermediate_size=5, num_hidden_layers=7)
    text = refused(recorded, ConfigError)
    assert all(field in text for field in ("num_channels", "intermediate_size", "num_hidden"))


# What no config may hold


# Sources without a config


def test_the_teacher_is_taken_and_the_student_left():
    plan = plan_of(case("dino_full"))
    assert plan.prefix == "teacher.backbone."
    assert any(name.startswith("student.") for name in plan.dropped)


@pytest.mark.parametrize(
    "name, shape",
    [
        ("encoder.layer.1.output.dense.weight", (96, 48)),  # transposed
        ("embeddings.patch_embeddings.projection.bias", (1, 48)),
        ("embeddings.cls_token", (48, 1, 1)),
    ],
)
def test_as_many_elements_in_another_shape_are_refused(name, shape):
    recorded = case("vit")
    assert recorded.header[name].shape != shape
    recorded.header[name] = TensorInfo("F32", shape)
    with pytest.raises(AccountingError) as error:
        plan_of(recorded)
    assert any(name in line and "unexpected shape" in line for line in error.value.details)


def test_clips_parts_are_joined_in_the_order_query_key_value():
    for kept in plan_of(case("clip")).kept:
        if ".qkv." in kept.name:
            parts = [name.split(".")[-2] for name in kept.sources]
            assert parts == ["q_proj", "k_proj", "v_proj"]


def test_weights_in_float64_are_to_be_saved_in_float32():
    recorded = case("vit")
    header = {name: TensorInfo("F64", info.shape) for name, info in recorded.header.items()}
    with pytest.raises(AccountingError) as caught:
        understand(header, recorded.config, None, None)
    assert "float32" in caught.value.hint


def test_a_gated_part_that_nothing_states_is_called_so():
    recorded = next(each for each in cases("timm_vit") if each.kind == "augreg")
    for name, info in recorded.header.items():
        if name.endswith("mlp.fc2.weight"):
            out, hidden = info.shape
            recorded.header[name] = TensorInfo("F32", (out, hidden // 2))
    with pytest.raises(AccountingError) as caught:
        understand(recorded.header, recorded.config, None, None)
    assert "gated" in caught.value.hint
