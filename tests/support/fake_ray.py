"""Stands in for Ray where its own behaviour is not tested: tasks run when they are heard."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar


class RayError(Exception):
    """As in `ray.exceptions`; those below derive from it."""


class OutOfMemoryError(RayError):
    """See Ray."""


class NodeDiedError(RayError):
    """See Ray."""


class WorkerCrashedError(RayError):
    """See Ray."""


class LocalRayletDiedError(RayError):
    """See Ray."""


class ObjectLostError(RayError):
    """See Ray."""


class TaskCancelledError(RayError):
    """See Ray."""


class TaskUnschedulableError(RayError):
    """See Ray."""


class RayTaskError(RayError):
    """See Ray."""


class GetTimeoutError(RayError):
    """See Ray."""


KINDS = SimpleNamespace(**{kind.__name__: kind for kind in (RayError, *RayError.__subclasses__())})


@dataclass
class FakeRay:
    """Ray, as far as the engine uses it.

    Attributes:
        tasks: What a task does, given its function, options and argument.
        nodes_: What `nodes` says.
        ordered: Name and options of each task, in order.
        cancelled: Tasks that were.
        down: Whether it was shut down.
    """

    tasks: Callable[[str, dict[str, Any], Any], Any]
    nodes_: list[dict[str, Any]] = field(default_factory=list)
    ordered: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    down: bool = False
    exceptions: ClassVar[Any] = KINDS
    _waiting: dict[int, tuple[str, dict[str, Any], Any]] = field(default_factory=dict)

    def remote(self, **defaults: Any) -> Callable[[Any], Any]:
        """Makes a function a task."""

        def made(function: Callable[..., Any]) -> Any:
            def options(**more: Any) -> Any:
                def order(argument: Any) -> int:
                    number = len(self.ordered)
                    self.ordered.append((function.__name__, {**defaults, **more}))
                    self._waiting[number] = function.__name__, {**defaults, **more}, argument
                    return number

                return SimpleNamespace(remote=order)

            return SimpleNamespace(options=options)

        return made

    def wait(
        self, refs: list[int], num_returns: int, timeout: float
    ) -> tuple[list[int], list[int]]:
        """The first ones are ready."""
        return refs[:num_returns], refs[num_returns:]

    def get(self, ref: int, timeout: float | None = None) -> Any:
        """Runs the task."""
        return self.tasks(*self._waiting.pop(ref))

    def cancel(self, ref: int, force: bool) -> None:
        """Notes it."""
        assert not force  # the task is to end its command
        self.cancelled.append(ref)

    def nodes(self) -> list[dict[str, Any]]:
        """The nodes."""
        return self.nodes_

    def shutdown(self) -> None:
        """Notes it."""
        self.down = True


def id_of(name: str) -> str:
    """What Ray calls a node."""
    return name * 56


def node(name: str, alive: bool = True, **resources: float) -> dict[str, Any]:
    """As Ray tells of one; a letter of hexadecimal digits is its name."""
    return {
        "NodeID": id_of(name),
        "Alive": alive,
        "NodeManagerHostname": f"host-{name}",
        "NodeManagerAddress": "127.0.0.1",
        "Resources": resources,
    }
