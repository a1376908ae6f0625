"""What of a folder is sent: what it is, that it is whole, and that nothing private is in it."""

import json

import pytest

from inflate_zoo.errors import UsageError
from inflate_zoo.registry.parcels import (
    FILES,
    find_kind,
    identity_of,
    kind_of,
    read_parcel,
    title_of,
    trial_in,
)
from tests.support.conversions import conversion_table

TRIAL = {"hash": "1f" * 8, "arm": {"label": "dino"}, "task": {"name": "hearts"}, "seed": 0}


def never(*_):
    raise AssertionError("it was asked")


@pytest.mark.parametrize(
    "names, kind",
    [
        (["conversion.json"], "conversion"),
        (["conversion.json", "record.json"], "conversion"),
        (["trial.json"], "trial"),
        (["record.json", "model.safetensors", "config.json"], "trial"),
        (["model.safetensors", "config.json", "x"], "network"),
        (["model.safetensors", "README.md"], None),
        ([], None),
    ],
)
def test_what_files_are_is_told_by_their_names(names, kind):
    assert kind_of(names) == kind


def test_a_trial_is_known_by_its_hash_and_called_by_arm_and_task():
    assert trial_in(TRIAL).hash == identity_of("trial", TRIAL) == "1f" * 8
    assert title_of("trial", TRIAL) == f"trial {'1f' * 8}: dino on hearts"
    assert trial_in(TRIAL | {"entries": {"a": {}, "b": {}}}).entries.keys() == {"a", "b"}


@pytest.mark.parametrize(
    "changes",
    [
        {"hash": ""},
        {"hash": 3},
        {"hash": None},
        {"arm": "dino"},
        {"arm": {}},
        {"arm": {"label": 1}},
        {"task": []},
        {"entries": 10},
        {"entries": None},
    ],
)
def test_what_is_no_trial_has_neither_identity_nor_title(changes):
    assert trial_in(TRIAL | changes) is None
    assert identity_of("trial", TRIAL | changes) is None
    assert title_of("trial", TRIAL | changes) == "trial"


def test_a_conversion_is_known_by_its_recipe_and_source():
    table = conversion_table()
    assert identity_of("conversion", table) == identity_of("conversion", conversion_table())
    other = conversion_table()
    other["recipe"]["scheme"] = "average"
    assert identity_of("conversion", table) != identity_of("conversion", other)
    assert title_of("conversion", other).endswith(" (average)")
    assert (identity_of("conversion", {}), title_of("conversion", {})) == (None, "conversion")


def test_a_title_stays_in_one_short_line():
    odd = TRIAL | {"arm": {"label": "a\nb\x1b[2J"}, "task": {"name": "x" * 300}}
    assert title_of("trial", odd).startswith(f"trial {'1f' * 8}: a b [2J on xxx")
    assert len(title_of("trial", odd)) == 200


def fill(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text("{}")
    return folder


@pytest.mark.parametrize("kind", FILES)
def test_a_folder_lacks_nothing_but_perhaps_its_card(tmp_path, kind):
    names = [name for name in FILES[kind] if name != "README.md"]
    folder = fill(tmp_path / "out", *names)
    assert find_kind(folder) == kind
    for name in names if kind != "network" else []:
        (folder / name).unlink()
        if len(names) > 1 and kind_of([n for n in names if n != name]) == kind:
            with pytest.raises(UsageError, match=f"'out' holds no {name}"):
                find_kind(folder)
        fill(folder, name)


def test_a_folder_of_nothing_of_ours_is_told(tmp_path):
    with pytest.raises(UsageError, match="'gone' is no folder"):
        find_kind(tmp_path / "gone")
    with pytest.raises(UsageError, match="'out' holds no conversion and no trained network"):
        find_kind(fill(tmp_path / "out", "model.safetensors"))


def trial_folder(folder, table):
    fill(folder, *FILES["trial"])
    (folder / "trial.json").write_text(json.dumps(table))
    return folder


def test_a_trial_that_does_not_say_which_it_is_is_incomplete(tmp_path):
    folder = trial_folder(tmp_path / "out", TRIAL | {"hash": ""})
    with pytest.raises(UsageError, match=r"'out': trial\.json is incomplete"):
        read_parcel(folder, "trial", None, never)


def test_the_record_that_is_sent_is_the_one_that_was_believed(tmp_path):
    folder = trial_folder(tmp_path / "out", TRIAL)
    asked = []

    def believe(name, table, content):
        asked.append((name, dict(table), content))
        return b'{"token": "hf_' + b"aB3" * 10 + b'"}'

    with pytest.raises(UsageError, match=r"record\.json holds an access token"):
        read_parcel(folder, "trial", None, believe)
    assert asked == [("out", TRIAL, b"{}")]
