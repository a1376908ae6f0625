"""Ray clusters of this machine, for tests: nodes on 127.0.0.1, with GPUs that are none.

    python -m tests.support.ray_clusters FOLDER

starts a node and says its address; then obeys lines: `add PYTHONPATH`, `kill`; at the end of its
input it ends all nodes. It is a process of its own, as Ray changes the one that it is imported in.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # with it Ray takes another address than 127.0.0.1
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": uuid.uuid4().hex,  # else Ray writes one into the user's home
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "OMP_NUM_THREADS": "1",
}
NODE = {
    "num_cpus": 1,
    "num_gpus": 1,
    "object_store_memory": 80 << 20,
    "include_dashboard": False,
    "node_ip_address": "127.0.0.1",
}


class Nodes:
    """A running cluster."""

    def __init__(self, process: subprocess.Popen[str], address: str, port: int) -> None:
        """Made by `ray_nodes`.

        Args:
            process: That obeys.
            address: Of the cluster.
            port: A free one.
        """
        self._process, self.address, self.port = process, address, port
        self._last = psutil.Process(process.pid)

    def environment(self) -> dict[str, str]:
        """What a driver's environment is to have."""
        return {**SETTINGS, "RAY_ADDRESS": self.address, "PYTHONPATH": str(ROOT)}

    def add(self, path: Path = ROOT) -> None:
        """Another node, whose Python finds modules there first."""
        self._last = psutil.Process(self._tell(f"add {path}"))

    def kill(self) -> None:
        """The node that was added last is gone at once."""
        self._tell("kill")

    def raylet(self) -> psutil.Process:
        """What runs on the node that was added last, above all that its tasks start."""
        return self._last

    def _tell(self, line: str) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return int(_answer(self._process)["pid"])


def words_of(process: psutil.Process) -> list[str]:
    """The command line of a process; empty where it is gone."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _answer(process: subprocess.Popen[str]) -> dict[str, str]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"the cluster ended with {process.wait()}"
    told: dict[str, str] = json.loads(line)
    return told


@contextmanager
def ray_nodes(settings: Mapping[str, str] | None = None) -> Iterator[Nodes]:
    """A cluster of one node, and those that are added; all are gone at the end."""
    folder = tempfile.mkdtemp(prefix="ray-")  # short: sockets are below it
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.ray_clusters", folder],
        cwd=ROOT,
        env={
            **os.environ,
            **SETTINGS,
            "PYTHONPATH": str(ROOT),
            "RAY_TMPDIR": folder,
            **(settings or {}),
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Nodes(process, _answer(process)["address"], port)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        below = []
        with suppress(psutil.NoSuchProcess):  # it ended before it began
            below = psutil.Process(process.pid).children(recursive=True)
        try:
            process.wait(30)
        finally:
            for one in psutil.wait_procs(below, timeout=10)[1]:
                one.kill()
            process.kill()
            process.wait()
            process.stdout.close()
            shutil.rmtree(folder, ignore_errors=True)


def _main(folder: str) -> None:
    from ray.cluster_utils import Cluster

    (Path(folder) / "ray").mkdir()  # where it notes its address
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "temp_dir": folder})
    print(json.dumps({"address": cluster.address}), flush=True)
    added = []
    for line in sys.stdin:
        word, _, path = line.strip().partition(" ")
        if word == "add":
            os.environ["PYTHONPATH"] = f"{path}:{ROOT}"
            node = cluster.add_node(**NODE, wait=True)
            added.append(node)
        else:
            node = added.pop()
            cluster.remove_node(node, allow_graceful=False)
        (raylet,) = node.all_processes.get("raylet") or [None]
        print(json.dumps({"pid": raylet.process.pid if raylet else 0}), flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    _main(*sys.argv[1:])
