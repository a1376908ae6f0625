"""Measuring on a GPU in pieces: nothing keeps the rest from its turn, what is left can travel."""

import argparse
import importlib
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from inflate_zoo.bench.definitions.results import Failure
from inflate_zoo.bench.training.checkpointing import ASIDE, BEST, CHECKPOINT

HERE = Path(__file__).parents[2] / "benchmarks" / "gpu"
MIB = 2**20


@pytest.fixture(scope="module")
def day():
    """The script, imported as it is where it runs: its neighbours are found by their names."""
    before = list(sys.path)
    sys.path.insert(0, str(HERE))
    try:
        yield importlib.import_module("day")
    finally:
        sys.path[:] = before


@pytest.fixture
def sharing(day):
    return sys.modules["sharing"]


@pytest.fixture
def trainings(day):
    return sys.modules["trainings"]


@pytest.fixture
def piece(day, tmp_path):
    options = argparse.Namespace(rehearse=True, state=tmp_path / "state", minutes=9, commit="none")
    return day.Day(options, time.monotonic())


def put(folder, sizes, age=0.0):
    """Files of so many MiB, written so many seconds ago."""
    folder.mkdir(parents=True)
    for name, size in sizes.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            file.truncate(int(size * MIB))
        os.utime(path, (time.time() - age,) * 2)


def left(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_what_a_piece_leaves_can_travel(day, tmp_path):
    trials = tmp_path / "volume" / "trials"
    rest = {"trial.json": 0.01, "cases/a.json": 1, "events/1": 0.01}
    weights = {"model.safetensors": 9, "overlays.safetensors": 9}
    put(trials / "done", {**rest, **weights, BEST: 3, "record.json": 0.01, "config.json": 0.01})
    put(trials / "newest", {**rest, **weights, CHECKPOINT: 9, BEST: 3})
    put(trials / "large", {**rest, CHECKPOINT: 12, BEST: 4}, age=10)  # is no reason to leave others
    put(trials / "small", {**rest, CHECKPOINT: 1}, age=20)
    put(trials / "oldest", {**rest, CHECKPOINT: 1.5, BEST: 0.5}, age=30)
    put(trials / "orphan", {**rest, BEST: 3, f"{ASIDE}{BEST}": 3, f"{ASIDE}{CHECKPOINT}": 9})
    (tmp_path / "figures.jsonl").write_text("{}\n")
    day.tidy(tmp_path)
    going_on = ["events/1", "trial.json"]
    assert {folder.name: left(folder) for folder in trials.iterdir()} == {
        "done": ["record.json", "trial.json"],
        "newest": [BEST, CHECKPOINT, *going_on],
        "large": going_on,
        "small": [CHECKPOINT, *going_on],
        "oldest": going_on,
        "orphan": going_on,
    }
    whole = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert whole <= day.KEPT < 16 * MIB
    assert (tmp_path / "figures.jsonl").exists()


def test_a_part_that_fails_keeps_no_other_from_its_turn(day, tmp_path, monkeypatch, capsys):
    def broken(_):
        raise RuntimeError("the card fell off")

    def refusing(_):
        raise SystemExit("probabilities differ")

    tidied = []
    parts = {"a": broken, "b": refusing, "c": lambda _: None, "d": lambda _: False}
    monkeypatch.setattr(day, "PARTS", {name: (0, run) for name, run in parts.items()})
    monkeypatch.setattr(day, "tidy", tidied.append)
    monkeypatch.setattr(day, "BEGAN", time.monotonic())
    state = tmp_path / "state"
    words = ["--rehearse", "--state", str(state), "--work", str(tmp_path), "--commit", "none"]
    with pytest.raises(SystemExit, match="failed: a, b"):
        day.main(words)
    assert tidied == [state]
    said = capsys.readouterr()
    assert "the card fell off" in said.err
    assert "probabilities differ" in said.err
    done = day.Day(argparse.Namespace(rehearse=True, state=state, minutes=9), 0.0).known("done")
    assert done == {"c"}
    parts.update(a=lambda _: None, b=lambda _: None)
    monkeypatch.setattr(day, "PARTS", {name: (0, run) for name, run in parts.items()})
    day.main(words)
    assert len(tidied) == 2


def test_tests_that_fail_are_a_part_that_fails(day, piece, monkeypatch, capsys):
    measures = sys.modules["measures"]
    ran = SimpleNamespace(stdout="2 failed, 60 passed in 9.00s\n", stderr="", returncode=1)
    monkeypatch.setattr(measures.subprocess, "run", lambda *_, **__: ran)
    piece.device = "cuda"
    monkeypatch.setattr(day, "release", lambda _: None)
    monkeypatch.setattr(type(piece), "card", "a card")
    assert not day.attempt(piece, "right")
    assert "2 failed, 60 passed" in capsys.readouterr().err
    assert piece.known("right") == {"tests"}
    assert piece.known("done") == set()


def test_the_minutes_begin_with_the_command(day, tmp_path):
    options = argparse.Namespace(rehearse=True, state=tmp_path, minutes=2)
    assert day.Day(options, time.monotonic() - 50).left == pytest.approx(70, abs=5)


DAEMON = """#!/bin/sh
echo "$@" >>"$0.log"
if [ "$1" = -d ]; then exit {start}; fi
read -r line
echo "$line" >>"$0.log"
if [ "$line" = get_server_list ]; then echo "{servers}"; fi
"""


@pytest.mark.parametrize(
    "start, servers, first, why",
    [
        (0, "4711", "pass", None),
        (1, "4711", "pass", "its daemon ended with 1"),
        (0, "", "pass", "processes go past its daemon"),  # a client that cannot connect runs on
        (0, "4711", "raise SystemExit(3)", "ended with 3"),
    ],
)
def test_mps_is_used_or_the_reason_told(
    sharing, tmp_path, monkeypatch, capfd, start, servers, first, why
):
    daemon = tmp_path / "daemon"
    daemon.write_text(DAEMON.format(start=start, servers=servers))
    daemon.chmod(0o755)
    monkeypatch.setattr(sharing, "DAEMON", str(daemon))
    monkeypatch.setattr(sharing, "FIRST", first)
    log = tmp_path / "daemon.log"
    with sharing.mps() as begun:
        assert begun is (why is None)
        before = log.read_text()
        assert ("quit -t 10" in before) is (not begun and not start)
    assert ("quit -t 10" in log.read_text()) is (not start)
    said = capfd.readouterr().out
    assert (f"without MPS: {why}" in said or f"{why}\n" in said) if why else not said


def test_a_daemon_that_hangs_or_is_not_there_does_no_harm(sharing, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(sharing, "DAEMON", str(tmp_path / "none"))
    with sharing.mps() as begun:
        assert not begun
    assert "there is no" in capfd.readouterr().out

    def hanging(command, *, timeout, **_):
        if command[0] == str(daemon):
            raise sharing.subprocess.TimeoutExpired(command, timeout)
        return SimpleNamespace(returncode=0)

    daemon = tmp_path / "daemon"
    daemon.write_text("")
    daemon.chmod(0o755)
    monkeypatch.setattr(sharing, "DAEMON", str(daemon))
    monkeypatch.setattr(sharing.subprocess, "run", hanging)
    with sharing.mps() as begun:
        assert not begun
    assert "did not start within 30 s" in capfd.readouterr().out
    monkeypatch.setattr(sharing, "_start", lambda: None)
    with sharing.mps() as begun:  # nor does its end raise
        assert not begun
    assert "go past its daemon" in capfd.readouterr().out


@dataclass(frozen=True)
class Trial:
    """As much of a trial as decides its turn."""

    folder: Path

    spec = SimpleNamespace(arm=SimpleNamespace(kind="inflated", architecture="vit"))

    @property
    def done(self):
        return (self.folder / "record.json").exists()

    def failure(self):
        path = self.folder / "failure.json"
        return Failure.model_validate_json(path.read_text()) if path.exists() else None

    def believed(self):
        return SimpleNamespace(run=SimpleNamespace(seconds={"training": 1.0}, peak_memory_bytes=1))


@pytest.fixture
def trials(tmp_path):
    found = [Trial(tmp_path / f"trial-{number}") for number in range(9)]
    for trial in found:
        trial.folder.mkdir()
    return found


def training(trainings, monkeypatch, fails):
    """Trainings that take no time, and of which some fail; the list of what was asked for."""
    asked = []

    def run(day, trials, at_once):
        asked.append([trial.folder.name[-1] for trial in trials])
        for trial in trials:
            failed = fails(trial)
            text = Failure(kind="error", reason="broken").model_dump_json() if failed else "{}"
            (trial.folder / ("failure.json" if failed else "record.json")).write_text(text)
            if not failed:
                (trial.folder / "failure.json").unlink(missing_ok=True)
        return None if any(map(fails, trials)) else 60.0

    monkeypatch.setattr(trainings, "run", run)
    return asked


def test_a_trial_that_fails_is_not_the_first_for_ever(trainings, piece, trials, monkeypatch):
    asked = training(trainings, monkeypatch, lambda trial: trial == trials[0])
    assert trainings.rates(piece, trials, (2,))
    assert not piece.known("volume-table")
    assert trainings.rates(piece, trials, (2,))
    assert piece.known("volume-table") == {"2 trials at once, vit"}
    trainings.finish(piece, trials, 2)
    assert asked == [["0", "1"], ["2", "3"], ["4", "5", "6", "7", "8", "0"]]


def test_trials_that_fail_by_mps_are_run_without_it(trainings, piece, trials, monkeypatch):
    asked = training(trainings, monkeypatch, lambda _: True)
    assert trainings.shared(piece, trials, 8, measured=True)
    assert len(asked) == 1
    assert piece.known("sharing") == {"MPS"}
    training(trainings, monkeypatch, lambda _: False)
    trainings.finish(piece, trials, 8)
    assert all(trial.done for trial in trials)
    assert not trainings.failing(trials)


def test_mps_that_works_is_measured_and_takes_the_rest(trainings, piece, trials, monkeypatch):
    asked = training(trainings, monkeypatch, lambda _: False)
    assert trainings.shared(piece, trials, 8, measured=True)
    assert piece.known("volume-table") == {"8 trials at once, vit, by MPS"}
    assert piece.known("sharing") == set()
    assert asked == [["0", "1", "2", "3", "4", "5", "6", "7"], ["8"]]


@pytest.mark.parametrize("fails", [True, False])
def test_trials_that_fail_are_a_part_that_fails(trainings, day, piece, trials, monkeypatch, fails):
    training(trainings, monkeypatch, lambda trial: fails and trial == trials[0])
    monkeypatch.setattr(trainings, "get_ready", lambda: None)
    monkeypatch.setattr(trainings, "planned", lambda *_: trials)
    monkeypatch.setattr(trainings, "write_report", lambda *_: None)
    monkeypatch.setattr(trainings, "ranked", lambda _: "a table")
    monkeypatch.setattr(piece.options, "work", piece.state, raising=False)
    assert day.attempt(piece, "paper-table") is not fails
    assert piece.known("done") == (set() if fails else {"paper-table"})


def test_a_scan_that_is_measured_again_is_segmented_again(day, tmp_path, monkeypatch):
    scan, out, found = sys.modules["scan"], tmp_path / "out", []
    monkeypatch.setattr(scan, "find_jobs", lambda *_: [])

    def predict(trials, jobs, out, *_):  # goes on with what is there, as ours does
        found.append(out.exists())
        out.mkdir(exist_ok=True)

    monkeypatch.setattr(scan, "predict", predict)
    trial = SimpleNamespace(spec=SimpleNamespace(task=None))
    assert all(scan.segmented([trial], tmp_path, out, "cpu") >= 0 for _ in range(2))
    assert found == [False, False]


def test_no_training_begins_in_the_last_seconds(trainings, day, tmp_path, trials):
    options = argparse.Namespace(rehearse=True, state=tmp_path / "state", minutes=0)
    assert trainings.run(day.Day(options, time.monotonic()), trials, 2) is None
