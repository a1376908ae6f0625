"""Trials in processes of their own: what becomes of them when the command is ended."""

import os
import re
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace

import pytest

from inflate_zoo.bench.engines import processes
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.bench.trials.leases import holder
from tests.support.children import Child
from tests.support.trials import TINY, tiny_run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
STEPS = ("train.steps=100000", "train.validate_every=0", "train.checkpoint_every=2")
# Stands in for what says how the ranking stands.
BEFORE = """
    import sys, types
    module = types.ModuleType("inflate_zoo.bench.report.so_far")
    module.SoFar = lambda _: types.SimpleNamespace(after=lambda _: ())
    sys.modules[module.__name__] = module
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def start(home, tmp_path):
    """Start `bench`, two trials at a time, in a process of its own."""
    run, numbers = tiny_run(home, name="unused"), count()

    def started(out, *changes):
        words = ["bench", "--data", run.data.name, "--source", run.source.name, "--device", "cpu"]
        words += ["--source", "random", "--protocol", "quick", "--seeds", "1", "--out", out]
        words += ["--cache", str(run.cache), "--at-once", "2"]
        words += [word for key in (*TINY, *changes) for word in ("--set", key)]
        return Child(words, home, tmp_path / str(next(numbers)), {}, BEFORE)

    return started


def wait_for(what, child, seconds=200):
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, child.printed()
        time.sleep(0.01)
    return found


def holders(folder):
    """Numbers of the processes that have trials of a run folder."""
    held = (holder(path) for path in folder.glob("trials/*"))
    return sorted(int(name.rpartition(":")[2]) for name in held if name)


def test_where_a_trial_fails_by_a_bug_the_command_that_shows_it_can_be_typed(monkeypatch):
    def breaks(*_):
        raise ZeroDivisionError

    class Told:
        warning = None

        def send(self, *values):
            said.append(values)

    said, folder = [], Path("my runs/one/trials/0288a7d6093bc8ff")
    monkeypatch.setattr(processes, "run_trial", breaks)
    processes._run(Told(), folder, Resources("cpu", 0, threads=1), None)
    ((_, _, text, hint, _),) = said
    assert text == f"trial {folder.name}: unexpected ZeroDivisionError; this is a bug"
    assert hint == f"see where with: inflate-zoo bench-trial '{folder}' --debug"


@pytest.mark.parametrize(
    "code, reason",
    [
        (255, "its process ended with exit code 255"),
        (137, "its process was ended by SIGKILL"),
        (-15, "its process was ended by SIGTERM"),
    ],
)
def test_how_a_process_died_is_told_by_its_code(monkeypatch, code, reason):
    monkeypatch.setattr(processes, "oom_kills", lambda: 0)
    process = SimpleNamespace(exitcode=code)
    died = processes._Running(None, process, None, None, kills=0)._death()
    assert (died.kind, died.reason) == ("died", reason)


def gone(pids):
    return not [pid for pid in pids if os.path.exists(f"/proc/{pid}/fd/0")]  # noqa: PTH110


@pytest.mark.parametrize(
    "number, code, word", [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_is_answered_at_once_and_the_same_command_goes_on(home, start, number, code, word):
    out = home / f"signal-{int(number)}"
    child = start(out.name, *STEPS)
    wait_for(lambda: len(list(out.glob("trials/*/checkpoint.safetensors"))) == 2, child)
    pids = holders(out)
    assert len(pids) == 2
    began = time.monotonic()
    os.kill(child.pid, number)
    wait_for(lambda: "0 of 2 trials done; the same command goes on" in child.printed()[1], child)
    assert time.monotonic() - began < 2
    ended, _, errors = child.wait(30)
    assert ended == code, errors
    assert errors.splitlines()[-1] == f"{word}; nothing half-written was left"
    assert "Traceback" not in errors
    assert not holders(out)
    assert gone(pids)
    names = {path.name for path in out.glob("trials/*/*")}
    assert not [name for name in names if "failure" in name or "lease.json" in name]
    again = start(out.name, *STEPS)
    goes_on = wait_for(
        lambda: re.findall(r"fold 0: goes on from step (\d+)", again.printed()[1]), again
    )
    assert int(goes_on[0]) >= 2
    os.kill(again.pid, number)
    assert again.wait(30)[0] == code


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_processes_end_with_a_command_that_is_killed(home, start):
    out = home / "killed"
    child = start(out.name, *STEPS)
    wait_for(lambda: len(list(out.glob("trials/*/checkpoint.safetensors"))) == 2, child)
    pids = holders(out)
    child.kill()
    child.wait(20)
    wait_for(lambda: gone(pids), child, 20)
    assert not list(out.glob("trials/*/lease.json"))  # they gave back what they had
    assert not list(out.glob("trials/*/failure.json"))


SLOW = """
    import pathlib, time

    here = pathlib.Path(__file__).parent
    (here / "began").touch()
    time.sleep(1)
    (here / "done").touch()
"""
READY = """
    import pathlib, time
    from multiprocessing import forkserver
    from inflate_zoo.bench.engines import processes

    if __name__ == "__main__":
        processes._IMPORTED = ("slow",)
        processes.get_ready()
        print(forkserver._forkserver._forkserver_pid, flush=True)
        until = time.monotonic() + 10
        while not pathlib.Path("done").exists() and time.monotonic() < until:
            time.sleep(0.01)
"""


@pytest.mark.skipif(not processes._FORKSERVER, reason="nothing is forked there")
def test_what_is_to_be_forked_goes_on_importing_through_a_ctrl_c(tmp_path):
    for name, text in (("slow", SLOW), ("ready", READY)):
        (tmp_path / f"{name}.py").write_text(dedent(text), encoding="utf-8")
    child = subprocess.Popen(
        [sys.executable, "ready.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while not (tmp_path / "began").exists():
        assert time.monotonic() < until
        assert child.poll() is None
        time.sleep(0.01)
    os.kill(int(child.stdout.readline()), signal.SIGINT)  # as a terminal signals all of a command
    out, errors = child.communicate(timeout=90)
    assert (tmp_path / "done").exists(), out
    assert errors == ""
