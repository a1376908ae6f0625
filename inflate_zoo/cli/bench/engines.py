"""From the options of `bench` to the engine that runs the trials."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from inflate_zoo.cli.bench.options import On
from inflate_zoo.errors import UsageError
from inflate_zoo.texts import plural

if TYPE_CHECKING:
    from inflate_zoo.bench.engines.capacity import Crew
    from inflate_zoo.bench.engines.engine import Engine
    from inflate_zoo.bench.engines.flags import Flags, HereFlags, RayFlags, SlurmFlags
    from inflate_zoo.bench.training.devices import Resources
    from inflate_zoo.bench.trials.planning import Resolved


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """Where trials are to run, as it was typed.

    Attributes:
        on: Which engine.
        resources: Of each trial.
        here: What is asked of this machine.
        slurm: What is asked of SLURM.
        ray: What is asked of Ray.
    """

    on: On
    resources: Resources
    here: HereFlags
    slurm: SlurmFlags
    ray: RayFlags

    def require_own(self) -> None:
        """Refuse what the engine cannot do, before sources are looked for.

        Raises:
            UsageError: There are options of another one, or some that cannot be.
        """
        from inflate_zoo.bench.engines import ray_tasks, slurm_texts
        from inflate_zoo.bench.engines.flags import given
        from inflate_zoo.bench.engines.ray_cluster import require_library
        from inflate_zoo.bench.training.devices import device_kind

        flags: dict[On, Flags] = {On.here: self.here, On.slurm: self.slurm, On.ray: self.ray}
        for engine, asked in flags.items():
            if engine is not self.on and (found := given(asked)):
                raise UsageError(
                    f"{found[0]} is of --on {engine}, and the trials run on '{self.on}'",
                    hint=f"leave it out, or add --on {engine}",
                )
        if self.on is On.here:
            device_kind(self.resources)
        elif self.on is On.slurm:
            slurm_texts.require_flags(self.slurm, self.resources.threads)
        elif self.on is On.ray:
            require_library()
            ray_tasks.require_flags(self.ray, self.resources)

    def chosen(self, resolved: Resolved, out: Path) -> Chosen:
        """The engine.

        Args:
            resolved: What is to run.
            out: The run folder.

        Raises:
            UsageError: What is asked of it cannot be.
        """
        return _CHOICES[self.on](self, resolved, out)


@dataclass(frozen=True, slots=True)
class Chosen:
    """An engine before it begins.

    Attributes:
        demands: What each trial may use; its threads are decided.
        where: Where trials run and how many at a time, in words.
        make: Makes it, given when the run began.
        crew: Who works on this machine, where it runs the trials.
        write: Writes what it would start, and says how; `None` where it needs nothing.
    """

    demands: Resources
    where: str
    make: Callable[[float], Engine]
    crew: Crew | None = None
    write: Callable[[], str] | None = None

    @property
    def forks(self) -> bool:
        """Whether trials run in processes forked off this one's."""
        return self.crew is not None and len(self.crew.devices) > 1


def _here(request: EngineRequest, resolved: Resolved, out: Path) -> Chosen:  # noqa: ARG001
    from inflate_zoo.bench.engines.capacity import crew
    from inflate_zoo.bench.engines.here import Here
    from inflate_zoo.bench.engines.needs import memory_bound

    protocol, task = resolved.asked.protocol, resolved.task
    protocol = protocol.of_task(task.name) if task else protocol
    need = memory_bound(resolved.arms.backbones, protocol, task)
    asked = request.here
    all_ = crew(request.resources, resolved.trials, need, asked.at_once, asked.per_gpu)
    threads = plural(all_.demands.threads or 1, "thread")
    many = all_.at_once
    how = f"{many} at a time, {threads} each" if many > 1 else f"one at a time, {threads}"
    return Chosen(
        all_.demands,
        f"{all_.named()}, {how}",
        lambda began: Here(all_.devices, all_.memory, began, checked=True),
        all_,
    )


def _slurm(request: EngineRequest, resolved: Resolved, out: Path) -> Chosen:
    from inflate_zoo.bench.engines.slurm import FOLDER, SCRIPT, Slurm
    from inflate_zoo.bench.engines.slurm_texts import asks_gpu, threads_of

    flags, resources = request.slurm, request.resources
    # Where a GPU is paid for none trains on the CPU because its driver is broken.
    device = resources.device or ("cuda" if asks_gpu(flags) else None)
    demands = replace(resources, device=device, threads=threads_of(flags, resources.threads))
    workers = min(flags.jobs or 1, resolved.trials)

    def write() -> str:
        Slurm(out, flags, 0.0).write_script(demands, workers)
        return f"or as jobs of SLURM: sbatch {shlex.quote(str(out / FOLDER / SCRIPT))}"

    return Chosen(
        demands,
        f"SLURM, {plural(workers, 'worker')}, {plural(demands.threads or 1, 'thread')} each",
        lambda began: Slurm(out, flags, began),
        write=write,
    )


def _ray(request: EngineRequest, resolved: Resolved, out: Path) -> Chosen:  # noqa: ARG001
    from inflate_zoo.bench.engines.ray import Ray
    from inflate_zoo.bench.engines.ray_tasks import parse_resources

    flags = request.ray
    others = parse_resources(flags.resource)
    return Chosen(
        request.resources,
        "a Ray cluster",
        lambda began: Ray(out, began, flags.cpus, flags.gpus, others),
    )


_CHOICES: dict[On, Callable[[EngineRequest, Resolved, Path], Chosen]] = {
    On.here: _here,
    On.slurm: _slurm,
    On.ray: _ray,
}
