"""Digests of files."""

import hashlib

import pytest

from inflate_zoo.errors import UsageError
from inflate_zoo.files import digests
from inflate_zoo.files.digests import Digests, sha256


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 1000])
def test_a_file_is_hashed_whole_however_many_pieces_it_takes(tmp_path, monkeypatch, size):
    monkeypatch.setattr(digests, "_CHUNK", 64)
    content = bytes(index % 251 for index in range(size))
    (tmp_path / "a").write_bytes(content)
    assert sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_those_of_many_files_come_in_the_order_of_their_names(tmp_path):
    for name in ("b", "a"):
        (tmp_path / name).write_bytes(name.encode())
    found = Digests([tmp_path / "b", tmp_path / "a"]).result()
    assert list(found) == ["a", "b"]
    assert found["b"] == hashlib.sha256(b"b").hexdigest()


def test_a_file_that_cannot_be_read_is_told_where_the_digests_are_asked_for(tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    hashing = Digests([tmp_path / "a", tmp_path / "gone"])
    with pytest.raises(UsageError, match="'gone' cannot be read: No such file"):
        hashing.result()
