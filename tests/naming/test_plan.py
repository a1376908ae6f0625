import json

import pytest
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from inflate_zoo.errors import AccountingError, ConfigError
from inflate_zoo.files.dtypes import FLOATS
from inflate_zoo.files.header import TensorInfo
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.detection import section_of
from inflate_zoo.naming.patterns import role_of
from inflate_zoo.naming.plan import make_plan
from tests.support.recorded import case, cases, definitions, plan_of

SCHEMES = families_by_name()
PLANNED = [c for name in definitions() if SCHEMES[name].library != "timm" for c in cases(name)]
EQUAL_BLOCKS = [c.kind for c in PLANNED if SCHEMES[c.definition].network in ("vit", "beit")]
every_case = pytest.mark.parametrize("recorded", [c.kind for c in PLANNED], indirect=True)
QUERY = "encoder.layer.{}.attention.attention.query.bias"
STEM = "embeddings.patch_embeddings.projection.weight"


@pytest.fixture
def recorded(request):
    return case(request.param)


def vision(recorded):
    """The part of the config that describes the image tower, to be changed."""
    return section_of(SCHEMES[recorded.definition], recorded.config)[0]


def refused(recorded, error):
    with pytest.raises(error) as caught:
        plan_of(recorded)
    return "\n".join([caught.value.message, *caught.value.details])


@every_case
def test_every_tensor_is_accounted_for(recorded):
    plan = plan_of(recorded)
    assert plan.family.name == recorded.definition
    used = [source for kept in plan.kept for source in kept.sources]
    assert sorted([*used, *plan.dropped]) == sorted(recorded.header)
    assert {kept.name: kept.shape for kept in plan.kept} == plan.architecture.shapes()
    assert list(plan.dropped) == sorted(plan.dropped)
    for kept in plan.kept:
        assert kept.role == role_of(plan.family, kept.name)
        assert kept.dtype == "F32"


@pytest.mark.parametrize("recorded", EQUAL_BLOCKS, indirect=True)
def test_the_architecture_is_that_of_the_config(recorded):
    form = plan_of(recorded).architecture
    assert (form.depth, form.in_channels) == (2, 3)
    if recorded.config is None:
        heads = {"beit": (128, 2), "dino": (128, 2), "moco_v3": (48, 12)}[recorded.definition]
        assert (form.embed_dim, form.num_heads, form.patch_size) == (*heads, (8, 8))
        assert (form.norm_eps, form.position_grid) == (1e-6, (4, 4))
        return
    raw = vision(recorded)
    assert form.embed_dim == raw["hidden_size"]
    assert form.num_heads == raw["num_attention_heads"]
    assert form.norm_eps == raw["layer_norm_eps"]
    patch, image = (
        tuple(v) if isinstance(v, list) else (v, v) for v in (raw["patch_size"], raw["image_size"])
    )
    assert form.patch_size == patch
    assert form.position_grid == (image[0] // patch[0], image[1] // patch[1])
    if SCHEMES[recorded.definition].network == "vit":
        assert form.reg_tokens == raw.get("num_register_tokens", 0)
        assert form.qkv_bias is raw.get("qkv_bias", True)


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("dino_full", {"pool": "cls"}),
        ("moco_v3", {"pool": "cls"}),
        ("clip", {"pre_norm": True, "stem_bias": False, "activation": "quick_gelu"}),
        ("clip_gelu", {"activation": "gelu", "position_prefix": 1}),
        ("siglip", {"activation": "gelu_tanh", "cls_token": False, "pool": "mean"}),
        ("deit", {"dist_token": True, "position_prefix": 2}),
        ("dinov2", {"layer_scale": True, "mlp": "mlp", "activation": "gelu", "mlp_dim": 96}),
        ("dinov2_swiglu", {"mlp": "swiglu", "activation": "silu", "mlp_dim": 64}),
        ("dinov2_with_registers", {"reg_tokens": 4, "position_prefix": 1}),
        ("ijepa", {"cls_token": False, "position_prefix": 0, "pool": "mean"}),
        ("vit_no_qkv_bias", {"qkv_bias": False, "layer_scale": False}),
        ("vit_rectangular", {"position_grid": (4, 6)}),
        ("vit_rectangular_patch", {"position_grid": (4, 8), "patch_size": (8, 4)}),
    ],
)
def test_what_is_special_of_a_family(kind, expected):
    form = plan_of(case(kind)).architecture.model_dump()
    assert {field: form[field] for field in expected} == expected


@every_case
def test_fields_with_the_librarys_default_may_be_left_out(recorded):
    expected = plan_of(recorded)
    if recorded.config is None:
        pytest.skip("no config")
    raw = vision(recorded)
    kind = recorded.config["model_type"]
    default = CONFIG_MAPPING[kind]()
    section = SCHEMES[recorded.definition].sections.get(kind)
    default = (getattr(default, section) if section else default).to_dict()
    for field in [f for f in raw if f != "model_type" and f in default and raw[f] == default[f]]:
        del raw[field]
    assert {"layer_norm_eps", "num_channels"} & set(raw) == set()
    assert plan_of(recorded) == expected


def test_joined_parts_stand_in_the_order_query_key_value():
    plan = plan_of(case("vit"))
    kept = next(k for k in plan.kept if k.name == "blocks.1.attn.qkv.weight")
    assert [name.split(".")[-2] for name in kept.sources] == ["query", "key", "value"]
    assert kept.shape == (3 * 48, 48)


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


def test_the_nearest_name_is_one_that_is_missing():
    recorded = case("vit_classifier")
    missing = "vit.encoder.layer.1.layernorm_after.weight"
    del recorded.header[missing]
    wrong = "vit.encoder.layer.0.layernorm_after.weights"  # nearer to layer 0, which is there
    recorded.header[wrong] = TensorInfo("F32", (48,))
    text = refused(recorded, AccountingError)
    assert f"left over: '{wrong}' F32 [48]; nearest known name: '{missing}'" in text


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


def test_a_mistyped_stem_is_listed_with_the_nearest():
    recorded = case("vit")
    recorded.header[STEM.replace("projection", "proj")] = recorded.header.pop(STEM)
    text = refused(recorded, AccountingError)
    assert f"missing: '{STEM}'" in text
    assert f"nearest known name: '{STEM}'" in text


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


@pytest.mark.parametrize("shape", [(48, 3, 8, 8, 8), (48, 192), ()])
def test_a_stem_that_is_not_2d_is_refused(shape):
    recorded = case("vit")
    recorded.header[STEM] = TensorInfo("F32", shape)
    assert f"'{STEM}' has an unexpected shape: F32 {list(shape)}" in refused(
        recorded, AccountingError
    )


def test_a_bias_missing_from_one_block_is_named():
    recorded = case("vit")
    for part in ("query", "key", "value"):
        del recorded.header[QUERY.format(1).replace("query", part)]
    text = refused(recorded, AccountingError)
    assert "3 problems" in text
    assert f"missing: '{QUERY.format(1)}' [48]" in text


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


@pytest.mark.parametrize("last", [3, 9999])
def test_a_gap_in_the_blocks_is_refused_at_once(last):
    recorded = case("dino_backbone")
    name = f"blocks.{last}.norm1.weight"
    recorded.header[name] = TensorInfo("F32", (128,))
    text = refused(recorded, AccountingError)
    assert f"the blocks go up to number {last}, but {last - 2} before it are missing" in text
    assert "missing: 'blocks.2.norm1.weight' and the others of its block" in text


def test_many_leftovers_cost_little_time():
    recorded = case("vit")
    for index in range(20_000):
        recorded.header[f"encoder.layer.{index}.unknown"] = TensorInfo("F32", (3,))
    assert "20000 problems" in refused(recorded, AccountingError)


# What is a matter of architecture


def test_no_cls_token_is_architecture():
    recorded = case("vit")
    del recorded.header["embeddings.cls_token"]
    table = "embeddings.position_embeddings"
    recorded.header[table] = TensorInfo("F32", (1, 16, 48))
    plan = plan_of(recorded)
    assert (plan.architecture.cls_token, plan.architecture.position_prefix) == (False, 0)
    assert plan.architecture.pool == "mean"
    assert plan.notes == ("There is no cls token; forward() returns the mean of the patch tokens.",)


def test_a_cls_token_without_a_position_is_architecture():
    recorded = case("vit")
    recorded.header["embeddings.position_embeddings"] = TensorInfo("F32", (1, 16, 48))
    form = plan_of(recorded).architecture
    assert (form.cls_token, form.position_prefix, form.pool) == (True, 0, "cls")


def test_registers_with_positions_are_architecture():
    recorded = case("dinov2_with_registers")
    recorded.header["embeddings.position_embeddings"] = TensorInfo("F32", (1, 16 + 5, 48))
    assert plan_of(recorded).architecture.position_prefix == 5


def test_no_layer_scale_is_architecture():
    recorded = case("dinov2")
    for name in [name for name in recorded.header if "layer_scale" in name]:
        del recorded.header[name]
    plan = plan_of(recorded)
    assert not plan.architecture.layer_scale
    assert not any("ls1" in kept.name for kept in plan.kept)


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

DEEP, HUGE = "[" * 200 + "]" * 200, "9" * 4000
NUMBERS = [
    "0",
    "-3",
    '"abc"',
    "true",
    "null",
    "[]",
    "[8, 8, 8]",
    "{}",
    "1e400",
    "8.5",
    "[1e400, 8]",
]
WHOLE = [
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_channels",
    "intermediate_size",
    "patch_size",
    "image_size",
]


@pytest.mark.parametrize("field", WHOLE)
@pytest.mark.parametrize(
    "value", [*NUMBERS, "[[8, 8], 8]", pytest.param(DEEP, id="deep"), pytest.param(HUGE, id="huge")]
)
@pytest.mark.parametrize("kind, section", [("vit", ""), ("siglip", "vision_config.")])
def test_a_value_of_a_wrong_type_is_named_by_its_path(kind, section, field, value):
    recorded = case(kind)
    vision(recorded)[field] = json.loads(value)
    message = f"config.json: {section}{field} must be a positive whole number"
    assert refused(recorded, ConfigError).startswith(message)


def nested(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [nested(100_000), 10**5000, "x" * 10**6, list(range(10**5))],
    ids=["nested", "digits", "text", "list"],
)
def test_a_monstrous_value_is_refused_in_one_line(value):
    recorded = case("vit")
    recorded.config["hidden_size"] = value
    with pytest.raises(ConfigError) as caught:
        plan_of(recorded)
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    "kind, field, value",
    [
        ("vit", "layer_norm_eps", "1e-6"),
        ("vit", "layer_norm_eps", 0),
        ("vit", "layer_norm_eps", -1e-6),
        ("vit", "layer_norm_eps", float("nan")),
        ("vit", "layer_norm_eps", float("inf")),
        ("vit", "layer_norm_eps", True),
        ("vit", "layer_norm_eps", None),
        ("vit", "qkv_bias", 1),
        ("vit", "qkv_bias", "true"),
        ("vit", "qkv_bias", None),
        ("vit", "hidden_act", "gelu_10"),
        ("vit", "hidden_act", None),
        ("vit", "hidden_act", ["gelu"]),
        ("vit", "hidden_act", {"name": "gelu"}),
        ("dinov2", "hidden_act", "mish"),
        ("dinov2", "hidden_act", None),
        ("dinov2", "use_swiglu_ffn", "yes"),
        ("dinov2", "use_swiglu_ffn", None),
        ("dinov2", "mlp_ratio", 0),
        ("dinov2", "mlp_ratio", "4"),
        ("dinov2", "mlp_ratio", 1e-9),
        ("dinov2", "mlp_ratio", float("inf")),
        ("dinov2", "mlp_ratio", float("nan")),
        ("dinov2_with_registers", "num_register_tokens", -1),
        ("dinov2_with_registers", "num_register_tokens", 1.0),
    ],
)
def test_a_value_out_of_range_is_named(kind, field, value):
    recorded = case(kind)
    recorded.config[field] = value
    text = refused(recorded, ConfigError)
    assert text.startswith("config.json: ")
    assert field in text


def test_an_unknown_activation_is_answered_with_the_known_ones():
    recorded = case("vit")
    recorded.config["hidden_act"] = "gellu"
    text = refused(recorded, ConfigError)
    assert "hidden_act must be one of gelu, " in text
    assert "found 'gellu'" in text


def test_the_gate_of_a_swiglu_is_silu_whatever_the_config_says():
    recorded = case("dinov2_swiglu")
    recorded.config["hidden_act"] = "gelu"
    assert plan_of(recorded).architecture.activation == "silu"


@pytest.mark.parametrize("kind, section", [("vit", ""), ("clip", "vision_config.")])
def test_a_width_that_the_heads_do_not_divide_is_refused(kind, section):
    recorded = case(kind)
    vision(recorded)["num_attention_heads"] = 5
    line = f"{section}hidden_size 48 is not divisible by {section}num_attention_heads 5"
    assert line in refused(recorded, ConfigError)


# Sources without a config


def test_dinos_heads_are_64_wide_or_unknown():
    header = case("dino_backbone").header
    wide = {
        name: TensorInfo(i.dtype, tuple(100 if side == 128 else side for side in i.shape))
        for name, i in header.items()
    }
    with pytest.raises(ConfigError, match="100 wide, no multiple of 64"):
        make_plan(SCHEMES["dino"], wide, {})


def test_a_table_that_is_no_square_is_refused_without_a_config():
    header = case("dino_backbone").header
    header["pos_embed"] = TensorInfo("F32", (1, 21, 128))
    with pytest.raises(ConfigError, match="'pos_embed' has 21 rows, which is no square grid"):
        make_plan(SCHEMES["dino"], header, {})


def test_the_teacher_is_taken_and_the_student_left():
    plan = plan_of(case("dino_full"))
    assert plan.prefix == "teacher.backbone."
    assert any(name.startswith("student.") for name in plan.dropped)


@pytest.mark.parametrize("shape", [(128, 3, 0, 0), (128, 0, 8, 8), (0, 3, 8, 8)])
def test_empty_extents_are_refused(shape):
    header = case("dino_backbone").header
    header["patch_embed.proj.weight"] = TensorInfo("F32", shape)
    with pytest.raises(ConfigError, match="no vision transformer that can be built"):
        make_plan(SCHEMES["dino"], header, {})


def test_timm_without_a_description_asks_for_the_architecture():
    with pytest.raises(ConfigError, match="nothing says what num_heads, norm_eps, pool") as caught:
        make_plan(SCHEMES["timm_vit"], case("augreg_file").header, {})
    assert "--arch" in caught.value.hint


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
