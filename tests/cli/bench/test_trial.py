"""inflate-zoo bench-trial, as it is typed."""

import pytest

from tests.support.bench_command import run
from tests.support.trials import FROZEN, tiny_run


def test_what_is_done_stays_and_a_folder_that_is_named_twice_counts_once(finished_run):
    folders = [trial.folder for trial in finished_run.trials]
    before = [(folder / "record.json").read_bytes() for folder in folders]
    done = run("bench-trial", *folders, folders[0], "--device", "cpu")
    assert (done.exit_code, done.stdout) == (0, "2 done, 0 failed\n")
    assert [(folder / "record.json").read_bytes() for folder in folders] == before


def test_a_failure_is_counted_and_the_command_fails(tmp_path, monkeypatch):
    from inflate_zoo.bench.training import trainer

    def explode(*_, **__):
        raise RuntimeError("odd")

    trial = tiny_run(tmp_path, *FROZEN).trial()
    monkeypatch.setattr(trainer.Trainer, "run", explode)
    failed = run("bench-trial", trial.folder, "--device", "cpu", "--workers", "0")
    assert (failed.exit_code, failed.stdout) == (1, "0 done, 1 failed\n")
    assert trial.failure() is not None


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_a_folder_that_is_no_trial_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    refused = run("bench-trial", tmp_path / name, "--device", "cpu")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert f"'{name}' is no trial" in refused.stderr
