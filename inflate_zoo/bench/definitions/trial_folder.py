"""A trial on disk: what determines it, its folder, its record.

A trial's folder is named by a hash of its specification. `record.json` is written last and means
done, where it is to be believed; `failure.json` says why an attempt failed, and goes away when the
next one starts.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import socket
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from inflate_zoo.bench.definitions.results import (
    Failure,
    Record,
    Result,
    Run,
    UnbelievedError,
    new_record,
    read_record,
    unbelieved,
)
from inflate_zoo.bench.definitions.trial_progress import PROGRESS, TrialProgress
from inflate_zoo.bench.definitions.trials import Place, TrialSpec, trial_hash
from inflate_zoo.errors import UsageError
from inflate_zoo.files.budgets import JSON_BYTES
from inflate_zoo.files.reading import called, lacking, read_bytes, read_json
from inflate_zoo.files.writing.contents import form_text
from inflate_zoo.files.writing.whole_files import replace_text, writing
from inflate_zoo.texts import validated

SPEC, RECORD, FAILURE = "trial.json", "record.json", "failure.json"
ASIDE = "unbelieved-record.json"
Form = TypeVar("Form", bound=BaseModel)


@dataclass(frozen=True)
class TrialFolder:
    """One trial's folder.

    Attributes:
        folder: Where it is.
        known: What its files hold, where they were written or compared just now.
    """

    folder: Path
    known: tuple[TrialSpec, Place] | None = field(default=None, compare=False, repr=False)

    @cached_property
    def spec(self) -> TrialSpec:
        """What determines it.

        Raises:
            UsageError: The folder is no trial.
        """
        if self.known is not None:
            return self.known[0]
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
        """Where its data and weights are: where they are there, as planned on this host if it was.

        Raises:
            UsageError: Nobody planned it, or none with folders that are there for this process.
        """
        if self.known is not None:
            return self.known[1]
        host = socket.gethostname()
        found = sorted(self.folder.glob("place-*.json"), key=lambda path: _rank(path, host))
        if not found:
            raise self._unreadable(f"place-{host}.json")
        places = [self._form(path.name, Place, self._read(path.name)) for path in found]
        for place in places:
            if all(Path(p).is_dir() for p in (place.cache, place.weights) if p):
                return place
        if _rank(found[0], host)[0] == 0:
            return places[0]  # what is missing there is told by its name
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
        if self.known is None:
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
            return validated(form, table)
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

    def failure(self) -> Failure | None:
        """Why the last attempt failed, if it did."""
        if not (self.folder / FAILURE).exists():
            return None
        try:
            return self._form(FAILURE, Failure, self._read(FAILURE))
        except UsageError:
            return Failure(kind="error", reason=f"{FAILURE} cannot be read")

    def progress(self) -> TrialProgress | None:
        """What its process last noted; `None` where none did, or nothing that can be read."""
        with suppress(ValidationError):
            return validated(TrialProgress, read_plain(self.folder / PROGRESS))
        return None

    def finish(self, result: Result, run: Run) -> None:
        """Write the record: the trial is done."""
        record = new_record(self.spec.plain(), result, run)
        replace_text(self.folder / RECORD, form_text(record), durable=True)
        (self.folder / FAILURE).unlink(missing_ok=True)

    def fail(self, failure: Failure) -> None:
        """Write why this attempt failed."""
        replace_text(self.folder / FAILURE, form_text(failure), durable=True)


def place_file(place: Place) -> str:
    """One for each host and place: those that share a run folder may keep cache and weights apart.

    Containers may do so under one host's name, so that the place itself has a part in its name.
    """
    where = json.dumps([place.cache, place.weights])
    digest = hashlib.sha256(where.encode()).hexdigest()[:8]
    return f"place-{socket.gethostname()}-{digest}.json"


def _rank(path: Path, host: str) -> tuple[int, float]:
    """Places of this host first, the newest first; those of release 0.2 are named by it alone."""
    own = re.fullmatch(rf"place-{re.escape(host)}(-[0-9a-f]{{8}})?\.json", path.name)
    with suppress(OSError):
        return (0 if own else 1), -path.stat().st_mtime
    return 2, 0.0


def read_plain(path: Path) -> dict[str, Any] | None:
    """A JSON object; `None` where the file cannot be read or holds something else."""
    with suppress(UsageError):
        return dict(read_json(path, "record"))
    return None
