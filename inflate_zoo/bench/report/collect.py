"""The trials of one or several run folders, checked on the way in."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from inflate_zoo.architecture import BackboneConfig
from inflate_zoo.bench.protocols import Protocol
from inflate_zoo.bench.records import Fed
from inflate_zoo.bench.tasks import Task
from inflate_zoo.budgets import JSON_BYTES
from inflate_zoo.errors import ConfigError, UsageError
from inflate_zoo.files import called, read_bytes, reading, require_folder
from inflate_zoo.foreign import parsing, reason_of, require_few_values
from inflate_zoo.validation import problems_of

Form = TypeVar("Form", bound=BaseModel)
# Not Mapping, whose checking is not compiled.
Regions = dict[str, dict[str, FiniteFloat | None]]
Curve = tuple[tuple[FiniteFloat, FiniteFloat | None], ...]


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Arm(_Read):
    """What competes: weights, how they gained depth, and the network's size."""

    label: str
    kind: Literal["inflated", "2d", "random"]
    source: str | None = None
    scheme: str | None = None
    architecture: str = ""
    config: BackboneConfig
    weights: str = ""
    normalization: Fed | None = None


class Cases(_Read):
    """Names of the cases of each part of a split."""

    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()


class Described(_Read):
    """What a trial is, whether or not it has run."""

    task: Task
    protocol: Protocol
    fold: int
    seed: int
    arm: Arm
    cases: Cases = Cases()
    channel_rule: str = ""
    entries: dict[str, str] = Field(default_factory=dict)


class _Planned(Described):
    """What trial.json holds."""

    hash: str = ""


class CaseScores(_Read):
    """Scores of one test case: region to metric to value."""

    case: str
    regions: Regions


class Curves(_Read):
    """(step, value) pairs."""

    loss: Curve = ()
    validation_dice: Curve = ()


class Result(_Read):
    """What a trial measured."""

    cases: tuple[CaseScores, ...]
    pooled: Regions = Field(default_factory=dict)
    curves: Curves = Curves()
    parameters: FiniteFloat | None = None
    flops: FiniteFloat | None = None
    encoder_flops: FiniteFloat | None = None


class Run(_Read):
    """How a trial ran."""

    command: tuple[str, ...] = ()
    seconds: dict[str, FiniteFloat | None] = Field(default_factory=dict)
    windows_per_second: FiniteFloat | None = None
    peak_memory_bytes: FiniteFloat | None = None
    device: str = ""
    versions: dict[str, str | None] = Field(default_factory=dict)


class _Measured(_Read):
    """What record.json holds beside the trial."""

    format: Literal[1]
    hash: str
    result: Result
    run: Run = Run()


class Record(_Measured):
    """A finished trial."""

    trial: Described


class Failure(_Read):
    """Why a trial has no record."""

    kind: str
    reason: str
    case: str | None = None


@dataclass(frozen=True)
class Trial:
    """One trial of a run folder.

    Attributes:
        hash: Identity of the trial.
        described: What it is.
        record: What it measured; None if it failed or has not run.
        failure: Why it failed, if it did.
        overlays: File of the overlays, if there is one.
    """

    hash: str
    described: Described
    record: Record | None
    failure: Failure | None
    overlays: Path | None


def collect(folders: Sequence[Path]) -> tuple[Trial, ...]:
    """Read the trials of run folders; a trial that several folders hold counts once.

    Args:
        folders: Folders that `bench` wrote, each with a folder `trials`.

    Returns:
        Trials by task, protocol, arm, fold, seed.

    Raises:
        UsageError: A folder without trials, or a damaged file in one; names the trial's folder.
    """
    found: dict[str, Trial] = {}
    for folder in folders:
        for place in _places(folder):
            trial = _read(place)
            known = found.get(trial.hash)
            if known is None or _worth(trial) > _worth(known):
                found[trial.hash] = trial
    return tuple(sorted(found.values(), key=_order))


def _worth(trial: Trial) -> int:
    """A record counts more than a failure, a failure more than nothing."""
    return 2 if trial.record else 1 if trial.failure else 0


def _order(trial: Trial) -> tuple[str, str, str, int, int, str]:
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


def _read(place: Path) -> Trial:
    overlays = place / "overlays.safetensors"
    with reading(place):
        held = {entry.name for entry in os.scandir(place)}
    try:
        kept = overlays if overlays.name in held and overlays.is_file() else None
        # Its words may be newer than the record's.
        told = _form(place / "trial.json", _Planned) if "trial.json" in held else None
        if "record.json" in held:
            if told is None:
                record = _form(place / "record.json", Record)
            else:
                measured = _form(place / "record.json", _Measured)
                record = Record.model_construct(trial=told, **measured.__dict__)
            return Trial(record.hash, record.trial, record, None, kept)
        described = told or _form(place / "trial.json", _Planned)
        failure = None
        if "failure.json" in held:
            failure = _form(place / "failure.json", Failure)
    except ValidationError as error:
        _damaged(place, problems_of(error, "file")[0], error)
    except ConfigError as error:
        _damaged(place, error.message, error)
    return Trial(described.hash or place.name, described, None, failure, kept)


def _form(path: Path, form: type[Form]) -> Form:
    content = read_bytes(path, JSON_BYTES["record"], _REMOVE)
    with parsing(lambda error: ConfigError(f"{path.name}: {reason_of(error)}", hint=_REMOVE)):
        require_few_values(content)
    return form.model_validate_json(content)  # ten times as quick as by way of dictionaries


_REMOVE = "move its folder away"


def _damaged(place: Path, reason: str, error: Exception) -> NoReturn:
    raise UsageError(
        f"the trial '{place.name}' cannot be read: {reason}",
        hint="move its folder away, run the bench again with the same --out, then the report",
    ) from error
