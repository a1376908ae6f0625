"""Values of config.json and their types."""

import pytest

from inflate_zoo.errors import ConfigError
from inflate_zoo.naming.configs.from_config import (
    ACTIVATION_NAMES,
    LARGEST,
    activation,
    count,
    flag,
    pair,
    plain,
    small,
    stated_flag,
    stated_number,
    whole,
)
from tests.support.recorded import case, plan_of, refused


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


@pytest.mark.parametrize("name", sorted(ACTIVATION_NAMES))
def test_activations_mean_what_the_library_means(name):
    import torch
    from transformers.activations import ACT2FN

    if name == "gelu_tanh":
        pytest.skip("timm's name; transformers has none")
    ours = {
        "gelu": torch.nn.functional.gelu,
        "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
        "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
        "relu": torch.relu,
        "silu": torch.nn.functional.silu,
    }[ACTIVATION_NAMES[name]]
    values = 3 * torch.randn(200, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ACT2FN[name](values), ours(values), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "kind, taken, others",
    [
        (whole, {1: 1, LARGEST: LARGEST}, [0, LARGEST + 1, 1.0, True, None, "1"]),
        (count, {0: 0, 7: 7}, [-1, LARGEST + 1, 0.0, False, None]),
        (flag, {True: True, False: False}, [0, 1, None, "true"]),
        (pair, {3: (3, 3), (4, 5): (4, 5)}, [0, (1,), (1, 2, 3), (1, 0), None, "ab", "a"]),
        (small, {0.5: 0.5, 1e-12: 1e-12}, [0, 1, 1.5, -0.1, True, None, float("nan")]),
        (activation, {"swish": "silu", "gelu_new": "gelu_tanh"}, ["mish", None, 3]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_type_takes_what_is_of_it_and_names_the_rest(kind, taken, others):
    for value, expected in taken.items():
        assert kind("a.b", value) == expected
    for value in others:
        with pytest.raises(ConfigError, match=r"config\.json: a\.b must be "):
            kind("a.b", value)


def test_values_that_no_field_has_a_type_for_are_stated_by_path():
    raw = {"on": True, "ratio": 4, "text": "x"}
    assert stated_flag(raw, "on", False)
    assert stated_flag(raw, "off", True)
    assert stated_number(raw, "ratio", 2.0) == 4
    assert stated_number(raw, "other", 2.0) == 2.0
    for read, path in ((stated_flag, "ratio"), (stated_number, "on"), (stated_number, "text")):
        with pytest.raises(ConfigError, match=f"{path} must be"):
            read(raw, path, 1)


@pytest.mark.parametrize(
    "value, shown", [((224, 196), "224x196"), (True, "true"), (False, "false"), (3, "3")]
)
def test_a_value_is_shown_as_people_write_it(value, shown):
    assert plain(value) == shown
