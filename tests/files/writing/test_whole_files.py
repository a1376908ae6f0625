"""Single files that are whole or absent."""

import errno
import os
import stat
from pathlib import Path

import pytest
import torch

from inflate_zoo.errors import UsageError, WriteError
from inflate_zoo.files.writing.contents import replace_tensors
from inflate_zoo.files.writing.whole_files import (
    filling,
    remove_partial,
    replace_text,
    replacing,
    short_name,
    umask,
)


def test_a_text_replaces_the_old_one_with_the_usual_permissions(tmp_path):
    path = tmp_path / "record.json"
    replace_text(path, "old")
    replace_text(path, "new ä")
    assert path.read_bytes() == "new ä".encode()
    plain = tmp_path / "plain"
    plain.write_text("")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ValueError])
def test_what_fails_leaves_the_old_file_alone(tmp_path, kind):
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(kind), replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise kind
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["a"]


def test_a_full_disk_is_told_and_nothing_stays(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_text("old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(WriteError, match="No space left"):
        replace_text(path, "new")
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["a"]
    with pytest.raises(WriteError, match="cannot write 'b'"):
        replace_tensors(tmp_path / "gone" / "b", {"a": torch.zeros(1)}, "")


@pytest.mark.parametrize("name", ["n" * 255, "\u8a9e" * 85, "\U0001f600" * 63])
def test_names_as_long_as_can_be_are_written(tmp_path, name):
    replace_text(tmp_path / name, "new")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("code", [errno.EBUSY, errno.EXDEV])
def test_a_file_that_is_a_mount_point_is_filled(tmp_path, monkeypatch, code):
    path = tmp_path / "a"
    path.write_text("old and longer")

    def busy(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("pathlib.Path.replace", busy)
    replace_text(path, "new")
    assert path.read_text() == "new"
    assert [found.name for found in tmp_path.iterdir()] == ["a"]
    with pytest.raises(WriteError):
        replace_text(tmp_path / "absent", "new")


def test_what_must_last_is_on_the_disk_before_and_after_the_rename(tmp_path, monkeypatch):
    told, sync, replace = [], os.fsync, Path.replace

    def synced(descriptor):
        told.append(Path(f"/proc/self/fd/{descriptor}").resolve().name[:3])
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", lambda *a: (told.append("rename"), replace(*a))[1])
    replace_text(tmp_path / "a", "quick")
    assert told == ["rename"]
    replace_text(tmp_path / "a", "text", durable=True)
    replace_tensors(tmp_path / "b", {"a": torch.zeros(1)}, "", durable=True)
    folder = tmp_path.name[:3]
    assert told[1:] == [".a.", "rename", folder, ".b.", "rename", folder]


@pytest.mark.parametrize("code, fails", [(errno.EINVAL, False), (errno.ENOSPC, True)])
def test_a_disk_that_cannot_wait_is_no_fault_and_a_full_one_is(tmp_path, monkeypatch, code, fails):
    def refuse(_):
        raise OSError(code, os.strerror(code))

    (tmp_path / "a").write_text("old")
    monkeypatch.setattr(os, "fsync", refuse)
    if fails:
        with pytest.raises(WriteError):
            replace_text(tmp_path / "a", "new", durable=True)
    else:
        replace_text(tmp_path / "a", "new", durable=True)
    assert (tmp_path / "a").read_text() == ("old" if fails else "new")
    assert [found.name for found in tmp_path.iterdir()] == ["a"]


def test_what_killed_writers_left_of_one_file_or_of_any_is_removed(tmp_path):
    ours, others = f".a.{'1f' * 16}.partial", f".b.{'1f' * 16}.partial"
    for name in (ours, others, "a", "a.partial", ".a.1f.partial"):
        (tmp_path / name).write_text("")
    remove_partial(tmp_path, "a")
    assert not (tmp_path / ours).exists()
    assert (tmp_path / others).exists()
    remove_partial(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "a.partial", ".a.1f.partial"}
    remove_partial(tmp_path / "gone")


def test_the_mask_of_the_process_is_read_and_left_as_it_is():
    before = os.umask(0o027)
    try:
        assert (umask(), umask()) == (0o027, 0o027)
    finally:
        os.umask(before)


def test_a_long_name_is_replaced_by_its_digest():
    assert short_name("a" * 200) == "a" * 200
    assert len(short_name("a" * 201)) == len(short_name("\u8a9e" * 67)) == 64
    assert short_name("a" * 201) != short_name("a" * 202)


def told(reason):
    return UsageError(f"no folder: {reason}", hint="make it")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ValueError])
def test_folders_that_were_made_for_a_block_that_fails_are_removed(tmp_path, kind):
    (tmp_path / "there").mkdir()
    with pytest.raises(kind), filling(tmp_path / "there" / "a" / "b", told):
        raise kind
    assert list((tmp_path / "there").iterdir()) == []
    with pytest.raises(kind), filling(tmp_path / "there" / "a" / "b", told):  # noqa: PT012
        (tmp_path / "there" / "a" / "kept").write_text("")
        raise kind
    assert [path.name for path in (tmp_path / "there" / "a").iterdir()] == ["kept"]


def test_a_folder_that_cannot_be_made_is_told_in_the_words_given(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UsageError, match=r"no folder: (Not a directory|File exists)"),
        filling(tmp_path / "file" / "a", told),
    ):
        raise AssertionError("it was made")
