"""The trials of one or several run folders, each believed or left out by name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from inflate_zoo.bench.definitions.results import Failure, Record
from inflate_zoo.bench.definitions.trial_folder import FAILURE, RECORD, SPEC
from inflate_zoo.bench.definitions.trial_folder import TrialFolder as Planned
from inflate_zoo.bench.definitions.trials import TrialSpec, labels_of
from inflate_zoo.errors import UsageError, WorkError
from inflate_zoo.files.reading import called, reading, require_folder, require_regular

_WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class CollectedTrial:
    """One trial of a run folder.

    Attributes:
        hash: Identity of the trial.
        described: What it is.
        record: What it measured; None if it failed, has not run or is not to be believed.
        failure: Why it failed, if it did.
        folder: Where it lies, as its run folder was named.
        overlays: File of the overlays, if there is one.
        trained: Whether its trained network is there.
        doubt: Why its record is not to be believed, if that is so.
    """

    hash: str
    described: TrialSpec
    record: Record | None
    failure: Failure | None
    folder: Path
    overlays: Path | None
    trained: bool = False
    doubt: str | None = None


@dataclass(frozen=True)
class Collected:
    """What run folders hold.

    Attributes:
        trials: By task, protocol, arm, fold, seed.
        left_out: A sentence for every record, or whole trial, that is not to be believed.
    """

    trials: tuple[CollectedTrial, ...]
    left_out: tuple[str, ...]


def collect(folders: Sequence[Path]) -> Collected:
    """Read the trials of run folders once; see `Collector`."""
    return Collector(folders).collect()


class Collector:
    """Reads the trials of run folders, again and again while they run.

    A record does not change once it is there, so it is read once, and so is what a trial is.

    Args:
        folders: Folders that `bench` wrote, each with a folder `trials`.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)
        self._planned: dict[Path, Planned] = {}
        self._recorded: dict[Path, CollectedTrial] = {}

    def collect(self) -> Collected:
        """What the folders hold now; a trial that several of them hold counts once.

        Trials of one arm are called alike.

        Raises:
            UsageError: A folder without trials.
            WorkError: There is no trial that can be read.
        """
        found: dict[str, CollectedTrial] = {}
        left_out: dict[str, None] = {}
        for place in (place for folder in self._folders for place in _places(folder)):
            try:
                trial = self._read(place)
            except UsageError as error:
                left_out[error.message] = None
                continue
            if trial.doubt is not None:
                left_out[trial.doubt] = None
            known = found.get(trial.hash)
            if known is None or _worth(trial) > _worth(known):
                found[trial.hash] = trial
        if not found:
            raise WorkError(
                "there is no trial that can be read",
                details=list(left_out),
                hint="run the 'inflate-zoo bench' command that planned them again, then the report",
            )
        return Collected(
            tuple(sorted(_named_alike([*found.values()]), key=_order)), tuple(left_out)
        )

    def _read(self, place: Path) -> CollectedTrial:
        if (known := self._recorded.get(place)) is not None:
            return known
        planned = self._planned.setdefault(place, Planned(place))
        trial = _read(planned)
        if trial.record is not None:
            self._recorded[place] = trial
            del self._planned[place]
        return trial


def _named_alike(trials: Sequence[CollectedTrial]) -> Iterator[CollectedTrial]:
    """The same with one label for all trials of an arm."""
    labels = labels_of([trial.described for trial in trials])
    for trial, label in zip(trials, labels, strict=True):
        told = trial.described
        if told.arm.label != label:
            arm = told.arm.model_copy(update={"label": label})
            trial = replace(trial, described=told.model_copy(update={"arm": arm}))
        yield trial


def _worth(trial: CollectedTrial) -> int:
    """A record counts more than a failure, a failure more than nothing."""
    return 2 if trial.record else 1 if trial.failure else 0


def _order(trial: CollectedTrial) -> tuple[str, str, str, int, int, str]:
    told = trial.described
    return told.task.name, told.protocol.name, told.arm.label, told.fold, told.seed, trial.hash


def _places(folder: Path) -> list[Path]:
    hint = "name the folder that 'inflate-zoo bench' wrote, the one that holds 'trials'"
    try:
        places = [
            place
            for place in sorted((folder / "trials").iterdir())
            if (place / "trial.json").exists() or (place / "record.json").exists()
        ]
    except OSError as error:
        require_folder(folder, hint)
        raise UsageError(f"'{called(folder)}' holds no folder of trials", hint=hint) from error
    if not places:
        raise UsageError(f"'{called(folder)}' holds no trials", hint=hint)
    return places


def _read(planned: Planned) -> CollectedTrial:
    """One trial.

    Raises:
        UsageError: It cannot be told which trial it is.
    """
    place = planned.folder
    overlays = place / "overlays.safetensors"
    with reading(place):
        held = {entry.name for entry in os.scandir(place)}
    for name in held & {SPEC, RECORD, FAILURE}:
        require_regular(place / name)
    planned.require_own()
    kept = overlays if overlays.name in held and overlays.is_file() else None
    trial = CollectedTrial(planned.hash, planned.spec, None, None, place, kept, _WEIGHTS in held)
    if RECORD in held:
        try:
            return replace(trial, record=planned.believed())
        except UsageError as error:
            return replace(trial, doubt=error.message)
    return replace(trial, failure=planned.failure()) if FAILURE in held else trial
