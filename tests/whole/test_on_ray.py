"""`bench --on ray` on a real cluster of two nodes on this machine: no loss changes a result."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from importlib.util import find_spec

import psutil
import pytest

from inflate_zoo.bench.definitions.trial_folder import TrialFolder
from inflate_zoo.bench.engines import ray_cluster
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.bench.training.progress import Silent
from inflate_zoo.bench.trials.folder import trials_of
from inflate_zoo.bench.trials.leases import holder
from inflate_zoo.bench.trials.running import run_trial
from tests.support.bench_command import run as run_here
from tests.support.checkpoints import save_transformers
from tests.support.children import Child
from tests.support.datasets import write_decathlon
from tests.support.marks import takes_minutes
from tests.support.ray_clusters import ROOT, SETTINGS, ray_nodes, words_of
from tests.support.trials import FROZEN, SHAPE, TINY, VIT, one_thread

pytestmark = [
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="Ray's cluster is for Linux and macOS"),
]
LONG = (*FROZEN, "train.steps=1500", "train.checkpoint_every=50", "train.validate_every=0")
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
        assert run_here(*words("here", 2, "--plan")).exit_code == 0
        with one_thread():
            for trial in trials_of(home / "here"):
                assert run_trial(trial, Resources("cpu", 0, threads=1), Silent()) == "done"
    return {trial.folder.name: trial.believed().result for trial in trials_of(home / "here")}


def start(home, nodes, tmp_path, out, seeds, address=""):
    """The command, as a driver of the cluster."""
    asked = words(out, seeds, "--on", "ray", "--gpus", "0.5")
    settings = nodes.environment() | ({"RAY_ADDRESS": address} if address else {})
    return Child(asked, home, tmp_path, {**os.environ, **settings})


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


def at_work(home, out):
    """Processes of trials that have something to go on from, by their leases."""
    found = []
    for checkpoint in (home / out / "trials").glob("*/checkpoint.safetensors"):
        if (by := holder(checkpoint.parent)) is not None:
            with suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(int(by.rpartition(":")[2])))
    return found


def left(out):
    """Processes that have to do with a run's trials."""
    asked = map(words_of, psutil.process_iter())
    return [text for text in asked if any(f"/{out}/trials/" in word for word in text)]


def workers(processes):
    """The Ray workers that trials' processes belong to; none of those whose node is lost."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            above = process.parents()
            names = [each.name() for each in above]
            if "raylet" in names:
                found.append(above[names.index("raylet") - 1])
    return found


def belongs(process, above):
    """Whether a process was started by another, however far above."""
    with suppress(psutil.NoSuchProcess):
        return above in process.parents()
    return False


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


def test_what_is_lost_on_the_way_changes_no_result(home, nodes, alone, tmp_path):
    """A node, then a worker, then the command itself."""
    child = start(home, nodes, tmp_path / "first", "lost", 2)
    second = nodes.raylet()
    until(lambda: any(belongs(each, second) for each in at_work(home, "lost")), child)
    nodes.kill()
    until(lambda: "its node was lost; it goes on where it is" in child.printed()[1], child)
    worker, *_ = until(lambda: workers(at_work(home, "lost")), child)
    worker.kill()
    until(lambda: "its Ray worker died; it goes on where it is" in child.printed()[1], child)
    until(lambda: at_work(home, "lost"), child)
    assert child.printed()[0] == ""
    child.kill()
    until(lambda: not at_work(home, "lost") and not left("lost"))
    assert not all(trial.done for trial in trials_of(home / "lost"))
    child = start(home, nodes, tmp_path / "second", "lost", 2)
    code, _, err = child.wait(PATIENCE)
    assert code == 0, err
    require_all(home, "lost", alone, 2)


@takes_minutes
def test_ctrl_c_and_drivers_from_elsewhere(home, nodes, alone, tmp_path):
    child = start(home, nodes, tmp_path / "first", "again", 2)
    until(lambda: at_work(home, "again"), child)
    os.kill(child.pid, signal.SIGINT)
    code, _, err = child.wait(PATIENCE)
    assert code == 128 + signal.SIGINT, err
    assert "the same command goes on" in err
    assert not at_work(home, "again")
    assert not left("again")
    with client_server(nodes) as address:
        child = start(home, nodes, tmp_path / "second", "again", 2, address)
        code, _, err = child.wait(PATIENCE)
    assert code == 0, err
    require_all(home, "again", alone, 2)


@contextmanager
def client_server(nodes):
    """A server for drivers that run on no machine of the cluster; its older form."""
    words = [sys.executable, "-m", "ray.util.client.server", "--mode=legacy"]
    words += [f"--address={nodes.address}", "--host=127.0.0.1", f"--port={nodes.port}"]
    process = subprocess.Popen(words, env={**os.environ, **nodes.environment()})
    try:
        until(lambda: listens(nodes.port))
        yield f"ray://127.0.0.1:{nodes.port}"
    finally:
        process.kill()
        process.wait()


def listens(port):
    with socket.socket() as link:
        return link.connect_ex(("127.0.0.1", port)) == 0


@takes_minutes
def test_a_cluster_of_its_own_is_reached_from_this_machine_alone(home, alone, tmp_path):
    folder = tempfile.mkdtemp(prefix="ray-")  # short: sockets are below it
    own = {"RAY_ADDRESS": "local", "RAY_TMPDIR": folder, "PYTHONPATH": str(ROOT)}
    settings = {**os.environ, **SETTINGS, **own}
    asked = words("own", 1, "--on", "ray")
    child = Child(asked, home, tmp_path, settings, before=f"""
        os.environ.pop("{ray_cluster._LOOPBACK}", None)
        """)  # fmt: skip
    until(lambda: at_work(home, "own"), child)
    below = psutil.Process(child.pid).children(recursive=True)
    hears = [link.laddr.ip for each in below for link in each.net_connections("inet")
             if link.status == psutil.CONN_LISTEN]  # fmt: skip
    assert len(hears) >= 3
    assert {ip.removeprefix("::ffff:") for ip in hears} == {"127.0.0.1"}
    code, _, err = child.wait(PATIENCE)
    assert code == 0, err
    require_all(home, "own", alone, 1)
    until(lambda: not psutil.wait_procs(below, timeout=0.1)[1])
    shutil.rmtree(folder)


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
