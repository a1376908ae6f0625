"""The entries of the zoo."""

import re

from inflate_zoo.hub.addresses import BUILTIN
from inflate_zoo.inflation.schemes import SCHEMES
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.registry.listing import find_card, matching, zoo


def test_the_real_zoo_is_parsed_once_and_sorted():
    assert zoo() is not None
    assert [entry.name for entry in zoo()] == sorted(entry.name for entry in zoo())
    assert all(one is two for one, two in zip(zoo(), zoo(), strict=True))


def test_what_is_no_card_is_no_entry(cards, tmp_path):
    for name in ("README.md", "template.md", "notes.txt"):
        (tmp_path / "cards1" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "cards1" / name).write_text("# Not a card\n")
    cards({"name": "b"}, {"name": "a-c"}, {"name": "a.c"}, {"name": "a"})
    assert [entry.name for entry in zoo()] == ["a", "a-c", "a.c", "b"]


def test_filters(cards):
    cards(
        {"name": "one", "objective": "Masked images"},
        {"name": "two", "license": "mit", "scheme": "average"},
        {"name": "three", "source": "timm/vit_x", "license": "other", "license_name": "Meta's"}
        | {"license_link": "https://x.org"},
    )

    def found(text):
        return [entry.name for entry in matching(text)]

    assert found("") == ["one", "three", "two"]
    assert found("masked") == ["one"]
    assert found("MIT") == found("average") == ["two"]
    assert found("timm/") == found("meta") == ["three"]
    assert found("none of this") == []


def test_every_card_parses_and_has_a_text():
    for entry in zoo():
        assert find_card(entry.name)[1], entry.name


def test_there_are_enough_entries():
    assert sum(not entry.source.startswith(BUILTIN) for entry in zoo()) >= 40


def test_families_and_schemes_exist():
    for entry in zoo():
        assert entry.family in families_by_name(), entry.name
        assert entry.scheme in SCHEMES, entry.name


def test_revisions_are_commits_or_branches():
    branch = re.compile(r"[A-Za-z][\w./-]*")
    for entry in zoo():
        if entry.revision is not None and not re.fullmatch("[0-9a-f]{40}", entry.revision):
            assert branch.fullmatch(entry.revision), entry.name
            assert not re.fullmatch("[0-9a-f]{7,}", entry.revision), entry.name  # an abbreviation


def test_licenses_say_whether_weights_may_be_passed_on():
    from inflate_zoo.registry.licenses import may_pass_on

    for entry in zoo():
        if entry.license != "other":
            assert entry.license_name is None, entry.name
            assert entry.redistribution is (may_pass_on(entry.license) is True), entry.name
