"""How many trials this machine takes at a time, on which devices, with how many threads each."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import cycle, islice
from math import prod

from inflate_zoo.bench.data.machine import free_memory, memory_limit, usable_cores
from inflate_zoo.bench.definitions.protocols import Protocol
from inflate_zoo.bench.training.devices import Resources, device_kind
from inflate_zoo.errors import UsageError
from inflate_zoo.networks.base import BackboneConfig

_BARE_BYTES = 1 << 30  # a process that has imported everything, and the volumes it reads
_TRAINED = 16  # bytes of a parameter: itself, its gradient and two moments
_MAPS = 24  # maps of the window's size and the decoder's width that training keeps, in float32


@dataclass(frozen=True, slots=True)
class Crew:
    """Who works on trials.

    Attributes:
        devices: One entry for each trial at a time; `None` is the best there is.
        kind: `cpu`, `cuda` or `mps`.
        demands: What each trial may use; its threads are decided.
    """

    devices: tuple[str | None, ...]
    kind: str
    demands: Resources

    def named(self) -> str:
        """The devices, in words."""
        distinct = dict.fromkeys(device or self.kind for device in self.devices)
        return ", ".join(distinct)


def crew(
    resources: Resources, trials: int, need: int, at_once: int | None, per_gpu: int | None
) -> Crew:
    """Divide this machine among trials.

    Args:
        resources: What was asked for; without threads, `OMP_NUM_THREADS` counts, as it does for
            torch, and else the cores are divided.
        trials: How many there are, those that are done included: a run that goes on is to round as
            it began.
        need: Bytes of a trial.
        at_once: Trials at a time; `None` decides.
        per_gpu: Trials at a time on each GPU; `None` is one.

    Raises:
        UsageError: There is no such device, or it is no GPU.
    """
    kind = device_kind(resources)
    threads = resources.threads or _threads_of_environment()
    devices: tuple[str | None, ...]
    if kind == "cuda":
        devices = on_gpus(_gpus(resources.device), trials, at_once, per_gpu)
        threads = threads or max(1, usable_cores() // len(devices))
    else:
        if per_gpu is not None:
            raise UsageError(
                "--per-gpu is for NVIDIA GPUs, and the trials would run on "
                f"'{kind}'", hint="use --at-once"
            )  # fmt: skip
        if kind == "mps":
            at_once = at_once or 1
        count, threads = on_cores(
            usable_cores(), (memory_limit(), free_memory()), trials, need, at_once, threads
        )
        devices = (resources.device or kind,) * count
    if len(devices) == 1:
        devices = (resources.device,)
    return Crew(devices, kind, replace(resources, threads=threads))


def on_cores(
    cores: int,
    memory: tuple[int, int],
    trials: int,
    need: int,
    at_once: int | None,
    threads: int | None,
) -> tuple[int, int]:
    """Trials at a time, and threads of each.

    Args:
        cores: That may be used.
        memory: Bytes that may be used where nothing else runs, and those that are free now. The
            number of threads must not depend on the latter: it decides how results round.
        trials: How many there are.
        need: Bytes of a trial.
        at_once: Trials at a time, if that was said.
        threads: Of each, if that was said.
    """
    whole, free = memory
    usual = at_once or max(1, min(cores // (threads or 1), trials, whole // need))
    return at_once or max(1, min(usual, free // need)), threads or max(1, cores // usual)


def on_gpus(
    gpus: tuple[str, ...], trials: int, at_once: int | None, per_gpu: int | None
) -> tuple[str, ...]:
    """A GPU for each trial at a time; the first trials have one each."""
    most = len(gpus) * per_gpu if per_gpu else at_once or len(gpus)
    return tuple(islice(cycle(gpus), max(1, min(most, at_once or most, trials))))


def memory_bound(configs: Iterable[BackboneConfig], protocol: Protocol) -> int:
    """Bytes of main memory that a trial takes on a CPU, estimated: rather too many than too few.

    Args:
        configs: The backbones that are compared.
        protocol: How trials run; a depth that is as the spacing has it counts as the height.
    """
    settings, train = protocol.network, protocol.train
    depth, height, width = settings.window
    window = (height if depth == "spacing" else depth, height, width)
    maps = prod(window) * settings.features * _MAPS * 4 * (settings.decoder != "linear")
    largest = 0
    for config in configs:
        tokens = prod(
            -(-size // step) for size, step in zip(window, config.levels[-1].stride, strict=True)
        )
        widest, kept = config.memory(tokens + config.num_prefix_tokens)
        parameters = sum(prod(shape) for shape in config.shapes().values())
        if settings.freeze:  # one window at a time, and nothing kept of it
            largest = max(largest, parameters * 4 + widest)
        else:
            largest = max(largest, parameters * _TRAINED + (kept + maps) * train.dice_group)
    return _BARE_BYTES + largest


def _threads_of_environment() -> int | None:
    text = os.environ.get("OMP_NUM_THREADS", "")
    return int(text) if text.isdecimal() and int(text) else None


def _gpus(device: str | None) -> tuple[str, ...]:
    """The GPU that was named, or all."""
    import torch

    if device and ":" in device:
        return (device,)
    return tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))
