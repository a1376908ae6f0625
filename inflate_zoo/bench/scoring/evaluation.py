"""Scoring a trained network: sliding windows, the original grid, every case kept as it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from inflate_zoo.bench.data.cases import CachedCase, open_case
from inflate_zoo.bench.data.resampling import restore
from inflate_zoo.bench.definitions.results import CaseScores
from inflate_zoo.bench.definitions.tasks import Task, class_regions
from inflate_zoo.bench.scoring.inference import SlidingWindowPredictor
from inflate_zoo.bench.scoring.metrics import case_scores
from inflate_zoo.bench.scoring.slices import AGAIN, keep_overlays, keep_slice, spoilt
from inflate_zoo.errors import UsageError
from inflate_zoo.files.budgets import JSON_BYTES
from inflate_zoo.files.foreign import json_form
from inflate_zoo.files.header import read_header
from inflate_zoo.files.reading import read_bytes
from inflate_zoo.files.writing.contents import form_text
from inflate_zoo.files.writing.whole_files import replace_text


def validation_dice(
    predictor: SlidingWindowPredictor, cases: Iterable[CachedCase], task: Task
) -> float | None:
    """Mean Dice over cases and regions on the target grid; `None` if no region occurs."""
    values = []
    for case in cases:
        found = restore(predictor.probabilities(case.image), case.label.shape)
        for members in class_regions(task).values():
            wanted, got = np.isin(case.label, members), np.isin(found, members)
            if wanted.any():
                values.append(2 * int((wanted & got).sum()) / int(wanted.sum() + got.sum()))
    return float(np.mean(values)) if values else None


def score_case(
    predictor: SlidingWindowPredictor,
    case: CachedCase,
    task: Task,
    folder: Path,
    index: int,
    guard: Callable[[], None] = lambda: None,
) -> CaseScores:
    """Score one case on its original grid, or read what an earlier attempt found.

    Args:
        predictor: The network.
        case: The case.
        task: The task.
        folder: The trial's folder; `cases/<index>.json` and `.safetensors` are kept there.
        index: The case's number.
        guard: Raises if nothing is to be written any more.
    """
    path = folder / "cases" / f"{index:04d}.json"
    if (kept := _kept(path, case.name)) is not None:
        return kept
    reference = np.asarray(case.reference)
    found = restore(predictor.probabilities(case.image), reference.shape)
    regions = case_scores(
        found, reference, case.spacing, class_regions(task), task.surface_tolerance_mm
    )
    guard()
    path.parent.mkdir(exist_ok=True)
    chosen = keep_slice(case, reference, found, path.with_suffix(".safetensors"))
    dice = [values["dice"] for values in regions.values() if values["dice"] is not None]
    mean = float(np.mean(dice)) if dice else None
    scored = CaseScores(case=case.name, regions=regions, mean_dice=mean, slice=chosen)
    replace_text(path, form_text(scored))
    return scored


def _kept(path: Path, case: str) -> CaseScores | None:
    """What an earlier attempt found, where both of its files are whole and of this case."""
    with suppress(UsageError):
        content = read_bytes(path, JSON_BYTES["record"], AGAIN)
        scored = json_form(CaseScores, content, partial(spoilt, path.name))
        read_header(path.with_suffix(".safetensors"))
        return scored if scored.case == case else None
    return None


def evaluate(
    predictor: SlidingWindowPredictor,
    task: Task,
    cases: list[tuple[str, str]],
    cache: Path,
    folder: Path,
    progress: Callable[[int, int], None],
    guard: Callable[[], None] = lambda: None,
) -> list[CaseScores]:
    """Score every test case.

    Args:
        predictor: The network.
        task: The task.
        cases: Name and cache key of each.
        cache: Cache folder.
        folder: The trial's folder.
        progress: Told cases done and cases in all.
        guard: Raises if nothing is to be written any more.

    Returns:
        What `score_case` gives, in the order of `cases`.
    """
    scored = []
    for index, (_, key) in enumerate(cases):
        case = open_case(cache, key)
        scored.append(score_case(predictor, case, task, folder, index, guard))
        progress(index + 1, len(cases))
    guard()
    keep_overlays(folder, scored)
    return scored
