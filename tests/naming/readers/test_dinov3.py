"""What is read of DINOv3's files and configs; the recorded headers are those of the libraries."""

import pytest

from inflate_zoo.errors import AccountingError, ConfigError, UnsupportedModelError
from inflate_zoo.files.header import TensorInfo
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.claims import read_claims
from inflate_zoo.naming.detection import choose_family
from inflate_zoo.naming.understanding import understand
from tests.support.recorded import case, plan_of

FAMILIES = families_by_name()


def of(kind):
    recorded = case(kind)
    return understand(recorded.header, recorded.config, recorded.family, None).plan


def refused(recorded, error=ConfigError):
    with pytest.raises(error) as caught:
        plan_of(recorded)
    return "\n".join([caught.value.message, *caught.value.details])


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("dinov3", {"gated": False, "activation": "gelu", "mlp_dim": 96, "norm_eps": 1e-5}),
        ("dinov3", {"reg_tokens": 4, "qv_bias": True, "rotary_theta": 100.0, "pool": "cls"}),
        ("dinov3_gated", {"gated": True, "activation": "silu", "mlp_dim": 96}),
        ("dinov3_rectangular", {"image_grid": (4, 12), "patch_size": (8, 4)}),
        ("dinov3_no_bias", {"qv_bias": False}),
        ("dinov3_timm", {"qv_bias": False, "gated": False, "pool": "mean", "norm_eps": 1e-5}),
        ("dinov3_timm_qkvb", {"qv_bias": True, "rotary_theta": 100.0, "image_grid": (4, 4)}),
        ("dinov3_timm_gated", {"gated": True, "activation": "silu", "mlp_dim": 96}),
        ("dinov3_timm_rectangular", {"image_grid": (4, 12), "pool": "cls"}),
    ],
)
def test_the_form_is_what_names_shapes_and_config_say(kind, expected):
    form = of(kind).architecture.model_dump()
    assert {field: form[field] for field in expected} == expected


@pytest.mark.parametrize("kind", ["dinov3_timm", "dinov3_timm_qkvb", "dinov3_timm_gated"])
def test_timms_names_alone_tell_it_from_its_kin(kind):
    header = case(kind).header
    assert choose_family(FAMILIES, header, {"architecture": "x"}).name == "timm_dinov3"


def test_the_mask_token_of_pretraining_is_dropped():
    assert of("dinov3").dropped == ("embeddings.mask_token",)


def test_no_registers_are_an_empty_tensor():
    recorded = case("dinov3")
    recorded.config["num_register_tokens"] = 0
    recorded.header["embeddings.register_tokens"] = TensorInfo("F32", (1, 0, 48))
    assert plan_of(recorded).architecture.reg_tokens == 0


@pytest.mark.parametrize(
    "field, value, told",
    [
        ("use_gated_mlp", True, "use_gated_mlp is true, the absence of 'layer.0.mlp.gate_proj"),
        ("num_register_tokens", 5, "num_register_tokens is 5, 'embeddings.register_tokens' says 4"),
        ("intermediate_size", 97, "intermediate_size is 97, 'layer.0.mlp.up_proj.weight' says 96"),
        ("image_size", 4, "image_size 4x4 is less than the patch 8x8"),
        ("rope_theta", 0, "rope_theta must be a positive number, found 0"),
        ("rope_theta", "100", "rope_theta must be a positive number, found '100'"),
        ("num_attention_heads", 16, "embed_dim 48 is not divisible by num_heads 16 times 4"),
        ("num_attention_heads", 5, "hidden_size 48 is not divisible by num_attention_heads 5"),
        ("hidden_act", "mish", "hidden_act must be one of"),
    ],
)
def test_a_config_that_says_otherwise_is_refused(field, value, told):
    recorded = case("dinov3")
    recorded.config[field] = value
    assert told in refused(recorded)


def test_biases_of_queries_or_values_alone_are_legal_but_not_converted():
    recorded = case("dinov3")
    recorded.config["query_bias"] = False
    told = refused(recorded, UnsupportedModelError)
    assert "alone is not converted" in told
    assert "query_bias is false, value_bias true" in told


def test_biases_that_the_config_denies_are_told():
    recorded = case("dinov3")
    recorded.config.update(query_bias=False, value_bias=False)
    told = "query_bias and value_bias is false, 'layer.0.attention.q_proj.bias' says true"
    assert told in refused(recorded)


def test_a_key_bias_is_left_over():
    recorded = case("dinov3")
    name = "layer.0.attention.k_proj.bias"
    recorded.header[name] = TensorInfo("F32", (48,))
    assert f"left over: '{name}'" in refused(recorded, AccountingError)


def test_a_gate_that_is_missing_in_one_block_is_named():
    recorded = case("dinov3_gated")
    name = "layer.1.mlp.gate_proj.weight"
    del recorded.header[name]
    assert f"missing: '{name}' [96, 48]" in refused(recorded, AccountingError)


META = "dinov3_original"
MASK = "blocks.1.attn.qkv.bias_mask"


@pytest.mark.parametrize(
    "kind, expected",
    [
        (META, {"num_heads": 2, "gated": False, "activation": "gelu", "mlp_dim": 96}),
        (META, {"reg_tokens": 4, "qv_bias": True, "rotary_theta": 100.0, "norm_eps": 1e-5}),
        (META, {"patch_size": (8, 8), "image_grid": (28, 28), "pool": "cls", "depth": 2}),
        (f"{META}_gated", {"gated": True, "activation": "silu", "mlp_dim": 96}),
        (f"{META}_no_bias", {"qv_bias": False}),
        (f"{META}_no_registers", {"reg_tokens": 0, "qv_bias": True}),
        ("dinov3_training", {"reg_tokens": 4, "num_heads": 2}),
    ],
)
def test_metas_own_files_are_read_without_a_config(kind, expected):
    header = case(kind).header
    found = understand(header, None, None, None)
    assert found.plan.family.name == "dinov3"
    form = found.plan.architecture.model_dump()
    assert {field: form[field] for field in expected} == expected


def test_of_a_training_the_teacher_is_taken():
    plan = of("dinov3_training")
    assert plan.prefix == "teacher.backbone."
    assert set(plan.copies) == {"student.backbone.", "gram_teacher.backbone."}
    assert "teacher.dino_head.last_layer.weight" in plan.dropped


def test_what_serves_pretraining_alone_is_dropped():
    assert set(of(f"{META}_no_bias").dropped) == {
        "local_cls_norm.bias", "local_cls_norm.weight", "mask_token", "rope_embed.periods",
    }  # fmt: skip


def test_a_norm_of_its_own_for_the_cls_token_is_left_over():
    recorded = case(META)
    recorded.header["cls_norm.weight"] = TensorInfo("F32", (128,))
    assert "left over: 'cls_norm.weight'" in refused(recorded, AccountingError)


@pytest.mark.parametrize("width, heads", [(192, 3), (384, 6), (1280, 20), (4096, 32)])
def test_heads_are_64_wide_but_in_the_widest(width, heads):
    claims = read_claims(FAMILIES["dinov3"], {}, "", width)
    assert claims.values["num_heads"] == heads


def test_of_a_width_that_heads_of_64_do_not_make_nothing_is_guessed():
    with pytest.raises(ConfigError, match="200 wide, no multiple of 64") as caught:
        read_claims(FAMILIES["dinov3"], {}, "", 200)
    assert "--arch" not in caught.value.hint


def test_periods_of_other_heads_are_told_with_both_numbers():
    recorded = case(META)
    recorded.header["rope_embed.periods"] = TensorInfo("F32", (8,))
    assert "num_heads is 2, 'rope_embed.periods' says 4" in refused(recorded)


@pytest.mark.parametrize(
    "info",
    [TensorInfo("F32", (7,)), TensorInfo("F32", (16, 1)), TensorInfo("F32", (0,)),
     TensorInfo("F64", (16,))],
)  # fmt: skip
def test_periods_of_no_heads_are_refused(info):
    recorded = case(META)
    recorded.header["rope_embed.periods"] = info
    told = refused(recorded, AccountingError)
    assert f"'rope_embed.periods' has an unexpected shape or type: {info}" in told


def test_without_registers_periods_tell_what_it_is():
    recorded = case(f"{META}_no_registers")
    del recorded.header["rope_embed.periods"]
    assert "missing: 'storage_tokens'" in refused(recorded, AccountingError)


def test_registers_alone_tell_what_it_is():
    recorded = case(META)
    del recorded.header["rope_embed.periods"]
    assert plan_of(recorded).architecture.num_heads == 2


def test_keys_whose_bias_nothing_masks_are_refused():
    recorded = case(META)
    del recorded.header[MASK]
    told = refused(recorded, UnsupportedModelError)
    assert "keys have a bias is not converted" in told
    assert f"there is no '{MASK}'" in told


@pytest.mark.parametrize("info", [TensorInfo("F32", (383,)), TensorInfo("BOOL", (384,))])
def test_a_mask_of_another_shape_or_type_is_refused(info):
    recorded = case(META)
    recorded.header[MASK] = info
    told = refused(recorded, AccountingError)
    assert f"'{MASK}' has an unexpected shape or type: {info}" in told
