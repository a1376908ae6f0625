"""Trials as jobs of a real SLURM: killed, moved, stopped, and equal bit for bit to local ones."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.support import slurm_cluster
from tests.support.checkpoints import save_transformers
from tests.support.children import Child
from tests.support.datasets import write_decathlon
from tests.support.marks import takes_minutes
from tests.support.slurm_cluster import Cluster
from tests.support.trials import FROZEN, SHAPE, TINY, VIT

pytestmark = pytest.mark.skipif(bool(slurm_cluster.lacking()), reason=slurm_cluster.lacking())

ROOT = Path(__file__).parents[2]
# Quick steps, and as many as it takes to come between them.
CHANGES = (*TINY, *FROZEN, "train.steps=200", "train.checkpoint_every=20", "train.validate_every=0")
# A command that watches more often than a shared controller would like.
IMPATIENT = """
from inflate_zoo.bench.engines import slurm
slurm.LOOK_SECONDS, slurm.QUEUE_SECONDS, slurm.GONE_SECONDS = 0.3, 0.6, 2.0
"""


class Place:
    """Data, a source and a cache; and what trials give that run here."""

    def __init__(self, home, env):
        self.home, self.env = home, env
        write_decathlon(home / "data", 10, SHAPE)
        save_transformers("vit", home / "vit", **VIT)
        code, _, told = self.start("here", "--on", "here", "--at-once", "1").wait(300)
        assert code == 0, told
        self.results = self.results_of("here")

    def start(self, out, *words):
        base = ["bench", "--data", "data", "--source", "vit", "--cache", "cache", "--out", out]
        base += ["--protocol", "quick", "--device", "cpu", "--workers", "0", "--threads", "1"]
        base += ["--seeds", "2"]
        for change in CHANGES:
            base += ["--set", change]
        outputs = self.home / f"printed-{len(list(self.home.glob('printed-*')))}"
        env = {**self.env, "PYTHONPATH": str(ROOT)}
        return Child([*base, *words], self.home, outputs, env, IMPATIENT)

    def results_of(self, out):
        records = (self.home / out / "trials").glob("*/record.json")
        return {path.parent.name: json.loads(path.read_text())["result"] for path in records}

    def log(self, out):
        """What the workers of a run said."""
        files = sorted((self.home / out / "slurm").glob("*.log"))
        return "\n".join(path.read_text() for path in files)

    def training(self, out):
        """The process that has a trial with a checkpoint; `None` where none has."""
        for path in (self.home / out / "trials").glob("*/checkpoint.safetensors"):
            lease = path.with_name("lease.json")
            if lease.exists() and not path.with_name("record.json").exists():
                return json.loads(lease.read_text())["pid"]
        return None


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp("slurm"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def place(tmp_path_factory, cluster):
    return Place(tmp_path_factory.mktemp("place"), cluster.env)


@pytest.fixture
def waits(cluster):
    """Waits for something; afterwards nothing of a test runs any more."""
    yield cluster.wait
    cluster.ask("scancel", "--user=0")
    cluster.wait(lambda: not cluster.queue() and not cluster.processes(), 60)


def arrays(cluster):
    """Numbers of all arrays that were ever submitted."""
    return set(cluster.ask("squeue", "-h", "-r", "-t", "all", "-o", "%F").split())


def test_the_daemons_listen_on_loopback_alone(cluster):
    assert cluster.listening() == {"127.0.0.1"}


def test_a_killed_worker_and_a_killed_command_change_no_bit(place, cluster, waits):
    command = place.start("killed", "--on", "slurm", "--jobs", "2")
    waits(lambda: place.training("killed"), 90)
    before = arrays(cluster)
    os.kill(place.training("killed"), signal.SIGKILL)
    command.kill()
    command.wait(10)
    again = place.start("killed", "--on", "slurm", "--jobs", "2")
    code, shown, told = again.wait(180)
    assert code == 0, told + place.log("killed")
    assert place.results_of("killed") == place.results
    assert "the worker was killed (exit code 137)" in place.log("killed")
    # On a busy machine the workers may be done before the command is back; it watches none then.
    assert "found again: " in told or not any(f"job {array}" in told for array in before)
    assert "submitted" not in told
    assert arrays(cluster) == before
    assert "Dice" in shown
    waits(lambda: not cluster.queue() and not cluster.processes(), 60)


def test_a_lost_node_and_the_end_of_time_change_no_bit(place, cluster, waits):
    out = "lost and timed"  # a space has to be quoted for sbatch and for the shell
    command = place.start(out, "--on", "slurm", "--jobs", "1")
    waits(lambda: place.training(out), 90)
    cluster.lose_node()
    cluster.start_node()
    first = place.training(out)
    waits(lambda: place.training(out) not in (first, None), 90)
    # What SLURM does before the time limit; a limit is a minute at least.
    cluster.ask("scancel", "--batch", "--signal=USR1", *cluster.running())
    code, _, told = command.wait(240)
    assert code == 0, told + place.log(out)
    assert place.results_of(out) == place.results
    log = place.log(out)
    assert "saved; the job is requeued to go on" in log
    assert log.count(" goes on from step ") == 2
    assert "submitted" in told
    assert "waiting (BeginTime)" in told
    waits(lambda: not cluster.queue() and not cluster.processes(), 60)


def test_a_job_that_is_cancelled_does_not_come_back(place, cluster, waits):
    code, _, told = place.start("cancelled", "--on", "slurm", "--jobs", "1", "--detach").wait(60)
    assert code == 0, told
    assert "go on by themselves: the same command comes back to them" in told
    waits(lambda: place.training("cancelled"), 90)
    cluster.ask("scancel", *cluster.running())
    waits(lambda: not cluster.queue() and not cluster.processes(), 60)
    assert "nothing that was cancelled" in place.log("cancelled")
    assert not place.results_of("cancelled")


def test_a_node_that_does_not_see_the_run_folder_takes_no_trial(place, cluster, waits, tmp_path):
    hides = tmp_path / "hides.sh"  # in place of a file system that the node does not mount
    hides.write_text('mount -t tmpfs none "$1" && shift && exec "$@"\n')
    out = place.home / "hidden"
    words = ["--container", f"unshare --mount sh {hides} {out}", "--jobs", "1"]
    code, _, told = place.start("hidden", "--on", "slurm", *words).wait(90)
    assert code == 1, told
    assert "no worker of job " in told
    assert f"error: host '{os.uname().nodename}' cannot take trials of 'hidden'" in told
    assert "'hidden' holds no trials" in told
    assert "SLURM says: 1 FAILED" in told
    assert not list(out.glob("trials/*/failure.json"))


def test_what_sbatch_refuses_is_told_in_its_words(place, cluster):
    words = ["--on", "slurm", "--jobs", "1", "--partition", "nowhere"]
    code, _, told = place.start("refused", *words).wait(60)
    assert code == 1
    assert "invalid partition specified: nowhere" in told


@takes_minutes
def test_a_real_time_limit(place, cluster, waits):
    words = ["--on", "slurm", "--jobs", "1", "--time", "3", "--sbatch=--signal=B:USR1@30"]
    command = place.start("limit", *words, "--set", "train.steps=60000")
    waits(lambda: "the job is requeued" in place.log("limit"), 240)
    log = place.log("limit")
    assert "stopped; it goes on where it is" in log
    waits(lambda: " goes on from step " in place.log("limit"), 90)
    command.kill()


@takes_minutes
def test_a_preempted_job_goes_on(place, cluster, waits):
    out = "preempted"
    command = place.start(out, "--on", "slurm", "--jobs", "1")
    waits(lambda: place.training(out), 90)
    urgent = ["--partition=urgent", "--cpus-per-task=2", "--output=/dev/null", "--wrap=sleep 3"]
    cluster.ask("sbatch", *urgent)
    code, _, told = command.wait(240)
    assert code == 0, told + place.log(out)
    assert place.results_of(out) == place.results
    assert "it requeues what it preempts" in place.log(out)
    assert " goes on from step " in place.log(out)
