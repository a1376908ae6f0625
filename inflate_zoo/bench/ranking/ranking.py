"""Ranking of arms from the scores of their trials: what is better, and what is a tie."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from inflate_zoo.bench.ranking import statistics
from inflate_zoo.bench.ranking.stability import ArmScores, agreements, mean_ranks, unstable
from inflate_zoo.bench.ranking.types import (
    Caveat,
    Cell,
    Comparison,
    Outcome,
    Ranking,
    Standing,
    TaskRanking,
)
from inflate_zoo.errors import UsageError

_METRICS = ("dice", "surface_dice")  # that count; more must be better
_ALPHA = 0.05  # family-wise error per task, region and metric
_ENOUGH_SEEDS, _ENOUGH_CASES = 3, 10


def rank(outcomes: Sequence[Outcome]) -> Ranking:
    """Rank the arms of every task.

    Args:
        outcomes: One per trial, in any order.

    Returns:
        The ranking.

    Raises:
        UsageError: Two trials have the same task, protocol, arm, seed and fold.
    """
    studies: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        studies[outcome.task, outcome.protocol].append(outcome)
    ranked = [_rank_task(study) for _, study in sorted(studies.items())]
    tasks = tuple(task for task, _ in ranked)
    overall, caveats = mean_ranks(tasks)
    stability = agreements(dict(overall), tasks, [scores for _, scores in ranked])
    return Ranking(tasks, overall, stability, (*caveats, *unstable(stability)))


@dataclass(frozen=True)
class _Study:
    """The trials of one task and protocol."""

    task: str
    protocol: str
    trials: Mapping[tuple[str, int, int], Outcome]  # (arm, seed, fold), in that order
    missing: Mapping[str, int]

    @property
    def seeds(self) -> list[int]:
        return sorted({seed for _, seed, _ in self.trials})

    @property
    def complete(self) -> list[str]:
        return [arm for arm, missing in self.missing.items() if not missing]


def _study(outcomes: Sequence[Outcome]) -> _Study:
    trials: dict[tuple[str, int, int], Outcome] = {}
    for outcome in sorted(outcomes, key=lambda each: (each.arm, each.seed, each.fold)):
        key = outcome.arm, outcome.seed, outcome.fold
        if key in trials:
            raise UsageError(
                f"task '{outcome.task}' has two trials of arm '{outcome.arm}', "
                f"seed {outcome.seed}, fold {outcome.fold}",
                hint="rank the trials of one run; a source that changed in between is another arm",
            )
        trials[key] = outcome
    seeds, folds = {key[1] for key in trials}, {key[2] for key in trials}
    done = [arm for (arm, _, _), outcome in trials.items() if outcome.cases is not None]
    expected = len(seeds) * len(folds)
    missing = {arm: expected - done.count(arm) for arm in dict.fromkeys(key[0] for key in trials)}
    return _Study(outcomes[0].task, outcomes[0].protocol, trials, missing)


def _rank_task(outcomes: Sequence[Outcome]) -> tuple[TaskRanking, ArmScores]:
    study = _study(outcomes)
    tables = {
        (region, metric): _table(study, region, metric)
        for region in _regions(study)
        for metric in _METRICS
    }
    cases = {
        (fold, case)
        for (_, _, fold), outcome in study.trials.items()
        for case in outcome.cases or ()
    }
    counts = {cell: table.shape[-1] for cell, table in tables.items()}
    tables = {cell: table for cell, table in tables.items() if table.size}
    tests = {cell: statistics.compare(table) for cell, table in tables.items()}
    scores = {
        arm: {cell: table[place].mean(axis=0) for cell, table in tables.items()}
        for place, arm in enumerate(study.complete)
    }
    ranked = TaskRanking(
        task=study.task,
        protocol=study.protocol,
        standings=_standings(study, tables, tests),
        comparisons=tuple(
            comparison
            for cell, table in tables.items()
            for comparison in _comparisons(cell, study.complete, table, tests[cell])
        ),
        cases=len(cases),
        seeds=len(study.seeds),
        smallest_p=statistics.smallest_p(len(cases), len(study.seeds)),
        caveats=_caveats(study, len(cases), counts),
    )
    return ranked, scores


def _regions(study: _Study) -> list[str]:
    return list(
        dict.fromkeys(
            region
            for outcome in study.trials.values()
            for _, regions in sorted((outcome.cases or {}).items())
            for region in regions
        )
    )


def _table(study: _Study, region: str, metric: str) -> statistics.Floats:
    """Values of the complete arms, shape (arms, seeds, cases), on cases that all of them have.

    A case is tested in one fold, so it names the training of each seed that saw it.
    """
    found: dict[tuple[str, int], dict[tuple[int, str], float]] = {
        (arm, seed): {} for arm in study.complete for seed in study.seeds
    }
    for (arm, seed, fold), outcome in study.trials.items():
        for case, regions in (outcome.cases or {}).items():
            value = regions.get(region, {}).get(metric)
            if (arm, seed) in found and value is not None:
                found[arm, seed][fold, case] = value
    common = sorted(set.intersection(*map(set, found.values()))) if found else []
    values = [[row[case] for case in common] for row in found.values()]
    shape = len(study.complete), len(study.seeds), len(common)
    return np.array(values, dtype=np.float64).reshape(shape)


def _standings(
    study: _Study,
    tables: Mapping[Cell, statistics.Floats],
    tests: Mapping[Cell, statistics.PairTests],
) -> tuple[Standing, ...]:
    complete = study.complete
    points = {cell: (test.p_holm < _ALPHA).sum(axis=-1) for cell, test in tests.items()}
    ties = [statistics.tied_ranks(each) for each in points.values() or [np.zeros(len(complete))]]
    ranks = dict(zip(complete, np.mean(ties, axis=0).tolist(), strict=True))
    last = (len(complete) + 1 + len(study.missing)) / 2
    ranks |= {arm: last for arm, missing in study.missing.items() if missing}
    order = sorted(ranks, key=lambda arm: (ranks[arm], arm))
    level = [ranks[arm] for arm in order]
    standings = []
    for arm in order:
        place = complete.index(arm) if arm in complete else None
        first = level.index(ranks[arm]) + 1
        past = first + level.count(ranks[arm]) - 1
        shown = {} if place is None else {cell: (tables[cell], place) for cell in tables}
        standings.append(
            Standing(
                arm=arm,
                rank=ranks[arm],
                group=str(first) if first == past else f"{first}-{past}",
                points={cell: int(points[cell][at]) for cell, (_, at) in shown.items()},
                means={cell: float(table[at].mean()) for cell, (table, at) in shown.items()},
                seed_spread={cell: _spread(table, at) for cell, (table, at) in shown.items()},
                missing=study.missing[arm],
            )
        )
    return tuple(standings)


def _spread(table: statistics.Floats, arm: int) -> float | None:
    if table.shape[1] < 2:
        return None
    return float(np.sqrt(statistics.seed_variance(table)[arm]))


def _comparisons(
    cell: Cell,
    arms: Sequence[str],
    table: statistics.Floats,
    tests: statistics.PairTests,
) -> list[Comparison]:
    pairs = list(itertools.combinations(range(len(arms)), 2))
    if not pairs:
        return []
    cases, per_case = table.shape[-1], table.mean(axis=1)
    paired = np.stack([per_case[a] - per_case[b] for a, b in pairs])
    lows, highs = statistics.bootstrap(paired)
    found = {}
    for (a, b), row, low, high in zip(pairs, paired, lows.tolist(), highs.tolist(), strict=True):
        models = statistics.wilcoxon_p(row)
        for first, second, ends in ((a, b, (low, high)), (b, a, (-high, -low))):
            at, tested = (first, second), bool(tests.tested[first, second])
            found[at] = Comparison(
                region=cell[0],
                metric=cell[1],
                first=arms[first],
                second=arms[second],
                difference=float(tests.difference[at]),
                standard_error=float(tests.standard_error[at]) if tested else None,
                degrees=float(tests.degrees[at]) if tested else None,
                t=float(tests.t[at]) if tested else None,
                p=float(tests.p[at]),
                p_holm=float(tests.p_holm[at]),
                better=bool(tests.p_holm[at] < _ALPHA),
                wilcoxon_p=models if cases > 1 else None,
                low=ends[0] if cases > 1 else None,
                high=ends[1] if cases > 1 else None,
                cases=cases,
                seeds=table.shape[1],
            )
    return [found[at] for at in sorted(found)]


def _caveats(study: _Study, cases: int, counts: Mapping[Cell, int]) -> tuple[Caveat, ...]:
    seeds = len(study.seeds)
    sentences = []
    if len(study.complete) < 2:
        sentences.append(f"{len(study.complete)} of {len(study.missing)} arms are complete")
    if seeds == 1:
        sentences.append("with one seed the spread between trainings is unknown; it takes 3")
    elif seeds < _ENOUGH_SEEDS:
        sentences.append(f"{seeds} seeds tell little of the spread between trainings; it takes 3")
    if cases < _ENOUGH_CASES:
        sentences.append(f"{cases} test cases are too few; it takes {_ENOUGH_CASES}")
    elif len(study.complete) > 1:
        sentences += [
            f"region '{region}' has {count} test cases with a {metric}; it takes {_ENOUGH_CASES}"
            for (region, metric), count in counts.items()
            if count < _ENOUGH_CASES
        ]
    return tuple(Caveat("not a ranking", sentence) for sentence in sentences)
