"""What is read of DINOv3's files and configs; the recorded headers are those of the libraries."""

import pytest

from inflate_zoo.errors import AccountingError, ConfigError, UnsupportedModelError
from inflate_zoo.files.header import TensorInfo
from inflate_zoo.naming.catalog import families_by_name
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


def test_metas_own_file_is_told_what_to_do_instead():
    names = {"reg_token": "storage_tokens", "gamma_": "ls", "q_bias": "qkv.bias"}
    header = {}
    for name, info in case("dinov3_timm_qkvb").header.items():
        for timms, metas in names.items():
            name = name.replace(timms, metas)
        if "v_bias" not in name:
            header[name] = info
    with pytest.raises(UnsupportedModelError, match="Meta's own names") as caught:
        understand(header, None, None, None)
    assert "timm/vit_base_patch16_dinov3" in str(caught.value.hint)
