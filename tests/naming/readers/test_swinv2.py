"""What is read of a SwinV2 off its header and config."""

import re

import pytest

from inflate_zoo.errors import ConfigError
from inflate_zoo.files.header import TensorInfo
from tests.support.recorded import case, plan_of


def test_the_form_is_read_off_header_and_config():
    form = plan_of(case("swinv2_pretrained")).architecture
    assert form.model_dump() == {
        "embed_dim": 16, "depths": (2, 2, 2), "num_heads": (2, 4, 4), "mlp_dims": (32, 64, 128),
        "activation": "gelu", "norm_eps": 1e-5, "outer_eps": 1e-5, "in_channels": 3,
        "patch_size": (4, 4), "image_size": (64, 64), "windows": ((8, 8), (8, 8), (4, 4)),
        "clipping": "height", "padding": "before_shift", "stem_bias": True,
        "pretrained_windows": ((6, 6), (6, 6), (3, 3)), "qv_bias": True,
    }  # fmt: skip
    kept = {each.name: each for each in plan_of(case("swinv2")).kept}
    assert kept["stages.1.blocks.0.attn.bias_of_offset.fc1.weight"].role == "offset_kernel"
    assert "stages.1.blocks.0.attn.q_bias" in kept


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("num_heads", [2, 4, 8], "num_heads is 2x4x8, 'encoder.layers.0.*and its like say 2x4x4"),
        ("qkv_bias", False, "qkv_bias is false"),
        ("pretrained_window_sizes", [0], "pretrained_windows are not those of 3 stages"),
    ],
)
def test_a_config_that_disagrees_is_refused(field, value, message):
    found = case("swinv2")
    found.config[field] = value
    with pytest.raises(ConfigError) as error:
        plan_of(found)
    assert any(re.search(message, line) for line in error.value.details), error.value.details


def test_windows_of_a_file_without_a_config_are_those_of_its_indices():
    form = plan_of(case("swinv2_original")).architecture
    assert (form.windows, form.image_size) == (((4, 4),) * 3, (64, 64))
    assert form.pretrained_windows == ((0, 0),) * 3
    assert (form.clipping, form.padding, form.qv_bias) == ("plane", "before_shift", True)
    found = case("swinv2_original")
    for stage, tokens in enumerate((256, 256, 64)):
        for block in (0, 1):
            name = f"model.layers.{stage}.blocks.{block}.attn.relative_position_index"
            found.header[name] = TensorInfo("I64", (tokens, tokens))
    form = plan_of(found).architecture
    assert (form.windows, form.image_size) == (((16, 16), (16, 16), (8, 8)), (128, 128))


@pytest.mark.parametrize("shape", [None, (), (12, 12)], ids=str)
def test_without_an_index_nothing_tells_them(shape):
    found = case("swinv2_original")
    name = "model.layers.1.blocks.0.attn.relative_position_index"
    del found.header[name]
    if shape is not None:
        found.header[name] = TensorInfo("I64", shape)
    with pytest.raises(ConfigError, match="nothing tells the windows"):
        plan_of(found)
