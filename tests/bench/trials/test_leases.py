"""Leases: one holder at a time, the dead replaced at once, the silent after a minute."""

import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from inflate_zoo.bench.trials import leases
from inflate_zoo.bench.trials.leases import (
    LEASE,
    LOCK,
    LostLeaseError,
    holder,
    leased,
    process_start,
    remove_partial,
)


def write(folder, **changes):
    """A lease of this very process, changed."""
    ours = {"host": socket.gethostname(), "pid": os.getpid(), "token": "other"}
    lease = ours | {"start": process_start(os.getpid())} | changes
    (folder / LEASE).write_text(json.dumps(lease))


def left(folder):
    return [path.name for path in folder.iterdir() if path.name != LOCK]


def age(folder, seconds):
    then = time.time() - seconds
    os.utime(folder / LEASE, (then, then))


def taken(folder):
    with leased(folder) as guard:
        return guard is not None


@pytest.fixture(scope="module")
def dead():
    """The number of a process that ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_a_lease_is_held_once_and_given_back(tmp_path):
    with leased(tmp_path) as guard:
        guard()
        assert holder(tmp_path) == f"{socket.gethostname()}:{os.getpid()}"
        assert not taken(tmp_path)
        guard()
    assert holder(tmp_path) is None
    assert left(tmp_path) == []
    assert taken(tmp_path)


def test_a_dead_holder_of_this_host_is_replaced_at_once(tmp_path, dead):
    write(tmp_path, pid=dead)
    assert holder(tmp_path) is None
    assert taken(tmp_path)
    assert left(tmp_path) == []


@pytest.mark.skipif(not process_start(os.getpid()), reason="the system tells no start times")
def test_a_number_that_another_process_has_by_now_is_dead(tmp_path):
    write(tmp_path)
    assert not taken(tmp_path)
    age(tmp_path, 3600)  # it lives: how long it was silent does not count
    assert not taken(tmp_path)
    write(tmp_path, start="1")
    assert taken(tmp_path)


@pytest.mark.parametrize("silent, free", [(0, False), (50, False), (61, True)])
def test_a_foreign_host_is_given_a_minute(tmp_path, silent, free):
    write(tmp_path, host="elsewhere", pid=1)
    age(tmp_path, silent)
    assert holder(tmp_path) == (None if free else "elsewhere:1")
    assert taken(tmp_path) is free
    assert (tmp_path / LEASE).exists() is not free


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": "a"'])
def test_a_lease_cut_off_is_nobodys(tmp_path, content):
    (tmp_path / LEASE).write_text(content)
    assert taken(tmp_path)
    assert left(tmp_path) == []


def test_a_stolen_lease_stops_its_old_holder_and_stays(tmp_path):
    with leased(tmp_path) as guard:
        write(tmp_path, host="elsewhere", pid=1)
        with pytest.raises(LostLeaseError, match="took over"):
            guard()
    assert json.loads((tmp_path / LEASE).read_text())["host"] == "elsewhere"
    with leased(tmp_path / "..") as guard:
        (tmp_path / ".." / LEASE).unlink()
        with pytest.raises(LostLeaseError):
            guard()


def test_the_heart_beats(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.01)
    with leased(tmp_path):
        age(tmp_path, 1000)
        until = time.monotonic() + 5
        while time.time() - (tmp_path / LEASE).stat().st_mtime > 100:
            assert time.monotonic() < until
            time.sleep(0.01)


def test_of_many_who_find_a_dead_lease_one_takes_it(tmp_path, dead):
    for attempt in range(20):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        write(folder, pid=dead)
        ready, won = threading.Barrier(8), []

        def race(folder=folder, ready=ready, won=won):
            ready.wait()
            if leases._take(folder, json.dumps({"pid": os.getpid(), "host": socket.gethostname()})):
                won.append(1)

        threads = [threading.Thread(target=race) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert left(folder) == [LEASE]


@pytest.mark.skipif(os.name != "posix", reason="locks are POSIX's")
def test_who_takes_a_dead_lease_keeps_others_out(tmp_path, dead, monkeypatch):
    """A second process that comes while the first one decides waits, and finds the first's."""
    write(tmp_path, pid=dead)
    real, second, found = leases.holder, [], []

    def slow(folder):
        if not second:
            second.append(threading.Thread(target=lambda: found.append(leases._take(folder, "{}"))))
            second[0].start()
            time.sleep(0.2)
            assert found == []
        return real(folder)

    monkeypatch.setattr(leases, "holder", slow)
    assert leases._take(tmp_path, json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
    second[0].join()
    assert found == [False]
    assert left(tmp_path) == [LEASE]


@pytest.mark.parametrize("missing", ["module", "support"])
def test_without_locks_the_later_of_two_keeps_the_lease(tmp_path, monkeypatch, missing):
    if missing == "module":
        monkeypatch.setitem(sys.modules, "fcntl", None)
    else:
        import fcntl

        def refuse(*_):
            raise OSError(38, "Function not implemented")

        monkeypatch.setattr(fcntl, "flock", refuse)
    with leased(tmp_path) as guard:
        guard()
        write(tmp_path)
        with pytest.raises(LostLeaseError):
            guard()


def test_where_signals_kill_only_the_heartbeat_counts(tmp_path, dead, monkeypatch):
    write(tmp_path, pid=dead)
    monkeypatch.setattr(leases.os, "name", "nt")
    monkeypatch.setattr(leases.os, "kill", lambda *_: pytest.fail("that would end it"))
    assert leases.holder(tmp_path)
    age(tmp_path, 100)
    assert leases.holder(tmp_path) is None


def test_leftovers_of_the_killed_go_and_nothing_else(tmp_path):
    left = [f".a.{'1f' * 16}.partial", ".clock-1f"]
    for name in [*left, "record.json", ".hidden", "a.partial", ".a.1f.partial"]:
        (tmp_path / name).write_text("")
    remove_partial(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "record.json",
        ".hidden",
        "a.partial",
        ".a.1f.partial",
    }
