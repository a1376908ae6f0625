"""One process at a time in a folder."""

import errno
import fcntl
import shutil
from contextlib import ExitStack

import pytest

from inflate_zoo.files.writing.turns import only_one
from tests.support.turns import while_waiting


def test_the_second_waits_for_the_first_and_says_so_once(tmp_path, monkeypatch):
    told = []
    with ExitStack() as first:
        assert first.enter_context(only_one(tmp_path, lambda: told.append("first")))
        while_waiting(monkeypatch, first.close)
        with only_one(tmp_path, lambda: told.append("second")) as alone:
            assert alone
    assert told == ["second"]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_its_holder_removed_is_made_anew(tmp_path, monkeypatch):
    folder = tmp_path / "above" / "out"
    told = []
    with ExitStack() as first:
        assert first.enter_context(only_one(folder))
        while_waiting(monkeypatch, lambda: (shutil.rmtree(tmp_path / "above"), first.close()))
        with only_one(folder, lambda: told.append(1)) as alone:
            assert alone
            assert folder.is_dir()
    assert told == [1]


def test_who_dies_while_it_waits_holds_nothing(tmp_path, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    with only_one(tmp_path):
        while_waiting(monkeypatch, interrupted)
        with pytest.raises(KeyboardInterrupt), only_one(tmp_path):
            pytest.fail("it is held by another")
    with only_one(tmp_path) as alone:
        assert alone


def test_where_nothing_locks_it_is_said(tmp_path, monkeypatch):
    def unknown(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unknown)
    with only_one(tmp_path) as first, only_one(tmp_path) as second:
        assert not first
        assert not second
