"""Leases: one holder at a time, the dead replaced at once, the silent after a minute."""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from inflate_zoo import stops
from inflate_zoo.bench.trials import leases
from inflate_zoo.bench.trials.leases import (
    LEASE,
    LOCK,
    LostLeaseError,
    holder,
    leased,
    process_numbers,
    process_start,
    release_dead,
    remove_partial,
)


def write(folder, **changes):
    """A lease of this very process, changed."""
    ours = {"host": socket.gethostname(), "numbers": process_numbers(), "pid": os.getpid()}
    lease = ours | {"token": "other"} | {"start": process_start(os.getpid())} | changes
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


@pytest.mark.skipif(not process_start(os.getpid()), reason="the system tells no states")
@pytest.mark.parametrize("told", [True, False])
def test_a_holder_that_nobody_buried_is_dead(tmp_path, told):
    """As one that was killed in a container, where the first process asks after no other."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with child:
        write(tmp_path, pid=child.pid, start=process_start(child.pid) if told else "")
        assert holder(tmp_path) == f"{socket.gethostname()}:{child.pid}"
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert holder(tmp_path) is None
        assert taken(tmp_path)


@pytest.mark.skipif(not Path("/proc/self/comm").exists(), reason="processes have no such names")
def test_a_process_whose_name_was_cut_inside_a_letter_is_known():
    own, name = Path("/proc/self/comm"), Path("/proc/self/comm").read_bytes()
    before = process_start(os.getpid()), process_numbers()
    own.write_bytes(("ä" * 8).encode())
    try:
        assert len(own.read_bytes().strip()) == 15
        assert (process_start(os.getpid()), process_numbers()) == before
    finally:
        own.write_bytes(name)


@pytest.fixture
def quick(monkeypatch):
    """Hearts that beat a hundred times as fast."""
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr(leases, "STALE_SECONDS", 0.4)


@pytest.mark.parametrize(
    "other",
    [
        {"host": "elsewhere"},
        {"numbers": "another boot pid:[4026531836]"},
        {"numbers": process_numbers() + "0"},
        {"numbers": ""},  # that of release 0.2, or of a system that has no such names
    ],
)
@pytest.mark.parametrize("silent, free", [(0, False), (1, True), (3600, True)])
def test_a_holder_whose_number_says_nothing_here_is_listened_for(
    tmp_path, quick, dead, other, silent, free
):
    """Process 1 of another container lives or not, whatever process 1 does here."""
    write(tmp_path, pid=dead, **other)
    age(tmp_path, silent)
    name = f"{other.get('host', socket.gethostname())}:{dead}"
    assert holder(tmp_path) == (None if free else name)
    assert taken(tmp_path) is free
    assert (tmp_path / LEASE).exists() is not free


class Beating:
    """A heart that beats elsewhere, whatever its clock says."""

    def __init__(self, folder, ahead):
        self._over, self._folder, self._ahead = threading.Event(), folder, ahead
        self._thread = threading.Thread(target=self._beat)

    def _beat(self):
        while not self._over.wait(0.05):
            then = time.time() + self._ahead
            os.utime(self._folder / LEASE, (then, then))

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()


@pytest.mark.parametrize("ahead", [-7200, 7200])
def test_of_a_clock_that_jumped_a_live_holder_loses_nothing_and_a_dead_one_all(
    tmp_path, monkeypatch, quick, ahead
):
    monkeypatch.setattr(leases, "DOUBT_BEATS", 10)
    write(tmp_path, host="elsewhere")
    age(tmp_path, -ahead)
    with Beating(tmp_path, ahead):
        assert not taken(tmp_path)
    began = time.monotonic()
    assert taken(tmp_path)
    assert time.monotonic() - began < 10


def test_who_is_asked_to_leave_listens_no_more_and_takes_nothing(tmp_path, quick, monkeypatch):
    write(tmp_path, host="elsewhere")
    age(tmp_path, 100)
    monkeypatch.setattr(stops, "asked", lambda: True)
    assert not taken(tmp_path)
    assert (tmp_path / LEASE).exists()


def test_what_is_given_back_while_its_holder_is_listened_for_is_free(tmp_path, quick):
    write(tmp_path, host="elsewhere")
    age(tmp_path, 100)
    timer = threading.Timer(0.05, (tmp_path / LEASE).unlink)
    timer.start()
    assert taken(tmp_path)
    timer.join()


@pytest.mark.parametrize("silent, free", [(0, False), (30, False), (60, True)])
def test_a_foreign_host_is_given_a_minute(tmp_path, monkeypatch, silent, free):
    """Forty seconds by the clock, and twenty more of listening, which are left out here."""
    assert leases.STALE_SECONDS + leases.DOUBT_BEATS * leases.HEARTBEAT_SECONDS == 60
    monkeypatch.setattr(leases, "DOUBT_BEATS", 0)
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
            ours = {"host": socket.gethostname(), "numbers": process_numbers()}
            if leases._take(folder, json.dumps(ours | {"pid": os.getpid()})):
                won.append(1)

        threads = [threading.Thread(target=race) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert left(folder) == [LEASE]


@pytest.mark.skipif(os.name != "posix", reason="locks are POSIX's")
def test_who_takes_a_dead_lease_keeps_others_out_and_waiting_for_nothing(
    tmp_path, dead, monkeypatch
):
    """To decide may take twenty seconds, in which who comes second can go on to another trial."""
    write(tmp_path, pid=dead)
    real, second, found = leases._life, [], []

    def slow(folder, lease):
        if not second:
            second.append(threading.Thread(target=lambda: found.append(leases._take(folder, "{}"))))
            second[0].start()
            second[0].join(10)
            assert found == [False]
        return real(folder, lease)

    monkeypatch.setattr(leases, "_life", slow)
    ours = {"host": socket.gethostname(), "numbers": process_numbers(), "pid": os.getpid()}
    assert leases._take(tmp_path, json.dumps(ours))
    second[0].join()
    assert left(tmp_path) == [LEASE]


def unlock(monkeypatch, missing="support"):
    """A system, or a file system such as NFS may be, that knows no locks."""
    if missing == "module":
        monkeypatch.setitem(sys.modules, "fcntl", None)
    else:
        import fcntl

        def refuse(*_):
            raise OSError(38, "Function not implemented")

        monkeypatch.setattr(fcntl, "flock", refuse)


def test_without_locks_of_two_who_find_it_free_at_once_the_later_one_takes_it(
    tmp_path, dead, monkeypatch
):
    unlock(monkeypatch)
    write(tmp_path, pid=dead)
    real_life, real_replace = leases._life, leases.replace_text
    both, over, delays, won = threading.Barrier(2), threading.Barrier(2), [0.15, 0.0], []

    def life(folder, lease):
        found = real_life(folder, lease)
        both.wait()
        return found

    def replace(path, text):
        time.sleep(delays.pop())  # the first would be sure by now
        real_replace(path, text)

    def race():
        with leased(tmp_path) as guard:
            if guard is not None:
                won.append(guard)
                guard()
            over.wait()

    monkeypatch.setattr(leases, "_life", life)
    monkeypatch.setattr(leases, "replace_text", replace)
    threads = [threading.Thread(target=race) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_without_locks_a_holder_that_was_suspended_finds_out(tmp_path, quick, monkeypatch):
    """As a container that was paused while another took over."""
    unlock(monkeypatch)
    monkeypatch.setattr(leases, "SETTLE_SECONDS", 0.01)
    monkeypatch.setattr(leases, "process_numbers", lambda: f"namespace of {os.getpid()}")
    trial, outcome = tmp_path / "trial", tmp_path / "outcome"
    trial.mkdir()
    if (pid := os.fork()) == 0:
        try:
            with leased(trial, lambda folder: (folder / "noted").write_text("")) as guard:
                outcome.write_text("held")
                time.sleep(0.3)  # suspended in here
                guard()
            outcome.write_text("wrote")
        except LostLeaseError:
            outcome.write_text("found out")
        finally:
            os._exit(0)
    try:
        until = time.monotonic() + 20
        while not (outcome.exists() and (trial / "noted").exists()):
            assert time.monotonic() < until
            time.sleep(0.001)
        os.kill(pid, signal.SIGSTOP)
        assert not taken(trial)  # for now
        time.sleep(0.6)
        with leased(trial) as guard:
            guard()
            (trial / "noted").unlink()
            os.kill(pid, signal.SIGCONT)
            os.waitpid(pid, 0)
            guard()
        assert outcome.read_text() == "found out"
        assert left(trial) == []
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


IN_NAMESPACE = """
import sys, time
from pathlib import Path
from inflate_zoo.bench.trials.leases import leased
with leased(Path(sys.argv[1])) as guard:
    print("held", flush=True)
    sys.stdin.readline()
    guard()
    print("still", flush=True)
"""
UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def can_unshare():
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="PID namespaces are for root")
def test_a_live_holder_in_another_namespace_is_not_taken_over(tmp_path):
    root = str(Path(leases.__file__).parents[3])
    child = subprocess.Popen(
        [*UNSHARE, sys.executable, "-c", IN_NAMESPACE, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": root},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with child:
        assert child.stdout.readline() == "held\n"
        lease = json.loads((tmp_path / LEASE).read_text())
        assert lease["host"] == socket.gethostname()
        assert lease["pid"] < 10
        assert holder(tmp_path) == f"{lease['host']}:{lease['pid']}"
        assert not taken(tmp_path)
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "still\n"
    assert taken(tmp_path)


@pytest.mark.skipif(not process_numbers(), reason="the system names no process numbers")
def test_process_numbers_are_named_where_the_system_shows_this_processs_own(monkeypatch, tmp_path):
    assert process_numbers() == process_numbers()
    assert "pid:[" in process_numbers()
    (tmp_path / "self").mkdir()
    monkeypatch.setattr(leases, "_PROC", tmp_path)  # of another namespace, or none
    assert process_numbers() == ""
    (tmp_path / "self" / "stat").write_text("1 (init) S 0 1 1")
    assert process_numbers() == ""


def test_a_childs_lease_goes_with_it_and_no_other(tmp_path, dead, monkeypatch):
    monkeypatch.setattr(leases, "process_numbers", lambda: "")  # only the heartbeat tells
    write(tmp_path, pid=dead, numbers="")
    release_dead(tmp_path, os.getpid())
    assert (tmp_path / LEASE).exists()
    write(tmp_path, pid=dead, numbers="", host="elsewhere")
    release_dead(tmp_path, dead)
    assert (tmp_path / LEASE).exists()
    write(tmp_path, pid=dead, numbers="")
    release_dead(tmp_path, dead)
    assert left(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="locks are POSIX's")
@pytest.mark.parametrize("stands", [True, False])
def test_who_takes_a_dead_childs_trial_over_is_not_disturbed(tmp_path, dead, monkeypatch, stands):
    if stands:
        write(tmp_path, pid=dead)
    real = leases.replace_text

    def replace(path, text):
        temporary = tmp_path / f".{LEASE}.{'1f' * 16}.partial"
        temporary.write_text(text)
        release_dead(tmp_path, dead)
        temporary.unlink()
        assert path.exists() is stands
        real(path, text)

    monkeypatch.setattr(leases, "replace_text", replace)
    with leased(tmp_path) as guard:
        guard()


@pytest.mark.skipif(os.name != "posix", reason="locks are POSIX's")
def test_what_a_dead_child_was_writing_goes_where_nobody_else_can_be_at_work(tmp_path, monkeypatch):
    partial = tmp_path / f".{LEASE}.{'1f' * 16}.partial"
    for locks in (True, False):
        with monkeypatch.context() as patch:
            if not locks:
                unlock(patch)
            partial.write_text("{")
            release_dead(tmp_path, 1)
            assert left(tmp_path) == [partial.name]  # nobody held it, or it is done
            (tmp_path / LOCK).touch()
            release_dead(tmp_path, 1)
            assert left(tmp_path) == ([] if locks else [partial.name])
            (tmp_path / LOCK).unlink()


def test_each_beat_is_told_to_who_asked_until_the_lease_is_lost(tmp_path, quick):
    beats = []
    with leased(tmp_path, beats.append):
        until = time.monotonic() + 10
        while len(beats) < 3:
            assert time.monotonic() < until
            time.sleep(0.01)
        write(tmp_path, host="elsewhere")
        time.sleep(0.3)
        count = len(beats)
        time.sleep(0.3)
        assert len(beats) == count
    assert set(beats) == {tmp_path}


@contextmanager
def no_descriptors():
    """This process can open nothing more, as one that has many files open."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@contextmanager
def no_answer(monkeypatch):
    """A file system that says nothing of the lease, as one of a network may for a while."""
    real = Path.stat

    def stat(path, **more):
        if path.name == LEASE:
            raise OSError(errno.ESTALE, "Stale file handle")
        return real(path, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", stat)
        yield


@pytest.fixture(params=["no descriptors", "no answer"])
def unreadable(request, monkeypatch):
    """Makes leases unreadable for the length of a block."""
    if request.param == "no answer":
        return lambda: no_answer(monkeypatch)
    if sys.platform == "win32":
        pytest.skip("no such limits")
    return no_descriptors


def test_a_lease_that_cannot_be_read_for_a_while_is_not_lost(tmp_path, quick, unreadable):
    beats = []
    with leased(tmp_path, beats.append) as guard:
        until = time.monotonic() + 10
        with unreadable():
            seen = len(beats)
            while len(beats) < seen + 3 and time.monotonic() < until:
                time.sleep(0.01)
            guard()
            assert holder(tmp_path) is None  # that is not to be told
        assert len(beats) >= seen + 3
        guard()
        assert not taken(tmp_path)
    assert left(tmp_path) == []


def test_a_lease_that_cannot_be_read_is_given_back_all_the_same(tmp_path, unreadable):
    with ExitStack() as stack, leased(tmp_path):
        stack.enter_context(unreadable())
    assert left(tmp_path) == []


def test_a_lease_that_cannot_be_read_is_not_taken_over(tmp_path, dead, monkeypatch):
    write(tmp_path, pid=dead)
    before = (tmp_path / LEASE).read_text()
    with no_answer(monkeypatch):
        assert not taken(tmp_path)
    assert (tmp_path / LEASE).read_text() == before
    write(tmp_path, host="elsewhere")
    lease = leases._read(tmp_path)
    with no_answer(monkeypatch):
        assert leases._life(tmp_path, lease) == "doubtful"


@pytest.mark.parametrize("missing", ["module", "support"])
def test_without_locks_the_later_of_two_keeps_the_lease(tmp_path, monkeypatch, missing):
    monkeypatch.setattr(leases, "SETTLE_SECONDS", 0.01)
    unlock(monkeypatch, missing)
    with leased(tmp_path) as guard:
        guard()
        write(tmp_path)
        with pytest.raises(LostLeaseError):
            guard()


def test_where_signals_kill_only_the_heartbeat_counts(tmp_path, dead, monkeypatch):
    write(tmp_path, pid=dead)
    monkeypatch.setattr(leases.os, "name", "nt")
    monkeypatch.setattr(leases.os, "kill", lambda *_: pytest.fail("that would end it"))
    monkeypatch.setattr(leases, "DOUBT_BEATS", 0)
    assert leases.holder(tmp_path)
    age(tmp_path, 100)
    assert leases.holder(tmp_path) is None


def test_leftovers_of_the_killed_are_gone_before_a_beat_writes_its_own(tmp_path):
    theirs, own = (tmp_path / f".{name}.{'1f' * 16}.partial" for name in "ab")
    theirs.touch()
    left = []

    def beat(_):
        left.append(theirs.exists())
        own.touch()

    with leased(tmp_path, beat):
        until = time.monotonic() + 10
        while not own.exists():
            assert time.monotonic() < until
            time.sleep(0.01)
    assert left == [False]


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
