"""Manifests of schedulers that were not to be had: they parse, and their commands are ours."""

import os
import shlex
import signal
import subprocess
import sys
import time
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
(folder / "begun").touch()
time.sleep(600)
"""


@pytest.mark.parametrize(
    "does, asked, code",
    [
        ("(folder / 'record.json').touch(); sys.exit(0)", False, 0),
        ("(folder / 'failure.json').touch()", False, 1),
        ("sys.exit(3)", False, 3),
        (WAITS, True, EXIT_CODE),
        (WAITS.replace("lambda *_:", "lambda *_: (folder / 'failure.json').touch() or"), True, 1),
    ],
)
def test_what_a_launcher_hides_the_trial_s_folder_tells(tmp_path, does, asked, code):
    launcher = [sys.executable, "-c", LAUNCHER.format(does=does)]
    process = subprocess.Popen(["sh", str(ENGINES / "ranks.sh"), str(tmp_path), *launcher])
    try:
        if asked:
            while not (tmp_path / "begun").exists():
                time.sleep(0.02)
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == code
    finally:
        process.kill()
