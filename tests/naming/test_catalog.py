from collections import Counter

import pytest

from inflate_zoo.errors import ConfigError
from inflate_zoo.files.locations import data_folder
from inflate_zoo.naming.catalog import families_by_name, parse_family
from tests.support.recorded import definitions

SCHEMES = families_by_name()
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


def test_our_tensors_that_definitions_yield_are_unique_per_source():
    for scheme in SCHEMES.values():
        assert len(set(scheme.wrappers)) == len(scheme.wrappers) > 0
        ways = [(way,) if isinstance(way, str) else way for way in scheme.join.values()]
        others = [*(name for way in ways for name in way), *scheme.split]
        assert len({*scheme.rename, *others}) == len(scheme.rename) + len(others)


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
