"""The cache: entries as they were made, digests remembered, one maker at a time."""

import errno
import json
import os
import threading

import pytest

from inflate_zoo.errors import OutputExistsError, UsageError, WriteError
from inflate_zoo.files.writing import store as module
from inflate_zoo.files.writing.claims import Claims
from inflate_zoo.files.writing.store import DigestMemory, Store

NAMES = ("a", "b")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache" / "kind" / "key"


def fill(folder):
    folder.mkdir(parents=True)
    for name in NAMES:
        (folder / name).write_text(name)


def count_hashes(monkeypatch):
    hashed, real = [], module.sha256
    monkeypatch.setattr(module, "sha256", lambda path: (hashed.append(path.name), real(path))[1])
    return hashed


def test_a_digest_is_remembered_by_every_process_of_a_machine(tmp_path, monkeypatch):
    path, memory = tmp_path / "file", tmp_path / "memory"
    path.write_text("one")
    hashed = count_hashes(monkeypatch)
    first, running = DigestMemory(memory), DigestMemory(memory)
    assert running.of(tmp_path / "file") == first.of(path)
    assert DigestMemory(memory).of(path) == first.of(path)
    assert hashed == ["file"]
    with memory.open("ab") as file:
        file.write(b'["torn", 1, 2')  # by a process that was killed
    path.write_text("two")
    assert len({running.of(path), first.of(path), DigestMemory(memory).of(path)}) == 1
    assert hashed == ["file", "file"]


def test_a_file_that_changes_while_it_is_read_is_not_remembered(tmp_path, monkeypatch):
    path, real = tmp_path / "file", module.sha256
    path.write_text("one")

    def slow(path):
        digest = real(path)
        path.write_text("two")
        return digest

    memory = DigestMemory(tmp_path / "memory")
    with monkeypatch.context() as patch:
        patch.setattr(module, "sha256", slow)
        memory.of(path)
    assert memory.of(path) == real(path)


def test_a_memory_that_cannot_be_written_costs_time_alone(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("one")
    memory = DigestMemory(tmp_path / "file" / "memory")
    hashed = count_hashes(monkeypatch)
    assert memory.of(tmp_path / "file") == memory.of(tmp_path / "file")
    assert len(hashed) <= 2


def test_an_entry_that_could_not_be_claimed_is_claimed_when_it_is_used_again(
    store, folder, monkeypatch
):
    answers, claimed = [False, True], []

    def take(claims, entry):
        claimed.append(entry)
        return answers.pop(0)

    monkeypatch.setattr(Claims, "take", take)
    for _ in range(3):
        store.use(folder)
    assert claimed == ["kind/key", "kind/key"]


def test_an_entry_knows_its_files_and_its_place(store, folder, monkeypatch):
    assert not store.whole(folder, NAMES)
    known = {}
    with store.made(folder, NAMES, known) as stage:
        for name in NAMES:
            (stage / name).write_text(name)
        known["a"] = module.sha256(stage / "a")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["entry"] == "kind/key"
    assert manifest["files"]["a"] == {"size": 1, "sha256": known["a"]}
    assert store.whole(folder, NAMES)
    assert not store.whole(folder, ("a",))
    hashed = count_hashes(monkeypatch)
    assert Store(folder.parents[1]).whole(folder, NAMES)
    assert hashed == []
    folder.rename(folder.with_name("other"))
    assert not store.whole(folder.with_name("other"), NAMES)
    assert not store.whole(folder, NAMES)


def test_another_that_was_faster_keeps_its_entry(store, folder):
    with pytest.raises(OutputExistsError), store.made(folder, NAMES) as stage:  # noqa: PT012
        for name in NAMES:
            (stage / name).write_text("late")
        with store.made(folder, NAMES) as faster:
            for name in NAMES:
                (faster / name).write_text("early")
    assert store.whole(folder, NAMES)
    assert (folder / "a").read_text() == "early"


def test_one_of_many_makes_a_folder_and_the_others_wait_for_it(folder):
    made, ready = [], threading.Barrier(4)

    def make():
        made.append(1)
        fill(folder)

    def run():
        store = Store(folder.parents[1])  # as another process has it
        ready.wait()
        store.keep(folder, NAMES, make)
        assert store.whole(folder, NAMES)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]


def test_a_damaged_folder_that_cannot_be_taken_away_is_never_taken_for_a_good_one(
    store, folder, monkeypatch
):
    fill(folder)

    def refuse(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("pathlib.Path.rename", refuse)
    with pytest.raises(WriteError, match="Read-only") as caught:
        store.keep(folder, NAMES, lambda: pytest.fail("there is something"))
    assert "INFLATE_ZOO_CACHE" in caught.value.hint
    assert not store.whole(folder, NAMES)
    assert [path.name for path in folder.parent.iterdir()] == ["key"]


def test_what_cannot_be_read_is_not_taken_for_damaged(store, folder, monkeypatch):
    store.keep(folder, NAMES, lambda: fill(folder))

    def refuse(*_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(module, "_signature", refuse)
    with pytest.raises(UsageError, match="Too many open files"):
        store.discard(folder, NAMES)
    assert (folder / "a").exists()
