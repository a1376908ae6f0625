"""A trial on disk: what determines it, its folder, its record.

A trial's folder is named by a hash of its specification. `record.json` is written last and means
done, where it is to be believed; `failure.json` says why an attempt failed, and goes away when the
next one starts.
"""

from __future__ import annotations

import shutil
import socket
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from inflate_zoo.architecture import BackboneConfig
from inflate_zoo.bench.protocols import ChannelRule, Protocol
from inflate_zoo.bench.tasks import Task
from inflate_zoo.budgets import JSON_BYTES
from inflate_zoo.errors import UsageError
from inflate_zoo.files import called, lacking, read_bytes
from inflate_zoo.normalization import Basis
from inflate_zoo.trial_records import (
    Record,
    UnbelievedError,
    new_record,
    read_plain,
    read_record,
    trial_hash,
    unbelieved,
)
from inflate_zoo.whole_files import replace_text, writing
from inflate_zoo.writing import json_text

SPEC, RECORD, FAILURE = "trial.json", "record.json", "failure.json"
ASIDE = "unbelieved-record.json"
Form = TypeVar("Form", bound=BaseModel)
Fed = Basis | Literal["unknown", "unfolded"]
"""Who says how a source is fed. Of weights that were converted before nothing may be recorded, or
nothing folded, although the network is fed intensities in [0, 1]."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ArmSpec(_Strict):
    """What is compared.

    Attributes:
        label: Name in tables.
        kind: `inflated`, `2d` (slice by slice) or `random` (the same network, random weights).
        source: Repo and commit, or the name of a local folder.
        scheme: Inflation scheme; `None` where the source says none.
        architecture: The network in one line.
        config: The backbone, for one input channel unless the channels are RGB.
        weights: SHA-256 of the backbone's file; empty for random weights.
        normalization: Who says which normalisation was folded; `None` for random weights, and
            where the protocol folds none.
    """

    label: str
    kind: Literal["inflated", "2d", "random"]
    source: str
    scheme: str | None
    architecture: str
    config: BackboneConfig
    weights: str
    normalization: Fed | None = None


class CaseNames(_Strict):
    """The cases of one fold."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


class TrialSpec(_Strict):
    """Everything that determines a trial's result.

    Attributes:
        entries: Case name to its content key in the cache: the data's digest.
    """

    task: Task
    protocol: Protocol
    arm: ArmSpec
    cases: CaseNames
    entries: Mapping[str, str]
    fold: int
    seed: int
    channel_rule: ChannelRule

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return self.model_dump(mode="json")

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits."""
        return trial_hash(self.plain())


class Place(_Strict):
    """Where this machine has what a trial needs; no part of its specification.

    Attributes:
        cache: Cache folder.
        weights: Folder of the backbone's weights; `None` for random weights.
        command: The command that planned the trial, without local paths.
    """

    cache: str
    weights: str | None
    command: tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """One trial's folder."""

    folder: Path

    @cached_property
    def spec(self) -> TrialSpec:
        """What determines it.

        Raises:
            UsageError: The folder is no trial.
        """
        return self._form(SPEC, TrialSpec, self._plain)

    @cached_property
    def _table(self) -> dict[str, Any]:
        return self._read(SPEC)

    @cached_property
    def _plain(self) -> dict[str, Any]:
        """What determines it, as JSON values."""
        return {name: value for name, value in self._table.items() if name != "hash"}

    @cached_property
    def hash(self) -> str:
        """What its folder is to be named.

        Raises:
            UsageError: The folder is no trial.
        """
        return trial_hash(self._plain)

    @cached_property
    def place(self) -> Place:
        """Where its data and weights are: as this host planned it, else as another one did.

        Raises:
            UsageError: No host planned it, or none with folders that are there on this one.
        """
        own = place_file()
        names = sorted((p.name for p in self.folder.glob("place-*.json")), key=lambda n: n != own)
        for name in names or [own]:
            place = self._form(name, Place, self._read(name))
            if name == own or all(Path(p).is_dir() for p in (place.cache, place.weights) if p):
                return place
        raise UsageError(
            f"trial '{self.folder.name}' was planned on another host, whose cache is not there on "
            "this one",
            hint="run the 'inflate-zoo bench' command that made it here, with the same --out",
        )

    def require_ready(self) -> None:
        """Refuse a folder that cannot be run here.

        Raises:
            UsageError: It is no trial, or not that of its name, or no host planned it.
        """
        self.require_own()
        _ = self.place

    def require_own(self) -> None:
        """Refuse a folder that holds what another trial is.

        Raises:
            UsageError: It is no trial, or another than its name and its file say.
        """
        _ = self.spec
        if not self.folder.name == self._table.get("hash") == self.hash:
            raise UsageError(
                f"the {SPEC} of trial '{self.folder.name}' is not the one that was planned",
                hint="plan it again with the 'inflate-zoo bench' command that made it",
            )

    def _form(self, name: str, form: type[Form], table: Mapping[str, Any]) -> Form:
        try:
            return form.model_validate(table)
        except ValidationError as error:
            raise self._unreadable(name) from error

    def _read(self, name: str) -> dict[str, Any]:
        value = read_plain(self.folder / name)
        if value is None:
            raise self._unreadable(name)
        return value

    def _unreadable(self, name: str) -> UsageError:
        return UsageError(
            f"'{called(self.folder)}' is no trial: its {name} cannot be read{lacking(self.folder)}",
            hint="plan it again with the 'inflate-zoo bench' command that made it",
        )

    @property
    def done(self) -> bool:
        """Whether it has a record that is to be believed."""
        if not (self.folder / RECORD).exists():
            return False
        try:
            self.believed()
        except UsageError:
            return False
        return True

    def believed(self, *, moved: bool = False) -> Record:
        """Its record.

        Args:
            moved: Whether the folder may have another name than the trial's.

        Raises:
            UsageError: The folder is no trial, or has no record.
            UnbelievedError: The record does not agree with the trial.
        """
        name = self.folder.name
        _ = self.spec
        if self._table.get("hash") != self.hash or (not moved and name != self.hash):
            raise unbelieved(name, f"its {SPEC} is of trial {self.hash}")
        hint = "move its folder away, run the bench again with the same --out, then the report"
        content = read_bytes(self.folder / RECORD, JSON_BYTES["record"], hint)
        return read_record(self._plain, self.hash, content, name)

    def put_aside(self) -> None:
        """Move a record that is not to be believed away; warns.

        Raises:
            WriteError: It cannot be moved.
        """
        try:
            self.believed()
        except UnbelievedError as error:
            warnings.warn(f"{error.message}; the trial runs again", stacklevel=2)
            with writing(RECORD):
                (self.folder / RECORD).replace(self.folder / ASIDE)
                shutil.rmtree(self.folder / "cases", ignore_errors=True)

    def record(self) -> dict[str, Any]:
        """Its record, as JSON values, whatever it says."""
        return self._read(RECORD)

    def failure(self) -> dict[str, Any] | None:
        """Why the last attempt failed, if it did."""
        if not (self.folder / FAILURE).exists():
            return None
        return read_plain(self.folder / FAILURE) or {}

    def finish(self, result: Mapping[str, Any], run: Mapping[str, Any]) -> None:
        """Write the record: the trial is done."""
        record = new_record(self.spec.plain(), result, run)
        replace_text(self.folder / RECORD, json_text(record), durable=True)
        (self.folder / FAILURE).unlink(missing_ok=True)

    def fail(self, failure: Mapping[str, Any]) -> None:
        """Write why this attempt failed."""
        replace_text(self.folder / FAILURE, json_text(failure), durable=True)


def place_file() -> str:
    """One per host: those that share a run folder may keep cache and weights elsewhere."""
    return f"place-{socket.gethostname()}.json"


def plan_trial(out: Path, spec: TrialSpec, place: Place) -> Trial:
    """Make a trial's folder, or find it as it was.

    Raises:
        WriteError: It cannot be written.
    """
    folder = out / "trials" / spec.hash
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"'{out.name}' cannot hold trials: {error.strerror or type(error).__name__}",
            hint="choose another folder with --out",
        ) from error
    trial = Trial(folder)
    written = read_plain(folder / SPEC)
    table = {"hash": spec.hash, **spec.plain()}
    if written != table:  # the report takes what it is called from here
        replace_text(folder / SPEC, json_text(table), durable=True)
        trial = Trial(folder)
    if not trial.done:
        replace_text(folder / place_file(), json_text(place.model_dump(mode="json")))
    return trial


def refuse_others(out: Path, specs: Sequence[TrialSpec]) -> None:
    """Refuse a run folder with trials of the same name that are not the same.

    The ranking could not tell which of them to believe.

    Raises:
        UsageError: Data, weights or splits changed since.
    """

    def name(spec: TrialSpec) -> tuple[str, str, str, int, int]:
        return spec.task.name, spec.protocol.name, spec.arm.label, spec.fold, spec.seed

    planned = {name(spec): spec.hash for spec in specs}
    for trial in _readable(trials_of(out)):
        if planned.get(name(trial.spec), trial.folder.name) != trial.folder.name:
            spec = trial.spec
            raise UsageError(
                f"'{out.name}' holds trials of '{spec.arm.label}' on '{spec.task.name}' with other "
                f"data, weights, splits or network, e.g. {trial.folder.name}",
                hint="choose another folder with --out, or remove that one",
            )


def _readable(trials: Iterator[Trial]) -> Iterator[Trial]:
    """Those that are what their folders are named by; the report names the others."""
    for trial in trials:
        with suppress(UsageError):
            trial.require_own()
            yield trial


def trials_of(out: Path) -> Iterator[Trial]:
    """Every trial of a run folder, sorted by hash."""
    for path in sorted((out / "trials").glob(f"*/{SPEC}")):
        yield Trial(path.parent)
