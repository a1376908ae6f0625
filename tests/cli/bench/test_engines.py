"""From options to the engine."""

import re

import pytest

from tests.support.bench_command import bench, run


@pytest.mark.parametrize(
    "words, told",
    [
        (("--on", "slurm", "--per-gpu", "2"), "--per-gpu is of --on here"),
        (("--on", "ray", "--at-once", "2"), "--at-once is of --on here"),
        (("--partition", "main"), "--partition is of --on slurm"),
        (("--on", "ray", "--sbatch=--nice=3"), "--sbatch is of --on slurm"),
        (("--detach",), "--detach is of --on slurm"),
        (("--gpus", "0.5"), "--gpus is of --on ray"),
        (("--on", "slurm", "--resource", "a=1"), "--resource is of --on ray"),
        (("--on", "slurm", "--dry-run"), "--dry-run measures on this machine"),
    ],
)
def test_what_is_asked_of_another_engine_is_refused_by_name(here, words, told):
    base = ["bench", "--data", "data", "--source", "vit", "--cache", "cache", "--out", "refused"]
    result = run(*base, *words)
    assert result.exit_code == 2, result.output
    assert told in result.stderr
    assert re.search("leave (it )?out", result.stderr)
    assert not (here / "refused").exists()


def test_an_engine_that_is_none(here):
    result = bench("--on", "there", "--out", "refused")
    assert result.exit_code == 2
    assert "'there'" in result.stderr
    assert "slurm" in result.stderr


def test_this_machine_is_what_is_meant_where_nothing_is_said(here):
    plain = bench("--out", "plain", "--plan")
    same = bench("--out", "same", "--plan", "--on", "here")
    assert (plain.exit_code, same.exit_code) == (0, 0)
    first, *_ = plain.stderr.replace("plain", "same").splitlines()
    assert first == same.stderr.splitlines()[0]
    assert " on cpu, one at a time, 1 thread; run folder same" in first
