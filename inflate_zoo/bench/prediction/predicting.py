"""Segmenting new images with trained trials, in the very steps their evaluation took."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from inflate_zoo.bench.data.grids import to_file_grid
from inflate_zoo.bench.data.resampling import classes_on, restore
from inflate_zoo.bench.data.volumes import label_file
from inflate_zoo.bench.definitions.progress import StageProgress
from inflate_zoo.bench.definitions.tasks import Task, class_regions
from inflate_zoo.bench.definitions.trial_folder import TrialFolder
from inflate_zoo.bench.prediction.done import Entry, Folder, image_digests, maker_of, open_folder
from inflate_zoo.bench.prediction.ensemble import Ensemble
from inflate_zoo.bench.prediction.images import CaseImages, check_jobs, read_reference
from inflate_zoo.bench.prediction.nnunet_summary import score, summarize
from inflate_zoo.bench.prediction.probabilities import write_npz
from inflate_zoo.bench.training.devices import Resources, device_kind
from inflate_zoo.errors import UsageError, WriteError
from inflate_zoo.files.digests import sha256
from inflate_zoo.files.reading import called
from inflate_zoo.files.writing.contents import json_text
from inflate_zoo.files.writing.staging import check_target
from inflate_zoo.files.writing.turns import only_one
from inflate_zoo.files.writing.whole_files import filling, remove_partial, replace_text, replacing
from inflate_zoo.texts import as_text

SUMMARY = "summary.json"


@dataclass(frozen=True, slots=True)
class Options:
    """How predictions are made.

    Attributes:
        mirror: Whether each network sees each image in all its mirrored forms.
        probabilities: Whether class probabilities are kept too.
        force: Whether files in the output folder that are not this command's may be replaced.
    """

    mirror: bool = False
    probabilities: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class Predicted:
    """One prediction.

    Attributes:
        case: Name of the case.
        file: Name of the file in the output folder.
        volumes_ml: Region to its predicted volume in ml.
        probabilities: Name of the file of class probabilities; `None` where none was asked for.
        kept: Whether an earlier command made it.
    """

    case: str
    file: str
    volumes_ml: dict[str, float]
    probabilities: str | None
    kept: bool


def predict(
    trials: Sequence[TrialFolder],
    jobs: Sequence[CaseImages],
    out: Path,
    resources: Resources,
    progress: StageProgress,
    options: Options,
) -> tuple[list[Predicted], dict[str, Any] | None]:
    """Segment images and write label values on their own grids.

    What is done already is kept: the same command goes on where it was interrupted. Commands that
    share an output folder wait for one another.

    Args:
        trials: Finished ones; several are an ensemble, the mean of their class probabilities.
        jobs: What `find_jobs` found; all that are to do are read and checked before the first is
            segmented.
        out: Gets `<case>.nii.gz`, `<case>.npz` if probabilities are kept, `summary.json` if there
            are references; each is whole or absent. `predictions.json` says what made them.
        resources: The device.
        progress: Told what is counted, how much is done, how much there is.
        options: How.

    Returns:
        The predictions, and the summary if there are references.

    Raises:
        UsageError: An image or reference cannot be used, or the output folder holds something.
        WriteError: Disk full, read-only folder.
    """
    task = trials[0].spec.task
    _require_apart(jobs, out)
    device_kind(resources)
    maker = maker_of(trials, mirror=options.mirror)
    check_target(out, force=True)  # before it is made
    with ExitStack() as held, filling(out, partial(_refused, out)):
        if held.enter_context(only_one(out, partial(_waits, out))):  # until `filling` is done
            remove_partial(out)  # of a killed run; else it may be another's work
        folder = open_folder(
            out, maker, jobs, probabilities=options.probabilities, force=options.force
        )
        entries = _entries(folder, jobs, progress)
        check_jobs([job for job in jobs if job.reference or not entries[job.case]], task, progress)
        done = all(entries.values())
        ensemble = None if done else Ensemble(trials, resources, mirror=options.mirror)
        _forget_summary(out)
        predicted, scored = [], []
        for index, job in enumerate(jobs):
            progress("cases predicted", index, len(jobs))
            kept = entry = entries[job.case]
            if entry is None:
                assert ensemble is not None  # noqa: S101 - for this very case
                entry = _segment(ensemble, job, task, folder)
            probabilities = job.probabilities_file if options.probabilities else None
            volumes = dict(entry.volumes_ml)
            predicted.append(
                Predicted(job.case, job.file, volumes, probabilities, kept is not None)
            )
            if job.reference is not None:
                scored.append(_scored(job, job.reference, out, task))
        progress("cases predicted", len(jobs), len(jobs))
        if not scored:
            return predicted, None
        summary = summarize(scored)
        replace_text(out / SUMMARY, json_text(summary))
        return predicted, summary


def _entries(
    folder: Folder, jobs: Sequence[CaseImages], progress: StageProgress
) -> dict[str, Entry | None]:
    """Case to what is there of it already."""
    found: dict[str, Entry | None] = {}
    for index, job in enumerate(jobs):
        if folder.intact:
            progress("cases compared", index, len(jobs))
        found[job.case] = folder.done(job)
    if folder.intact:
        progress("cases compared", len(jobs), len(jobs))
    return found


def _segment(ensemble: Ensemble, job: CaseImages, task: Task, folder: Folder) -> Entry:
    """Segment an image, and put what was found and its record in place."""
    images = image_digests(job)
    probabilities, grid = ensemble.probabilities(job)
    shape = grid.voxels(task.slices)
    classes = restore(probabilities, shape)
    content = label_file(job.file, np.asarray(task.values, np.uint8)[classes], grid, task.slices)
    voxel_ml = grid.voxel_mm3 / 1000
    with ExitStack() as files:
        files.enter_context(replacing(folder.out / job.file)).write_bytes(content)
        digest = None
        if folder.probabilities:
            packed = files.enter_context(replacing(folder.out / job.probabilities_file))
            own = (
                to_file_grid(each.numpy(), grid, task.slices).transpose(2, 1, 0)
                for each in classes_on(probabilities, shape)
            )
            write_npz(packed, own, (len(task.values), *grid.shape[::-1]))
            digest = sha256(packed)
        entry = Entry(
            images=images,
            prediction=hashlib.sha256(content).hexdigest(),
            probabilities=digest,
            volumes_ml={
                name: int(np.isin(classes, members).sum()) * voxel_ml
                for name, members in class_regions(task).items()
            },
        )
        folder.record(job, entry)
    return entry


def _scored(job: CaseImages, reference: Path, out: Path, task: Task) -> dict[str, Any]:
    """An entry of nnU-Net's summary, of the file that was written."""
    found, grid = read_reference(out / job.file, task)
    true, _ = read_reference(reference, task, grid)
    paths = {"reference_file": reference, "prediction_file": out / job.file}
    named = {name: as_text(str(path)) for name, path in paths.items()}
    return {**named, "metrics": score(found, true, task)}


def _require_apart(jobs: Sequence[CaseImages], out: Path) -> None:
    """Refuse to write a prediction over what it is made of."""
    inputs = {path.resolve() for job in jobs for path in (*job.images, job.reference) if path}
    names = [name for job in jobs for name in (job.file, job.probabilities_file)]
    if any((out / name).resolve() in inputs for name in names):
        raise UsageError(
            f"predictions in '{called(out)}' would replace images or references",
            hint="choose another folder with --out",
        )


def _refused(out: Path, reason: str) -> WriteError:
    return WriteError(
        f"'{called(out)}' cannot be written: {reason}", hint="choose another with --out"
    )


def _waits(out: Path) -> None:
    warnings.warn(
        f"another process predicts into '{called(out)}': this one waits until it is done",
        stacklevel=2,
    )


def _forget_summary(out: Path) -> None:
    """Remove a summary of other predictions."""
    try:
        (out / SUMMARY).unlink(missing_ok=True)
    except OSError as error:
        raise _refused(out, error.strerror or type(error).__name__) from error
