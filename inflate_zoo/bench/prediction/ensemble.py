"""Trained networks that segment together: the mean of their class probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inflate_zoo.bench.data.grids import Grid
from inflate_zoo.bench.data.machine import free_memory
from inflate_zoo.bench.data.preprocessing import network_input
from inflate_zoo.bench.data.resampling import classes_on
from inflate_zoo.bench.definitions.tasks import Task
from inflate_zoo.bench.definitions.trial_folder import TrialFolder
from inflate_zoo.bench.definitions.trials import window_of
from inflate_zoo.bench.prediction.images import CaseImages
from inflate_zoo.bench.scoring.inference import SlidingWindowPredictor
from inflate_zoo.bench.training.devices import Resources, make_accelerator
from inflate_zoo.networks.files import WEIGHTS
from inflate_zoo.segmentation.segmenter import Segmenter


class Ensemble:
    """Trained networks on a device.

    All of them stay there if they take no more than half of its free memory; else each is loaded
    for each volume, so that one is there at a time.

    Args:
        trials: Finished ones that share their classes.
        resources: The device.
        mirror: Whether each network sees each image in all its mirrored forms.

    Raises:
        UsageError: There is no such device, or a network cannot be loaded.
    """

    def __init__(
        self, trials: Sequence[TrialFolder], resources: Resources, *, mirror: bool
    ) -> None:
        self._trials, self._mirror = tuple(trials), mirror
        self._accelerator = make_accelerator(trials[0].spec.protocol.train.precision, resources)
        self._kept: dict[Path, SlidingWindowPredictor] = {}
        sizes = [(trial.folder / WEIGHTS).stat().st_size for trial in trials]
        fitting = fit(sizes, _free(self._accelerator.device))
        for trial in trials if fitting else trials[:1]:
            self._kept[trial.folder] = self._load(trial)

    def _load(self, trial: TrialFolder) -> SlidingWindowPredictor:
        device = self._accelerator.device
        return SlidingWindowPredictor(
            Segmenter.from_pretrained(trial.folder, device=device),
            window_of(trial.spec),
            trial.spec.protocol.evaluation,
            device,
            self._accelerator.autocast,
        )

    def _predictor(self, trial: TrialFolder) -> SlidingWindowPredictor:
        if trial.folder not in self._kept:
            self._kept.clear()  # one at a time
            self._kept[trial.folder] = self._load(trial)
        return self._kept[trial.folder]

    def probabilities(self, job: CaseImages) -> tuple[Tensor, Grid]:
        """Class probabilities of an image: the mean over the networks.

        Networks that see the image alike are averaged as they see it, then brought to the image's
        own grid; where some see it otherwise, as derived tasks of several folds do, all are.

        Args:
            job: The image.

        Returns:
            [classes, depth, height, width], float32, on the CPU, as the networks see the image or
            on its own grid; and the grid of its first channel.

        Raises:
            UsageError: The image cannot be read, or is not of the task.
        """
        groups = list(_seen_alike(self._trials))
        total: Tensor | None = None
        for task, trials in groups:
            seen = network_input(task, job.channels(task.slices), job.case)
            found = mean(self._answers(trials, seen.image))
            if len(groups) == 1:
                return found, seen.grid
            shape = seen.grid.voxels(task.slices)
            if total is None:
                total = torch.zeros(len(found), *shape)
            with torch.inference_mode():
                for own, part in zip(total, classes_on(found, shape), strict=True):
                    own.add_(part, alpha=len(trials) / len(self._trials))
        if total is None:
            raise ValueError("no networks")
        return total, seen.grid

    def _answers(
        self, trials: Sequence[TrialFolder], image: NDArray[np.float16]
    ) -> Iterator[Tensor]:
        for trial in trials:
            predictor = self._predictor(trial)
            see, deep = predictor.probabilities, predictor.sees_depth_mirrored
            yield mirrored(see, image, depth=deep) if self._mirror else see(image)


def _seen_alike(trials: Sequence[TrialFolder]) -> Iterator[tuple[Task, list[TrialFolder]]]:
    """Groups of trials whose networks see an image alike, each with a task that says how."""
    groups: dict[str, list[TrialFolder]] = {}
    for trial in trials:
        fields = {"channels", "intensity", "spacing", "slices", "whole_slices", "slice_size"}
        groups.setdefault(trial.spec.task.model_dump_json(include=fields), []).append(trial)
    for group in groups.values():
        yield group[0].spec.task, group


def mean(parts: Iterator[Tensor]) -> Tensor:
    """The mean of tensors that come one by one, in the memory of the first: two are held."""
    with torch.inference_mode():
        total, count = next(parts), 1
        for part in parts:
            total += part
            count += 1
        return total if count == 1 else total.div_(count)


def mirrored(
    see: Callable[[NDArray[np.float16]], Tensor], image: NDArray[np.float16], *, depth: bool
) -> Tensor:
    """The mean of what is seen in an image and in its mirrored forms, turned back.

    Args:
        see: Gives class probabilities [classes, depth, height, width] of an image.
        image: [channels, depth, height, width].
        depth: Whether it is mirrored along depth, too: in seven forms, else in three.
    """
    along = (1, 2, 3) if depth else (2, 3)
    flips = [axes for count in range(len(along) + 1) for axes in combinations(along, count)]
    return mean(see(np.ascontiguousarray(np.flip(image, axes))).flip(axes) for axes in flips)


def fit(sizes: Sequence[int], free: int) -> bool:
    """Whether networks of so many bytes may stay: half of what is free is for their work."""
    return sum(sizes) <= free // 2


def _free(device: torch.device) -> int:
    """Bytes that are free on a device; one that shares the machine's memory has what that has."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return free_memory()
