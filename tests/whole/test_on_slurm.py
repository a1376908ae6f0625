"""Trials as jobs of a real SLURM: killed, moved, stopped, and equal bit for bit to local ones."""

import json
from pathlib import Path

import pytest

from tests.support import slurm_cluster
from tests.support.checkpoints import save_transformers
from tests.support.children import Child
from tests.support.datasets import write_decathlon
from tests.support.slurm_cluster import Cluster
from tests.support.trials import SHAPE, TINY, VIT

pytestmark = pytest.mark.skipif(bool(slurm_cluster.lacking()), reason=slurm_cluster.lacking())

ROOT = Path(__file__).parents[2]
STEPS = 150
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
        base += ["--seeds", "3"]
        for change in (*TINY, f"train.steps={STEPS}", "train.validate_every=0"):
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


def test_the_daemons_listen_on_loopback_alone(cluster):
    assert cluster.listening() == {"127.0.0.1"}
