"""What attempts that were asked to stop leave: more than they found, or nothing time and again."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inflate_zoo.bench.definitions.results import Failure
from inflate_zoo.bench.definitions.trial_folder import TrialFolder, read_plain
from inflate_zoo.bench.training.checkpointing import CHECKPOINT
from inflate_zoo.files.writing.contents import form_text
from inflate_zoo.files.writing.whole_files import replace_text
from inflate_zoo.texts import plural, validated

STOPS = "stops.json"
MOST_IN_VAIN = 2
Kept = tuple[int, int]


class _Stops(BaseModel):
    """Attempts in a row that were stopped before they had anything to show.

    Attributes:
        in_vain: How many.
        before: What there was to go on from when each of them began.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    in_vain: int = Field(ge=0, strict=True)
    before: Kept


def kept(folder: Path) -> Kept:
    """What a trial can go on from: when its checkpoint was written, and how many cases are scored.

    Args:
        folder: The trial's.
    """
    written = 0
    with suppress(OSError):
        written = (folder / CHECKPOINT).stat().st_mtime_ns
    return written, sum(1 for _ in folder.glob("cases/*.json"))


def note_stop(trial: TrialFolder, before: Kept) -> bool:
    """Note that an attempt was stopped; whether that is a failure, as it would go on for ever.

    Args:
        trial: Its folder, leased.
        before: What `kept` gave when the attempt began.

    Raises:
        WriteError: It cannot be noted.
    """
    path = trial.folder / STOPS
    if kept(trial.folder) != before:
        path.unlink(missing_ok=True)
        return False
    times = _times(path, before) + 1
    if times < MOST_IN_VAIN:
        replace_text(path, form_text(_Stops(in_vain=times, before=before)))
        return False
    path.unlink(missing_ok=True)
    reason = (
        f"stopped {plural(times, 'time')} before it had trained a step or scored a case: "
        "it needs more time between start and end"
    )
    when = datetime.now(UTC).isoformat(timespec="seconds")
    trial.fail(Failure(kind="stopped", reason=reason, when=when))
    return True


def _times(path: Path, before: Kept) -> int:
    """How often in a row; one that was killed meanwhile may have had something to show."""
    with suppress(ValidationError):
        noted = validated(_Stops, read_plain(path))
        return noted.in_vain if noted.before == before else 0
    return 0
