"""Files that are whole or absent."""

import errno
import os
import stat

import pytest
import torch
from safetensors import safe_open

from inflate_zoo.bench.atomic import remove_partial, replace_tensors, replace_text, replacing
from inflate_zoo.errors import WriteError


def test_a_text_replaces_the_old_one_with_the_usual_permissions(tmp_path):
    path = tmp_path / "record.json"
    replace_text(path, "old")
    replace_text(path, "new ä")
    assert path.read_bytes() == "new ä".encode()
    plain = tmp_path / "plain"
    plain.write_text("")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_tensors_come_back_with_their_state(tmp_path):
    path, tensor = tmp_path / "a.safetensors", torch.randn(4, 3).t()
    replace_tensors(path, {"a": tensor}, "state")
    with safe_open(path, "pt") as file:
        assert torch.equal(file.get_tensor("a"), tensor)
        assert file.metadata() == {"state": "state"}
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


def test_leftovers_of_the_killed_go_and_nothing_else(tmp_path):
    left = [".a.1f.partial", ".lease-1f", ".clock-1f"]
    for name in [*left, "record.json", ".hidden", "a.partial"]:
        (tmp_path / name).write_text("")
    remove_partial(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"record.json", ".hidden", "a.partial"}
