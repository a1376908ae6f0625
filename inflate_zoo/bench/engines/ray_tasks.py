"""What a task of a Ray cluster is made of: which trials, how much of a node."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from inflate_zoo.bench.definitions.trial_folder import TrialFolder
from inflate_zoo.bench.engines.flags import RayFlags
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.errors import UsageError

MOST_TOGETHER = 8  # frozen trials of one task
_ROUNDS = 2  # tasks that each place gets at least, so that none waits for another's last
_MEMORY = "memory"  # Ray has a word of its own for it, in bytes
_OWN = {"CPU": "--cpus", "GPU": "--gpus"}  # Ray's names, and our options for them


@dataclass(frozen=True, slots=True)
class TaskShare:
    """What a task takes of its node.

    Attributes:
        cpus: Cores, also parts of one.
        gpus: GPUs, also parts of one, so that several tasks share it.
        others: Further resources by their names in Ray.
    """

    cpus: float
    gpus: float = 0.0
    others: tuple[tuple[str, float], ...] = ()

    def options(self) -> dict[str, Any]:
        """As Ray takes it."""
        others = dict(self.others)
        memory = others.pop(_MEMORY, None)
        options = {"num_cpus": self.cpus, "num_gpus": self.gpus, "resources": others}
        return options if memory is None else {**options, "memory": memory}

    def fitting(self, node: Mapping[str, float]) -> int:
        """How many such tasks a node takes at a time.

        Args:
            node: All that it has, by Ray's names.
        """
        wanted = {"CPU": self.cpus, "GPU": self.gpus, **dict(self.others)}
        places = [_times(amount, node.get(name, 0.0)) for name, amount in wanted.items() if amount]
        if 0 < self.gpus < 1:  # a part of one GPU never spans two
            places.append(math.floor(_gpus(node)) * _times(self.gpus, 1.0))
        return min(places, default=1)

    def told(self) -> str:
        """In words."""
        parts = [f"{self.cpus:g} CPU"] + [f"{self.gpus:g} GPU"] * bool(self.gpus)
        return ", ".join([*parts, *(f"{amount:g} {name}" for name, amount in self.others)])

    def with_whole_gpus(self) -> TaskShare:
        """The same, sharing no GPU."""
        return replace(self, gpus=float(math.ceil(self.gpus)))


def parse_resources(texts: Iterable[str]) -> tuple[tuple[str, float], ...]:
    """Resources from `NAME=N` each.

    Raises:
        UsageError: One is not so, or has an option of its own.
    """
    found: dict[str, float] = {}
    for text in texts:
        name, equals, amount = text.partition("=")
        try:
            value = float(amount)
        except ValueError:
            value = math.nan
        if not name or not equals or not 0 < value < math.inf:
            raise UsageError(
                f"--resource '{text}' is not NAME=N",
                hint="e.g. --resource memory=8e9",
            )
        if name in _OWN:
            raise UsageError(f"'{name}' is no further resource", hint=f"use {_OWN[name]}")
        found[name] = value
    return tuple(found.items())


def require_flags(flags: RayFlags, resources: Resources) -> None:
    """Refuse what no cluster gives.

    Raises:
        UsageError: A number or the device is none that a task could have.
    """
    if flags.cpus is not None and not 0 < flags.cpus < math.inf:
        raise UsageError(f"--cpus {flags.cpus:g} is no number of CPUs", hint="e.g. --cpus 4")
    gpus = flags.gpus
    if gpus is not None and not (0 <= gpus < math.inf and (gpus <= 1 or gpus.is_integer())):
        raise UsageError(
            f"--gpus {gpus:g} is neither a part of one GPU nor a number of them",
            hint="e.g. --gpus 0.5, for two trials on each",
        )
    parse_resources(flags.resource)
    device = resources.device
    if device is not None and ":" in device:
        raise UsageError(
            f"Ray chooses which GPU a trial runs on, not --device {device}",
            hint="use --device cuda, and --gpus for how many",
        )


def share(
    resources: Resources,
    cpus: float | None,
    gpus: float | None,
    others: tuple[tuple[str, float], ...],
    nodes: Sequence[Mapping[str, float]],
) -> TaskShare:
    """What each task takes: what was asked for, else a GPU where there are any, and its cores.

    Args:
        resources: Of a trial.
        cpus: Cores; `None` is one for each thread, and beside a GPU its part of the node's.
        gpus: GPUs; `None` is one where the cluster has any and the device does not say otherwise.
        others: Further resources.
        nodes: What the nodes have.

    Raises:
        UsageError: There is no GPU where one was asked for.
    """
    device = resources.device
    if gpus is None:
        gpus = 0.0 if device not in (None, "cuda") else float(any(map(_gpus, nodes)))
        if device == "cuda" and not gpus:
            raise UsageError("the Ray cluster has no GPU", hint="leave out --device")
    if cpus is None:
        beside = [
            node.get("CPU", 0.0) // (_gpus(node) / gpus)
            for node in nodes
            if gpus and _gpus(node) >= gpus
        ]
        cpus = float(resources.threads or max(1.0, min(beside, default=1.0)))
    return TaskShare(cpus, gpus, others)


def demands_of(resources: Resources, task: TaskShare) -> Resources:
    """What a trial may use: as many threads as it has cores, wherever it runs."""
    device = resources.device or ("cuda" if task.gpus else "cpu")
    return replace(resources, device=device, threads=resources.threads or max(1, int(task.cpus)))


def together(trials: Sequence[TrialFolder], at_once: int) -> Iterator[tuple[TrialFolder, ...]]:
    """Trials by task, in order: one each, but several frozen ones, which take seconds.

    Args:
        trials: Those that are to run.
        at_once: Tasks that the cluster runs at a time.
    """
    frozen = [trial.spec.protocol.network.freeze for trial in trials]
    most = max(1, min(MOST_TOGETHER, sum(frozen) // (_ROUNDS * max(1, at_once))))
    group: list[TrialFolder] = []
    for trial, small in zip(trials, frozen, strict=True):
        if group and (not small or len(group) == most):
            yield tuple(group)
            group = []
        if small:
            group.append(trial)
        else:
            yield (trial,)
    if group:
        yield tuple(group)


def _times(amount: float, whole: float) -> int:
    """How often an amount is in a whole; of 0.1 and 0.3 that is 3."""
    return math.floor(whole / amount + 1e-9)


def _gpus(node: Mapping[str, float]) -> float:
    return node.get("GPU", 0.0)
