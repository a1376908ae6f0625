"""Specifications written part by part are those written whole."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inflate_zoo.bench.definitions.spec_texts import SpecTexts
from inflate_zoo.files.writing.contents import json_text
from tests.support.trials import tiny_run


@pytest.fixture(scope="module")
def specs(tmp_path_factory):
    home = tmp_path_factory.mktemp("run")
    return [trial.spec for trial in tiny_run(home, kinds=("inflated", "2d", "random")).trials]


def whole(spec):
    return spec.hash, json_text({"hash": spec.hash, **spec.plain()})


def test_every_kind_of_trial_is_named_and_written_as_one_alone(specs):
    texts = SpecTexts()
    for spec in [*specs, *(spec.model_copy(update={"seed": 7, "fold": 3}) for spec in specs)]:
        assert texts.of(spec) == whole(spec)


@given(st.text(max_size=20), st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3))
@settings(deadline=None, max_examples=50)
def test_whatever_names_say(specs, name, entries):
    spec = specs[0].model_copy(update={"entries": entries})
    spec = spec.model_copy(update={"task": spec.task.model_copy(update={"name": name})})
    try:
        expected = whole(spec)
    except UnicodeEncodeError:  # half a character
        return
    assert SpecTexts().of(spec) == expected


def test_words_change_the_text_and_not_the_name(specs):
    spec = specs[0]
    other = spec.model_copy(update={"arm": spec.arm.model_copy(update={"label": "new"})})
    texts = SpecTexts()
    assert texts.of(spec).hash == texts.of(other).hash
    assert texts.of(spec).text != texts.of(other).text == whole(other)[1]


def test_what_several_share_is_written_once(specs, monkeypatch):
    from inflate_zoo.bench.definitions import spec_texts

    calls, real = [], spec_texts._written
    monkeypatch.setattr(spec_texts, "_written", lambda *a: calls.append(a[0]) or real(*a))
    texts = SpecTexts()
    for seed in range(5, 8):
        texts.of(specs[0].model_copy(update={"seed": seed}))
    assert sorted(calls) == [
        "arm", "cases", "channel_rule", "entries", "fold", "protocol", "seed", "seed", "seed",
        "task",
    ]  # fmt: skip
