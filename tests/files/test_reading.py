"""Files of somebody else, and what they are called in a message."""

import json
import re
from pathlib import Path

import pytest

from inflate_zoo.errors import ConfigError, UsageError
from inflate_zoo.files.reading import called, lacking, read_json, require_folder


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
