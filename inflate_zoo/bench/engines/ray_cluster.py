"""A Ray cluster: found or started, its nodes, and whether they can take trials."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from inflate_zoo import interrupts
from inflate_zoo.bench.data.machine import usable_cores
from inflate_zoo.bench.engines import ray_node
from inflate_zoo.bench.engines.engine import Shown
from inflate_zoo.bench.engines.ray_node import Check, Sight
from inflate_zoo.errors import UsageError, WorkError
from inflate_zoo.extras import install_hint
from inflate_zoo.texts import plural

ADDRESS = "RAY_ADDRESS"
_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # as there, without: on 127.0.0.1 alone
_PROCESS = "raylet"  # what runs on each node
_STORE_BYTES = 80 << 20  # a cluster of our own keeps nothing: about the least that Ray takes
_MARGIN = 60.0  # seconds that a node may take beyond its own look


@dataclass(frozen=True, slots=True)
class Node:
    """A node that is there.

    Attributes:
        name: Ray's.
        host: The machine's.
        address: Where it is.
        resources: All that it has.
    """

    name: str
    host: str
    address: str
    resources: Mapping[str, float]


@contextmanager
def connected(shown: Shown) -> Iterator[ModuleType]:
    """Ray, with a cluster: that of `RAY_ADDRESS`, one of this machine, or one started for now.

    Raises:
        UsageError: Ray is not installed, or not for this system.
        WorkError: The cluster cannot be reached.
    """
    address = os.environ.get(ADDRESS) or ("auto" if _runs_here() else "local")
    if address == "local":  # else Ray would serve whoever reaches this machine
        os.environ[_LOOPBACK] = "0"
    ray = _library()
    before = {number: signal.getsignal(number) for number in interrupts.SIGNALS}
    try:
        _join(ray, address, shown)
    except (
        *(ConnectionError, OSError, RuntimeError, ValueError, AssertionError),
        ray.exceptions.RayError,  # one that wants a token, too
    ) as error:
        named = "this machine" if address in ("auto", "local") else address
        raise WorkError(
            f"there is no Ray cluster to be had at '{named}'",
            details=str(error).splitlines()[:4],
            hint=f"start one with 'ray start --head', or unset {ADDRESS} for one on this machine; "
            "for one that wants a token set RAY_AUTH_MODE=token",
        ) from error
    finally:
        for number, handler in before.items():  # Ray puts its own in their place
            signal.signal(number, handler)
    try:
        yield ray
    finally:
        ray.shutdown()


def require_library() -> None:
    """Refuse where Ray is not installed, or not for this system.

    Raises:
        UsageError: So it is.
    """
    if not hasattr(os, "fork"):
        raise UsageError("--on ray is for Linux and macOS", hint="use --on here")
    if find_spec("ray") is None:
        raise UsageError("--on ray needs Ray", hint=install_hint(["ray"]))


def _library() -> ModuleType:
    require_library()
    import ray

    library: ModuleType = ray
    return library


def _runs_here() -> bool:
    """Whether a node of a cluster runs on this machine."""
    import psutil

    return any(process.info["name"] == _PROCESS for process in psutil.process_iter(["name"]))


def _join(ray: ModuleType, address: str, shown: Shown) -> None:
    own: dict[str, Any] = {}
    if address == "local":
        shown.say("a Ray cluster starts on this machine, for as long as this command runs")
        own = {
            "num_cpus": usable_cores(),
            "include_dashboard": False,
            "object_store_memory": _STORE_BYTES,
        }
    ray.init(address=address, log_to_driver=False, logging_level="error", **own)


def nodes_of(ray: ModuleType) -> list[Node]:
    """The nodes that are there."""
    return [
        Node(
            name=str(node["NodeID"]),
            host=str(node["NodeManagerHostname"]),
            address=str(node["NodeManagerAddress"]),
            resources=node["Resources"],
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def look(ray: ModuleType, nodes: Sequence[Node], check: Check) -> list[Node]:
    """See on each node whether it has what trials need, before anything runs.

    Returns:
        Those that have it; one that died a moment ago may have been among the others.

    Raises:
        WorkError: One lacks something, or does not answer; it is named. Or none is left.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote = ray.remote(num_cpus=0, max_retries=1)(ray_node.look)
    there = [
        remote.options(
            name="look", scheduling_strategy=NodeAffinitySchedulingStrategy(node.name, soft=False)
        ).remote(check)
        for node in nodes
    ]
    ray.wait(there, num_returns=len(there), timeout=ray_node.LOOK_SECONDS + _MARGIN)
    seen = [_answer(ray, node, ref) for node, ref in zip(nodes, there, strict=True)]
    if lacking := [sight for sight in seen if sight is not None and sight.lacks]:
        raise refusal(lacking)
    there_still = [node for node, sight in zip(nodes, seen, strict=True) if sight is not None]
    if not there_still:
        raise WorkError(
            "the nodes of the Ray cluster that could take trials are gone",
            hint="run the same command again once there are others",
        )
    return there_still


def _answer(ray: ModuleType, node: Node, ref: Any) -> Sight | None:
    """What was seen on a node; `None` where it is gone."""
    try:
        sight: Sight = ray.get(ref, timeout=0)
    except (ray.exceptions.TaskUnschedulableError, ray.exceptions.NodeDiedError):
        return None
    except ray.exceptions.GetTimeoutError:
        return Sight(node.host, ("it did not answer",))
    except ray.exceptions.RayTaskError as error:
        return Sight(node.host, (f"it cannot start inflate-zoo: {_last_line(error)}",))
    except ray.exceptions.RayError as error:
        return Sight(node.host, (_last_line(error),))
    return sight


def refusal(lacking: Sequence[Sight]) -> WorkError:
    """What is said where nodes cannot take trials."""
    hosts = Counter(sight.host for sight in lacking)
    named = ", ".join(f"'{host}'" for host in hosts)
    return WorkError(
        f"{plural(len(lacking), 'node')} of the Ray cluster cannot take trials: {named}",
        details=[f"{sight.host}: {line}" for sight in lacking for line in sight.lacks],
        hint="all nodes need the run folder and the cache at the same paths, and this inflate-zoo",
    )


def task_failed(error: Exception) -> WorkError:
    """What is said where Ray could not run a task at all."""
    return WorkError(
        f"a task of the Ray cluster failed: {_last_line(error)}",
        hint="mend that and run the same command again: it goes on where it is",
    )


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
