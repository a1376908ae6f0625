"""How many trials this machine takes at a time, on which devices, with how many threads each."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from itertools import cycle, islice

from inflate_zoo.bench.data.machine import free_memory, memory_limit, usable_cores
from inflate_zoo.bench.training.devices import Resources, device_kind
from inflate_zoo.errors import UsageError


@dataclass(frozen=True, slots=True)
class Crew:
    """Who works on trials.

    Attributes:
        devices: One entry for each trial at a time, where memory holds so many; `None` is the best
            there is.
        kind: `cpu`, `cuda` or `mps`.
        demands: What each trial may use; its threads are decided.
        at_once: How many run at a time as far as can be told before any has run.
        memory: Bytes of main memory that trials may take together; `None` where nobody counts, as
            their number was said or they run on GPUs.
    """

    devices: tuple[str | None, ...]
    kind: str
    demands: Resources
    at_once: int
    memory: int | None

    def named(self) -> str:
        """The devices, in words."""
        distinct = dict.fromkeys(device or self.kind for device in self.devices)
        return ", ".join(distinct)


def crew(
    resources: Resources, trials: int, need: int, at_once: int | None, per_gpu: int | None
) -> Crew:
    """Divide this machine among trials.

    Args:
        resources: What was asked for. Without threads, `OMP_NUM_THREADS` counts on a CPU, as it
            does for torch; else the cores are divided. On GPUs threads decide how many processes
            cut windows, and the variable says nothing of that: `torchrun` sets it to 1.
        trials: How many there are, those that are done included: a run that goes on is to round as
            it began.
        need: Bytes of a trial.
        at_once: Trials at a time; `None` decides.
        per_gpu: Trials at a time on each GPU; `None` is one.

    Raises:
        UsageError: There is no such device, or it is no GPU.
    """
    kind = device_kind(resources)
    threads = resources.threads
    devices: tuple[str | None, ...]
    memory = None
    if kind == "cuda":
        devices = on_gpus(_gpus(resources.device), trials, at_once, per_gpu)
        sharing = len(devices) * (_of_environment("LOCAL_WORLD_SIZE") or 1)  # set by torchrun
        threads = threads or max(1, usable_cores() // sharing)
        count = len(devices)
    else:
        if per_gpu is not None:
            raise UsageError(
                "--per-gpu is for NVIDIA GPUs, and the trials would run on "
                f"'{kind}'", hint="use --at-once"
            )  # fmt: skip
        if kind == "mps":
            at_once = at_once or 1
        else:
            threads = threads or _of_environment("OMP_NUM_THREADS")
        cores, free = usable_cores(), free_memory()
        memory = None if at_once else free
        limits = memory_limit(), free
        count, threads = on_cores(cores, limits, trials, need, at_once, threads)
        most = at_once or max(count, min(cores // threads, trials))
        devices = (resources.device or kind,) * most
    if len(devices) == 1:
        devices = (resources.device,)
    return Crew(devices, kind, replace(resources, threads=threads), count, memory)


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


def _of_environment(name: str) -> int | None:
    """A number above 0; `None` where there is none."""
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() and int(text) else None


def _gpus(device: str | None) -> tuple[str, ...]:
    """The GPU that was named, or all."""
    import torch

    if device and ":" in device:
        return (device,)
    return tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))
