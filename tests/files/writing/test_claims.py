"""Who uses what of a cache."""

import gc
import os
import threading
import time
from contextlib import contextmanager

import pytest

from inflate_zoo.files.writing import claims as module
from inflate_zoo.files.writing.claims import Claims, entry_lock, lock, lock_of


def users_folder(root):
    return root / "locks" / "users"


def test_a_claim_holds_until_its_holder_is_gone(tmp_path):
    holder = Claims(tmp_path)
    holder.take("cases/one")
    holder.take("cases/one")
    holder.take("weights/two")
    others = Claims(tmp_path)
    who = f"{os.uname().nodename}:{os.getpid()}"
    assert others.users() == {"cases/one": who, "weights/two": who}
    (path,) = users_folder(tmp_path).iterdir()
    assert path.read_text().splitlines() == [who, "cases/one", "weights/two"]
    del holder
    gc.collect()
    assert others.users() == {}
    assert list(users_folder(tmp_path).iterdir()) == []


def test_what_a_killed_process_left_is_swept_away(tmp_path):
    folder = users_folder(tmp_path)
    folder.mkdir(parents=True)
    (folder / "host-1-dead").write_text("host:1\ncases/one\n")
    assert Claims(tmp_path).users() == {}
    (folder / "host-1-dead").write_text("host:1\ncases/one\n")
    kept = Claims(tmp_path)
    kept.take("cases/two")
    assert [path.name for path in folder.iterdir() if "dead" in path.name] == []


def test_a_claim_waits_while_somebody_decides(tmp_path):
    taken = threading.Event()
    claims = Claims(tmp_path)

    def take():
        claims.take("cases/one")
        taken.set()

    deciding = Claims(tmp_path)
    with deciding.gate(alone=True):
        thread = threading.Thread(target=take)
        thread.start()
        assert not taken.wait(0.2)
        assert deciding.users() == {}
    thread.join()
    assert list(deciding.users()) == ["cases/one"]


def test_claims_do_not_wait_for_each_other(tmp_path):
    with Claims(tmp_path).gate(alone=False):
        second = Claims(tmp_path)
        second.take("cases/one")
    assert list(Claims(tmp_path).users()) == ["cases/one"]


def test_without_locks_claims_are_believed_for_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "lock", lambda *_, **__: None)
    holder = Claims(tmp_path)
    holder.take("cases/one")
    assert list(Claims(tmp_path).users()) == ["cases/one"]
    (path,) = users_folder(tmp_path).iterdir()
    long_ago = time.time() - 31 * 86400
    os.utime(path, (long_ago, long_ago))
    assert Claims(tmp_path).users() == {}


@contextmanager
def full_disk(room):
    """No file may grow beyond so many bytes."""
    resource = pytest.importorskip("resource", reason="no such limits")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_on_a_full_disk_claims_are_missing_and_those_behind_them_seen(tmp_path):
    claims, others = Claims(tmp_path), Claims(tmp_path)
    with full_disk(0):
        assert not claims.take("cases/one")
    assert list(users_folder(tmp_path).iterdir()) == []
    assert claims.take("cases/two")
    assert list(others.users()) == ["cases/two"]
    (path,) = users_folder(tmp_path).iterdir()
    with full_disk(path.stat().st_size + 3):  # room for a part of the line
        assert not claims.take("cases/three")
    for entry in ("cases/four", "cases/one", "cases/three"):
        assert claims.take(entry)
    assert list(others.users()) == ["cases/two", "cases/four", "cases/one", "cases/three"]


def test_what_was_killed_before_it_claimed_anything_is_swept_away(tmp_path):
    folder = users_folder(tmp_path)
    folder.mkdir(parents=True)
    (folder / ".host-1-dead").write_text("")
    assert Claims(tmp_path).users() == {}
    assert list(folder.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_used_all_the_same(tmp_path):
    (tmp_path / "file").write_text("")
    assert not Claims(tmp_path / "file").take("cases/one")


@pytest.mark.skipif(os.name == "nt", reason="no such locks")
def test_locks_of_files_and_folders(tmp_path):
    path = entry_lock(tmp_path, "cases/one")
    assert lock_of(path) is True
    path.parent.mkdir()
    with path.open("ab") as file:
        assert lock(file.fileno(), alone=True, wait=True) is True
        assert lock_of(path) is False
    assert lock_of(path) is True
    descriptor = os.open(tmp_path, os.O_RDONLY)
    assert lock(descriptor, alone=True, wait=False) is True
    assert lock_of(tmp_path) is False
    os.close(descriptor)
