"""Cards of the zoo: what they may hold, and what a wrong one is told."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inflate_zoo.conversion.record import record_in
from inflate_zoo.errors import ConfigError, UsageError
from inflate_zoo.hub.cards import front_matter_text
from inflate_zoo.registry.entries import read_card
from tests.support.conversions import COMMIT, DIGEST, conversion_table
from tests.support.zoo_cards import CARD, write_card

OTHER = {"license": "other", "license_name": "dinov3-license", "license_link": "https://x.org/l"}
PREBUILT = {"prebuilt": f"org/made@{COMMIT}", "sha256": DIGEST}


def refused(path):
    with pytest.raises(ConfigError) as caught:
        read_card(path)
    assert f"model_cards/{path.name}" in caught.value.message
    assert str(path.parent) not in str(caught.value)
    assert len(caught.value.lines()) <= 10
    return " | ".join(caught.value.details)


def test_a_card(tmp_path):
    entry, text = read_card(write_card(tmp_path, "# A title\n\nText, with\n---\na rule.", **OTHER))
    assert entry.model_dump(mode="json", exclude_none=True) == CARD | OTHER
    assert text == "# A title\n\nText, with\n---\na rule."
    assert (entry.volume, entry.sha256, entry.prebuilt) == ((8, 32, 32), None, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"revision": COMMIT, "parameters": 5, "size": 20, **PREBUILT},
        {"source": "builtin/dino", "revision": None},
        {"source": "timm/vit_base_patch16_224.dino", "revision": "refs/pr/3"},
        {"license": "unknown", "redistribution": False, "prebuilt": None, "sha256": DIGEST},
        {"name": "a.b-3d"},
    ],
)
def test_other_good_cards(tmp_path, changes):
    entry, _ = read_card(write_card(tmp_path, **changes))
    assert all(getattr(entry, key) == value for key, value in changes.items())


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"sceme": "center"}, "sceme: Extra inputs"),
        ({"scheme": ...}, "scheme: Field required"),
        ({"name": "Small"}, "name: String should match"),
        ({"name": "a_b"}, "name: String should match"),
        ({"name": "-a"}, "name: String should match"),
        ({"source": "small-vit"}, "source: String should match"),
        ({"source": "org/small-vit@main"}, "source: String should match"),
        ({"source": "../small-vit"}, "source: String should match"),
        ({"revision": None}, "revision must be null for a builtin source"),
        ({"revision": ...}, "revision: Field required"),
        ({"source": "builtin/dino"}, "revision must be null for a builtin source"),
        ({"revision": 1234}, "revision: Input should be a valid string"),
        ({"patch_depth": 0}, "patch_depth: Input should be greater than 0"),
        ({"patch_depth": "4"}, "patch_depth: Input should be a valid integer"),
        ({"patch_depth": 3}, "volume depth 8 is not divisible by patch_depth 3"),
        ({"volume": [8, 32]}, "volume"),
        ({"volume": [8, 32, 32.0]}, "volume.2: Input should be a valid integer"),
        ({"volume": "8,32,32"}, "volume"),
        ({"channels": True}, "channels: Input should be a valid integer"),
        ({"fold_normalization": "yes"}, "fold_normalization: Input should be a valid boolean"),
        ({"objective": "two\nlines"}, "objective: must be one line"),
        ({"objective": ""}, "objective: must be one line"),
        ({"reference": "right \u202e to left"}, "reference: must be one line"),
        ({"license": "Apache-2.0"}, "license: String should match"),
        ({"license": ["mit"]}, "license: Input should be a valid string"),
        ({"license": "other"}, "license 'other' needs license_name and license_link"),
        (OTHER | {"license_link": None}, "license 'other' needs license_name and license_link"),
        ({"license_name": "x\n---\ny"}, "license_name: must be one line"),
        ({"sha256": "D" * 64}, "sha256: String should match"),
        ({"size": -1}, "size: Input should be greater than 0"),
        (PREBUILT | {"prebuilt": "org/made@main"}, "prebuilt: String should match"),
        (PREBUILT | {"sha256": None}, "prebuilt needs sha256"),
        (PREBUILT | {"redistribution": False}, "redistribution must be true"),
    ],
)
def test_a_wrong_field_is_named(tmp_path, changes, told):
    assert told in refused(write_card(tmp_path, **changes))


@pytest.mark.parametrize(
    "content, told",
    [
        ("", "no front matter"),
        ("# A title\n", "no front matter"),
        ("---\nname: a\n", "no front matter"),
        ("---\n- a\n---\n", "must be fields"),
        ("---\nname: a: b\n---\n", "front matter: mapping values are not allowed"),
        ("---\nname: !!python/name:os.system\n---\n", "could not determine a constructor"),
        ("---\nname: !!python/object/apply:os.system ['true']\n---\n", "constructor"),
        ("---\nname: 2024-13-45\n---\n", "front matter: "),
        ("---\nlicense: a\n---\nb\n---\n", "name: Field required"),
        ("---\nlicense: mit\nlicense : apache-2.0\n---\n", "license: stands there twice"),
        ("---\nname: " + "[" * 1000 + "\n---\n", "front matter: "),
        (b"---\nname: \xff\n---\n", "front matter: "),
    ],
)
def test_what_is_no_front_matter_is_told(tmp_path, content, told):
    path = tmp_path / "a.md"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert told in refused(path)


def test_a_name_that_is_not_the_files(tmp_path):
    path = write_card(tmp_path).rename(tmp_path / "other.md")
    assert refused(path) == "name: 'small-vit-3d-center' is not the file's, 'other'"


def test_a_card_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match=r"'gone\.md' cannot be read"):
        read_card(tmp_path / "gone.md")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_line_comes_back_from_front_matter_and_nothing_else_does(tmp_path, text):
    path = write_card(tmp_path, objective=text, license_name=f"!!x {text}")
    if text.isprintable() and text == text.strip():
        entry, _ = read_card(path)
        assert (entry.objective, entry.license_name) == (text, f"!!x {text}")
        again = path.with_name("again.md")
        again.write_text(front_matter_text(entry.model_dump(mode="json") | {"name": "again"}))
        assert read_card(again)[0] == entry.model_copy(update={"name": "again"})
    else:
        assert "objective: must be one line" in refused(path)


def record(**parts):
    """A record of the card's recipe, its parts changed."""
    table = conversion_table()
    table["recipe"] |= {
        key: CARD[key]
        for key in ("scheme", "patch_depth", "volume", "channels", "fold_normalization")
    }
    for part, changes in parts.items():
        table[part] |= changes
    found = record_in(table)
    assert found is not None
    return found


@pytest.mark.parametrize("changes", [{}, {"revision": COMMIT}, {"sha256": DIGEST}])
def test_an_entry_knows_its_record(tmp_path, changes):
    assert read_card(write_card(tmp_path, **changes))[0].describes(record())


@pytest.mark.parametrize(
    "repo, name, fits",
    [(None, "builtin-x", True), (None, "x", False), ("org/x", "x", False)],
)
def test_a_builtin_entry_knows_its_record(tmp_path, repo, name, fits):
    entry, _ = read_card(write_card(tmp_path, source="builtin/x", revision=None))
    source = {"repo": repo, "revision": None, "commit": None, "name": name}
    assert entry.describes(record(source=source)) is fits


@pytest.mark.parametrize(
    "part, key, value",
    [
        ("source", "repo", "org/other"),
        ("source", "repo", None),
        ("source", "revision", "v1"),
        ("source", "family", "hf_vit_mae"),
        ("recipe", "scheme", "average"),
        ("recipe", "patch_depth", 8),
        ("recipe", "volume", [16, 32, 32]),
        ("recipe", "channels", 3),
        ("recipe", "fold_normalization", False),
        ("recipe", "dtype", "float16"),
        ("recipe", "normalization_basis", "given"),
        ("files", "model.safetensors", {"sha256": "e" * 64}),
    ],
)
def test_an_entry_knows_a_record_of_something_else(tmp_path, part, key, value):
    entry, _ = read_card(write_card(tmp_path, sha256=DIGEST))
    assert not entry.describes(record(**{part: {key: value}}))
