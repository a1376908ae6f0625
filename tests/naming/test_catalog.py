from collections import Counter

import pytest
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from inflate_zoo.conversion.originals import ORIGINALS
from inflate_zoo.errors import ConfigError
from inflate_zoo.files.locations import data_folder
from inflate_zoo.naming.catalog import families_by_name, parse_family
from inflate_zoo.naming.claims import read_claims
from inflate_zoo.naming.configs.from_config import ACTIVATION_NAMES
from inflate_zoo.naming.readers.known import READERS
from inflate_zoo.naming.readers.vit import FIELDS
from inflate_zoo.networks.vit.config import VitForm
from tests.support.recorded import definitions

SCHEMES = families_by_name()
FROM_TRANSFORMERS = [
    (scheme, model_type)
    for scheme in SCHEMES.values()
    if scheme.library == "transformers"
    for model_type in scheme.model_types
]
VIT = (data_folder("converters") / "hf_vit.toml").read_text(encoding="utf-8")


def test_every_file_parses_under_its_own_name():
    files = {path.stem for path in data_folder("converters").glob("*.toml")}
    assert len(files) >= 11
    assert set(SCHEMES) == files
    assert all(scheme.name == name for name, scheme in SCHEMES.items())


def test_every_scheme_has_a_recorded_header_and_every_recording_a_scheme():
    assert sorted(SCHEMES) == definitions()


def test_no_model_type_belongs_to_two_schemes():
    counts = Counter(model for scheme in SCHEMES.values() for model in scheme.model_types)
    assert [model for model, count in counts.items() if count > 1] == []


def test_rules_are_those_that_definitions_may_name_and_all_are_used():
    named = {e.rule for scheme in SCHEMES.values() for e in scheme.config.values() if e.rule}
    assert named == {rule for reader in READERS.values() for rule in reader.rules}


def test_config_fields_are_those_of_the_architecture():
    of_claims = {"image_size"}  # becomes the position grid
    assert set(FIELDS) - of_claims <= set(VitForm.model_fields)


def test_every_definition_is_of_a_network_that_is_read():
    assert {scheme.network for scheme in SCHEMES.values()} == set(READERS)


def test_our_tensors_that_definitions_yield_are_unique_per_source():
    for scheme in SCHEMES.values():
        assert len(set(scheme.wrappers)) == len(scheme.wrappers) > 0
        assert not set(scheme.join) & set(scheme.rename.values())


@pytest.mark.parametrize(
    "scheme, model_type", FROM_TRANSFORMERS, ids=[model for _, model in FROM_TRANSFORMERS]
)
def test_defaults_are_the_librarys(scheme, model_type):
    config = CONFIG_MAPPING[model_type]()
    if model_type in scheme.sections:
        config = getattr(config, scheme.sections[model_type])
    for field, entry in scheme.config.items():
        if entry.path is not None:
            default = getattr(config, entry.path)
            default = list(default) if isinstance(default, tuple) else default
            assert entry.default == default, (field, entry.path)
    stated = read_claims(scheme, config.to_dict(), "", config.hidden_size)
    assumed = read_claims(scheme, {}, "", config.hidden_size)
    assert stated.values == assumed.values


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=lambda scheme: scheme.name)
def test_transformers_models_and_references_exist(scheme):
    import timm.models
    import transformers

    home = transformers if scheme.library == "transformers" else timm.models
    assert hasattr(home, scheme.reference)
    assert scheme.reference in ORIGINALS


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


def edited(tmp_path, *replacements):
    text = VIT
    for old, new in replacements:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_copy_of_a_definition_parses(tmp_path):
    scheme = parse_family("mine", edited(tmp_path).read_bytes())
    assert scheme.name == "mine"
    assert scheme.rename == SCHEMES["hf_vit"].rename


@pytest.mark.parametrize(
    "old, new, named",
    [
        ("reference =", "referense =", "referense"),
        ('network = "vit"', "", "network"),
        ('network = "vit"', 'network = "vitt"', "known: vit"),
        ('"patch_embed.weight" = "stem_kernel"', '"patch_embed.weight" = "token"', "stem_kernel"),
        ('library = "transformers"', 'library = "keras"', "library"),
        ('model_types = ["vit"]', "model_types = 3", "model_types"),
        ('"pos_embed" = "position_table"', '"pos_embed" = "table"', "roles.pos_embed"),
        ('"pos_embed" = "position_table"', '"positions" = "position_table"', "positions"),
        ("embed_dim = {", "embed_dimm = {", "embed_dimm"),
        ('pool = { default = "cls" }', "", "pool"),
        ('pool = { default = "cls" }', 'pool = { defualt = "cls" }', "defualt"),
        ('pool = { default = "cls" }', "pool = { }", "config.pool"),
        ('pool = { default = "cls" }', 'pool = { rule = "magic" }', "config.pool.rule"),
        (
            'pool = { default = "cls" }',
            'pool = { rule = "dinov2_mlp", default = "cls" }',
            "config.pool",
        ),
        ('optional = ["cls_token"', 'optional = ["class_token"', "class_token"),
        ("std = [0.5, 0.5, 0.5]", "std = [0.5, 0.0, 0.5]", "normalization.std"),
        ("std = [0.5, 0.5, 0.5]", "std = [0.5, 0.5]", "normalization.std"),
        ("[rename]", "[rename", "line"),
        ("summary =", 'name = "x"\nsummary =', "name"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path, old, new, named):
    content = edited(tmp_path, (old, new)).read_bytes()
    with pytest.raises(ConfigError) as caught:
        parse_family("mine", content)
    assert "mine.toml" in caught.value.message
    assert any(named in line for line in caught.value.details), caught.value.details


def test_a_file_that_is_no_text_is_named():
    with pytest.raises(ConfigError, match=r"mine\.toml"):
        parse_family("mine", b"\xff\xfe\x00")
