"""Files of somebody else, and what they are called in a message."""

import json
import os
import re
from pathlib import Path

import pytest

from inflate_zoo.errors import CheckpointError, ConfigError, UsageError
from inflate_zoo.files.reading import (
    called,
    disguise,
    lacking,
    read_bytes,
    read_json,
    refuse_disguise,
    require_files,
    require_folder,
    require_regular,
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "here" / "file").parent.mkdir()
    (tmp_path / "here" / "file").touch()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.parametrize(
    ("path", "name"),
    [("a", "a"), ("a/b", "a/b"), (".", "here"), ("..", None), ("/", "/"), ("/x/y", "y")],
)
def test_a_path_is_called_as_it_was_typed(path, name, here):
    assert called(Path(path)) == (name or here.parent.name)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (".", ""),
        ("file", ""),
        ("a", ""),
        ("a/b", ": 'here' holds no folder 'a'"),
        ("a/b/c", ": 'here' holds no folder 'a'"),
        ("file/b", ": 'file' is a file"),
        ("{here}/a/b", ": 'here' holds no folder 'a'"),
        ("{here}/file/a/b", ": 'file' is a file"),
    ],
)
def test_the_part_of_a_path_that_is_missing_is_named(path, told, here):
    where = Path(path.format(here=here))
    assert lacking(where) == ("" if told == ": 'file' is a file" and path == "file/b" else told)
    if told:
        with pytest.raises(UsageError, match=re.escape(f"is no folder{lacking(where)}")):
            require_folder(where)


def test_files_that_a_folder_lacks_are_named_with_it(here):
    (here / "there").touch()
    require_files(here, ["there"], "look again")
    with pytest.raises(UsageError) as caught:
        require_files(here, ["one", "there", "two"], "look again")
    assert caught.value.lines() == ["'here' holds no one and no two", "look again"]


def test_a_json_that_is_no_weights_config_is_not_said_to_be_one(here):
    Path("dataset.json").write_text("{,}")
    with pytest.raises(UsageError) as caught:
        read_json(Path("dataset.json"))
    assert "weights" not in caught.value.hint
    assert "dataset.json" in caught.value.hint


def test_the_labels_of_the_largest_real_config_are_read(tmp_path):
    names = {str(i): f"n{i:08d}, synset of wordnet, number {i}" for i in range(21_841)}
    config = {"id2label": names, "label2id": {name: int(i) for i, name in names.items()}}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config, indent=2))
    assert len(read_json(path)["id2label"]) == 21_841
    path.write_text(" " * (8 << 20) + "{}")
    with pytest.raises(ConfigError, match=r"config\.json is larger than 8 MB"):
        read_json(path)


@pytest.mark.parametrize(
    "start, what",
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"<!DOCTYPE HTML>", "an HTML page"),
        (b"\xef\xbb\xbf \n<?xml", "an HTML page"),
        (b'  {"error": 1}', "a JSON text"),
        (b"[]", "a JSON text"),
        (b"{\x00\x00\x00\x00\x00\x00\x00", None),
        (b"PK\x03\x04", None),
        (b"", None),
    ],
)
def test_what_a_file_really_is_is_told_by_its_first_bytes(start, what):
    found = disguise(start)
    assert (found and found.what) == what
    if found is None:
        refuse_disguise(Path("a.pth"), start)
    else:
        with pytest.raises(CheckpointError, match=f"'a.pth' is {what}, not weights") as caught:
            refuse_disguise(Path("a.pth"), start)
        assert caught.value.hint == found.step


def test_what_is_no_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, told in [
        (".", "is a folder, not a file"),
        ("pipe", "is a device, pipe or socket, not a file"),
        ("gone", "'gone' cannot be read: No such file"),
        ("a\0b", "is no name of a file"),
    ]:
        with pytest.raises(UsageError, match=told):
            require_regular(tmp_path / name)


def test_a_link_may_lead_to_the_blobs_of_its_cache_and_nowhere_else_outside(tmp_path):
    home, outside = tmp_path / "snapshots" / "1f", tmp_path / "outside"
    for path in (tmp_path / "blobs" / "ab", home / "real", outside / "blobs" / "cd"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (home / "blob").symlink_to("../../blobs/ab")
    (home / "beside").symlink_to("real")
    (home / "away").symlink_to(outside / "blobs" / "cd")
    for name in ("real", "blob", "beside"):
        require_regular(home / name, home)
    require_regular(home / "away")
    with pytest.raises(UsageError, match="'away' is a link that leads out of its folder"):
        require_regular(home / "away", home)


@pytest.mark.parametrize("limit, shown", [(8, "0 KB"), (2048, "2 KB"), (3_000_000, "3 MB")])
def test_a_file_beyond_its_limit_is_not_read_whole(tmp_path, limit, shown):
    path = tmp_path / "note.json"
    path.write_bytes(b"x" * limit)
    assert len(read_bytes(path, limit, "remove it")) == limit
    path.write_bytes(b"x" * (limit + 1))
    with pytest.raises(ConfigError, match=f"note.json is larger than {shown}") as caught:
        read_bytes(path, limit, "remove it")
    assert caught.value.hint == "remove it"
