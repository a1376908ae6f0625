"""The device a trial runs on."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from inflate_zoo.bench.data.machine import usable_cores
from inflate_zoo.errors import UsageError

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator


@dataclass(frozen=True, slots=True)
class Resources:
    """What a trial may use; no part of its specification.

    Attributes:
        device: `cpu`, `cuda`, `cuda:1`, `mps`; `None` takes the best there is.
        workers: Processes that make windows; `None` decides by device and cores.
        compiled: Whether networks are compiled for training; results round differently then.
        threads: Threads of torch on the CPU; `None` leaves them as they are. Results round
            differently with another number.
        trackers: Names of the trackers of experiments that are told the curves.
    """

    device: str | None = None
    workers: int | None = None
    compiled: bool = False
    threads: int | None = None
    trackers: tuple[str, ...] = ()

    @property
    def tracker_words(self) -> list[str]:
        """The trackers as they are typed."""
        return [word for name in self.trackers for word in ("--tracker", name)]


def device_kind(resources: Resources) -> str:
    """`cpu`, `cuda` or `mps`: what was asked for, or the best there is.

    Raises:
        UsageError: There is no such device.
    """
    import torch

    name = resources.device
    try:
        kind = torch.device(name).type if name else None
    except RuntimeError as error:
        raise UsageError(f"no device '{name}'", hint="use cpu, cuda, cuda:0, ... or mps") from error
    mps = torch.backends.mps.is_available()
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": mps}
    if kind is not None and not available.get(kind, False):
        raise UsageError(f"this machine has no device '{name}'", hint="leave out --device")
    if kind == "cuda" and (torch.device(name or "cuda").index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"this machine has no device '{name}'",
            hint=f"it has cuda:0 to cuda:{torch.cuda.device_count() - 1}",
        )
    return kind or ("cuda" if available["cuda"] else "mps" if mps else "cpu")


def make_accelerator(precision: str, resources: Resources) -> Accelerator:
    """Accelerate's view of the device; a CPU takes float32 whatever the protocol says.

    Raises:
        UsageError: There is no such device.
    """
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import InitProcessGroupKwargs

    on_cpu, name = device_kind(resources) == "cpu", resources.device
    if not on_cpu and name and name.startswith("cuda:") and "LOCAL_RANK" not in os.environ:
        torch.cuda.set_device(torch.device(name))
    AcceleratorState._reset_state()  # it would insist on the precision of the trial before
    # The other processes wait while the first one validates.
    patience = InitProcessGroupKwargs(timeout=timedelta(hours=6))
    return Accelerator(
        cpu=on_cpu,
        mixed_precision="bf16" if precision == "bf16" and not on_cpu else "no",
        kwargs_handlers=[patience],
    )


def workers_for(resources: Resources, device: torch.device) -> int:
    """Processes that make windows."""
    if resources.workers is not None:
        return resources.workers
    # A CPU that trains has no core to spare.
    return 0 if device.type == "cpu" else min(8, max(0, (resources.threads or usable_cores()) - 1))


def reset_peak_memory(device: torch.device) -> None:
    """Begin to measure anew: a process runs many trials."""
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):  # Linux alone can
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> int | None:
    """Bytes on the GPU, or of the process on a CPU, at their highest; `None` where none can tell.

    On Linux and on GPUs since `reset_peak_memory`, elsewhere since the process began.
    """
    import torch

    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def device_name(device: torch.device) -> str:
    """What the device calls itself."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def capability(device: torch.device) -> str:
    """What the device can do, which decides how it rounds: e.g. `AVX2`, or `9.0` of a GPU."""
    import torch

    if device.type == "cuda":
        return ".".join(map(str, torch.cuda.get_device_capability(device)))
    return torch.backends.cpu.get_cpu_capability()


def set_threads(resources: Resources) -> None:
    """Give torch the threads that it is to use."""
    import torch

    if resources.threads is not None:
        torch.set_num_threads(resources.threads)
