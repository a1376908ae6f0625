"""What a trial's record says, in one form to write and to read, and whether to believe it.

A record is believed where it agrees with the trial it lies beside, every value lies within its
bounds, and the digest over its result is right. Records of releases that wrote no digest must
instead agree with themselves: their means follow from their cases.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from math import isclose
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat
from pydantic_core import from_json

from inflate_zoo.bench.definitions.scores import COUNTS, Scores, dice, means, pooled
from inflate_zoo.bench.definitions.trials import RESULT_VERSION, trial_hash
from inflate_zoo.errors import UsageError
from inflate_zoo.files.foreign import json_value, parsing, reason_of, require_few_values
from inflate_zoo.files.writing.contents import json_text
from inflate_zoo.texts import validated

_BEFORE, _AFTER = b'\n  "result": ', b',\n  "run": '  # of the result, in a file that we wrote
Share = Annotated[float, Field(ge=0, le=1, strict=True)]
OUT_OF_MEMORY = "out_of_memory"  # a kind of failure
Count = Annotated[int, Field(ge=0, strict=True)]


class UnbelievedError(UsageError):
    """A record that is damaged, impossible, or not of the trial it lies beside."""


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CaseScores(_Form):
    """Scores of one test case.

    Attributes:
        case: Its name.
        regions: Region to metric to value.
        mean_dice: Over the regions that the reference has.
        slice: The one that is shown.
    """

    case: str
    regions: Scores
    mean_dice: Share | None
    slice: Count


class Overlay(_Form):
    """What is said about a slice that the report shows.

    Attributes:
        case: Whose it is.
        dice: Mean over the regions of the case.
        slice: Its number.
    """

    case: str
    dice: Share
    slice: Count


class Curves(_Form):
    """(step, value) pairs."""

    loss: tuple[tuple[Count, FiniteFloat], ...] = ()
    validation_dice: tuple[tuple[Count, Share], ...] = ()


class Result(_Form):
    """What a trial measured: on a CPU the same bits for the same specification.

    Attributes:
        cases: In the order of the trial's test cases.
        pooled: Dice over the voxels of all cases together.
        mean: Of every metric over the cases that have it.
        curves: Of the training.
        selected_step: Whose weights were kept.
        parameters: Of the network.
        trained_parameters: Of these, trained.
        flops: On one window.
        encoder_flops: Of these, in the backbone.
        window: Voxels (depth, height, width).
    """

    cases: tuple[CaseScores, ...]
    pooled: Scores
    mean: Scores
    curves: Curves
    selected_step: Count
    parameters: Count
    trained_parameters: Count
    flops: Count
    encoder_flops: Count
    window: tuple[Count, Count, Count]


class Run(BaseModel):
    """How a trial ran: what may differ between two runs of it.

    Attributes:
        command: That planned it, without local paths.
        seconds: What took how long.
        windows_per_second: Of the training, without its pauses.
        groups_at_once: Groups in a micro-batch.
        peak_memory_bytes: `None` where the system cannot tell.
        device: Its name.
        threads: Of torch, in each process.
        processor: Its model, where the system tells.
        capability: Of the processor, as torch sees it, or of the GPU.
        processes: That shared the trial.
        compiled: Whether the networks were.
        host: The machine; a record that was sent to the Hub names none.
        versions: Of the libraries, by name.
        started: When, in ISO 8601.
        finished: When, in ISO 8601.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    command: tuple[str, ...] = ()
    seconds: dict[str, FiniteFloat | None] = Field(default_factory=dict)
    windows_per_second: FiniteFloat | None = None
    groups_at_once: Count | None = None
    peak_memory_bytes: FiniteFloat | None = None
    device: str = ""
    threads: Count | None = None
    processor: str | None = None
    capability: str | None = None
    processes: Count | None = None
    compiled: bool | None = None
    host: str | None = None
    versions: dict[str, str | None] = Field(default_factory=dict)
    started: str | None = None
    finished: str | None = None


class Record(_Form):
    """A finished trial.

    Attributes:
        format: Of this file.
        hash: Of the trial.
        trial: Its specification, as JSON values.
        result: What was measured.
        run: How it ran.
        digest: Over hash and result; absent in records of release 0.2.
    """

    format: Literal[1] = RESULT_VERSION
    hash: str
    trial: dict[str, Any]
    result: Result
    run: Run
    digest: str | None = None


def new_record(spec: Mapping[str, Any], result: Result, run: Run) -> Record:
    """A record, with its digest.

    Args:
        spec: Specification of the trial, as JSON values.
        result: What was measured.
        run: How it ran.
    """
    name = trial_hash(spec)
    digest = _digest(name, _text(result.model_dump(mode="json")))
    return Record(hash=name, trial=dict(spec), result=result, run=run, digest=digest)


def read_record(spec: Mapping[str, Any], own: str, content: bytes, name: str) -> Record:
    """Read a record and check that it is to be believed.

    Args:
        spec: Specification of the trial it lies beside, as JSON values.
        own: The hash of that.
        content: Of the file.
        name: Of the trial's folder, for errors.

    Raises:
        UnbelievedError: It is not; says why.
    """
    with parsing(lambda error: unbelieved(name, reason_of(error))):
        require_few_values(content)
        table = from_json(content)  # the digest needs the values as they stand
        record = validated(Record, table)
    if record.hash != own or (record.trial != spec and trial_hash(record.trial) != own):
        raise unbelieved(name, "it is of another trial")
    reason = next(_strange(record, spec), None)
    if record.digest is None:
        reason = reason or next(_contradictions(record.result), None)
    elif record.digest not in _digests(own, content, table["result"]):
        reason = reason or "its result is not the one that was written"
    if reason:
        raise unbelieved(name, reason)
    return record


def require_believed(name: str, table: Mapping[str, Any], content: bytes) -> bytes:
    """Refuse a trial that is not what its files say.

    Args:
        name: Of its folder, for errors.
        table: Its trial.json, with a hash.
        content: Of its record.json.

    Returns:
        That content as others may see it: without the name of the machine.

    Raises:
        UnbelievedError: It is not to be believed; says why.
    """
    spec = {key: value for key, value in table.items() if key != "hash"}
    if (own := trial_hash(spec)) != table["hash"]:
        raise unbelieved(name, f"its trial.json is of trial {own}")
    if read_record(spec, own, content, name).run.host is None:
        return content
    shown = json_value(content, lambda error: unbelieved(name, reason_of(error)))
    del shown["run"]["host"]
    return json_text(shown).encode()


def unbelieved(name: str, reason: str) -> UnbelievedError:
    """The error of a trial whose files say something that cannot be."""
    return UnbelievedError(
        f"the record of trial '{name}' is not to be believed: {reason}",
        hint="run the 'inflate-zoo bench' command that made it again: it runs that trial anew",
    )


def _digests(trial: str, content: bytes, result: object) -> Iterator[str]:
    """The digest over a result: as it stands in the file, and as we would write it there."""
    if content.count(_BEFORE) == 1:  # ours: ten times as quick as to write it again
        _, _, text = content.partition(_BEFORE)
        yield _digest(trial, text.partition(_AFTER)[0])
    yield _digest(trial, _text(result))


def _digest(trial: str, result: bytes) -> str:
    return hashlib.sha256(trial.encode() + result).hexdigest()


def _text(result: object) -> bytes:
    """How a result stands in a record's file."""
    return json_text(result).rstrip().replace("\n", "\n  ").encode()


def _strange(record: Record, spec: Mapping[str, Any]) -> Iterator[str]:
    """What of a record does not fit its trial."""
    try:
        planned, regions = list(spec["cases"]["test"]), set(spec["task"]["regions"])
        steps = spec["protocol"]["train"]["steps"]
    except (KeyError, TypeError):
        yield "its specification is not whole"
        return
    result = record.result
    if [case.case for case in result.cases] != planned:
        yield f"its {len(result.cases)} cases are not the {len(planned)} test cases of the trial"
    tables = [*(case.regions for case in result.cases), result.pooled, result.mean]
    if any(set(table) != regions for table in tables):
        yield "its regions are not those of the task"
    if result.selected_step > steps:
        yield f"it kept the weights of step {result.selected_step} of {steps}"


def _contradictions(result: Result) -> Iterator[str]:
    """Where a result does not follow from its own counts and cases."""
    tables = [case.regions for case in result.cases]
    for case in result.cases:
        for region, scores in case.regions.items():
            counts = [scores.get(name) for name in COUNTS]
            if None in counts:
                yield f"case '{case.case}' lacks counts of voxels in '{region}'"
            elif not _equal(scores.get("dice"), _dice(*counts)):
                yield f"the Dice of '{case.case}' in '{region}' does not follow from its counts"
    yield from _unlike("mean", result.mean, means, tables)
    yield from _unlike("pooled", result.pooled, pooled, tables)


def _dice(intersection: Any, predicted: Any, true: Any) -> float | None:
    return dice(intersection, predicted, true) if true else None


def _unlike(
    name: str, stated: Scores, derive: Callable[[Any], Scores], cases: list[Scores]
) -> Iterator[str]:
    derived = derive(cases)
    for region, scores in stated.items():
        for metric, value in scores.items():
            if not _equal(value, derived.get(region, {}).get(metric)):
                yield f"its {name} {metric} of '{region}' does not follow from its cases"


def _equal(first: float | None, second: float | None) -> bool:
    if first is None or second is None:
        return first is second
    return isclose(first, second, rel_tol=1e-9, abs_tol=1e-12)  # Pythons add up differently


class Failure(BaseModel):
    """Why a trial has no record.

    Attributes:
        kind: `error`, `out_of_memory`, `nan_loss`, `data_worker`, `died` (its process was ended) or
            `stopped` (it was asked to leave again and again before it had anything to show).
        reason: In one line, without local paths.
        case: The case or cases that were being read.
        where: Of the code, `file:line`.
        when: In ISO 8601.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: str
    reason: str
    case: str | None = None
    where: str | None = None
    when: str | None = None

    @property
    def told(self) -> str:
        """Why, and on which case."""
        return f"{self.reason} (case {self.case})" if self.case else self.reason
