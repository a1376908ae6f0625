"""What planned trials will cost, from a few measured steps of each kind."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from inflate_zoo.bench.data.cases import open_case
from inflate_zoo.bench.definitions.progress import StageProgress
from inflate_zoo.bench.definitions.protocols import Protocol
from inflate_zoo.bench.definitions.trial_folder import TrialFolder
from inflate_zoo.bench.definitions.trial_progress import Stage
from inflate_zoo.bench.definitions.trials import Place, TrialSpec
from inflate_zoo.bench.scoring.evaluation import score_case
from inflate_zoo.bench.training.checkpointing import CHECKPOINT
from inflate_zoo.bench.training.devices import (
    Resources,
    make_accelerator,
    peak_memory,
    set_threads,
)
from inflate_zoo.bench.training.features import identity
from inflate_zoo.bench.training.progress import Silent
from inflate_zoo.bench.trials.attempt import prepare_trial
from inflate_zoo.bench.trials.folder import plan_trial
from inflate_zoo.bench.trials.planning import Planned
from inflate_zoo.errors import WriteError
from inflate_zoo.files.writing.whole_files import writing
from inflate_zoo.networks.files import WEIGHTS
from inflate_zoo.texts import duration, size

STEPS = 4


@dataclass(frozen=True, slots=True)
class _Costs:
    """What a short trial took.

    Attributes:
        loading: Seconds until the first step, without the features of a frozen backbone.
        encoding: Seconds of one window's features; 0 where the backbone is trained.
        step: Seconds of a step.
        evaluation: Seconds of the first test case.
        memory: Bytes at the highest; `None` where the system cannot tell.
    """

    loading: float
    encoding: float
    step: float
    evaluation: float
    memory: int | None


class _Stopwatch(Silent):
    """Notes when each stage began, and when each part and each step ended."""

    def __init__(self, name: str, say: Callable[[str], None], progress: StageProgress) -> None:
        self._name, self._say, self._progress = name, say, progress
        self.stages: dict[Stage, float] = {}
        self.parts: list[float] = []
        self.ends: list[float] = []

    def stage(self, stage: Stage) -> None:
        """Note it."""
        self.stages[stage] = time.perf_counter()
        self._say(f"measuring {self._name}: {stage}")

    def part(self, done: int, total: int) -> None:  # noqa: ARG002
        """Note it: of a short trial only the windows of a frozen backbone are parts."""
        self.parts.append(time.perf_counter())

    def step(self, step: int, steps: int, loss: float, waiting: float) -> None:  # noqa: ARG002
        """Note it."""
        self.ends.append(time.perf_counter())
        self._progress(f"steps of {self._name} measured", step, steps)


def _measure(trial: TrialFolder, resources: Resources, watch: _Stopwatch) -> _Costs:
    """Run a short trial without lease and record, for what it costs.

    Args:
        trial: With at least two steps; the first, which warms up, does not count.
        resources: Device and workers.
        watch: Notes when what ended.
    """
    set_threads(resources)
    accelerator = make_accelerator(trial.spec.protocol.train.precision, resources)
    spec = trial.spec
    began = time.perf_counter()
    predictor, trainer = prepare_trial(trial, accelerator, resources, watch, lambda: None)
    prepared = time.perf_counter()
    watch.stage("training")
    trainer.run()
    trained = time.perf_counter()
    watch.stage("evaluating")
    case = open_case(Path(trial.place.cache), spec.entries[spec.cases.test[0]])
    score_case(predictor, case, spec.task, trial.folder, 0)
    over = time.perf_counter()
    predictor.network.save_pretrained(trial.folder)
    return _Costs(
        loading=watch.stages.get("features", prepared) - began,
        encoding=_apart(watch.parts) if watch.parts else 0.0,
        step=_apart(watch.ends),
        evaluation=over - trained,
        memory=peak_memory(accelerator.device),
    )


def _apart(ends: list[float]) -> float:
    """Mean seconds from one end to the next: the first one warms up."""
    return (ends[-1] - ends[0]) / (len(ends) - 1)


@dataclass(frozen=True, slots=True)
class Row:
    """One trial that would run; one that is done takes nothing more.

    Attributes:
        trial: Its hash.
        arm: Its arm's label.
        fold: Its fold.
        seed: Its seed.
        done: Whether it has a record already.
        seconds: Expected time.
        memory_bytes: Highest memory of the few measured steps; `None` where nothing can tell, and
            of a done one.
        disk_bytes: What its folder will hold when it is done.
        scratch_bytes: What it holds beyond that at most, while it trains and is scored.
        feature_bytes: What it adds to the cache: the features of a frozen backbone, unless a
            trial before it has the same.
    """

    trial: str
    arm: str
    fold: int
    seed: int
    done: bool
    seconds: float
    memory_bytes: int | None
    disk_bytes: int
    scratch_bytes: int
    feature_bytes: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """All trials that would run.

    Attributes:
        rows: One each.
        at_once: How many run at a time.
    """

    rows: tuple[Row, ...]
    at_once: int = 1

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        names = Row.__slots__
        return {
            "trials": [{name: getattr(row, name) for name in names} for row in self.rows],
            "seconds": self._seconds(),
            "at_once": self.at_once,
            "disk_bytes": self._disk(),
        }

    def _seconds(self) -> float:
        todo = [row.seconds for row in self.rows if not row.done]
        return max([sum(todo) / self.at_once, *todo], default=0.0)

    def _disk(self) -> int:
        return sum(row.disk_bytes + row.feature_bytes for row in self.rows)

    def lines(self) -> list[str]:
        """For people."""
        todo = [row for row in self.rows if not row.done]
        lines = [
            f"{row.trial}  {row.arm}, seed {row.seed}, fold {row.fold}: {_needs(row)}"
            for row in self.rows
        ]
        how = "one after another" if self.at_once == 1 else f"{self.at_once} at a time"
        features = sum(row.feature_bytes for row in todo)
        kept = f" ({size(features)} of it features in the cache)" if features else ""
        spare = self.at_once * max((row.scratch_bytes for row in todo), default=0)
        lines.append(
            f"{len(self.rows)} trials, {len(todo)} to run: "
            f"about {duration(self._seconds())} {how}, "
            f"{size(self._disk())} of disk{kept} and {size(spare)} more while trials train; "
            f"estimated from {STEPS} steps of each kind of trial"
        )
        return lines


def _needs(row: Row) -> str:
    if row.done:
        return "done"
    memory = "" if row.memory_bytes is None else f", {size(row.memory_bytes)} memory"
    return f"{duration(row.seconds)}{memory}"


@dataclass(frozen=True, slots=True)
class _Kind:
    """What any trial of a kind takes.

    Attributes:
        seconds: Of a trial whose features are there already.
        encoding: Seconds of one window's features.
        memory: Bytes at the highest; `None` where the system cannot tell.
        disk: Bytes of the trained network.
        scratch: Bytes beyond that, at most, until it is done.
        window: Bytes of one window's features and label; 0 where the backbone is trained.
    """

    seconds: float
    encoding: float
    memory: int | None
    disk: int
    scratch: int
    window: int


_NOTHING = _Kind(seconds=0.0, encoding=0.0, memory=None, disk=0, scratch=0, window=0)


def estimate(
    planned: Planned,
    resources: Resources,
    at_once: int,
    say: Callable[[str], None],
    progress: StageProgress,
) -> Estimate:
    """Run a few steps and one evaluation of each distinct kind of trial, and scale up.

    Nothing is written into the run folder or the cache.

    Args:
        planned: The trials.
        resources: What each trial may use.
        at_once: How many run at a time.
        say: Told what is measured.
        progress: Told how far that is.

    Raises:
        WriteError: The folder for temporary files has no room for a short trial.
    """
    done = {
        spec.hash: TrialFolder(planned.out / "trials" / spec.hash).done
        for spec, _ in planned.trials
    }
    encoded = {json.dumps(identity(spec)) for spec, _ in planned.trials if done[spec.hash]}
    measured: dict[str, _Kind] = {}
    rows = []
    for spec, place in planned.trials:
        name = f"{spec.arm.kind} {spec.arm.config.model_dump_json()}"
        if name not in measured and not done[spec.hash]:
            watch = _Stopwatch(spec.arm.label, say, progress)
            measured[name] = _measured(spec, place, resources, watch)
        kind = _NOTHING if done[spec.hash] else measured[name]
        features = json.dumps(identity(spec))
        windows = 0 if features in encoded else _windows(spec)
        encoded.add(features)
        rows.append(
            Row(
                trial=spec.hash,
                arm=spec.arm.label,
                fold=spec.fold,
                seed=spec.seed,
                done=done[spec.hash],
                seconds=kind.seconds + kind.encoding * windows,
                memory_bytes=kind.memory,
                disk_bytes=kind.disk,
                scratch_bytes=kind.scratch,
                feature_bytes=kind.window * windows,
            )
        )
    return Estimate(tuple(rows), at_once)


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for a short trial, where temporary files go.

    Raises:
        WriteError: There is no room; the place is named, which nobody chose for this.
    """
    other = "name another place in TMPDIR"
    with ExitStack() as stack:
        with writing("a temporary folder", other):
            made = tempfile.TemporaryDirectory(prefix="inflate-zoo-", ignore_cleanup_errors=True)
            name = stack.enter_context(made)
        try:
            yield Path(name)
        except WriteError as error:
            where = f"trials are measured in '{Path(name).parent}'"
            hint = f"{where}: make room there or {other}, then run the same command again"
            raise WriteError(error.message, hint=hint, details=error.details) from error


def _windows(spec: TrialSpec) -> int:
    return len(spec.cases.train) * spec.protocol.train.windows_per_case


def _short(spec: TrialSpec) -> TrialSpec:
    """A few steps and one test case; of a frozen backbone a few windows."""
    protocol, cases = spec.protocol, spec.cases
    changes = {"steps": STEPS, "validate_every": 0, "select": "last", "checkpoint_every": 10**9}
    if protocol.network.freeze:
        changes["windows_per_case"] = 1
        cases = cases.model_copy(update={"train": cases.train[:STEPS]})
    train = protocol.train.model_copy(update=changes)
    return spec.model_copy(
        update={
            "protocol": Protocol(**{**protocol.model_dump(), "train": train}),
            "cases": cases.model_copy(update={"test": cases.test[:1]}),
        }
    )


def _measured(spec: TrialSpec, place: Place, resources: Resources, watch: _Stopwatch) -> _Kind:
    """Run a short trial, with a cache of its own where features are kept, and scale up."""
    short, train, cache = _short(spec), spec.protocol.train, Path(place.cache)
    with _scratch() as folder:
        if spec.protocol.network.freeze:
            for case in (*short.cases.train, *short.cases.test):
                entry = Path("cases") / spec.entries[case]
                with writing(spec.entries[case]):
                    shutil.copytree(cache / entry, folder / entry)  # links need rights on Windows
            place = place.model_copy(update={"cache": str(folder)})
        trial = plan_trial(folder, short, place)
        costs = _measure(trial, resources, watch)
        disk, saved = ((trial.folder / name).stat().st_size for name in (WEIGHTS, CHECKPOINT))
        features = sum(file.stat().st_size for file in folder.glob("features/*/*.npy"))

    def voxels(names: tuple[str, ...]) -> int:
        shapes = [open_case(cache, spec.entries[name]).image.shape for name in names]
        return sum(prod(shape) for shape in shapes)

    per_voxel = costs.evaluation / voxels(spec.cases.test[:1])
    validated = spec.cases.validation[: train.validation_cases]
    times = -(-train.steps // train.validate_every) if train.validate_every else 0  # the last, too
    seconds = costs.loading + costs.step * train.steps
    seconds += per_voxel * (voxels(spec.cases.test) + times * voxels(validated))
    # What takes a file's place is written beside it: a checkpoint, and the best weights there are.
    best = disk if train.select == "best" else 0
    scratch = max(2 * saved + best - disk, saved + best)
    return _Kind(seconds, costs.encoding, costs.memory, disk, scratch, features // _windows(short))
