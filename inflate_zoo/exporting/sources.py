"""What is exported: a network of ours, and what is known of what it is fed."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inflate_zoo.bench.definitions.tasks import Task
from inflate_zoo.bench.definitions.trial_folder import RECORD, SPEC, TrialFolder
from inflate_zoo.conversion.record import RECORD as CONVERSION
from inflate_zoo.conversion.record import ConversionRecord, read_conversion
from inflate_zoo.errors import UsageError
from inflate_zoo.exporting.record import ClassFacts, ExportedFile, InputFacts, Origin
from inflate_zoo.files.digests import sha256
from inflate_zoo.files.reading import called
from inflate_zoo.hub.addresses import is_local
from inflate_zoo.networks.backbone import Backbone
from inflate_zoo.networks.files import CONFIG, WEIGHTS
from inflate_zoo.registry.finding import find_network
from inflate_zoo.registry.loading import load_network
from inflate_zoo.segmentation.segmenter import Segmenter, kinds
from inflate_zoo.texts import plural

_LOG = logging.getLogger(__name__)
_TELLING = (CONVERSION, SPEC, RECORD)  # what tells of a network, where it is there
_UNTOLD = InputFacts(told="not recorded: as the network was fed when it was made")


@dataclass(frozen=True, slots=True)
class ExportSource:
    """A network to export.

    Attributes:
        name: What to call it.
        folder: Where its files are.
        network: In evaluation, in float32 on the CPU, for the volume that was asked for.
        origin: What it is.
        fed: What it is fed.
        classes: Of a segmenter, where they are known.
        trial: That trained it; `None` where none did.
        notes: What a user should know.
    """

    name: str
    folder: Path
    network: Backbone | Segmenter
    origin: Origin
    fed: InputFacts
    classes: tuple[ClassFacts, ...] | None
    trial: TrialFolder | None
    notes: tuple[str, ...]

    @property
    def backbone(self) -> Backbone:
        """The network, or that of the segmenter."""
        network = self.network
        if isinstance(network, Segmenter):
            assert isinstance(network.backbone, Backbone)  # noqa: S101 - for mypy
            return network.backbone
        return network

    @property
    def volume(self) -> tuple[int, int, int]:
        """Voxels (depth, height, width) that it takes."""
        network = self.network
        return network.volume if isinstance(network, Segmenter) else network.config.volume


def load_source(source: str, volume: Sequence[int] | None) -> ExportSource:
    """Load what a user named.

    Args:
        source: Folder of a conversion, of a trial or of a saved network; Hub repo; zoo entry.
        volume: Volume (depth, height, width) in voxels that it is to take; `None` takes its own.

    Raises:
        UnknownNameError: No such folder, and no such zoo entry.
        UsageError: It is no network of ours, a trial that is not done, or takes no such volume.
        WorkError: An entry of the zoo could not be made, or the Hub not be reached.
    """
    if is_local(source):
        _refuse_run(Path(source))
    found = find_network(source, kinds(), _LOG.warning, _TELLING)
    trial = _trial(found.folder)
    network = load_network(found.folder, volume=volume).eval().requires_grad_(requires_grad=False)
    files = {
        name: ExportedFile(sha256=sha256(path), bytes=path.stat().st_size)
        for name in (CONFIG, WEIGHTS, *_TELLING)
        if (path := found.folder / name).is_file()
    }
    conversion, notes = _conversion(found.folder, files)
    if trial is not None:
        fed, classes = _of_task(trial.spec.task), _classes(trial.spec.task)
    else:
        fed, classes = _of_conversion(conversion), None
    origin = Origin(
        name=found.name,
        kind="segmenter" if isinstance(network, Segmenter) else "backbone",
        repo=found.repo,
        inside=found.inside,
        commit=found.commit,
        network=_summary(network),
        trial=trial.hash if trial else None,
        license=dict(conversion.source.license) if conversion else {},
        files=files,
    )
    return ExportSource(
        found.name, found.folder, network, origin, fed, classes, trial, tuple(notes)
    )


def _refuse_run(run: Path) -> None:
    """Refuse a run folder, whose trials hold the networks."""
    trials = sorted(path.parent for path in (run / "trials").glob(f"*/{RECORD}"))
    if trials and not (run / CONFIG).exists():
        raise UsageError(
            f"'{called(run)}' is a run of 'inflate-zoo bench': each of its "
            f"{plural(len(trials), 'finished trial')} is a network",
            hint=f"name one of them, e.g. {trials[0]}",
        )


def _trial(folder: Path) -> TrialFolder | None:
    """The trial that a folder is; `None` where it is none."""
    if not (folder / SPEC).exists():
        return None
    trial = TrialFolder(folder)
    if not (folder / RECORD).exists():
        raise UsageError(
            f"trial '{called(folder)}' is not done: it has no record",
            hint=f"train it first: inflate-zoo bench-trial {shlex.quote(str(folder))}",
        )
    trial.believed(moved=True)
    return trial


def _conversion(
    folder: Path, files: dict[str, ExportedFile]
) -> tuple[ConversionRecord | None, list[str]]:
    """The record of a conversion, where the weights are still those that it tells of."""
    if CONVERSION not in files:
        return None, []
    record = read_conversion(folder)
    if record.weights_sha256 != files[WEIGHTS].sha256:
        return None, [f"The weights are others than those that {CONVERSION} tells of."]
    return record, []


def _of_conversion(record: ConversionRecord | None) -> InputFacts:
    if record is None:
        return _UNTOLD
    if record.recipe.fold_normalization:
        return InputFacts(
            value_range=(0.0, 1.0), told="intensities in [0, 1]; the normalisation is folded in"
        )
    return InputFacts(told="normalised as the 2D source was fed; no normalisation is folded in")


def _of_task(task: Task) -> InputFacts:
    low, high = task.intensity.low, task.intensity.high
    what = "intensities" if task.intensity.rule == "window" else "percentiles of each channel"
    return InputFacts(
        value_range=(0.0, 1.0),
        told=f"intensities in [0, 1]: {what} {low:g} to {high:g}, cut off beyond",
        channels=task.channels,
        spacing_mm=task.spacing,
        intensity=task.intensity.rule,
        low=low,
        high=high,
    )


def _classes(task: Task) -> tuple[ClassFacts, ...]:
    names = {value: name for name, value in task.labels.items()}
    return tuple(ClassFacts(name=names[value], value=value) for value in task.values)


def _summary(network: Backbone | Segmenter) -> str:
    if not isinstance(network, Segmenter):
        return network.config.summary()
    config = network.config
    each = ", slice by slice" if config.slice_wise else ""
    return (
        f"{config.backbone.summary()}; decoder {config.decoder} for {config.classes} classes{each}"
    )
