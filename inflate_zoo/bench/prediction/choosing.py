"""Which trained networks segment: one trial, or several of a run as an ensemble."""

from __future__ import annotations

import difflib
import shlex
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from inflate_zoo.bench.definitions.tasks import Task
from inflate_zoo.bench.definitions.trial_folder import RECORD, SPEC, TrialFolder
from inflate_zoo.bench.definitions.trials import labels_of
from inflate_zoo.bench.trials.folder import trials_of
from inflate_zoo.errors import UsageError, visible
from inflate_zoo.files.reading import called, require_folder

_SHARED = ("name", "channels", "labels", "regions", "slices")
_RUN_AGAIN = "run the 'inflate-zoo bench' command that planned them again"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which trials of a run are asked for; what is empty leaves all.

    Attributes:
        arms: Labels, as the report shows them.
        seeds: Seeds.
        folds: Folds.
    """

    arms: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    folds: tuple[int, ...] = ()

    @property
    def made(self) -> bool:
        """Whether anything is asked for."""
        return bool(self.arms or self.seeds or self.folds)


def find_trials(folder: Path, choice: Choice) -> tuple[TrialFolder, ...]:
    """The finished trials that are asked for: one, or several that are an ensemble.

    Args:
        folder: A trial's folder, or a run's.
        choice: Of a run's trials; where none is made, the run holds one that is done. Warns of
            those of which nothing can be told.

    Returns:
        Sorted by arm, fold and seed; they share the task with its classes.

    Raises:
        UsageError: There is no such trial, one is not done, or there are several and nothing says
            which.
    """
    if not choice.made:
        return (find_trial(folder),)
    trials = [TrialFolder(folder)] if (folder / SPEC).exists() else list(trials_of(folder))
    if not trials:
        raise _no_trials(folder)
    trials = _readable(trials)
    chosen = _chosen(folder, trials, choice)
    _require_one_study(folder, chosen)
    if undone := [trial for trial in chosen if not _done(trial)]:
        raise UsageError(
            f"{len(undone)} of the {len(chosen)} trials that are asked for are not done",
            details=names_of(undone),
            hint=f"{_RUN_AGAIN}, or choose others with --seed and --fold",
        )
    require_alike(chosen)
    return tuple(chosen)


def _readable(trials: Sequence[TrialFolder]) -> list[TrialFolder]:
    """Those that say which trial they are; the others are left out by name, as in the report.

    Raises:
        UsageError: None does.
    """
    kept: list[TrialFolder] = []
    lost: list[UsageError] = []
    for trial in trials:
        try:
            _ = trial.spec
        except UsageError as error:
            lost.append(error)
        else:
            kept.append(trial)
    if not kept:
        raise lost[0]
    if lost:
        more = f", and so are {len(lost) - 1} more" if len(lost) > 1 else ""
        warnings.warn(f"{lost[0].message}; it is left out{more}", stacklevel=2)
    return kept


def _order(trial: TrialFolder) -> tuple[int, int]:
    return trial.spec.fold, trial.spec.seed


def find_trial(folder: Path) -> TrialFolder:
    """The finished trial that a folder is, or the only one that a run folder holds.

    Raises:
        UsageError: It is neither, the trial is not done, or there are several.
    """
    if (folder / SPEC).exists():
        trial = TrialFolder(folder)
        if not (folder / RECORD).exists():
            raise UsageError(
                f"trial '{called(folder)}' is not done: it has no record",
                hint=f"train it first: inflate-zoo bench-trial {shlex.quote(str(folder))}",
            )
        trial.believed(moved=True)
        return trial
    trials = list(trials_of(folder))
    if not trials:
        raise _no_trials(folder)
    done = [trial for trial in trials if trial.done]
    if len(done) == 1:
        return done[0]
    if not done:
        raise UsageError(
            f"none of the {len(trials)} trials of '{called(folder)}' is done", hint=_RUN_AGAIN
        )
    raise UsageError(
        f"'{called(folder)}' holds {len(done)} trained networks",
        details=[
            f"{trial.folder}: {name}" for trial, name in zip(done, names_of(done), strict=True)
        ],
        hint="name one of them, or choose by --arm, --seed and --fold: several are an ensemble",
    )


def _no_trials(folder: Path) -> UsageError:
    hint = "name a folder below <out>/trials that holds a record.json"
    require_folder(folder, hint)
    return UsageError(
        f"'{called(folder)}' is neither a trial's folder nor a run of 'inflate-zoo bench'",
        hint=hint,
    )


def names_of(trials: Sequence[TrialFolder]) -> list[str]:
    """What trials are called, each arm alike: commands may have given it several labels."""
    specs = [trial.spec for trial in trials]
    return [
        f"{visible(label)}, seed {spec.seed}, fold {spec.fold}"
        for label, spec in zip(labels_of(specs), specs, strict=True)
    ]


def _done(trial: TrialFolder) -> bool:
    """Whether a trial is done, wherever its folder lies now."""
    if not (trial.folder / RECORD).exists():
        return False
    try:
        trial.believed(moved=True)
    except UsageError:
        return False
    return True


def _chosen(folder: Path, trials: Sequence[TrialFolder], choice: Choice) -> list[TrialFolder]:
    """The trials that are asked for, done or not, by arm, fold and seed.

    Raises:
        UsageError: No trial has such an arm, seed or fold; or no arm is named of several.
    """
    named = labels_of([trial.spec for trial in trials])
    labels = sorted({*named})
    for arm in choice.arms:
        if arm not in labels:
            raise _no_arm(folder, arm, labels)
    if len(labels) > 1 and not choice.arms:
        raise UsageError(
            f"'{called(folder)}' holds {len(labels)} arms",
            details=[visible(label) for label in labels],
            hint="name one with --arm, or several: they are an ensemble",
        )
    chosen = []
    for label in sorted({*(choice.arms or labels)}):
        own = [trial for trial, name in zip(trials, named, strict=True) if name == label]
        own = _numbered(label, own, "seed", choice.seeds)
        chosen += sorted(_numbered(label, own, "fold", choice.folds), key=_order)
    return chosen


def _numbered(
    label: str, trials: Sequence[TrialFolder], word: Literal["seed", "fold"], asked: Sequence[int]
) -> list[TrialFolder]:
    """The trials of one arm with these seeds or folds; all of them where none is asked for."""
    numbers = [trial.spec.seed if word == "seed" else trial.spec.fold for trial in trials]
    for number in asked:
        if number not in numbers:
            raise UsageError(
                f"arm '{label}' has no trial of {word} {number}",
                hint=f"it has {word} {', '.join(map(str, sorted(set(numbers))))}",
            )
    return [t for t, number in zip(trials, numbers, strict=True) if not asked or number in asked]


def _no_arm(folder: Path, arm: str, labels: Sequence[str]) -> UsageError:
    close = difflib.get_close_matches(arm, labels, n=1, cutoff=0.5)
    return UsageError(
        f"'{called(folder)}' has no arm '{arm}'",
        details=[visible(label) for label in labels],
        hint=f"did you mean '{close[0]}'?" if close else "name one of them",
    )


def _require_one_study(folder: Path, trials: Sequence[TrialFolder]) -> None:
    """Refuse trials of several tasks or protocols: a name of an arm stands in each."""
    studies = {(trial.spec.task.name, trial.spec.protocol.name) for trial in trials}
    if len(studies) > 1:
        raise UsageError(
            f"'{called(folder)}' holds such trials of {len(studies)} tasks and protocols",
            details=[
                f"{trial.folder}: {trial.spec.task.name}, protocol {trial.spec.protocol.name}"
                for trial in trials
            ],
            hint="name the folder of one of them",
        )


def require_alike(trials: Sequence[TrialFolder]) -> None:
    """Refuse an ensemble whose networks do not mean the same by their classes.

    Intensities and spacing may differ, as those of a derived task do between folds: each network
    sees the image as it was trained to.

    Raises:
        UsageError: Names the first field of the task that differs.
    """
    first = trials[0].spec
    for trial in trials[1:]:
        for field in _SHARED:
            ours, theirs = _of(first.task, field), _of(trial.spec.task, field)
            if ours != theirs:
                one, other = names_of([trials[0], trial])
                raise UsageError(
                    f"these trials are no ensemble: they differ in the task's {field}",
                    details=[f"{one}: {ours}", f"{other}: {theirs}"],
                    hint="choose trials of one task with --arm, --seed and --fold",
                )
        ours, theirs = (spec.protocol.train.precision for spec in (first, trial.spec))
        if ours != theirs:
            raise UsageError(
                f"these trials are no ensemble: they were trained in {ours} and {theirs}",
                hint="choose trials of one protocol with --arm, --seed and --fold",
            )


def _of(task: Task, field: str) -> str:
    value = getattr(task, field)
    return visible(dict(value) if field in ("labels", "regions") else value)
