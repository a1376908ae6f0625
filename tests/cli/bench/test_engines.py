"""From options to the engine."""

import json
import re

import pytest

from inflate_zoo.bench.engines.engine import Tally
from inflate_zoo.bench.engines.slurm import Slurm
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
        (("--on", "slurm"), "--on slurm needs the number of workers"),
    ],
)
def test_what_is_asked_of_another_engine_is_refused_by_name(here, words, told):
    base = ["bench", "--data", "data", "--source", "vit", "--cache", "cache", "--out", "refused"]
    result = run(*base, *words)
    assert result.exit_code == 2, result.output
    assert told in result.stderr
    assert re.search("leave (it )?out|add --jobs", result.stderr)
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


def test_a_plan_for_slurm_comes_with_its_script_and_asks_nothing_of_it(here, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    words = ("--on", "slurm", "--jobs", "4", "--cpus-per-task", "3", "--gres", "gpu:1", "--plan")
    base = ["bench", "--data", "data", "--source", "vit", "--cache", "cache", "--seeds", "2"]
    planned = run(*base, *words, "--out", "my jobs")
    assert planned.exit_code == 0, planned.output
    assert "= 2 trials on SLURM, 2 workers, 3 threads each; run folder my jobs" in planned.stderr
    assert planned.stderr.splitlines()[-2:] == [
        "run them, here or elsewhere: inflate-zoo bench-trial --from 'my jobs'",
        "or as jobs of SLURM: sbatch 'my jobs/slurm/worker.sh'",
    ]
    script = (here / "my jobs" / "slurm" / "worker.sh").read_text()
    assert "#SBATCH --array=0-1\n" in script
    assert "--no-wait --threads 3 --device cuda) &" in script


def test_jobs_that_are_left_get_no_report(here, monkeypatch):
    def leaves(self, trials, demands, shown):
        return Tally((), (), tuple(trials), stopped=True)

    monkeypatch.setattr(Slurm, "run", leaves)
    base = ["bench", "--data", "data", "--source", "vit", "--cache", "cache", "--seeds", "2"]
    left = run(*base, "--on", "slurm", "--jobs", "1", "--detach", "--out", "left")
    assert left.exit_code == 0, left.output
    assert left.stdout == ""
    assert not (here / "left" / "report.html").exists()
    words = ("--on", "slurm", "--jobs", "1", "--detach", "--out", "left", "--format", "json")
    told = json.loads(run(*base, *words).stdout)  # nothing at all is no JSON
    assert (told["out"], len(told["trials"])) == ("left", 2)
