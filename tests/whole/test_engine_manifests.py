"""Manifests of schedulers that were not to be had: they parse, and their commands are ours."""

import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from inflate_zoo.bench.trials.run_plan import begin_run
from inflate_zoo.stops import EXIT_CODE
from tests.support.bench_command import run
from tests.support.trials import FROZEN, tiny_run

ROOT = Path(__file__).parents[2]
ENGINES = ROOT / "benchmarks/engines"
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no such shell here")


def manifest(name):
    return yaml.safe_load((ENGINES / f"{name}.yaml").read_text())


def commands():
    """Where a command takes the run folder from, and its words."""
    (container,) = manifest("kubernetes")["spec"]["template"]["spec"]["containers"]
    lines = manifest("skypilot")["run"].splitlines()
    return {"/out": container["command"], "/shared/out": shlex.split(lines[-1])}


def test_kubernetes_starts_again_what_saved_and_nothing_else():
    spec = manifest("kubernetes")["spec"]
    assert spec["completionMode"] == "Indexed"
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # else a pod failure policy is refused
    rules = {}
    for rule in spec["podFailurePolicy"]["rules"]:
        if asked := rule.get("onExitCodes"):
            assert asked["containerName"] == pod["containers"][0]["name"]
            rules |= dict.fromkeys(asked["values"], rule["action"])
    assert rules == {EXIT_CODE: "Ignore", 1: "FailIndex", 2: "FailJob"}
    mounted = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_skypilot_starts_again_what_saved_and_nothing_else():
    recovery = manifest("skypilot")["resources"]["job_recovery"]
    assert recovery == {"max_restarts_on_errors": 0, "recover_on_exit_codes": [EXIT_CODE]}


@pytest.mark.parametrize("out", commands())
def test_where_a_gpu_is_paid_for_no_trial_trains_on_the_cpu(out):
    words = commands()[out]
    assert "cuda" in words
    assert words[words.index("cuda") - 1] == "--device"


@pytest.mark.parametrize("out", commands())
def test_their_commands_run_a_run_also_on_a_cpu(tmp_path, out):
    planned = tiny_run(tmp_path, *FROZEN)
    begin_run(planned.out, planned.trials)
    program, *words = commands()[out]
    assert program == "inflate-zoo"
    changed = {out: str(planned.out), "cuda": "cpu"}
    done = run(*(changed.get(word, word) for word in words))
    assert (done.exit_code, done.stdout) == (0, "1 done, 0 failed\n")


LAUNCHER = """
import os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[-1])
assert sys.argv[1:] == ["-m", "inflate_zoo", "bench-trial", str(folder)], sys.argv
{does}
sys.exit(1)
"""
WAITS = """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
signal.signal(signal.SIGHUP, signal.SIG_IGN)
(folder / "begun").touch()
time.sleep(600)
"""


FAILS = "lambda *_: (folder / 'failure.json').write_text('now') and"


@pytest.fixture
def launched(tmp_path):
    """Starts `ranks.sh` with a launcher that does something, in a group of its own."""
    begun = []

    def launch(does):
        launcher = [sys.executable, "-c", LAUNCHER.format(does=does)]
        words = ["sh", str(ENGINES / "ranks.sh"), str(tmp_path), *launcher]
        begun.append(subprocess.Popen(words, start_new_session=True))
        return begun[-1]

    yield launch
    for process in begun:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(path):
    until = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize(
    "does, code",
    [
        ("(folder / 'record.json').touch(); sys.exit(0)", 0),
        ("(folder / 'failure.json').touch()", 1),
        ("sys.exit(3)", 3),
    ],
)
def test_what_a_launcher_hides_the_trial_s_folder_tells(launched, does, code):
    assert launched(does).wait(60) == code


@pytest.mark.parametrize(
    "does, code", [(WAITS, EXIT_CODE), (WAITS.replace("lambda *_:", FAILS), 1)]
)
@pytest.mark.parametrize("earlier", [False, True])
def test_so_it_does_where_it_was_asked_to_leave(launched, tmp_path, does, code, earlier):
    if earlier:  # an attempt that begins removes it; this one never comes to that
        (tmp_path / "failure.json").write_text("of an earlier attempt")
    process = launched(does)
    wait_for(tmp_path / "begun")
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_terminal_ends_the_launcher_too(launched, tmp_path, number):
    process = launched(WAITS)
    wait_for(tmp_path / "begun")
    os.killpg(process.pid, number)  # which a shell has its background ignore, or a launcher itself
    assert process.wait(60) == EXIT_CODE
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
