"""What made the files of a folder of predictions, so that what is done is told from what is not.

`predictions.json` names the networks, by the digests of their weights, and for each case the
digests of its images and of what was written. An entry is written before its files, so that what
has none, or another digest, is not ours to replace.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from inflate_zoo.bench.data.dicom import dicom_files
from inflate_zoo.bench.definitions.trial_folder import TrialFolder
from inflate_zoo.bench.prediction.images import PREDICTED, CaseImages
from inflate_zoo.errors import OutputExistsError, UsageError
from inflate_zoo.files.digests import sha256
from inflate_zoo.files.reading import called, read_json, reading
from inflate_zoo.files.writing.contents import form_text
from inflate_zoo.files.writing.staging import check_target
from inflate_zoo.files.writing.whole_files import replace_text, writing
from inflate_zoo.networks.files import WEIGHTS
from inflate_zoo.texts import validated
from inflate_zoo.version import __version__

RECORD = "predictions.json"


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkUsed(_Form):
    """A trained network.

    Attributes:
        trial: The trial's hash.
        weights: SHA-256 of its file.
        arm: Label of its arm.
        seed: Its seed.
        fold: Its fold.
    """

    trial: str
    weights: str
    arm: str
    seed: int
    fold: int

    @property
    def name(self) -> str:
        """As the report calls it."""
        return f"{self.arm}, seed {self.seed}, fold {self.fold}"


class Maker(_Form):
    """What makes predictions: the same makes the same of the same image.

    Attributes:
        networks: Their mean is taken.
        mirror: Whether each saw mirrored images too.
        release: Of this package.
    """

    networks: tuple[NetworkUsed, ...]
    mirror: bool
    release: str

    @property
    def weights(self) -> tuple[tuple[str, str], ...]:
        """Trial and weights of each network, whatever its arm is called by now."""
        return tuple((network.trial, network.weights) for network in self.networks)

    def is_same(self, other: Maker | None) -> bool:
        """Whether the other makes the same of the same image."""
        if other is None:
            return False
        ours, theirs = ((m.weights, m.mirror, m.release) for m in (self, other))
        return ours == theirs

    def difference(self, other: Maker) -> str:
        """What is not the same of two that differ."""
        if self.weights != other.weights:
            return f"of {'; '.join(network.name for network in other.networks)}"
        if self.mirror != other.mirror:
            return "made with --mirror" if other.mirror else "made without --mirror"
        return f"of inflate-zoo {other.release}"


class Entry(_Form):
    """What was made of one case.

    Attributes:
        images: SHA-256 of each of its images, in channel order; of a DICOM series that of its
            files' digests.
        prediction: SHA-256 of the file of labels.
        probabilities: The same of the file of probabilities; `None` where none was asked for.
        volumes_ml: Region to its predicted volume in ml.
    """

    images: tuple[str, ...]
    prediction: str
    probabilities: str | None
    volumes_ml: Mapping[str, FiniteFloat]


class Predictions(_Form):
    """A folder of predictions.

    Attributes:
        made_by: What made all of them.
        cases: Case to what was made of it.
    """

    format_version: Literal[1] = 1
    made_by: Maker
    cases: Mapping[str, Entry] = {}


def maker_of(trials: Sequence[TrialFolder], *, mirror: bool) -> Maker:
    """What these trials are as a maker of predictions.

    Raises:
        UsageError: One has no weights.
    """
    networks = []
    for trial in trials:
        with reading(trial.folder / WEIGHTS):
            weights = sha256(trial.folder / WEIGHTS)
        spec = trial.spec
        networks.append(
            NetworkUsed(
                trial=trial.hash,
                weights=weights,
                arm=spec.arm.label,
                seed=spec.seed,
                fold=spec.fold,
            )
        )
    return Maker(networks=tuple(networks), mirror=mirror, release=__version__)


def image_digests(job: CaseImages) -> tuple[str, ...]:
    """SHA-256 of each image of a case.

    Raises:
        UsageError: One cannot be read.
    """
    return tuple(_series(path) if path.is_dir() else _digest(path) for path in job.images)


def _series(folder: Path) -> str:
    digests = sorted(_digest(path) for path in dicom_files(folder))
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _digest(path: Path) -> str:
    with reading(path):
        return sha256(path)


@dataclass
class Folder:
    """A folder that predictions go into; made by `open_folder`.

    Attributes:
        out: Where it is.
        replaced: Who made what was there; `None` where its record told of nobody else.
        told: What its record says of what this maker made.
        intact: Cases whose files are there as they were written.
        probabilities: Whether cases have files of probabilities too.
        force: Whether files that are not this maker's, or were changed, may be replaced.
    """

    out: Path
    replaced: Maker | None
    told: Predictions
    intact: frozenset[str]
    probabilities: bool
    force: bool

    def done(self, job: CaseImages) -> Entry | None:
        """What is there of a case, made by this maker of the same images; `None` if it is not.

        Raises:
            UsageError: An image cannot be read.
        """
        entry = self.told.cases.get(job.case)
        if entry is None or job.case not in self.intact or entry.images != image_digests(job):
            return None
        return entry

    def record(self, job: CaseImages, entry: Entry) -> None:
        """Record what will be put in place of a case; what is there of it goes away.

        The record is read again first: where nothing locks, another process may have added to it.

        Raises:
            OutputExistsError: Another process put predictions of others there meanwhile.
            WriteError: The record cannot be written.
        """
        found = _read(self.out)
        if found is not None and found.made_by.is_same(self.told.made_by):
            self.told = found
        elif found is not None and not found.made_by.is_same(self.replaced):
            raise _of_others(self.out, self.told.made_by, found.made_by)
        before = self.told.cases.get(job.case)
        own = before is not None and before.probabilities is not None
        with writing(job.file):
            (self.out / job.file).unlink(missing_ok=True)
            if self.probabilities or own or self.force:  # no label keeps another's probabilities
                (self.out / job.probabilities_file).unlink(missing_ok=True)
        cases = {**self.told.cases, job.case: entry}
        self.told = self.told.model_copy(update={"cases": cases})
        self.replaced = None
        replace_text(self.out / RECORD, form_text(self.told))


def open_folder(
    out: Path, maker: Maker, jobs: Sequence[CaseImages], *, probabilities: bool, force: bool
) -> Folder:
    """The folder that predictions go into, empty or as an earlier command left it.

    Args:
        out: The folder; it need not be there.
        maker: What will make the predictions.
        jobs: The cases.
        probabilities: Whether cases have files of probabilities too.
        force: Whether files that are not this maker's, or were changed, may be replaced; warns of
            those that stay.

    Raises:
        OutputExistsError: It holds something else, and `force` is off.
    """
    found = _read(out)
    ours = found is not None and found.made_by.is_same(maker)
    if found is not None and not ours and not force:
        raise _of_others(out, maker, found.made_by)
    check_target(out, force=force or ours)
    told = found if found is not None and ours else Predictions(made_by=maker)
    states = {job.case: _state(out, job, told.cases.get(job.case), probabilities) for job in jobs}
    strange = [name for name in states.values() if name not in (None, "")]
    if strange and not force:
        raise OutputExistsError(
            f"'{called(out)}' holds files that were not made so, or were changed since",
            details=[str(name) for name in strange],
            hint="move them away, or replace them with --force",
        )
    intact = frozenset(case for case, name in states.items() if name is None)
    replaced = found.made_by if found is not None and not ours else None
    if found is not None and not ours:
        _tell_what_stays(out, maker, found, {job.case for job in jobs})
    return Folder(out, replaced, told, intact, probabilities, force)


def _tell_what_stays(out: Path, maker: Maker, found: Predictions, cases: Collection[str]) -> None:
    """Warn of cases of another maker that are not replaced: the record will name them no more."""
    names = (f"{case}{PREDICTED}" for case in sorted(found.cases.keys() - cases))
    if stay := [name for name in names if (out / name).exists()]:
        first, more = stay[0], f" and {len(stay) - 1} more" if len(stay) > 1 else ""
        warnings.warn(
            f"'{called(out)}' keeps predictions {maker.difference(found.made_by)}, which "
            f"{RECORD} will not name: {first}{more}",
            stacklevel=2,
        )


def _of_others(out: Path, ours: Maker, theirs: Maker) -> OutputExistsError:
    return OutputExistsError(
        f"'{called(out)}' holds predictions {ours.difference(theirs)}",
        hint="choose another with --out, or replace them with --force",
    )


def _state(out: Path, job: CaseImages, entry: Entry | None, probabilities: bool) -> str | None:
    """The name of a file that is not as recorded; empty where one is absent, else `None`."""
    recorded = {job.file: entry.prediction if entry else None}
    if probabilities:
        recorded[job.probabilities_file] = entry.probabilities if entry else None
    there = {name: (out / name).exists() for name in recorded}
    for name, digest in recorded.items():
        if there[name] and (digest is None or _digest(out / name) != digest):
            return name
    return None if all(there.values()) else ""


def _read(out: Path) -> Predictions | None:
    """What a record says; `None` where there is none that can be read."""
    if not (out / RECORD).is_file():
        return None
    try:
        table: Mapping[str, Any] = read_json(out / RECORD, "record")
        return validated(Predictions, table)
    except (UsageError, ValidationError):
        return None
