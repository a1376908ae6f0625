"""The whole zoo in a folder, one entry after the other."""

import errno
import json
import os
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from inflate_zoo.conversion.record import FILES
from inflate_zoo.errors import OutputExistsError, WriteError
from inflate_zoo.files.digests import sha256
from inflate_zoo.files.writing import staging
from inflate_zoo.files.writing.turns import only_one
from inflate_zoo.registry.building import build
from tests.support.turns import while_waiting
from tests.support.zoo_cards import CARD, contents, index, killed, outcomes, whole

NAME, REPO, MADE = CARD["name"], CARD["source"], "zoo/small-vit-3d-center"
THREE = (
    {"name": "a", "license": "cc-by-nc-4.0", "redistribution": False},
    {"name": "b", "source": "org/gone"},
    {"name": "c", "scheme": "average"},
)


def test_all_entries_are_built_a_failure_stops_nothing_and_the_rest_is_kept(hub, files, cards):
    commit = hub.add_repo(REPO, files)
    cards(*THREE)
    assert outcomes() == {"a": "built", "b": "failed", "c": "built"}
    assert set(contents(Path("out/a"))) == set(FILES)
    assert whole(Path("out/c"))
    assert index() == {
        name: {
            "license": card.get("license", "apache-2.0"),
            "redistribution": card.get("redistribution", True),
            "sha256": sha256(Path("out", name, "model.safetensors")),
            "size": Path("out", name, "model.safetensors").stat().st_size,
            "source": REPO,
            "commit": commit,
        }
        for name, card in (("a", THREE[0]), ("c", THREE[2]))
    }
    hub.add_repo("org/gone", files)
    assert outcomes() == {"a": "kept", "b": "built", "c": "kept"}
    assert set(index()) == {"a", "b", "c"}
    assert {path.name for path in Path("out").iterdir()} == {"a", "b", "c", "index.json"}


def test_named_entries_are_built_and_the_others_stay_in_the_index(hub, files, cards):
    hub.add_repo(REPO, files)
    cards(*THREE)
    assert outcomes(["c", "c"]) == {"c": "built"}
    assert outcomes(["a"]) == {"a": "built"}
    assert set(index()) == {"a", "c"}


def test_why_an_entry_failed_is_told(hub, cards):
    (built,) = build([], Path("out"))
    assert "not found" in built.error.message
    assert built.size is None
    assert json.loads(Path("out/index.json").read_text()) == []


@pytest.mark.parametrize("spoil", ["weights", "card", "readme", "killed"])
def test_what_is_not_whole_or_of_another_recipe_is_built_anew(hub, files, cards, spoil):
    hub.add_repo(REPO, files)
    assert outcomes() == {NAME: "built"}
    folder = Path("out", NAME)
    content = (folder / "model.safetensors").read_bytes()
    if spoil == "weights":
        (folder / "model.safetensors").write_bytes(content[:-1] + b"\x01")
    elif spoil == "readme":
        (folder / "README.md").unlink()
    elif spoil == "killed":
        (folder / staging.MARKER).mkdir()
    else:
        cards(volume=[16, 32, 32])
    assert outcomes() == {NAME: "built"}
    assert whole(folder).recipe.volume == (16 if spoil == "card" else 8, 32, 32)
    assert outcomes() == {NAME: "kept"}


def test_what_is_damaged_and_cannot_be_built_anew_leaves_the_index(hub, files, cards):
    hub.add_repo(REPO, files)
    cards(THREE[0], THREE[2])
    outcomes()
    weights = Path("out/a/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    hub.fail(404, times=99)
    assert outcomes() == {"a": "failed", "c": "kept"}
    assert set(index()) == {"c"}


def test_a_folder_that_is_not_the_zoos_is_left_alone(hub, files, cards):
    hub.add_repo(REPO, files)
    folder = Path("out", NAME)
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text("mine")
    (built,) = build([], Path("out"))
    assert "is not empty" in built.error.message
    assert "--force" not in built.error.hint
    assert contents(folder) == {"model.safetensors": b"mine"}
    assert index() == {}


def test_an_output_that_is_a_file(hub, cards):
    Path("out").write_text("")
    with pytest.raises(OutputExistsError, match="is no folder"):
        outcomes()


def test_an_index_that_cannot_be_written(hub, files, cards, monkeypatch):
    hub.add_repo(REPO, files)
    outcomes()
    before = Path("out/index.json").read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(WriteError, match=r"cannot write 'index\.json': No space left"):
        outcomes()
    assert Path("out/index.json").read_bytes() == before
    assert {path.name for path in Path("out").iterdir()} == {NAME, "index.json"}


def test_a_build_that_was_killed_goes_on_and_leaves_nothing(hub, files, cards, monkeypatch):
    hub.add_repo(REPO, files)
    cards(*THREE)

    def kill(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    outcomes(["a"])  # a forked child must not convert: torch has threads by now
    Path("out/index.json").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", kill)  # of the index, after the first entry
        assert killed(outcomes) == -signal.SIGKILL
    assert list(Path("out").glob(".index.json.*.partial"))
    assert not Path("out/index.json").exists()
    assert outcomes() == {"a": "kept", "b": "failed", "c": "built"}
    assert {path.name for path in Path("out").iterdir()} == {"a", "c", "index.json"}


def test_what_another_build_is_writing_is_left_to_it(hub, files, cards, monkeypatch):
    hub.add_repo(REPO, files)
    left = Path("out", f".index.json.{'0' * 32}.partial")
    with ExitStack() as other:
        other.enter_context(only_one(Path("out")))
        left.write_text("[]")
        seen = []
        while_waiting(monkeypatch, lambda: (seen.append(left.exists()), other.close()))
        assert outcomes() == {NAME: "built"}
    assert seen == [True]
    assert set(index()) == {NAME}
