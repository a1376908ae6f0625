"""What planned trials will cost, from a few measured steps of each kind."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from inflate_zoo.bench.attempt import ready
from inflate_zoo.bench.cache import open_case
from inflate_zoo.bench.definitions import Protocol
from inflate_zoo.bench.devices import Resources, make_accelerator, peak_memory
from inflate_zoo.bench.evaluation import score_case
from inflate_zoo.bench.planning import Planned
from inflate_zoo.bench.progress import Silent
from inflate_zoo.bench.records import Place, Trial, TrialSpec, plan_trial

STEPS = 4


@dataclass(frozen=True, slots=True)
class _Costs:
    """What a short trial took.

    Attributes:
        loading: Seconds until the first step, features of a frozen backbone included.
        step: Seconds of a step.
        evaluation: Seconds of the first test case.
        memory: Bytes at the highest.
    """

    loading: float
    step: float
    evaluation: float
    memory: int


class _Stopwatch(Silent):
    """Notes when each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def step(self, step: int, steps: int, loss: float, waiting: float) -> None:  # noqa: ARG002
        """Note it."""
        self.ends.append(time.perf_counter())


def _measure(trial: Trial, resources: Resources) -> _Costs:
    """Run a short trial without lease and record, for what it costs.

    Args:
        trial: With at least two steps; the first, which warms up, does not count.
        resources: Device and workers.
    """
    accelerator = make_accelerator(trial.spec.protocol.train.precision, resources)
    spec, watch = trial.spec, _Stopwatch()
    began = time.perf_counter()
    seer, trainer = ready(trial, accelerator, resources, watch, lambda: None)
    prepared = time.perf_counter()
    trainer.run()
    trained = time.perf_counter()
    case = open_case(Path(trial.place.cache), spec.entries[spec.cases.test[0]])
    score_case(seer, case, spec.task, trial.folder, 0)
    over = time.perf_counter()
    seer.network.save_pretrained(trial.folder)
    return _Costs(
        loading=prepared - began,
        step=(watch.ends[-1] - watch.ends[0]) / (len(watch.ends) - 1),
        evaluation=over - trained,
        memory=peak_memory(accelerator.device),
    )


@dataclass(frozen=True, slots=True)
class Row:
    """One trial that would run.

    Attributes:
        trial: Its hash.
        arm: Its arm's label.
        fold: Its fold.
        seed: Its seed.
        done: Whether it has a record already.
        seconds: Expected time.
        memory_bytes: Highest memory of the few measured steps.
        disk_bytes: What its folder will hold when it is done.
    """

    trial: str
    arm: str
    fold: int
    seed: int
    done: bool
    seconds: float
    memory_bytes: int
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """All trials that would run."""

    rows: tuple[Row, ...]

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        names = Row.__slots__
        return {
            "trials": [{name: getattr(row, name) for name in names} for row in self.rows],
            "seconds": sum(row.seconds for row in self.rows if not row.done),
            "disk_bytes": sum(row.disk_bytes for row in self.rows),
        }

    def lines(self) -> list[str]:
        """For people."""
        todo = [row for row in self.rows if not row.done]
        lines = [
            f"{row.trial}  {row.arm}, seed {row.seed}, fold {row.fold}: "
            + ("done" if row.done else f"{_time(row.seconds)}, {_size(row.memory_bytes)} memory")
            for row in self.rows
        ]
        whole = sum(row.seconds for row in todo)
        disk = sum(row.disk_bytes for row in self.rows)
        spare = 3 * max((row.disk_bytes for row in todo), default=0)
        lines.append(
            f"{len(self.rows)} trials, {len(todo)} to run: about {_time(whole)} one after another, "
            f"{_size(disk)} of disk and {_size(spare)} more while one trains; estimated from "
            f"{STEPS} steps of each kind of trial"
        )
        return lines


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _size(count: float) -> str:
    return f"{count / 2**20:.0f} MiB" if count < 2**30 else f"{count / 2**30:.1f} GiB"


def estimate(planned: Planned, resources: Resources, say: Callable[[str], None]) -> Estimate:
    """Run a few steps and one evaluation of each distinct kind of trial, and scale up.

    Nothing is written into the run folder.

    Args:
        planned: The trials.
        resources: Device and workers.
        say: Told what is measured.
    """
    measured: dict[str, tuple[float, int, int]] = {}
    rows = []
    for spec, place in planned.trials:
        kind = f"{spec.arm.kind} {spec.arm.config.model_dump_json()}"
        done = (planned.out / "trials" / spec.hash / "record.json").exists()
        if kind not in measured and not done:
            say(f"measuring {spec.arm.label}")
            measured[kind] = _measured(spec, place, resources)
        seconds, memory, disk = measured.get(kind, (0.0, 0, 0))
        rows.append(
            Row(spec.hash, spec.arm.label, spec.fold, spec.seed, done, seconds, memory, disk)
        )
    return Estimate(tuple(rows))


def _measured(spec: TrialSpec, place: Place, resources: Resources) -> tuple[float, int, int]:
    """Seconds, bytes of memory and of disk of one trial."""
    protocol, train = spec.protocol, spec.protocol.train
    short = train.model_copy(
        update={"steps": STEPS, "validate_every": 0, "select": "last", "checkpoint_every": 10**9}
    )
    few = spec.cases.train[:2] if protocol.network.freeze else spec.cases.train
    trimmed = spec.model_copy(
        update={
            "protocol": Protocol(**{**protocol.model_dump(), "train": short}),
            "cases": spec.cases.model_copy(update={"train": few, "test": spec.cases.test[:1]}),
        }
    )
    folder = Path(tempfile.mkdtemp(prefix="inflate-zoo-"))
    try:
        trial = plan_trial(folder, trimmed, place)
        costs = _measure(trial, resources)
        disk = (trial.folder / "model.safetensors").stat().st_size
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    cache = Path(place.cache)

    def voxels(names: tuple[str, ...]) -> int:
        shapes = [open_case(cache, spec.entries[name]).image.shape for name in names]
        return sum(prod(shape) for shape in shapes)

    per_voxel = costs.evaluation / voxels(spec.cases.test[:1])
    validated = spec.cases.validation[: train.validation_cases]
    times = train.steps // train.validate_every if train.validate_every else 0
    windows = len(spec.cases.train) / len(few)  # of a frozen backbone, encoded while loading
    seconds = costs.loading * windows + costs.step * train.steps
    seconds += per_voxel * (voxels(spec.cases.test) + times * voxels(validated))
    return seconds, costs.memory, disk
