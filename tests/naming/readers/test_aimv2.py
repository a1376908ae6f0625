"""What is read of AIMv2's files; the recorded headers are those of transformers and timm."""

import pytest

from inflate_zoo.errors import AccountingError, ConfigError, UnsupportedModelError
from inflate_zoo.files.header import TensorInfo
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.detection import choose_family
from inflate_zoo.naming.understanding import understand
from tests.support.recorded import case

FAMILIES = families_by_name()
TABLE = "embeddings.position_embedding.weight"


def plan_of(recorded):
    return understand(recorded.header, recorded.config, recorded.family, None).plan


def refused(recorded, error=ConfigError):
    with pytest.raises(error) as caught:
        plan_of(recorded)
    return "\n".join([caught.value.message, *caught.value.details])


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("aimv2", {"embed_dim": 48, "depth": 2, "num_heads": 4, "mlp_dim": 96}),
        ("aimv2_vision", {"positions": "learned", "position_grid": (4, 4), "norm_eps": 1e-5}),
        ("aimv2_native", {"positions": "sincos", "position_grid": (4, 4), "activation": "silu"}),
        ("aimv2_timm", {"positions": "learned", "mlp_dim": 96, "activation": "silu"}),
        ("aimv2_timm_rectangular", {"position_grid": (4, 12), "patch_size": (8, 4)}),
    ],
)
def test_the_form_is_what_names_shapes_and_config_say(kind, expected):
    form = plan_of(case(kind)).architecture.model_dump()
    assert {field: form[field] for field in expected} == expected


@pytest.mark.parametrize(
    "kind, family", [("aimv2_timm", "timm_aimv2"), ("augreg", "timm_vit"), ("gap", "timm_vit")]
)
def test_names_alone_tell_it_from_timms_plain_one(kind, family):
    assert choose_family(FAMILIES, case(kind).header, {"architecture": "x"}).name == family


@pytest.mark.parametrize(
    "kind, gate, value",
    [("aimv2_native", "gate_proj", "up_proj"), ("aimv2_timm", "fc1_g", "fc1_x")],
)
def test_gate_and_value_are_joined_in_this_order(kind, gate, value):
    kept = {k.name: k for k in plan_of(case(kind)).kept}
    fc1 = kept["blocks.1.mlp.fc1.weight"]
    assert [name.split(".")[-2] for name in fc1.sources] == [gate, value]
    assert fc1.shape == (192, 48)


def test_a_dropped_head_is_noted_where_there_is_one():
    assert "pools its tokens with a head" in plan_of(case("aimv2_vision")).notes[0]
    assert plan_of(case("aimv2_no_head")).notes == ()


def test_a_table_beside_native_resolution_is_named():
    recorded = case("aimv2_vision")
    recorded.config["is_native"] = True
    told = refused(recorded)
    assert f"is_native, as positions, is sincos, '{TABLE}' says learned" in told
    recorded = case("aimv2_native")
    recorded.config["is_native"] = False
    assert f"the absence of '{TABLE}' says sincos" in refused(recorded)


@pytest.mark.parametrize("field", ["qkv_bias", "mlp_bias"])
def test_biases_that_no_tensor_has_are_named(field):
    recorded = case("aimv2_vision")
    recorded.config[field] = True
    assert f"{field} is true, the tensors say false" in refused(recorded)


@pytest.mark.parametrize("stated", [False, True])
@pytest.mark.parametrize(
    "part, field",
    [
        ("attention.q_proj", "qkv_bias"),
        ("attention.out_proj", "qkv_bias"),
        ("ffn.gate_proj", "mlp_bias"),
        ("ffn.down_proj", "mlp_bias"),
    ],
)
def test_biases_that_a_file_has_are_refused_as_such(part, field, stated):
    recorded = case("aimv2_vision")
    recorded.config[field] = stated
    names = [f"encoder.layers.{block}.{part}.bias" for block in (0, 1)]
    recorded.header.update(dict.fromkeys(names, TensorInfo("F32", (48,))))
    told = refused(recorded, UnsupportedModelError)
    assert f"whose blocks have biases is not converted: '{names[0]}' and 1 more" in told


def test_a_table_of_another_size_is_refused():
    recorded = case("aimv2_vision")
    recorded.header[TABLE] = TensorInfo("F32", (25, 48))
    assert f"16 position rows, '{TABLE}' has 25" in refused(recorded)


def test_a_norm_that_is_missing_is_named():
    recorded = case("aimv2_vision")
    del recorded.header["embeddings.rms_norm.weight"]
    assert "missing: 'embeddings.rms_norm.weight' [48]" in refused(recorded, AccountingError)


def test_apples_own_file_is_told_what_to_do_instead():
    header = {"preprocessor.patchifier.proj.weight": TensorInfo("F32", (48, 3, 8, 8))}
    with pytest.raises(UnsupportedModelError, match="Apple's own names") as caught:
        understand(header, None, None, None)
    assert "timm/aimv2_large_patch14_224.apple_pt" in caught.value.hint
