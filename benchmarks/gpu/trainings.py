"""Whole tables of trainings on a GPU, several at a time, in pieces that go on from each other."""

from __future__ import annotations

import signal
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from figures import Day
from sharing import mps

from inflate_zoo.bench.arms.making import ArmRequest
from inflate_zoo.bench.definitions.catalog import load_protocol
from inflate_zoo.bench.definitions.trial_folder import TrialFolder
from inflate_zoo.bench.definitions.trial_progress import TrialProgress
from inflate_zoo.bench.engines.capacity import crew
from inflate_zoo.bench.engines.engine import Ended, reason
from inflate_zoo.bench.engines.here import Here
from inflate_zoo.bench.engines.processes import get_ready
from inflate_zoo.bench.report.terminal import table as ranked
from inflate_zoo.bench.report.writing import write_report
from inflate_zoo.bench.training.checkpointing import CHECKPOINT
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.bench.training.progress import Silent, Watcher
from inflate_zoo.bench.trials.folder import plan_trial
from inflate_zoo.bench.trials.planning import Request, plan
from inflate_zoo.files.locations import data_folder
from tests.support.checkpoints import save_transformers

ENDING = 15.0  # seconds in which trials that are broken off come to their end
NEED = 2**30  # bytes of a trial: a GPU is shared by as many as were asked for


@dataclass(frozen=True)
class Table:
    """A table that is to be shown.

    Attributes:
        protocol: Its protocol.
        patch: Patch size of the real checkpoint; 14 does not divide these windows.
        slice_size: Side of whole slices in place of the task's; patches of 4 make many of 240.
        changes: Of the protocol, the same for every arm, as volumes have 35 x 50 x 35 voxels and
            there are 2,000 steps.
    """

    protocol: str
    patch: int
    slice_size: int | None
    changes: tuple[str, ...]


STEPS = ("train.steps=2000", "train.warmup_ratio=0.1", "train.validate_every=1000",
         "train.validation_cases=4", "train.checkpoint_every=250")  # fmt: skip
TABLES = {
    "volume": Table(
        "volume", 6, None,
        (*STEPS, "network.window=[24,36,24]", "train.learning_rate=1e-3"),
    ),
    "paper": Table(
        "paper", 8, 80,
        (*STEPS, "data.split=folds", "network.features=256", "train.learning_rate=3e-4",
         "train.precision=bf16"),
    ),
}  # fmt: skip


class Told:
    """Prints what an engine has to say, and nothing of steps."""

    def begin(self, trials: Sequence[TrialFolder], at_once: int) -> None:
        print(f"{len(trials)} trials, {at_once} at a time", flush=True)

    def change(self, at_once: int) -> None:
        print(f"{at_once} at a time from now on", flush=True)

    def watch(self, trial: TrialFolder) -> Watcher:  # noqa: ARG002
        return Silent()

    def elsewhere(self, trial: TrialFolder, progress: TrialProgress) -> None:
        pass

    def ended(self, trial: TrialFolder, how: Ended) -> None:
        print(f"{trial.folder.name} {how}", flush=True)

    def interrupted(self) -> None:
        print("the time is up", flush=True)

    def say(self, text: str, *, urgent: bool = False) -> None:  # noqa: ARG002
        print(text, flush=True)


def shown(day: Day, name: str) -> bool:
    """Trainings of a table: first by how many share the GPU, then the rest."""
    get_ready()
    out = day.state / name
    trials = planned(day, TABLES[name], out)
    measured, most = name == "volume", max(day.sizes.at_once)
    if measured and not rates(day, trials, day.sizes.at_once):
        return unfinished(trials)
    if day.device == "cuda" and "MPS" not in day.known("sharing"):
        with mps() as by_mps:
            if by_mps and not shared(day, trials, most, measured=measured):
                return unfinished(trials)
    finish(day, trials, most)
    left = sum(not trial.done for trial in trials)
    print(f"{name}: {len(trials) - left} of {len(trials)} trials done", flush=True)
    if left:
        return unfinished(trials)
    results = write_report([out], day.options.work / f"report-{name}")
    text = ranked(results)
    print(text, flush=True)
    (day.state / f"{name}.txt").write_text(text, encoding="utf-8")
    return True


def shared(day: Day, trials: Sequence[TrialFolder], most: int, *, measured: bool) -> bool:
    """Train by MPS until all are done or one fails; whether there may be time for more.

    That they fail is noted: no piece then tries MPS again, and they have their turn without it.
    """
    before = failing(trials)
    in_time = not measured or rates(day, trials, (most,), ", by MPS")
    if in_time and failing(trials) == before:
        finish(day, trials, most)
    if failed := failing(trials) - before:
        reasons = {trial.folder.name: reason(trial) for trial in failed}
        day.note("sharing", "MPS", None, "", failed=reasons)
    return in_time


def finish(day: Day, trials: Sequence[TrialFolder], most: int) -> None:
    """Train those that are not done, so many at a time; those that failed come last."""
    failed = failing(trials)
    left = [trial for trial in trials if not trial.done]
    if left:
        run(day, sorted(left, key=lambda trial: trial in failed), most)


def failing(trials: Sequence[TrialFolder]) -> set[TrialFolder]:
    """Those whose last attempt failed; to be broken off again and again is no failure here."""
    failures = {trial: trial.failure() for trial in trials}
    return {trial for trial, why in failures.items() if why and why.kind != "stopped"}


def unfinished(trials: Sequence[TrialFolder]) -> bool:
    """What a part says that goes on in the next piece.

    Raises:
        SystemExit: Trials failed, which more time does not mend.
    """
    if failed := failing(trials):
        names = ", ".join(sorted(trial.folder.name for trial in failed))
        raise SystemExit(f"trials failed: {names}")
    return False


def planned(day: Day, table: Table, out: Path) -> list[TrialFolder]:
    """The trials of a table, planned on this machine."""
    real = day.options.checkpoint
    if day.options.rehearse:
        sources = ["builtin/supervised"]
        real = save_transformers("dinov2", day.options.work / "checkpoint")
    else:
        kinds = ("supervised", "clip", "mae", "dino", "supervised:2d")
        sources = [f"builtin/{kind}" for kind in kinds]
    if real:
        patched = f"{real}:patch_size={table.patch},{table.patch}"
        sources += [patched, f"{patched}:average", f"{patched}:2d"]
    request = Request(
        data=day.options.data,
        dataset=task_of(day, table),
        wanted=ArmRequest((*sources, "random"), ("center",)),
        protocol=load_protocol(table.protocol, [*table.changes, *day.sizes.settings]),
        seeds=day.sizes.seeds,
        folds=(0,),
        rule="sum",
        out=out,
        cache=day.options.work / "cache",
        command=("python", "benchmarks/gpu/day.py"),
    )
    began = time.monotonic()
    found = plan(request, lambda *_, **__: None, lambda *_: None)
    print(f"planned in {time.monotonic() - began:.0f} s", flush=True)
    return [plan_trial(found.out, spec, place) for spec, place in found.trials]


def task_of(day: Day, table: Table) -> str:
    """The task, or a file of it with slices of another size."""
    name = "hippocampus-mini" if day.options.rehearse else "msd-task04"
    if table.slice_size is None:
        return name
    side = 16 if day.options.rehearse else table.slice_size
    text = (data_folder("benchmarks/tasks") / f"{name}.toml").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("slice_size = ")]
    path: Path = day.options.work / f"{name}.toml"
    path.write_text("\n".join([f"slice_size = {side}", *lines, ""]), encoding="utf-8")
    return str(path)


def rates(day: Day, trials: Sequence[TrialFolder], counts: Sequence[int], how: str = "") -> bool:
    """Trials per hour of each network, by how many share the GPU; whether the time sufficed.

    Trials that failed are taken no more, so that the figure comes of others.
    """
    networks: dict[str, list[TrialFolder]] = {}
    for trial in trials:
        if trial.spec.arm.kind != "2d":  # whose steps take longer
            networks.setdefault(trial.spec.arm.architecture, []).append(trial)
    known = day.known("volume-table")
    for count in counts:
        for network, alike in networks.items():
            what = f"{count} trials at once, {network}{how}"
            failed = failing(alike)
            # One that goes on takes less than its share of the time.
            begun = {t for t in alike if t.done or (t.folder / CHECKPOINT).exists()}
            left = [trial for trial in alike if trial not in begun | failed]
            if what in known or len(left) < count:
                continue
            if day.left < 60:
                return False
            spent = run(day, left[:count], count)
            if spent is None:
                if failing(left[:count]):
                    continue  # others are measured in the next piece
                return False
            taken = [trial.believed().run for trial in left[:count]]
            training = statistics.mean(one.seconds["training"] or 0.0 for one in taken)
            memory = max(one.peak_memory_bytes or 0.0 for one in taken) / 2**20
            day.note(
                "volume-table", what, 3600 * count / spent, "trials per hour",
                seconds=round(spent, 1), training=round(training, 1), MiB=round(memory),
            )  # fmt: skip
    return True


def run(day: Day, trials: Sequence[TrialFolder], at_once: int) -> float | None:
    """Train so many at a time, as `bench` does; the seconds, or `None` if not all were done."""
    if day.left < ENDING:
        return None
    on_gpu = day.device == "cuda"
    per_gpu, others = (at_once, None) if on_gpu else (None, at_once)
    all_ = crew(Resources(day.device), len(trials), NEED, others, per_gpu)
    began = time.monotonic()
    try:
        with limited(day.left - ENDING):
            tally = Here(all_.devices).run(trials, all_.demands, Told())
    except KeyboardInterrupt:  # what is broken off goes on from its last checkpoint
        return None
    for trial, why in tally.failed:
        print(f"{trial.folder.name} failed: {why}", flush=True)
    return None if tally.failed or tally.left else time.monotonic() - began


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Interrupt the block, as Ctrl-C does, when the seconds are over."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, max(0.1, seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
