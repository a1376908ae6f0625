"""What a header and a config say of a plain vision transformer."""

import pytest

from inflate_zoo.errors import AccountingError, ConfigError
from inflate_zoo.files.header import TensorInfo
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.plan import make_plan
from inflate_zoo.naming.readers.known import READERS
from inflate_zoo.naming.readers.vit import FIELDS
from inflate_zoo.networks.vit.config import VitForm
from tests.support.recorded import PLANNED, case, plan_of, refused, vision

SCHEMES = families_by_name()
EQUAL_BLOCKS = [
    c.kind
    for c in PLANNED
    if "swin" not in SCHEMES[c.definition].network
    and SCHEMES[c.definition].network != "hiera"
    and c.definition not in ("sam", "dinov3")
]
every_case = pytest.mark.parametrize("recorded", [c.kind for c in PLANNED], indirect=True)
STEM = "embeddings.patch_embeddings.projection.weight"


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
    assert form.norm_eps == raw.get("layer_norm_eps", raw.get("rms_norm_eps"))
    patch, image = (
        tuple(v) if isinstance(v, list) else (v, v)
        for v in (raw["patch_size"], raw.get("image_size", 32))
    )
    assert form.patch_size == patch
    assert form.native_grid == (image[0] // patch[0], image[1] // patch[1])
    if SCHEMES[recorded.definition].network == "vit":
        classes = raw.get("num_cls_tokens", 0)  # of RADIO
        registers = ("num_registers", "num_register_tokens", "n_cls_tokens")
        assert form.reg_tokens == classes + next((raw[key] for key in registers if key in raw), 0)
        assert form.qkv_bias is raw.get("qkv_bias", True)


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("dino_full", {"pool": "cls"}),
        ("moco_v3", {"pool": "cls"}),
        ("clip", {"pre_norm": True, "stem_bias": False, "activation": "quick_gelu"}),
        ("clip_gelu", {"activation": "gelu", "position_prefix": 1}),
        ("siglip", {"activation": "gelu_tanh", "cls_token": False, "pool": "mean"}),
        ("radio", {"position_resizing": "cropped", "position_grid": (8, 8), "reg_tokens": 5}),
        ("radio", {"image_grid": (4, 4), "stem_bias": False, "layer_scale": True, "mlp_dim": 96}),
        ("radio_no_bias", {"qkv_bias": False, "final_norm": "none", "position_prefix": 0}),
        ("siglip2", {"position_resizing": "bilinear", "position_grid": (4, 4)}),
        ("siglip2_vision", {"in_channels": 3, "patch_size": (8, 8), "stem_bias": True}),
        ("deit", {"dist_token": True, "position_prefix": 2}),
        ("dinov2", {"layer_scale": True, "mlp": "mlp", "activation": "gelu", "mlp_dim": 96}),
        ("dinov2_swiglu", {"mlp": "swiglu", "activation": "silu", "mlp_dim": 64}),
        ("dinov2_with_registers", {"reg_tokens": 4, "position_prefix": 1}),
        ("ijepa", {"cls_token": False, "position_prefix": 0, "pool": "mean"}),
        ("metaclip_2", {"pre_norm": True, "stem_bias": False, "activation": "quick_gelu"}),
        ("metaclip_2_vision", {"activation": "gelu", "position_prefix": 1}),
        ("blip", {"pre_norm": False, "stem_bias": True, "activation": "gelu", "pool": "cls"}),
        ("pixio", {"cls_token": False, "reg_tokens": 8, "position_prefix": 8, "pool": "prefix"}),
        ("pixio_backbone", {"reg_tokens": 3, "position_prefix": 3, "mlp_dim": 96}),
        ("vit_no_qkv_bias", {"qkv_bias": False, "layer_scale": False}),
        ("vit_rectangular", {"position_grid": (4, 6)}),
        ("vit_rectangular_patch", {"position_grid": (4, 8), "patch_size": (8, 4)}),
    ],
)
def test_what_is_special_of_a_family(kind, expected):
    form = plan_of(case(kind)).architecture.model_dump()
    assert {field: form[field] for field in expected} == expected


@pytest.mark.parametrize("shape", [(48, 3, 8, 8, 8), (48, 192), ()])
def test_a_stem_that_is_not_2d_is_refused(shape):
    recorded = case("vit")
    recorded.header[STEM] = TensorInfo("F32", shape)
    assert f"'{STEM}' has an unexpected shape: F32 {list(shape)}" in refused(
        recorded, AccountingError
    )


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


def test_the_gate_of_a_swiglu_is_silu_whatever_the_config_says():
    recorded = case("dinov2_swiglu")
    recorded.config["hidden_act"] = "gelu"
    assert plan_of(recorded).architecture.activation == "silu"


def test_a_table_that_is_no_square_is_refused_without_a_config():
    header = case("dino_backbone").header
    header["pos_embed"] = TensorInfo("F32", (1, 21, 128))
    with pytest.raises(ConfigError, match="'pos_embed' has 21 rows, which is no square grid"):
        make_plan(SCHEMES["dino"], header, {})


@pytest.mark.parametrize("shape", [(128, 3, 0, 0), (128, 0, 8, 8), (0, 3, 8, 8)])
def test_empty_extents_are_refused(shape):
    header = case("dino_backbone").header
    header["patch_embed.proj.weight"] = TensorInfo("F32", shape)
    with pytest.raises(ConfigError, match="no vision transformer that can be built"):
        make_plan(SCHEMES["dino"], header, {})


def test_rules_are_those_that_definitions_may_name_and_all_are_used():
    named = {e.rule for scheme in SCHEMES.values() for e in scheme.config.values() if e.rule}
    assert named == {rule for reader in READERS.values() for rule in reader.rules}


def test_config_fields_are_those_of_the_architecture():
    of_claims = {"image_size", "table_size", "position_rows"}  # become grids
    assert set(FIELDS) - of_claims <= set(VitForm.model_fields)


def test_a_matrix_over_patches_must_be_of_the_patches_that_the_config_states():
    recorded = case("siglip2_vision")
    recorded.config["patch_size"] = 16
    told = refused(recorded, ConfigError)
    assert "patch_size is 16x16 and num_channels 3: 768 values in a patch" in told
    assert "'embeddings.patch_embedding.weight' says 192" in told


def test_a_kernel_where_a_matrix_is_meant_is_refused():
    recorded = case("siglip2_vision")
    stem = "embeddings.patch_embedding.weight"
    recorded.header[stem] = TensorInfo("F32", (48, 3, 8, 8))
    assert f"'{stem}' has an unexpected shape" in refused(recorded, AccountingError)


def test_rows_of_a_table_are_as_many_as_the_config_states_and_make_a_square():
    recorded = case("siglip2_vision")
    recorded.config["num_patches"] = 25
    assert "num_patches is 25, 'embeddings.position_embedding.weight' says 16" in refused(
        recorded, ConfigError
    )
    table = "embeddings.position_embedding.weight"
    recorded.config["num_patches"] = 12
    recorded.header[table] = TensorInfo("F32", (12, 48))
    with pytest.raises(ConfigError, match="12 rows, which is no square grid") as caught:
        plan_of(recorded)
    assert caught.value.hint == "take both files from the same repo and revision"


def test_radios_tokens_and_table_are_as_many_as_the_config_states():
    recorded = case("radio")
    recorded.config["num_registers"] = 4
    assert "num_cls_tokens + num_registers is 6, " in refused(recorded, ConfigError)
    recorded = case("radio")
    recorded.config["max_img_size"] = 80
    assert "max_img_size is 80x80 with patch 8x8: 100 position rows" in refused(
        recorded, ConfigError
    )


def test_radios_summary_and_its_video_stem_are_left_out():
    plan = plan_of(case("radio_video"))
    assert "radio_model.model.patch_generator.video_embedder.weight" in plan.dropped
    assert {"radio_model.summary_idxs", "radio_model.input_conditioner.norm_std"} < {*plan.dropped}
    assert "several class tokens side by side" in plan.notes[0]
    assert plan.repooled
