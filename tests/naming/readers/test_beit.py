"""What is read of BEiT's files and configs; the recorded headers are those of the libraries."""

import pytest

from inflate_zoo.errors import AccountingError, ConfigError
from inflate_zoo.files.header import TensorInfo
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.detection import choose_family
from inflate_zoo.naming.understanding import understand
from tests.support.recorded import case, plan_of

TABLE = "encoder.layer.{}.attention.attention.relative_position_bias.relative_position_bias_table"
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
        ("beit", {"block_tables": True, "shared_table": False, "final_norm": "pooled"}),
        ("beit", {"pool": "mean", "norm_eps": 1e-12, "table_resizing": "bilinear"}),
        ("beit_pretrained", {"block_tables": False, "shared_table": True, "final_norm": "none"}),
        ("beit_cls", {"final_norm": "tokens", "pool": "cls"}),
        ("beit_both_tables", {"block_tables": True, "shared_table": True}),
        ("beit_no_tables", {"block_tables": False, "shared_table": False, "layer_scale": False}),
        ("beit_rectangular", {"position_grid": (4, 6), "table_resizing": "width_first"}),
        ("data2vec", {"final_norm": "none", "pool": "mean", "layer_scale": True}),
        ("data2vec_classifier", {"final_norm": "pooled", "block_tables": True}),
        ("beit_timm", {"norm_eps": 1e-6, "table_resizing": "geometric", "pool": "mean"}),
        ("beit_timm_shared", {"block_tables": False, "shared_table": True}),
        ("beit_timm_token_fc", {"pool": "cls", "final_norm": "pooled"}),
        ("beit_timm_no_bias", {"qv_bias": False}),
        ("beit_timm_none", {"layer_scale": False, "block_tables": False}),
        ("beit_timm_rectangular", {"position_grid": (4, 12), "table_resizing": "geometric"}),
        ("beit_original_pretrained", {"pool": "cls", "final_norm": "tokens", "num_heads": 2}),
        ("beit_original_finetuned", {"pool": "mean", "final_norm": "pooled"}),
        ("beitv2_original", {"shared_table": True, "depth": 2, "position_grid": (4, 4)}),
    ],
)
def test_the_form_is_what_names_shapes_and_config_say(kind, expected):
    form = of(kind).architecture.model_dump()
    assert {field: form[field] for field in expected} == expected


def test_tables_keep_their_two_dimensions_and_their_role():
    kept = {k.name: k for k in of("beit_both_tables").kept}
    for name in ("position_bias.plane", "blocks.1.position_bias.plane"):
        assert kept[name].role == "bias_table"
        assert kept[name].shape == (7 * 7 + 3, 4)
    assert "blocks.0.attn.k_bias" not in kept


def test_the_index_of_old_files_is_dropped_and_so_is_what_pretraining_added():
    recorded = case("beit")
    index = TABLE.format(0).replace("bias_table", "index")
    recorded.header[f"beit.{index}"] = TensorInfo("I64", (17, 17))
    assert f"beit.{index}" in plan_of(recorded).dropped
    dropped = of("beitv2_original").dropped
    assert {"model.mask_token", "model.lm_head.weight"} <= set(dropped)
    assert "model.cls_pt_layers.1.attn.qkv.weight" in dropped
    assert "model.rel_pos_bias.relative_position_index" in dropped


def test_originals_are_told_from_timm_by_what_is_theirs_alone():
    pretrained = case("beit_original_pretrained").header
    assert choose_family(FAMILIES, pretrained, None).name == "beit"
    assert choose_family(FAMILIES, case("augreg_file").header, None, arch="x").name == "timm_vit"
    bare = case("beit_timm_file").header
    assert choose_family(FAMILIES, bare, None, arch="x").name == "timm_beit"
    assert choose_family(FAMILIES, bare, {"architecture": "x"}).name == "timm_beit"


def test_where_the_norm_of_the_pooled_vector_is_missing_it_is_told():
    assert "lacks the norm of the pooled vector" in of("data2vec").notes[0]
    assert of("data2vec").repooled
    assert of("beit").notes == of("beit_cls").notes == ()


@pytest.mark.parametrize(
    "field, value, told",
    [
        ("use_relative_position_bias", False, "use_relative_position_bias is false, 'beit.encoder"),
        ("use_shared_relative_position_bias", True, "the absence of 'beit.encoder.relative"),
        ("layer_scale_init_value", 0.0, "layer_scale_init_value above 0 is false"),
        ("use_mean_pooling", False, "use_mean_pooling chooses is tokens"),
        ("image_size", 64, "image_size is 64x64 with patch 8x8: 228 rows of relative positions"),
        ("use_absolute_position_embeddings", True, "absolute positions is not converted"),
        ("layer_scale_init_value", "0.1", "must be a number"),
        ("intermediate_size", 97, "intermediate_size is 97"),
    ],
)
def test_a_config_that_says_otherwise_is_refused(field, value, told):
    recorded = case("beit")
    recorded.config[field] = value
    assert told in refused(recorded)


def test_a_key_bias_is_left_over():
    recorded = case("beit")
    name = "beit.encoder.layer.0.attention.attention.key.bias"
    recorded.header[name] = TensorInfo("F32", (48,))
    assert f"left over: '{name}'" in refused(recorded, AccountingError)


def test_a_table_that_is_missing_in_one_block_is_named():
    recorded = case("beit")
    name = f"beit.{TABLE.format(1)}"
    del recorded.header[name]
    assert f"missing: '{name}' [52, 4]" in refused(recorded, AccountingError)


def test_tables_of_no_square_need_their_architecture():
    recorded = case("beit_original_pretrained")
    name = "model.rel_pos_bias.relative_position_bias_table"
    recorded.header[name] = TensorInfo("F32", (53, 2))
    assert "53 rows, which tells of no square grid" in refused(recorded)
