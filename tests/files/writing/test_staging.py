"""A folder appears whole or not at all; what faults and kills leave is in faults/test_writing."""

import os
import stat
from pathlib import Path

import pytest

from inflate_zoo.errors import OutputExistsError, WriteError
from inflate_zoo.files.writing import staging
from inflate_zoo.files.writing.staging import MARKER, check_target, staged

FILES = ["weights", "record"]


def write(target, text="new", *, force=False):
    with staged(target, FILES, force=force, durable=False) as stage:
        for name in FILES:
            (stage / name).write_text(text)


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def old(folder, names=FILES):
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text("old")
    return folder


@pytest.mark.parametrize("there", [True, False])
def test_a_new_folder_appears_with_the_usual_permissions(tmp_path, there):
    target = tmp_path / "above" / "out"
    if there:
        target.mkdir(parents=True)
    write(target)
    assert contents(target) == {"weights": "new", "record": "new"}
    assert [path.name for path in target.parent.iterdir()] == ["out"]
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "file").write_text("")
    for ours, plain in ((target, tmp_path / "plain"), (target / "record", tmp_path / "plain/file")):
        assert stat.S_IMODE(ours.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_force_replaces_the_files_of_its_list_and_no_others(tmp_path):
    target = old(tmp_path / "out", [*FILES, "notes"])
    with pytest.raises(OutputExistsError, match="'out' is not empty"):
        write(target)
    assert set(contents(target).values()) == {"old"}
    write(target, force=True)
    assert contents(target) == {"weights": "new", "record": "new", "notes": "old"}


@pytest.mark.parametrize("there", ["nothing", "an empty folder", "old files", "a mount"])
def test_files_may_lie_in_folders(tmp_path, there, monkeypatch):
    target, names = tmp_path / "out", ["models/weights", "record"]
    if there == "an empty folder":
        target.mkdir()
        monkeypatch.chdir(target)
    if there == "a mount":
        target.mkdir()
        monkeypatch.setattr(staging, "_mount", lambda folder: folder)
    if there == "old files":
        (target / "models").mkdir(parents=True)
        for name in (*names, "models/mine"):
            (target / name).write_text("old")
    with staged(target, names, force=True, durable=False) as stage:
        (stage / "models").mkdir()
        for name in names:
            (stage / name).write_text("new")
    assert [(target / name).read_text() for name in names] == ["new", "new"]
    found = {path.relative_to(target).as_posix() for path in target.rglob("*")}
    assert found == {"models", *names, *(["models/mine"] if there == "old files" else [])}


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_nothing_behind(tmp_path, kind):
    with pytest.raises(kind), staged(tmp_path / "a" / "b" / "out", FILES, force=False) as stage:  # noqa: PT012
        (stage / "weights").write_text("half")
        raise kind
    assert list(tmp_path.iterdir()) == []


def test_a_block_that_leaves_a_file_out_fails(tmp_path):
    with (
        pytest.raises(WriteError, match="cannot write 'out'"),
        staged(tmp_path / "out", FILES, force=False) as stage,
    ):
        (stage / "weights").write_text("new")
    assert list(tmp_path.iterdir()) == []


def test_weights_that_nothing_vouches_for_and_folders_are_not_replaced(tmp_path):
    alone = old(tmp_path / "alone", ["weights"])
    with pytest.raises(OutputExistsError, match="'weights' without 'record': that is not ours"):
        write(alone, force=True)
    folder = old(tmp_path / "folder", ["weights"])
    (folder / "record").mkdir()
    with pytest.raises(OutputExistsError, match="a folder 'record'"):
        write(folder, force=True)


def test_what_a_killed_replacement_left_is_taken_over(tmp_path):
    target = old(tmp_path / "out", ["weights"])
    (target / MARKER).mkdir()
    write(target, force=True)
    assert contents(target) == {"weights": "new", "record": "new"}
    (killed := tmp_path / "first").mkdir()
    (killed / MARKER / "new").mkdir(parents=True)
    (killed / "weights").write_text("half")
    check_target(killed, force=False)  # it was empty before
    write(killed)
    assert contents(killed) == {"weights": "new", "record": "new"}


@pytest.mark.skipif(os.name == "nt", reason="folders cannot be locked")
def test_stages_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    with staged(tmp_path / "out", FILES, force=False, durable=False) as alive:
        dead = Path(f"{alive.parent}/.out.dead.partial")
        dead.mkdir()
        write(tmp_path / "out", "faster")
        assert alive.exists()
        assert not dead.exists()
        for name in FILES:
            (alive / name).write_text("slower")
        (tmp_path / "out" / "record").unlink()
        (tmp_path / "out" / "weights").unlink()
        (tmp_path / "out").rmdir()
    assert contents(tmp_path / "out") == {"weights": "slower", "record": "slower"}


def test_another_that_filled_the_folder_meanwhile_keeps_it(tmp_path):
    told = "another process filled the output folder 'out'"
    with (  # noqa: PT012
        pytest.raises(OutputExistsError, match=told),
        staged(tmp_path / "out", FILES, force=False, durable=False) as stage,
    ):
        for name in FILES:
            (stage / name).write_text("slower")
        write(tmp_path / "out", "faster")
    assert set(contents(tmp_path / "out").values()) == {"faster"}


def test_a_rename_that_fails_puts_the_old_files_back(tmp_path, monkeypatch):
    target = old(tmp_path / "out")
    rename = Path.rename

    def failing(path, to):
        if to == target / "record" and path.parent.name != "replaced":
            raise OSError(5, "Input/output error")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(WriteError, match="Input/output error; nothing half-written was left"):
        write(target, force=True)
    assert contents(target) == {"weights": "old", "record": "old"}


def test_old_files_that_cannot_be_put_back_are_told(tmp_path, monkeypatch):
    target = old(tmp_path / "out")

    def broken(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(staging, "_undone", lambda *_: False)
    monkeypatch.setattr(staging, "_sync_names", broken)
    with pytest.raises(WriteError, match="half-way: it cannot be loaded now"):
        write(target, force=True)


@pytest.mark.parametrize(
    "make, told",
    [
        (lambda path: path.write_text(""), "the output 'out' exists and is no folder"),
        (lambda path: path.symlink_to(path.parent / "gone"), "the output 'out' is a link"),
        (lambda path: path.symlink_to(path.parent), "the output 'out' is a link"),
        (lambda path: path.symlink_to(path), "is a link|links that lead in a circle"),
    ],
)
@pytest.mark.parametrize("force", [True, False])
def test_links_and_what_is_no_folder_are_refused(tmp_path, make, told, force):
    make(tmp_path / "out")
    with pytest.raises(OutputExistsError, match=told):
        check_target(tmp_path / "out", force=force)


def test_a_path_that_no_folder_can_be_at_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputExistsError, match="'file', above the output, is no folder"):
        check_target(tmp_path / "file" / "out", force=False)
    with pytest.raises(OutputExistsError, match="leads through folders that do not exist"):
        check_target(tmp_path / "gone" / ".." / "out", force=False)
    with pytest.raises(OutputExistsError, match="File name too long"):
        check_target(tmp_path / ("n" * 300), force=False)
