"""How a cluster of Ray is found, and what is said where there is none; with a stand-in for Ray."""

import os
import signal
from types import SimpleNamespace

import pytest

from inflate_zoo.bench.engines import ray_cluster
from inflate_zoo.bench.engines.ray_cluster import connected, look, nodes_of, require_library
from inflate_zoo.bench.engines.ray_node import Check, Sight
from inflate_zoo.errors import UsageError, WorkError
from tests.support import fake_ray
from tests.support.fake_ray import FakeRay, id_of, node
from tests.support.shown import Shown

CHECK = Check("run", "token", ("bench-trial",), 1)
LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


@pytest.fixture
def library(monkeypatch):
    """Keeps what Ray is asked, as it is said in the environment and by what runs here."""
    kept = SimpleNamespace(asked=[], down=0, error=None)

    def init(**asked):
        kept.asked.append(asked)
        kept.loopback = os.environ.get(LOOPBACK)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as Ray's does, with its own
        if kept.error:
            raise kept.error

    def shutdown():
        kept.down += 1

    monkeypatch.setattr(
        ray_cluster,
        "_library",
        lambda: SimpleNamespace(init=init, shutdown=shutdown, exceptions=fake_ray.KINDS),
    )
    for name in (LOOPBACK, "RAY_ADDRESS"):
        monkeypatch.setenv(name, "")  # so that what is set is undone
        monkeypatch.delenv(name)
    return kept


@pytest.mark.parametrize(
    "address, runs, asked",
    [
        ("10.0.0.1:6379", False, "10.0.0.1:6379"),
        ("ray://10.0.0.1:10001", True, "ray://10.0.0.1:10001"),
        (None, True, "auto"),
        ("auto", False, "auto"),
    ],
)
def test_a_cluster_that_is_named_or_runs_here_is_taken(library, monkeypatch, address, runs, asked):
    monkeypatch.setattr(ray_cluster, "_runs_here", lambda: runs)
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    before, shown = signal.getsignal(signal.SIGTERM), Shown()
    with connected(shown):
        assert signal.getsignal(signal.SIGTERM) is before
        assert not library.down
    assert library.asked == [{"address": asked, "log_to_driver": False, "logging_level": "error"}]
    assert library.loopback is None
    assert (library.down, shown.said) == (1, [])


@pytest.mark.parametrize("address", [None, "local"])
def test_else_one_starts_that_only_this_machine_can_reach(library, monkeypatch, address):
    monkeypatch.setattr(ray_cluster, "_runs_here", lambda: False)
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    shown = Shown()
    with connected(shown):
        (asked,) = library.asked
    assert (asked["address"], asked["include_dashboard"]) == ("local", False)
    assert asked["num_cpus"] >= 1
    assert library.loopback == "0"
    assert "a Ray cluster starts on this machine" in shown.said[0]


@pytest.mark.parametrize(
    "error",
    [ConnectionError("odd"), RuntimeError("Version mismatch\nodd"), fake_ray.RayError("a token")],
)
def test_one_that_cannot_be_had_is_told(library, monkeypatch, error):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    library.error, before = error, signal.getsignal(signal.SIGTERM)
    with (
        pytest.raises(WorkError, match="there is no Ray cluster") as caught,
        connected(Shown()),
    ):
        pass
    assert "'10.0.0.1:6379'" in caught.value.message
    assert caught.value.details == tuple(str(error).splitlines())
    assert signal.getsignal(signal.SIGTERM) is before


def test_without_ray_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setattr(ray_cluster, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match="needs Ray") as caught:
        require_library()
    assert caught.value.hint.startswith('pip install "ray')
    monkeypatch.delattr(os, "fork", raising=False)
    with pytest.raises(UsageError, match="Linux and macOS"):
        require_library()


def test_a_node_is_known_by_what_runs_on_it(monkeypatch):
    import psutil

    def named(*names):
        found = [SimpleNamespace(info={"name": name}) for name in names]
        monkeypatch.setattr(psutil, "process_iter", lambda _: found)
        return ray_cluster._runs_here()

    assert named("python", "raylet")
    assert not named("python", None)


def test_only_nodes_that_live_count():
    fake = FakeRay(pytest.fail, [node("a", CPU=2.0), node("b", alive=False, CPU=1.0)])
    (found,) = nodes_of(fake)
    assert (found.name, found.host, found.resources) == (id_of("a"), "host-a", {"CPU": 2.0})


@pytest.mark.parametrize(
    "answer, line",
    [
        (Sight("x", ("no torch", "odd")), "x: no torch"),
        (fake_ray.GetTimeoutError(), "host-a: it did not answer"),
        (fake_ray.WorkerCrashedError("it\n\nis gone\n"), "host-a: is gone"),
        (fake_ray.RayError(), "host-a: RayError"),
        (
            fake_ray.RayTaskError("Traceback\nModuleNotFoundError: odd"),
            "host-a: it cannot start inflate-zoo: ModuleNotFoundError: odd",
        ),
    ],
)
def test_a_node_that_lacks_something_is_told_by_name(answer, line):
    pytest.importorskip("ray", reason="Ray is not installed")

    def tasks(name, options, check):
        assert (name, check, options["num_cpus"]) == ("look", CHECK, 0)
        if options["scheduling_strategy"].node_id == id_of("b"):
            return Sight("host-b", ())
        if isinstance(answer, Exception):
            raise answer
        return answer

    fake = FakeRay(tasks, [node("a"), node("b")])
    with pytest.raises(WorkError, match="1 node of the Ray cluster cannot take trials") as caught:
        look(fake, nodes_of(fake), CHECK)
    assert caught.value.details[0] == line


@pytest.mark.parametrize("error", [fake_ray.TaskUnschedulableError, fake_ray.NodeDiedError])
def test_a_node_that_died_a_moment_ago_is_none(error):
    """Ray takes half a minute to notice, and shows it as alive."""
    pytest.importorskip("ray", reason="Ray is not installed")

    def tasks(_, options, __):
        if options["scheduling_strategy"].node_id == id_of("a"):
            raise error
        return Sight("host-b", ())

    fake = FakeRay(tasks, [node("a"), node("b")])
    (left,) = look(fake, nodes_of(fake), CHECK)
    assert left.host == "host-b"
    fake = FakeRay(tasks, [node("a")])
    with pytest.raises(WorkError, match="are gone"):
        look(fake, nodes_of(fake), CHECK)
