"""Commands that end with their starter: asked first, killed if need be, never left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from inflate_zoo.bench.engines.tether import Tied

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no such processes here")
ROOT = Path(__file__).parents[3]

# Says its number, then waits for what it is told by signals, which were blocked until now.
PATIENT = """
import os, signal, subprocess, sys, time
def leave(*_):
    print("asked", flush=True)
    sys.exit(75)
signal.signal(signal.SIGTERM, leave)
blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
child = subprocess.Popen(["sleep", "600"])
print(os.getpid(), child.pid, signal.SIGTERM in blocked, flush=True)
time.sleep(600)
"""
STUBBORN = "import os, time; print(os.getpid(), 0, True, flush=True); time.sleep(600)"


def tied(tmp_path, script, grace=20.0):
    log = tmp_path / "log"
    with log.open("ab") as stream:
        return Tied([sys.executable, "-c", script], dict(os.environ), stream, grace), log


def words_of(log):
    """What it said in its first line."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if log.exists() and (lines := log.read_text().splitlines()):
            return lines[0].split()
        time.sleep(0.01)
    raise AssertionError("it said nothing")


def gone(pid, seconds=10.0):
    """Whether a process ends in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("script, code", [("", 0), ("raise SystemExit(75)", 75),
                                          ("import os; os.kill(os.getpid(), 9)", 137)])  # fmt: skip
def test_it_ends_as_its_command_does(tmp_path, script, code):
    command, log = tied(tmp_path, script)
    until = time.monotonic() + 30
    while (found := command.poll()) is None and time.monotonic() < until:
        time.sleep(0.01)
    assert found == command.end() == code
    assert log.read_text() == ""


def test_asked_to_end_it_leaves_in_its_own_way_and_nothing_stays(tmp_path):
    command, log = tied(tmp_path, PATIENT)
    pid, child, blocked = words_of(log)
    assert blocked == "True"  # one that came earlier would have waited
    assert command.poll() is None
    assert command.end() == 75
    assert log.read_text().splitlines()[1:] == ["asked"]
    assert gone(int(pid))
    assert gone(int(child))


def test_what_does_not_leave_is_killed(tmp_path):
    command, log = tied(tmp_path, STUBBORN, grace=0.3)
    pid, *_ = words_of(log)
    assert command.end() == 128 + signal.SIGKILL
    assert gone(int(pid))


@pytest.mark.parametrize("killed", ["starter", "starter and keeper", "guard"])
@pytest.mark.parametrize("script", [PATIENT, STUBBORN])
def test_whoever_is_killed_the_command_ends(tmp_path, killed, script):
    if (killed, script) == ("guard", STUBBORN):
        pytest.skip("the guard is what kills it")
    log = tmp_path / "log"
    starter = f"""
import os, sys, time
sys.path.insert(0, {str(ROOT)!r})
from inflate_zoo.bench.engines.tether import Tied
with open({str(log)!r}, "ab") as stream:
    command = Tied([sys.executable, "-c", {script!r}], dict(os.environ), stream, 0.5)
time.sleep(600)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", starter], env=environment)
    try:
        pid, child, _ = map(str, words_of(log))
        guard = psutil.Process(int(pid)).parent()
        keeper = guard.parent()
        assert keeper.parent().pid == process.pid
        for one in {"starter": [process], "guard": [guard]}.get(killed, [keeper, process]):
            one.kill()
        assert gone(int(pid))
        if script is PATIENT:
            assert log.read_text().splitlines()[1:] == ["asked"]
            assert killed == "guard" or gone(int(child))
        if killed != "guard":
            assert gone(guard.pid)
            assert gone(keeper.pid)
    finally:
        process.kill()
        process.wait()
        for number in (pid, child):  # the guard is gone that would have ended it
            if int(number) and psutil.pid_exists(int(number)):
                psutil.Process(int(number)).kill()
