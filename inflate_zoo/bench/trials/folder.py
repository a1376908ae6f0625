"""The trials of a run folder: planned, found again, told from others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from inflate_zoo.bench.definitions.progress import StageProgress
from inflate_zoo.bench.definitions.spec_texts import SpecTexts
from inflate_zoo.bench.definitions.trial_folder import RECORD, SPEC, TrialFolder, place_file
from inflate_zoo.bench.definitions.trials import ArmSpec, Place, TrialSpec
from inflate_zoo.errors import UsageError
from inflate_zoo.files.reading import called
from inflate_zoo.files.writing.contents import form_text
from inflate_zoo.files.writing.whole_files import replace_text

_EVERY = 100  # trials are told together


def plan_trials(
    out: Path, planned: Sequence[tuple[TrialSpec, Place]], progress: StageProgress
) -> list[TrialFolder]:
    """Make the folders of trials, or find them as they were.

    Args:
        out: Run folder.
        planned: Specification and place of each.
        progress: Told how many there are already.

    Raises:
        UsageError: The run folder holds others; see `refuse_others`.
        WriteError: One cannot be written.
    """
    texts, count = SpecTexts(), len(planned)
    refuse_others(out, [spec for spec, _ in planned], texts)
    trials = []
    for spec, place in planned:
        trials.append(plan_trial(out, spec, place, texts))
        if len(trials) % _EVERY == 0 or len(trials) == count:
            progress("trials planned", len(trials), count)
    return trials


def plan_trial(
    out: Path, spec: TrialSpec, place: Place, texts: SpecTexts | None = None
) -> TrialFolder:
    """Make a trial's folder, or find it as it was: nothing is written that is there.

    Args:
        out: Run folder.
        spec: What determines it.
        place: Where its data and weights are.
        texts: Writes specifications that share parts with it.

    Raises:
        WriteError: It cannot be written.
    """
    name, text = (texts or SpecTexts()).of(spec)
    folder = out / "trials" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"'{called(out)}' cannot hold trials: {error.strerror or type(error).__name__}",
            hint="choose another folder with --out",
        ) from error
    if not _holds(folder / SPEC, text):  # the report takes what it is called from here
        replace_text(folder / SPEC, text)  # not durable: the same command writes it again
    trial = TrialFolder(folder, (spec, place))
    path, content = folder / place_file(place), form_text(place)
    if not _holds(path, content) and not trial.done:
        replace_text(path, content)
    return trial


def _holds(path: Path, text: str) -> bool:
    """Whether a file is there and holds just this."""
    content = text.encode()
    try:
        with path.open("rb") as file:
            return file.read(len(content) + 1) == content
    except OSError:
        return False


def refuse_others(out: Path, specs: Sequence[TrialSpec], texts: SpecTexts) -> None:
    """Refuse a run folder with trials of the same name that are not the same, or of no name at all.

    The ranking could not tell which of them to believe; and what another release wrote, or is
    damaged, would fail every report of this folder, and no run of this command would mend it.

    Args:
        out: Run folder.
        specs: What is planned.
        texts: Names them.

    Raises:
        UsageError: Data, weights or splits changed since, or an arm's label is another one's
            there; or there are trials that are not planned here and cannot be read.
    """

    def label(spec: TrialSpec) -> tuple[str, str, str]:
        return spec.task.name, spec.protocol.name, spec.arm.label

    def name(spec: TrialSpec) -> tuple[str, str, str, int, int]:
        return *label(spec), spec.fold, spec.seed

    planned = {name(spec): texts.of(spec).hash for spec in specs}
    own = set(planned.values())
    arms: dict[tuple[str, str, str], dict[int, ArmSpec]] = {}
    for spec in specs:  # seeds share one arm
        arms.setdefault(label(spec), {})[id(spec.arm)] = spec.arm
    for trial in trials_of(out):
        if trial.folder.name in own:
            continue  # it is planned anew
        try:
            trial.require_own()
        except UsageError as error:
            raise UsageError(
                f"'{called(out)}' holds trials that this release cannot read, e.g. "
                f"{trial.folder.name}",
                hint="choose another folder with --out, or remove that one",
            ) from error
        spec = trial.spec
        known = arms.get(label(spec), {}).values()
        if name(spec) in planned or not all(map(spec.arm.is_arm_of, known)):
            raise UsageError(
                f"'{called(out)}' holds trials of '{spec.arm.label}' on '{spec.task.name}' with "
                f"other data, weights, splits or network, e.g. {trial.folder.name}",
                hint="choose another folder with --out, or remove that one",
            )


def recorded(out: Path) -> list[Path]:
    """Folders of the trials that have a record, whether or not it is to be believed."""
    return [path.parent for path in (out / "trials").glob(f"*/{RECORD}")]


def trials_of(out: Path) -> Iterator[TrialFolder]:
    """Every trial of a run folder, sorted by hash."""
    for path in sorted((out / "trials").glob(f"*/{SPEC}")):
        yield TrialFolder(path.parent)
