"""Scores in the form of nnU-Net's summary.json, for whoever compares with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inflate_zoo.bench.definitions.tasks import Task, class_regions


def score(
    found: NDArray[np.uint8], reference: NDArray[np.uint8], task: Task
) -> dict[str, dict[str, float | None]]:
    """Metrics of one case by region, named as nnU-Net does: its label value, or several.

    Args:
        found: Class indices.
        reference: Class indices, of the same shape.
        task: The task.
    """
    metrics = {}
    for name, members in class_regions(task).items():
        values = task.regions[name]
        key = str(values[0]) if len(values) == 1 else str(tuple(values))
        metrics[key] = overlap(np.isin(found, members), np.isin(reference, members))
    return metrics


def overlap(found: NDArray[np.bool_], true: NDArray[np.bool_]) -> dict[str, float | None]:
    """Dice, IoU and voxel counts of two masks; no Dice where both are empty."""
    both = int((found & true).sum())
    n_pred, n_ref = int(found.sum()), int(true.sum())
    either = n_pred + n_ref - both
    return {
        "Dice": 2 * both / (n_pred + n_ref) if either else None,
        "IoU": both / either if either else None,
        "FN": n_ref - both,
        "FP": n_pred - both,
        "TN": true.size - either,
        "TP": both,
        "n_pred": n_pred,
        "n_ref": n_ref,
    }


def summarize(scored: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """nnU-Net's summary.json: means per region over the cases that have a value, and of all.

    A case's entry has the paths `reference_file` and `prediction_file`, as they were given, and its
    `metrics`. Where nnU-Net writes NaN stands null: a foreground mean is null if one region's is.
    """

    def mean(values: list[float | None]) -> float | None:
        there = [value for value in values if value is not None]
        return float(np.mean(there)) if there else None

    first = scored[0]["metrics"]
    means = {
        key: {name: mean([entry["metrics"][key][name] for entry in scored]) for name in first[key]}
        for key in first
    }
    foreground = {}
    for name in next(iter(first.values())):
        values = [means[key][name] for key in means]
        foreground[name] = None if None in values else mean(values)
    return {"foreground_mean": foreground, "mean": means, "metric_per_case": list(scored)}
