"""A CT segmented from file to file, as `predict` does it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import torch
from figures import Day
from trainings import run, unfinished

from inflate_zoo.bench.arms.making import ArmRequest
from inflate_zoo.bench.definitions.catalog import load_protocol
from inflate_zoo.bench.definitions.trial_folder import TrialFolder
from inflate_zoo.bench.prediction.images import find_jobs
from inflate_zoo.bench.prediction.predicting import Options, predict
from inflate_zoo.bench.training.devices import Resources, peak_memory, reset_peak_memory
from inflate_zoo.bench.trials.folder import plan_trial
from inflate_zoo.bench.trials.planning import Request, plan
from tests.support import standins

TASK = "msd-task03"
CPU = torch.device("cpu")


def scan(day: Day) -> bool:
    """Seconds and memory of one random CT at the task's spacing, by a ViT-B with random weights."""
    folder = day.options.work / "scan"
    standin = standins.write_standin(folder, TASK)
    _, spacing, _ = standins.GEOMETRY[TASK]
    source = "builtin/clip" if day.options.rehearse else "random"
    changes = ["train.steps=2", "train.batch=2", "train.dice_group=1", "train.validate_every=0"]
    changes += ['network.window=["spacing",32,32]'] if day.options.rehearse else []
    request = Request(
        data=standin.folder,
        dataset=str(standin.task),
        wanted=ArmRequest((source,), ("center",)),
        protocol=load_protocol("volume", changes),
        seeds=1,
        folds=(0,),
        rule="sum",
        out=folder / "run",
        cache=folder / "cache",
        command=("python", "benchmarks/gpu/day.py"),
    )
    found = plan(request, lambda *_, **__: None, lambda *_: None)
    trials = [plan_trial(found.out, spec, place) for spec, place in found.trials]
    if run(day, trials, 1) is None:
        return unfinished(trials)
    task = trials[0].spec.task
    _, image = standins.volume(task, day.sizes.scan, 0)
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    path = folder / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(image[..., 0].astype(np.int16), affine), path)
    device = torch.device(day.device)
    for place in (CPU, device):
        reset_peak_memory(place)
    spent = segmented(trials, path, folder / "out", day.device)
    found_memory = {
        name: round((peak_memory(place) or 0) / 2**30, 1)
        for name, place in (("main", CPU), ("device", device))
    }
    shape = " x ".join(map(str, day.sizes.scan))
    network = trials[0].spec.arm.architecture
    day.note("scan", f"{shape} CT, {network}", spent, "s", GiB=found_memory)
    return True


def segmented(trials: Sequence[TrialFolder], path: Path, out: Path, device: str) -> float:
    """Seconds of segmenting a file; what was segmented before is not gone on with."""
    shutil.rmtree(out, ignore_errors=True)
    began = time.perf_counter()
    jobs = find_jobs([path], None, trials[0].spec.task)
    predict(trials, jobs, out, Resources(device), lambda *_: None, Options())
    return time.perf_counter() - began
