"""How a run stands, told from its folder alone: what is done, what runs where, what failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from inflate_zoo.bench.definitions.trial_folder import RECORD, SPEC, TrialFolder, read_plain
from inflate_zoo.bench.definitions.trial_progress import PROGRESS, TrialProgress
from inflate_zoo.bench.trials.leases import holder
from inflate_zoo.bench.trials.run_plan import failed_at, planned_trials, run_began
from inflate_zoo.errors import visible
from inflate_zoo.texts import duration, plural

State = Literal["done", "running", "failed", "stopped", "waiting"]
_MOST_SHOWN = 20  # trials of a state
_MOST_TIMED = 20  # records that tell how long a trial takes


@dataclass(frozen=True, slots=True)
class TrialStatus:
    """How one trial stands.

    Attributes:
        trial: Its hash.
        task: Name of its task; like the next four empty or 0 where `trial.json` cannot be read.
        protocol: Name of its protocol.
        arm: Label of its arm.
        fold: Its fold.
        seed: Its seed.
        state: `done`: there is a record, which `report` believes or not; `running`: a process has
            it; `failed`: since the run was planned, so that it is not tried again; `stopped`: one
            had it, and it goes on from there; `waiting`: none had it.
        holder: `host:pid` of the process that has it.
        reason: Why it failed.
        seconds: Until it has trained, where that is known.
        progress: What its process last noted.
    """

    trial: str
    task: str
    protocol: str
    arm: str
    fold: int
    seed: int
    state: State
    holder: str | None = None
    reason: str | None = None
    seconds: float | None = None
    progress: TrialProgress | None = None

    @property
    def name(self) -> str:
        """As it is called elsewhere."""
        return f"{self.arm or self.trial}, seed {self.seed}, fold {self.fold}"

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        progress = self.progress.model_dump(mode="json") if self.progress else None
        return {**asdict(self), "progress": progress}


@dataclass(frozen=True, slots=True)
class RunStatus:
    """How a run stands.

    Attributes:
        out: Its folder.
        trials: All of them, in the order in which they run.
        seconds: Until all are done, if as many run at a time as now; `None` where nothing tells.
    """

    out: Path
    trials: tuple[TrialStatus, ...]
    seconds: float | None

    def of(self, state: State) -> tuple[TrialStatus, ...]:
        """Those in a state."""
        return tuple(trial for trial in self.trials if trial.state == state)

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        counts = {state: len(self.of(state)) for state in get_args(State)}
        trials = [trial.plain() for trial in self.trials]
        return {"out": str(self.out), **counts, "seconds_left": self.seconds, "trials": trials}

    def lines(self) -> list[tuple[str, str]]:
        """For people: an indent and a line each."""
        what = dict.fromkeys(
            f"{trial.task}, protocol {trial.protocol}" for trial in self.trials if trial.task
        )
        lines = [("", f"{name}") for name in what]
        lines.append(("", self._summary()))
        for state in ("running", "failed", "stopped"):
            found = self.of(state)
            if found:
                lines.append(("", f"{state}:"))
            lines += [("  ", f"{trial.name}: {_told(trial)}") for trial in found[:_MOST_SHOWN]]
            if (more := len(found) - _MOST_SHOWN) > 0:
                lines.append(("  ", f"and {more} more"))
        return lines

    def _summary(self) -> str:
        counts = Counter(trial.state for trial in self.trials)
        parts = [f"{counts['done']} of {plural(len(self.trials), 'trial')} done"]
        parts += [f"{counts[state]} {state}" for state in get_args(State)[1:] if counts[state]]
        left = "" if self.seconds is None else f"; about {duration(self.seconds)} left"
        nobody = "" if counts["running"] or not self._open() else "; no process works on it"
        return f"{', '.join(parts)}{left}{nobody}"

    def _open(self) -> bool:
        return any(trial.state in ("stopped", "waiting") for trial in self.trials)


def run_status(out: Path) -> RunStatus:
    """How the run in a folder stands.

    Raises:
        UsageError: It is no folder, or holds no trials.
    """
    folders, since = planned_trials(out), run_began(out) or 0.0
    trials = tuple(_status(trial, since) for trial in folders)
    done = [f for f, status in zip(folders, trials, strict=True) if status.state == "done"]
    return RunStatus(out, trials, _left(trials, _typical(done, trials)))


def _status(trial: TrialFolder, since: float) -> TrialStatus:
    table = read_plain(trial.folder / SPEC) or {}

    def named(part: str, field: str) -> str:
        inner = table.get(part)
        return visible(inner.get(field, "")) if isinstance(inner, dict) else ""

    def number(field: str) -> int:
        value = table.get(field)
        return value if isinstance(value, int) else 0

    state, by = _state(trial, since)
    progress = trial.progress() if state in ("running", "stopped") else None
    failure = trial.failure() if state == "failed" else None
    return TrialStatus(
        trial=trial.folder.name,
        task=named("task", "name"),
        protocol=named("protocol", "name"),
        arm=named("arm", "label"),
        fold=number("fold"),
        seed=number("seed"),
        state=state,
        holder=by,
        reason=failure.told if failure else None,
        seconds=progress.left if progress and state == "running" else None,
        progress=progress,
    )


def _state(trial: TrialFolder, since: float) -> tuple[State, str | None]:
    """How a trial stands, and who has it; what failed before the run began is tried again."""
    if (trial.folder / RECORD).exists():
        return "done", None
    if (by := holder(trial.folder)) is not None:
        return "running", by
    if failed_at(trial.folder) > since:
        return "failed", None
    begun = (trial.folder / PROGRESS).exists() or any(trial.folder.glob("*.safetensors"))
    return ("stopped" if begun else "waiting"), None


def _typical(done: Sequence[TrialFolder], trials: Sequence[TrialStatus]) -> float | None:
    """Seconds of a trial, as some records or those that run have it."""
    apart = max(1, len(done) // _MOST_TIMED)
    took = [seconds for trial in done[::apart] if (seconds := _took(trial)) is not None]
    if not took:
        running = [trial.progress for trial in trials if trial.state == "running"]
        took = [p.per_step * p.steps for p in running if p and p.per_step and p.steps]
    return sum(took) / len(took) if took else None


def _took(trial: TrialFolder) -> float | None:
    run = (read_plain(trial.folder / RECORD) or {}).get("run")
    seconds = run.get("seconds") if isinstance(run, dict) else None
    if not isinstance(seconds, dict):
        return None
    parts = [seconds.get("training"), seconds.get("evaluation")]
    return sum(part for part in parts if isinstance(part, int | float))


def _left(trials: Sequence[TrialStatus], typical: float | None) -> float | None:
    running = [trial for trial in trials if trial.state == "running"]
    if not running or typical is None:
        return None
    waiting = sum(trial.state in ("waiting", "stopped") for trial in trials)
    begun = sum(typical if trial.seconds is None else trial.seconds for trial in running)
    return (waiting * typical + begun) / len(running)


def _told(trial: TrialStatus) -> str:
    """What is said of a trial, its name aside."""
    if trial.state == "failed":
        return visible(trial.reason or "")
    parts = _progress(trial.progress) if trial.progress else []
    if trial.seconds is not None:
        parts.append(f"{duration(trial.seconds)} left")
    where = trial.holder or (trial.progress.host if trial.progress else None)
    device = f" ({trial.progress.device})" if trial.progress else ""
    if where is not None:
        parts.append(f"{'was ' if trial.state == 'stopped' else ''}on {where}{device}")
    return visible(", ".join(parts)) or "it was begun"


def _progress(progress: TrialProgress) -> list[str]:
    parts: list[str] = [progress.stage]
    if progress.step is not None:
        parts.append(f"step {progress.step}" + (f" of {progress.steps}" if progress.steps else ""))
    if progress.stage != "training" and progress.done is not None:
        parts.append(f"{progress.done} of {progress.total}")
    if progress.stage == "training" and progress.loss is not None:
        parts.append(f"loss {progress.loss:.3f}")
    if progress.dice is not None:
        parts.append(f"validation Dice {progress.dice:.3f}")
    if progress.stage == "training" and progress.waiting is not None:
        parts.append(f"{progress.waiting:.0%} waiting for data")
    return parts
