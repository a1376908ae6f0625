"""What a run folder was last planned for: its trials in order, and since when failures count."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inflate_zoo.bench.definitions.trial_folder import FAILURE, TrialFolder, read_plain
from inflate_zoo.bench.definitions.trials import TrialSpec
from inflate_zoo.bench.trials.folder import trials_of
from inflate_zoo.bench.trials.versions import versions
from inflate_zoo.errors import UsageError
from inflate_zoo.files.reading import called, require_folder
from inflate_zoo.files.writing.contents import form_text
from inflate_zoo.files.writing.whole_files import replace_text
from inflate_zoo.texts import validated

PLAN = "plan.json"
_HINT = "plan it with 'inflate-zoo bench' and the option --plan"


class RunPlan(BaseModel):
    """The trials of the command that last planned them.

    Attributes:
        format: Of this file.
        planned: When, in ISO 8601; the file's own time counts, which is the file system's.
        trials: Their hashes, in the order in which they should run.
        kinds: One of each kind, which differ in their seeds alone: what these need all need.
        versions: Of what planned them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    planned: str
    trials: tuple[str, ...]
    kinds: tuple[str, ...] = ()
    versions: Mapping[str, str] = Field(default_factory=dict)


def begin_run(out: Path, trials: Sequence[TrialFolder]) -> float:
    """Note that a run begins: what failed before is tried again, once.

    Returns:
        When, in seconds since 1970 by the clock of the folder's file system.

    Raises:
        WriteError: It cannot be noted.
    """
    when = datetime.now(UTC).isoformat(timespec="seconds")
    kinds = {_kind(trial.spec): trial.folder.name for trial in reversed(trials)}
    plan = RunPlan(
        planned=when,
        trials=tuple(trial.folder.name for trial in trials),
        kinds=tuple(reversed(kinds.values())),
        versions=versions(),
    )
    replace_text(out / PLAN, form_text(plan))
    return (out / PLAN).stat().st_mtime


def _kind(spec: TrialSpec) -> Hashable:
    return spec.task.name, spec.protocol.name, spec.arm.label, spec.fold


def run_began(out: Path) -> float | None:
    """When the run of a folder began, by the clock of its file system; `None` if nobody noted it.

    All workers of a run go by this moment, whenever they start: what fails in one of them would
    fail in each.
    """
    with suppress(OSError):
        return (out / PLAN).stat().st_mtime
    return None


def failed_at(folder: Path) -> float:
    """When a trial failed, in seconds since 1970 by the file system's clock; 0 where it did not."""
    with suppress(OSError):
        return (folder / FAILURE).stat().st_mtime
    return 0.0


def failed_since(folder: Path, since: float) -> bool:
    """Whether a trial failed after a moment, in seconds since 1970 by the file system's clock."""
    return failed_at(folder) > since


def planned_trials(out: Path) -> tuple[TrialFolder, ...]:
    """All trials of a run folder, in the order in which they were planned; others come last.

    Raises:
        UsageError: It is no folder, or holds no trials.
    """
    require_folder(out)
    found = {trial.folder.name: trial for trial in trials_of(out)}
    if not found:
        raise UsageError(f"'{called(out)}' holds no trials", hint=_HINT)
    first = [name for name in dict.fromkeys(_order(out)) if name in found]
    return tuple(found[name] for name in dict.fromkeys([*first, *found]))


def run_plan(out: Path) -> RunPlan | None:
    """What a run folder was last planned for; `None` if nobody noted it, or not so."""
    with suppress(ValidationError):
        return validated(RunPlan, read_plain(out / PLAN))
    return None


def _order(out: Path) -> tuple[str, ...]:
    plan = run_plan(out)
    return plan.trials if plan else ()
