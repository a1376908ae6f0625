"""The trials of a run folder: planned, found again, told from others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from inflate_zoo.bench.definitions.trial_folder import (
    RECORD,
    SPEC,
    TrialFolder,
    place_file,
    read_plain,
)
from inflate_zoo.bench.definitions.trials import Place, TrialSpec
from inflate_zoo.errors import UsageError
from inflate_zoo.files.writing.contents import form_text, json_text
from inflate_zoo.files.writing.whole_files import replace_text


def plan_trial(out: Path, spec: TrialSpec, place: Place) -> TrialFolder:
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
    trial = TrialFolder(folder)
    written = read_plain(folder / SPEC)
    table = {"hash": spec.hash, **spec.plain()}
    if written != table:  # the report takes what it is called from here
        replace_text(folder / SPEC, json_text(table), durable=True)
        trial = TrialFolder(folder)
    if not trial.done:
        replace_text(folder / place_file(), form_text(place))
    return trial


def refuse_others(out: Path, specs: Sequence[TrialSpec]) -> None:
    """Refuse a run folder with trials of the same name that are not the same, or of no name at all.

    The ranking could not tell which of them to believe; and what another release wrote, or is
    damaged, would fail every report of this folder, and no run of this command would mend it.

    Raises:
        UsageError: Data, weights or splits changed since; or there are trials that are not planned
            here and cannot be read.
    """

    def name(spec: TrialSpec) -> tuple[str, str, str, int, int]:
        return spec.task.name, spec.protocol.name, spec.arm.label, spec.fold, spec.seed

    planned = {name(spec): spec.hash for spec in specs}
    own = set(planned.values())
    for trial in trials_of(out):
        try:
            trial.require_own()
        except UsageError as error:
            if trial.folder.name in own:
                continue  # it is planned anew
            raise UsageError(
                f"'{out.name}' holds trials that this release cannot read, e.g. "
                f"{trial.folder.name}",
                hint="choose another folder with --out, or remove that one",
            ) from error
        if planned.get(name(trial.spec), trial.folder.name) != trial.folder.name:
            spec = trial.spec
            raise UsageError(
                f"'{out.name}' holds trials of '{spec.arm.label}' on '{spec.task.name}' with other "
                f"data, weights, splits or network, e.g. {trial.folder.name}",
                hint="choose another folder with --out, or remove that one",
            )


def recorded(out: Path) -> list[Path]:
    """Folders of the trials that have a record, whether or not it is to be believed."""
    return [path.parent for path in (out / "trials").glob(f"*/{RECORD}")]


def trials_of(out: Path) -> Iterator[TrialFolder]:
    """Every trial of a run folder, sorted by hash."""
    for path in sorted((out / "trials").glob(f"*/{SPEC}")):
        yield TrialFolder(path.parent)
