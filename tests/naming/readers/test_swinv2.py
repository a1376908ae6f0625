"""What is read of a SwinV2 off its header and config."""

import re

import pytest

from inflate_zoo.errors import ConfigError
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
