"""What is read of a Swin off its header and config."""

import re

import pytest

from inflate_zoo.errors import ConfigError
from inflate_zoo.files.header import TensorInfo
from tests.support.recorded import case, plan_of


def test_the_form_is_read_off_header_and_config():
    form = plan_of(case("swin")).architecture
    assert form.model_dump() == {
        "embed_dim": 16, "depths": (2, 2, 2), "num_heads": (2, 4, 4), "mlp_dims": (32, 64, 128),
        "activation": "gelu", "norm_eps": 1e-5, "outer_eps": 1e-5, "in_channels": 3,
        "patch_size": (4, 4), "image_size": (64, 64), "windows": ((4, 4),) * 3,
        "clipping": "plane", "padding": "before_shift", "qkv_bias": True, "stem_norm": True,
        "stem_bias": True,
    }  # fmt: skip
    assert (form.native_grid, form.stride, form.window) == ((4, 4), (16, 16), 4)
    assert "2+2+2 blocks of width 16 to 64" in form.described()


def test_merges_and_tables_have_their_places():
    plan = plan_of(case("swin_classifier"))
    kept = {each.name: each for each in plan.kept}
    (source,) = kept["merges.1.reduction.weight"].sources
    assert source == "swin.encoder.layers.1.downsample.reduction.weight"
    table = kept["stages.2.blocks.1.attn.relative_position_bias_table"]
    assert (table.role, table.shape) == ("window_table", (49, 4))
    query, key, value = kept["stages.2.blocks.1.attn.qkv.weight"].sources
    assert query == "swin.encoder.layers.2.blocks.1.attention.self.query.weight"
    assert (key[-10:], value[-12:]) == ("key.weight", "value.weight")
    assert plan.dropped == ("classifier.bias", "classifier.weight")


def test_old_files_hold_the_index_of_positions():
    found = case("swin")
    name = "encoder.layers.0.blocks.0.attention.self.relative_position_index"
    found.header[name] = TensorInfo("I64", (16, 16))
    assert name in plan_of(found).dropped


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("depths", [2, 2, 6], "depths is 2x2x6, the tensors say 2x2x2"),
        ("num_heads", [2, 4, 8], "and its like say"),
        ("mlp_ratio", 4.0, "embed_dim \\* mlp_ratio, as widths, is"),
        ("window_size", 7, "tables of 169, 169, 169 rows"),
        ("embed_dim", 32, "embed_dim is 32"),
        ("qkv_bias", False, "qkv_bias is false"),
    ],
)
def test_a_config_that_disagrees_is_refused(field, value, message):
    found = case("swin")
    found.config[field] = value
    with pytest.raises(ConfigError) as error:
        plan_of(found)
    assert any(re.search(message, line) for line in error.value.details)


def test_a_window_that_leaves_no_token_is_refused():
    found = case("swin")
    found.config["image_size"] = 8
    with pytest.raises(ConfigError) as error:
        plan_of(found)
    assert "leaves no token in the last stage" in error.value.details[0]
