"""What a family takes from a config, under its types and defaults."""

import json
from functools import reduce

import pytest
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from inflate_zoo.errors import ConfigError
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.claims import problems_with, read_claims
from inflate_zoo.naming.definition import ConfigEntry
from inflate_zoo.naming.plan import make_plan
from inflate_zoo.naming.readers.known import READERS
from tests.support.recorded import PLANNED, case, plan_of, refused, vision

SCHEMES = families_by_name()
every_case = pytest.mark.parametrize("recorded", [c.kind for c in PLANNED], indirect=True)


def part_of(config, section):
    """The part of a library's config that stands in a section, of which one may hold another."""
    return reduce(getattr, section.split("."), config) if section else config


@every_case
def test_fields_with_the_librarys_default_may_be_left_out(recorded):
    expected = plan_of(recorded)
    if recorded.config is None:
        pytest.skip("no config")
    raw = vision(recorded)
    kind = recorded.config["model_type"]
    default = CONFIG_MAPPING[kind]()
    default = part_of(default, SCHEMES[recorded.definition].sections.get(kind)).to_dict()
    for field in [f for f in raw if f != "model_type" and f in default and raw[f] == default[f]]:
        del raw[field]
    assert {"layer_norm_eps", "num_channels"} & set(raw) == set()
    assert plan_of(recorded) == expected


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


def test_timm_without_a_description_asks_for_the_architecture():
    with pytest.raises(ConfigError, match="nothing says what num_heads, norm_eps, pool") as caught:
        make_plan(SCHEMES["timm_vit"], case("augreg_file").header, {})
    assert "--arch" in caught.value.hint


FROM_TRANSFORMERS = [
    (scheme, model_type)
    for scheme in SCHEMES.values()
    if scheme.library == "transformers"
    for model_type in scheme.model_types
]


@pytest.mark.parametrize(
    "scheme, model_type", FROM_TRANSFORMERS, ids=[model for _, model in FROM_TRANSFORMERS]
)
def test_defaults_are_the_librarys(scheme, model_type):
    config = part_of(CONFIG_MAPPING[model_type](), scheme.sections.get(model_type))
    for field, entry in scheme.config.items():
        if entry.path is not None:
            default = getattr(config, entry.path)
            default = list(default) if isinstance(default, tuple) else default
            assert entry.default == default, (field, entry.path)
    stated = read_claims(scheme, config.to_dict(), "", config.hidden_size)
    assumed = read_claims(scheme, {}, "", config.hidden_size)
    assert stated.values == assumed.values


def test_what_a_network_does_not_know_of_a_family_is_listed():
    family = SCHEMES["hf_vit"]
    assert problems_with(family) == []
    assert problems_with(family.model_copy(update={"network": "vitt"})) == [
        f"network: there is no 'vitt', known: {', '.join(READERS)}"
    ]
    entries = {"pool": family.config["pool"], "colour": ConfigEntry(rule="magic")}
    problems = problems_with(family.model_copy(update={"config": entries}))
    assert problems[0].startswith("config.colour: no field known to network 'vit': embed_dim, ")
    assert problems[1].startswith("config.colour.rule: no rule known to network 'vit': dinov2_")
    assert problems[2] == "config lacks num_heads, norm_eps"


def test_a_value_that_is_not_stated_is_the_familys_default_and_null_is_none():
    family = SCHEMES["hf_vit"]
    assert read_claims(family, {}, "", 48).values["norm_eps"] == 1e-12
    assert read_claims(family, {"layer_norm_eps": 0.5}, "", 48).values["norm_eps"] == 0.5
    with pytest.raises(ConfigError, match=r"vision\.layer_norm_eps must be"):
        read_claims(family, {"layer_norm_eps": None}, "vision.", 48)
