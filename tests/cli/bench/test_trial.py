"""inflate-zoo bench-trial, as it is typed."""

import os
import socket

import pytest

from inflate_zoo.bench.definitions.results import Failure
from inflate_zoo.bench.trials.leases import leased
from inflate_zoo.bench.trials.run_plan import PLAN, begin_run
from tests.support.bench_command import run
from tests.support.trials import FROZEN, tiny_run


def test_what_is_done_stays_and_a_folder_that_is_named_twice_counts_once(finished_run):
    folders = [trial.folder for trial in finished_run.trials]
    before = [(folder / "record.json").read_bytes() for folder in folders]
    done = run("bench-trial", *folders, folders[0], "--device", "cpu")
    assert (done.exit_code, done.stdout) == (0, "2 done, 0 failed\n")
    assert [(folder / "record.json").read_bytes() for folder in folders] == before


def test_the_folder_that_one_is_in_is_a_trial_like_any(finished_run, monkeypatch):
    """Of the trial '' it was said that its trial.json is not the one that was planned."""
    monkeypatch.chdir(finished_run.trials[0].folder)
    for name in (".", "events/.."):
        done = run("bench-trial", name, "--device", "cpu")
        assert (done.exit_code, done.stdout) == (0, "1 done, 0 failed\n"), done.output


def test_a_failure_is_counted_and_the_command_fails(tmp_path, monkeypatch):
    from inflate_zoo.bench.training import trainer

    def explode(*_, **__):
        raise RuntimeError("odd")

    trial = tiny_run(tmp_path, *FROZEN).trial()
    monkeypatch.setattr(trainer.Trainer, "run", explode)
    failed = run("bench-trial", trial.folder, "--device", "cpu", "--workers", "0")
    assert (failed.exit_code, failed.stdout) == (1, "0 done, 1 failed\n")
    assert trial.failure() is not None


def test_a_run_folder_is_worked_through_in_the_order_of_its_plan(tmp_path):
    run_folder = tiny_run(tmp_path, *FROZEN, seeds=2)
    trials = tuple(reversed(run_folder.trials))
    begin_run(run_folder.out, trials)
    words = ("bench-trial", "--from", run_folder.out, "--device", "cpu", "--workers", "0")
    with leased(trials[0].folder):
        left = run(*words, "--no-wait")
    assert (left.exit_code, left.stdout) == (0, "1 done, 0 failed, 1 left\n")
    assert "[2/2]" in left.stderr
    assert "[1/2]" not in left.stderr
    done = run(*words)
    assert (done.exit_code, done.stdout) == (0, "2 done, 0 failed\n")


def test_a_failure_since_the_run_was_planned_counts_until_it_is_planned_again(tmp_path):
    run_folder = tiny_run(tmp_path, *FROZEN)
    begin_run(run_folder.out, run_folder.trials)
    (trial,) = run_folder.trials
    trial.fail(Failure(kind="nan_loss", reason="the loss is NaN"))
    past = (run_folder.out / PLAN).stat().st_mtime - 10  # clocks of file systems are coarse
    os.utime(run_folder.out / PLAN, (past, past))
    words = ("bench-trial", "--from", run_folder.out, "--device", "cpu", "--workers", "0")
    failed = run(*words)
    assert (failed.exit_code, failed.stdout) == (1, "0 done, 1 failed\n")
    assert "the loss is NaN" in failed.stderr
    later = past + 20
    begin_run(run_folder.out, run_folder.trials)
    os.utime(run_folder.out / PLAN, (later, later))
    assert run(*words).stdout == "1 done, 0 failed\n"


@pytest.mark.parametrize(
    "words, told",
    [
        ((), "name trials by their folders"),
        (("folder", "--from", "run"), "name trials by their folders"),
        (("--from", "nowhere"), "'nowhere' is no folder"),
        (("--from", "."), "holds no trials"),
    ],
)
def test_either_trials_are_named_or_their_run(tmp_path, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    refused = run("bench-trial", *words)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert told in refused.stderr


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_a_folder_that_is_no_trial_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    refused = run("bench-trial", tmp_path / name, "--device", "cpu")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert f"'{name}' is no trial" in refused.stderr


def test_a_host_says_whether_it_could_take_trials_and_takes_none(tmp_path):
    made = tiny_run(tmp_path, *FROZEN, seeds=2)
    begin_run(made.out, made.trials)
    words = ("bench-trial", "--from", made.out, "--device", "cpu", "--threads", "1")
    ready = run(*words, "--check")
    assert ready.exit_code == 0, ready.output
    assert "can take 2 trials: cpu, 1 thread on " in ready.stdout
    assert not any((trial.folder / "record.json").exists() for trial in made.trials)
    refused = run("bench-trial", made.trials[0].folder, "--check")
    assert (refused.exit_code, "--check looks at a whole run" in refused.stderr) == (2, True)
    many = run("bench-trial", "--from", made.out, "--check", "--device", "cpu", "--threads", "4096")
    assert (many.exit_code, "a trial takes 4096 threads" in many.stderr) == (2, True)


def test_a_host_that_lacks_something_takes_no_trial_of_a_run(tmp_path):
    made = tiny_run(tmp_path, *FROZEN)
    begin_run(made.out, made.trials)
    (trial,) = made.trials
    (made.cache / "cases" / next(iter(trial.spec.entries.values())) / "image.npy").unlink()
    refused = run("bench-trial", "--from", made.out, "--device", "cpu")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert f"host '{socket.gethostname()}' cannot take trials of 'run': 1 of " in refused.stderr
    assert trial.failure() is None
