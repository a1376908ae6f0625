"""Segmenting new images with a trained trial, in the very steps its evaluation took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from inflate_zoo.bench.data.preprocessing import network_input
from inflate_zoo.bench.data.resampling import restore
from inflate_zoo.bench.data.volumes import read_channels, write_like
from inflate_zoo.bench.definitions.progress import StageProgress
from inflate_zoo.bench.definitions.tasks import class_regions
from inflate_zoo.bench.definitions.trial_folder import RECORD, SPEC, TrialFolder
from inflate_zoo.bench.definitions.trials import window_of
from inflate_zoo.bench.prediction.images import CaseImages, check_jobs, read_reference
from inflate_zoo.bench.prediction.nnunet_summary import score, summarize
from inflate_zoo.bench.scoring.inference import SlidingWindowPredictor
from inflate_zoo.bench.training.devices import Resources, make_accelerator
from inflate_zoo.bench.trials.folder import trials_of
from inflate_zoo.errors import UsageError, WriteError
from inflate_zoo.files.reading import called, require_folder
from inflate_zoo.files.writing.contents import json_text
from inflate_zoo.files.writing.staging import check_target
from inflate_zoo.files.writing.whole_files import filling, remove_partial, replace_text
from inflate_zoo.segmentation.segmenter import Segmenter

SUMMARY = "summary.json"


@dataclass(frozen=True, slots=True)
class Predicted:
    """One prediction.

    Attributes:
        case: Name of the case.
        file: Name of the file in the output folder.
        volumes_ml: Region to its predicted volume in ml.
    """

    case: str
    file: str
    volumes_ml: dict[str, float]


def find_trial(folder: Path) -> TrialFolder:
    """The finished trial that a folder is, or the only one that a run folder holds.

    Raises:
        UsageError: It is neither, the trial is not done, or there are several.
    """
    if (folder / SPEC).exists():
        trial = TrialFolder(folder)
        if not (folder / RECORD).exists():
            raise UsageError(
                f"trial '{called(folder)}' is not done: it has no record",
                hint=f"train it first: inflate-zoo bench-trial {folder}",
            )
        trial.believed(moved=True)
        return trial
    trials = list(trials_of(folder))
    if not trials:
        require_folder(folder, "name a folder below <out>/trials that holds a record.json")
        raise UsageError(
            f"'{called(folder)}' is neither a trial's folder nor a run of 'inflate-zoo bench'",
            hint="name a folder below <out>/trials that holds a record.json",
        )
    done = [trial for trial in trials if trial.done]
    if len(done) == 1:
        return done[0]
    if not done:
        raise UsageError(
            f"none of the {len(trials)} trials of '{called(folder)}' is done",
            hint="run the 'inflate-zoo bench' command that planned them again",
        )
    told = [f"{t.folder}: {t.spec.arm.label}, seed {t.spec.seed}, fold {t.spec.fold}" for t in done]
    raise UsageError(
        f"'{called(folder)}' holds {len(done)} trained networks",
        details=told,
        hint="name one of them",
    )


def predict(
    trial: TrialFolder,
    jobs: Sequence[CaseImages],
    out: Path,
    resources: Resources,
    progress: StageProgress,
    *,
    force: bool,
) -> tuple[list[Predicted], dict[str, Any] | None]:
    """Segment images and write label values on their own grids.

    Args:
        trial: A finished trial.
        jobs: What `find_jobs` found; all are read and checked before the first is segmented.
        out: Gets `<case>.nii.gz`, and `summary.json` if there are references; each is whole or
            absent.
        resources: The device.
        progress: Told what is counted, how much is done, how much there is.
        force: Replace files of the same names in a folder that holds something.

    Returns:
        The predictions, and the summary if there are references.

    Raises:
        UsageError: An image or reference cannot be used, or the output folder holds something.
        WriteError: Disk full, read-only folder.
    """
    task = trial.spec.task
    _require_apart(jobs, out)
    check_target(out, force=force)
    accelerator = make_accelerator(trial.spec.protocol.train.precision, resources)
    check_jobs(jobs, task, progress)
    network = Segmenter.from_pretrained(trial.folder, device=accelerator.device)
    settings, window = trial.spec.protocol.evaluation, window_of(trial.spec)
    predictor = SlidingWindowPredictor(
        network, window, settings, accelerator.device, accelerator.autocast
    )
    with filling(out, partial(_refused, out)):
        _clear(out)
        predicted, scored = [], []
        for index, job in enumerate(jobs):
            progress("cases predicted", index, len(jobs))
            seen = network_input(task, read_channels(job.images, task.slices), job.case)
            grid = seen.grid
            classes = restore(predictor.probabilities(seen.image), grid.voxels(task.slices))
            values = np.asarray(task.values, np.uint8)[classes]
            write_like(out / job.file, values, grid, task.slices)
            voxel_ml = prod(grid.spacing_ras) / 1000
            volumes = {
                name: int(np.isin(classes, members).sum()) * voxel_ml
                for name, members in class_regions(task).items()
            }
            predicted.append(Predicted(job.case, job.file, volumes))
            if job.reference is not None:
                reference = read_reference(job.reference, task)[0]
                paths = {"reference_file": job.reference, "prediction_file": out / job.file}
                named = {name: str(path) for name, path in paths.items()}
                scored.append({**named, "metrics": score(classes, reference, task)})
        progress("cases predicted", len(jobs), len(jobs))
        if not scored:
            return predicted, None
        summary = summarize(scored)
        replace_text(out / SUMMARY, json_text(summary))
        return predicted, summary


def _require_apart(jobs: Sequence[CaseImages], out: Path) -> None:
    """Refuse to write a prediction over what it is made of."""
    inputs = {path.resolve() for job in jobs for path in (*job.images, job.reference) if path}
    if any((out / job.file).resolve() in inputs for job in jobs):
        raise UsageError(
            f"predictions in '{out.name}' would replace images or references",
            hint="choose another folder with --out",
        )


def _refused(out: Path, reason: str) -> WriteError:
    return WriteError(f"'{out.name}' cannot be written: {reason}", hint="choose another with --out")


def _clear(out: Path) -> None:
    """Remove what a killed run left, and a summary of other predictions."""
    try:
        remove_partial(out)
        (out / SUMMARY).unlink(missing_ok=True)
    except OSError as error:
        raise _refused(out, error.strerror or type(error).__name__) from error
