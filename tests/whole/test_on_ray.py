"""`bench --on ray` on a real cluster of two nodes on this machine: no loss changes a result."""

import os
import signal
import time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from inflate_zoo.bench.definitions.trial_folder import TrialFolder
from inflate_zoo.bench.engines import tether
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.bench.training.progress import Silent
from inflate_zoo.bench.trials.folder import trials_of
from inflate_zoo.bench.trials.running import run_trial
from tests.support.bench_command import run as run_here
from tests.support.checkpoints import save_transformers
from tests.support.children import Child
from tests.support.datasets import write_decathlon
from tests.support.ray_clusters import ray_nodes, words_of
from tests.support.trials import FROZEN, SHAPE, TINY, VIT, one_thread

pytestmark = [
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="Ray's cluster is for Linux and macOS"),
]
LONG = (*FROZEN, "train.steps=2500", "train.checkpoint_every=50", "train.validate_every=0")
PATIENCE = 240.0  # seconds, on a machine with other things to do


@pytest.fixture(scope="module")
def nodes():
    with ray_nodes() as cluster:
        cluster.add()
        yield cluster


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    write_decathlon(folder / "data", 10, SHAPE)
    save_transformers("vit", folder / "vit", **VIT)
    return folder


def words(out, seeds, *more):
    base = ["bench", "--device", "cpu", "--workers", "0", "--protocol", "quick"]
    base += ["--cache", "cache", "--data", "data", "--source", "vit", "--out", out]
    base += ["--seeds", str(seeds), *more]
    for change in (*TINY, *LONG):
        base += ["--set", change]
    return base


@pytest.fixture(scope="module")
def alone(home):
    """Results of the same trials, run here, by their hashes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert run_here(*words("here", 3, "--plan")).exit_code == 0
        with one_thread():
            for trial in trials_of(home / "here"):
                assert run_trial(trial, Resources("cpu", 0, threads=1), Silent()) == "done"
    return {trial.folder.name: trial.believed().result for trial in trials_of(home / "here")}


def start(home, nodes, tmp_path, out, seeds):
    """The command, as a driver of the cluster."""
    asked = words(out, seeds, "--on", "ray", "--gpus", "0.5")
    return Child(asked, home, tmp_path, {**os.environ, **nodes.environment()})


def until(what, child=None):
    """Wait until something is so; the command may not have ended by then."""
    last = time.monotonic() + PATIENCE
    while time.monotonic() < last:
        if found := what():
            return found
        assert child is None or child.poll() is None, child.printed()
        time.sleep(0.1)
    raise AssertionError(
        "it did not come to that" + ("" if child is None else str(child.printed()))
    )


def at_work(out):
    """Processes of `bench-trial` that have something to go on from, by their trials."""
    found = {}
    for process in psutil.process_iter():
        text = words_of(process)
        if "bench-trial" in text and tether.__name__ not in text:
            folder = next((Path(word) for word in text if f"/{out}/trials/" in word), None)
            if folder and (folder / "checkpoint.safetensors").exists():
                found[folder.name] = process
    return found


def left(out):
    """Processes that have to do with a run's trials."""
    asked = map(words_of, psutil.process_iter())
    return [text for text in asked if any(f"/{out}/trials/" in word for word in text)]


def worker_of(process):
    """The Ray worker that a trial's process belongs to: behind its guard and keeper."""
    return process.parents()[2]


def require_all(home, out, alone, seeds):
    trials = list(trials_of(home / out))
    assert len(trials) == seeds
    for trial in trials:
        record = TrialFolder(trial.folder).believed()
        assert record.result == alone[trial.folder.name]
        assert (record.run.threads, record.run.device) == (1, "cpu")
        names = {path.name for path in (home / "here/trials" / trial.folder.name).iterdir()}
        assert {path.name for path in trial.folder.iterdir()} == names
    assert not left(out)
    assert not list((home / out / "ray").glob(".seen-*"))


def test_a_worker_that_is_killed_and_a_node_that_is_lost(home, nodes, alone, tmp_path):
    child = start(home, nodes, tmp_path, "lost", 3)
    process = until(lambda: next(iter(at_work("lost").values()), None), child)
    worker_of(process).kill()
    psutil.wait_procs([process], timeout=PATIENCE)
    second = nodes.raylet()
    process = until(lambda: next((each for each in at_work("lost").values()
                                  if second in each.parents()), None), child)  # fmt: skip
    nodes.kill()
    code, _, err = child.wait(PATIENCE)
    assert code == 0, err
    assert "its Ray worker died; it goes on where it is" in err
    assert "its node was lost; it goes on where it is" in err
    require_all(home, "lost", alone, 3)


def test_a_driver_that_is_killed_or_interrupted_ends_its_tasks_and_goes_on(
    home, nodes, alone, tmp_path
):
    for number in (signal.SIGINT, signal.SIGKILL):
        child = start(home, nodes, tmp_path / str(number), "again", 2)
        until(lambda: at_work("again"), child)
        os.kill(child.pid, number)
        code, _, err = child.wait(PATIENCE)
        assert code == (-number if number == signal.SIGKILL else 128 + number), err
        assert number == signal.SIGKILL or "the same command goes on" in err
        until(lambda: not left("again"))
        assert not all(trial.done for trial in trials_of(home / "again"))
    child = start(home, nodes, tmp_path, "again", 2)
    code, _, err = child.wait(PATIENCE)
    assert code == 0, err
    require_all(home, "again", alone, 2)


@contextmanager
def blind(tmp_path, nodes):
    """A node that does not see what others write, as if its folder were another one."""
    path = tmp_path / "blind"
    path.mkdir()
    (path / "sitecustomize.py").write_text(
        "from pathlib import Path\n"
        "exists = Path.exists\n"
        "Path.exists = lambda self: '.seen-' not in self.name and exists(self)\n"
    )
    nodes.add(path)
    try:
        yield
    finally:
        nodes.kill()


def test_a_node_that_does_not_share_the_run_folder_is_refused_by_name(home, nodes, tmp_path):
    with blind(tmp_path, nodes):
        child = start(home, nodes, tmp_path / "output", "unshared", 2)
        code, out, err = child.wait(PATIENCE)
    assert (code, out) == (1, "")
    assert f"1 node of the Ray cluster cannot take trials: '{os.uname().nodename}'" in err
    assert "the run folder is not shared: this node has another folder there" in err
    assert not list((home / "unshared/trials").rglob("events"))  # nothing was begun
    assert not left("unshared")
