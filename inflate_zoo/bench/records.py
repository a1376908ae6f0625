"""A trial on disk: what determines it, its folder, its record.

A trial's folder is named by a hash of its specification. `record.json` is written last and means
done; `failure.json` says why an attempt failed, and goes away when the next one starts.
"""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from inflate_zoo.architecture import BackboneConfig
from inflate_zoo.bench.protocols import ChannelRule, Protocol
from inflate_zoo.bench.tasks import Task
from inflate_zoo.errors import UsageError
from inflate_zoo.whole_files import replace_text
from inflate_zoo.writing import json_text

RESULT_VERSION = 1  # raised when the same specification would give another result
SPEC, RECORD, FAILURE = "trial.json", "record.json", "failure.json"
# What a trial is called changes no result: its arm's label depends on the other arms.
_WORDS: Any = {
    "task": {"title", "license", "citation", "address", "checksum", "access"}
    | {"cases", "split", "paper_split"},  # the parts stand by name in the specification
    "protocol": {"summary", "overrides", "deviations"},
    "arm": {"label"},
}
Form = TypeVar("Form", bound=BaseModel)


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
    """

    label: str
    kind: Literal["inflated", "2d", "random"]
    source: str
    scheme: str | None
    architecture: str
    config: BackboneConfig
    weights: str


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
        own = self.model_dump(mode="json", exclude=_WORDS)
        text = json.dumps([RESULT_VERSION, own], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


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
        return self._form(SPEC, TrialSpec)

    @cached_property
    def place(self) -> Place:
        """Where its data and weights are: as this host planned it, else as another one did.

        Raises:
            UsageError: No host planned it, or none with folders that are there on this one.
        """
        own = place_file()
        names = sorted((p.name for p in self.folder.glob("place-*.json")), key=lambda n: n != own)
        for name in names or [own]:
            place = self._form(name, Place)
            if name == own or all(Path(p).is_dir() for p in (place.cache, place.weights) if p):
                return place
        raise UsageError(
            f"trial '{self.folder.name}' was planned on another host, whose cache is not there on "
            "this one",
            hint="run the 'inflate-zoo bench' command that made it here, with the same --out",
        )

    def _form(self, name: str, form: type[Form]) -> Form:
        table = self._read(name)
        table.pop("hash", None)
        try:
            return form.model_validate(table)
        except ValidationError as error:
            raise self._unreadable(name) from error

    def _read(self, name: str) -> dict[str, Any]:
        try:
            value = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise self._unreadable(name) from error
        if not isinstance(value, dict):
            raise self._unreadable(name)
        return value

    def _unreadable(self, name: str) -> UsageError:
        return UsageError(
            f"'{self.folder.name}' is no trial: its {name} cannot be read",
            hint="plan it again with the 'inflate-zoo bench' command that made it",
        )

    @property
    def done(self) -> bool:
        """Whether it has a record."""
        return (self.folder / RECORD).exists()

    def record(self) -> dict[str, Any]:
        """Its record."""
        return self._read(RECORD)

    def failure(self) -> dict[str, Any] | None:
        """Why the last attempt failed, if it did."""
        return self._read(FAILURE) if (self.folder / FAILURE).exists() else None

    def finish(self, result: Mapping[str, Any], run: Mapping[str, Any]) -> None:
        """Write the record: the trial is done."""
        record = {
            "format": RESULT_VERSION,
            "hash": self.spec.hash,
            "trial": self.spec.plain(),
            "result": result,
            "run": run,
        }
        replace_text(self.folder / RECORD, json_text(record))
        (self.folder / FAILURE).unlink(missing_ok=True)

    def fail(self, failure: Mapping[str, Any]) -> None:
        """Write why this attempt failed."""
        replace_text(self.folder / FAILURE, json_text(failure))


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
    if not trial.done:
        replace_text(folder / place_file(), json_text(place.model_dump(mode="json")))
    if not trial.done or trial.spec != spec:  # the report takes what it is called from here
        replace_text(folder / SPEC, json_text({"hash": spec.hash, **spec.plain()}))
    return Trial(folder)


def refuse_others(out: Path, specs: Sequence[TrialSpec]) -> None:
    """Refuse a run folder with trials of the same name that are not the same.

    The ranking could not tell which of them to believe.

    Raises:
        UsageError: Data, weights or splits changed since.
    """

    def name(spec: TrialSpec) -> tuple[str, str, str, int, int]:
        return spec.task.name, spec.protocol.name, spec.arm.label, spec.fold, spec.seed

    planned = {name(spec): spec.hash for spec in specs}
    for trial in trials_of(out):
        if planned.get(name(trial.spec), trial.folder.name) != trial.folder.name:
            spec = trial.spec
            raise UsageError(
                f"'{out.name}' holds trials of '{spec.arm.label}' on '{spec.task.name}' with other "
                f"data, weights, splits or network, e.g. {trial.folder.name}",
                hint="choose another folder with --out, or remove that one",
            )


def trials_of(out: Path) -> Iterator[Trial]:
    """Every trial of a run folder, sorted by hash."""
    for path in sorted((out / "trials").glob(f"*/{SPEC}")):
        yield Trial(path.parent)
