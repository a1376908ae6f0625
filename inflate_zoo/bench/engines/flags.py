"""What is asked of one engine alone, each field a flag of `bench` by the same name."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class HereFlags:
    """Of this machine.

    Attributes:
        at_once: Trials at a time; `None` decides.
        per_gpu: Trials at a time on each GPU; `None` is one.
    """

    at_once: int | None = None
    per_gpu: int | None = None


@dataclass(frozen=True, slots=True)
class SlurmFlags:
    """Of SLURM; what is not said is left to it.

    Attributes:
        jobs: Workers.
        time: Limit of a job, as `sbatch` takes it.
        partition: Where jobs run.
        account: Who pays.
        qos: Quality of service.
        gpus_per_task: GPUs of a job.
        gres: The same or others, in SLURM's words.
        cpus_per_task: Cores of a job.
        mem: Memory of a job.
        constraint: Features of its node.
        sbatch: Other options, each `--name=value`.
        setup: Lines of shell before the worker.
        container: Words before the worker.
        detach: Whether the jobs are left once they are submitted.
    """

    jobs: int | None = None
    time: str | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    gpus_per_task: str | None = None
    gres: str | None = None
    cpus_per_task: int | None = None
    mem: str | None = None
    constraint: str | None = None
    sbatch: tuple[str, ...] = ()
    setup: str | None = None
    container: str | None = None
    detach: bool = False


@dataclass(frozen=True, slots=True)
class RayFlags:
    """Of Ray.

    Attributes:
        cpus: Of a task.
        gpus: Of a task, or a part of one.
        resource: Others of a task, each `NAME=N`.
    """

    cpus: float | None = None
    gpus: float | None = None
    resource: tuple[str, ...] = ()


Flags = HereFlags | SlurmFlags | RayFlags


def given(flags: Flags) -> list[str]:
    """Those that were given, as they are typed."""
    return [
        "--" + field.name.replace("_", "-")
        for field in fields(flags)
        if getattr(flags, field.name) != field.default
    ]
