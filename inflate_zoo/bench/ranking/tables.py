"""Scores of one task and protocol as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from inflate_zoo.bench.ranking.statistics import Floats
from inflate_zoo.bench.ranking.types import Cell, Contestant, Metric, Outcome
from inflate_zoo.errors import UsageError

METRICS: tuple[Metric, ...] = ("dice", "surface_dice")  # that count; more must be better


@dataclass(frozen=True)
class Study:
    """The trials of one task and protocol.

    Attributes:
        task: Name of the task.
        protocol: Name of the protocol.
        trials: (arm, seed, fold) to trial, in that order.
        missing: Arm to how many trials it lacks of one for each seed and fold that any arm has.
    """

    task: str
    protocol: str
    trials: dict[tuple[str, int, int], Outcome]
    missing: Mapping[str, int]

    @property
    def seeds(self) -> list[int]:
        """All seeds."""
        return sorted({seed for _, seed, _ in self.trials})

    @property
    def contestants(self) -> dict[str, Contestant]:
        """All arms."""
        return {arm: each.contestant for (arm, _, _), each in reversed(self.trials.items())}

    @property
    def complete(self) -> list[str]:
        """Arms that lack no trial."""
        return [arm for arm, missing in self.missing.items() if not missing]


@dataclass(frozen=True)
class Tables:
    """Values of the complete arms.

    Attributes:
        means: Metric to the mean over regions, shape (arms, seeds, cases), on the cases that have
            any region.
        cells: (region, metric) to its values, the same shape, on the cases that have the region.
    """

    means: Mapping[Metric, Floats]
    cells: Mapping[Cell, Floats]


def study_of(outcomes: Sequence[Outcome]) -> Study:
    """Sort the trials of one task and protocol.

    Args:
        outcomes: At least one, in any order.

    Raises:
        UsageError: Two have the same arm, seed and fold.
    """
    trials: dict[tuple[str, int, int], Outcome] = {}
    for outcome in sorted(outcomes, key=lambda each: (each.contestant.arm, each.seed, each.fold)):
        key = outcome.contestant.arm, outcome.seed, outcome.fold
        if key in trials:
            raise UsageError(
                f"task '{outcome.task}' has two trials of arm '{key[0]}', "
                f"seed {outcome.seed}, fold {outcome.fold}",
                hint="rank the trials of one run; a source that changed in between is another arm",
            )
        trials[key] = outcome
    seeds, folds = {key[1] for key in trials}, {key[2] for key in trials}
    done = [arm for (arm, _, _), outcome in trials.items() if outcome.cases is not None]
    expected = len(seeds) * len(folds)
    missing = {arm: expected - done.count(arm) for arm in dict.fromkeys(key[0] for key in trials)}
    return Study(outcomes[0].task, outcomes[0].protocol, trials, missing)


def tables_of(study: Study) -> Tables:
    """Values of the complete arms.

    A case's value is the mean over the regions that all complete arms have a value of, in every
    training; a case is tested in one fold, so it names the training of each seed that saw it.
    """
    values, regions = _filled(study)
    known = np.asarray(~np.isnan(values).any(axis=(0, 1)))  # regions, metrics, cases
    counts = np.asarray(known.sum(axis=0))
    sums = np.where(known, values, 0.0).sum(axis=2)
    means: dict[Metric, Floats] = {
        metric: sums[:, :, at][..., counts[at] > 0] / counts[at][counts[at] > 0]
        for at, metric in enumerate(METRICS)
    }
    cells: dict[Cell, Floats] = {
        (region, metric): values[:, :, place, at][..., known[place, at]]
        for place, region in enumerate(regions)
        for at, metric in enumerate(METRICS)
    }
    return Tables(means, cells)


def _filled(study: Study) -> tuple[Floats, list[str]]:
    """Values, shape (arms, seeds, regions, metrics, cases), NaN where there is none; regions."""
    cases: dict[tuple[int, str], int] = {}
    regions: dict[str, int] = {}
    for (_, _, fold), outcome in study.trials.items():
        for case, scores in sorted((outcome.cases or {}).items()):
            cases.setdefault((fold, case), len(cases))
            for region in scores:
                regions.setdefault(region, len(regions))
    cases = {case: place for place, case in enumerate(sorted(cases))}
    arms = {arm: place for place, arm in enumerate(study.complete)}
    seeds = {seed: place for place, seed in enumerate(study.seeds)}
    values = np.full((len(arms), len(seeds), len(regions), len(METRICS), len(cases)), np.nan)
    for (arm, seed, fold), outcome in study.trials.items():
        if arm not in arms:
            continue
        own = values[arms[arm], seeds[seed]]
        for case, scores in (outcome.cases or {}).items():
            at = cases[fold, case]
            for region, metrics in scores.items():
                row = regions[region]
                for column, metric in enumerate(METRICS):
                    if (value := metrics.get(metric)) is not None:
                        own[row, column, at] = value
    return values, list(regions)
