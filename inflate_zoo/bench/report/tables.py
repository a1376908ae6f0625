"""Tables of a study: standings, differences, cost, settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from inflate_zoo.bench.definitions.results import Record
from inflate_zoo.bench.definitions.trials import ArmSpec
from inflate_zoo.bench.ranking.types import Comparison, Ranking, Standing
from inflate_zoo.bench.report.output.document import Table
from inflate_zoo.bench.report.output.text import (
    NONE,
    amount,
    memory,
    number,
    probability,
    seconds,
    signed,
    with_spread,
)
from inflate_zoo.bench.report.results import DOUBTFUL, Results, Study, differing, flattened
from inflate_zoo.texts import plural

MOST_REGIONS = 3  # beside each other; more give one column of means, and a table of their own
NAMES = {"dice": "Dice", "surface_dice": "surface Dice"}


def standings(study: Study, *, pooled: bool, narrow: bool = False) -> Table:
    """Who stands where.

    Args:
        study: The study.
        pooled: Whether to add Dice over the voxels of all cases.
        narrow: Means over regions instead of every region; so it is anyway where there are many.
    """
    arms = study.arms
    cells = _cells(study)
    narrow = narrow or len(study.regions) > MOST_REGIONS
    metrics = list(dict.fromkeys(metric for _, metric in cells))
    if narrow:
        heads = [f"{NAMES.get(metric, metric)}, mean over regions" for metric in metrics]
    else:
        heads = [f"{NAMES.get(metric, metric)} {region}" for region, metric in cells]
    pools = study.regions if pooled and not narrow else ()
    doubtful = {name for name, arm in arms.items() if arm.normalization in DOUBTFUL}
    rows = []
    for standing in study.ranking.standings:
        values = (
            [_over_regions(standing, metric) for metric in metrics]
            if narrow
            else [_cell(standing, cell) for cell in cells]
        )
        missing = f"{standing.missing} MISSING" if standing.missing else "0"
        rows.append(
            (
                NONE if standing.missing else f"{standing.rank:g}",
                "not ranked" if standing.missing else standing.group,
                standing.arm,
                arms[standing.arm].kind,
                *([normalization(arms[standing.arm])] if doubtful else []),
                *values,
                NONE if standing.missing else str(sum(standing.points.values())),
                *(number(_pooled(study, standing, region)) for region in pools),
                missing,
            )
        )
    words = ("rank", "places", "arm", "kind", *(["normalisation"] if doubtful else []))
    columns = (*words, *heads, "points",
               *(f"pooled Dice {region}" for region in pools), "trials missing")  # fmt: skip
    marked = frozenset(
        i for i, s in enumerate(study.ranking.standings) if s.missing or s.arm in doubtful
    )
    return Table(columns, tuple(rows), len(words), marked)


def normalization(arm: ArmSpec) -> str:
    """Who says which normalisation an arm's weights hold; in capitals where that is doubtful."""
    known = arm.normalization or NONE
    return DOUBTFUL[arm.normalization][0] if arm.normalization in DOUBTFUL else known


def _cells(study: Study) -> list[tuple[str, str]]:
    found = dict.fromkeys(cell for s in study.ranking.standings for cell in s.means)
    return sorted(found, key=lambda cell: (cell[1], study.regions.index(cell[0])
                                           if cell[0] in study.regions else 0))  # fmt: skip


def _cell(standing: Standing, cell: tuple[str, str]) -> str:
    return with_spread(standing.means.get(cell), standing.seed_spread.get(cell))


def _over_regions(standing: Standing, metric: str) -> str:
    values = [value for (_, name), value in standing.means.items() if name == metric]
    return number(float(np.mean(values)) if values else None)


def _pooled(study: Study, standing: Standing, region: str) -> float | None:
    if standing.missing:
        return None
    records = [trial.record for trial in study.finished(standing.arm)]
    found = [record.result.pooled.get(region, {}).get("dice") for record in records if record]
    kept = [value for value in found if value is not None]
    return float(np.mean(kept)) if kept else None


def regions(study: Study) -> Table:
    """Every arm's means, spread and points in every region."""
    rows = [
        (
            standing.arm,
            region,
            NAMES.get(metric, metric),
            number(standing.means[region, metric]),
            number(standing.seed_spread.get((region, metric))),
            str(standing.points[region, metric]),
        )
        for standing in study.ranking.standings
        for region, metric in _cells(study)
        if (region, metric) in standing.means
    ]
    return Table(
        ("arm", "region", "metric", "mean", "spread between seeds", "points"), tuple(rows), 3
    )


def overall(ranking: Ranking) -> Table | None:
    """Mean ranks over tasks, where there are several."""
    if len(ranking.tasks) < 2 or not ranking.overall:
        return None
    rows = tuple((arm, f"{rank:.2f}") for arm, rank in ranking.overall)
    return Table(("arm", "mean rank over tasks"), rows)


def stability(ranking: Ranking) -> Table | None:
    """How well the overall ranking agrees with other ways to take the tasks together."""
    if not ranking.stability:
        return None
    rows = tuple(
        (
            f"{each.against} ({each.left_out})" if each.left_out else each.against,
            NONE if each.tau is None else f"{each.tau:.2f}",
        )
        for each in ranking.stability
    )
    return Table(("the ranks over all tasks against", "Kendall's tau"), rows)


def differences(comparisons: Sequence[Comparison]) -> Table:
    """Differences with what speaks for them."""
    rows = [
        (
            one.first,
            one.second,
            one.region,
            NAMES.get(one.metric, one.metric),
            "yes" if one.better else "no",
            signed(one.difference),
            f"{signed(one.low)} to {signed(one.high)}",
            number(one.standard_error, 4),
            probability(one.p_holm),
            probability(one.wilcoxon_p),
        )
        for one in comparisons
    ]
    columns = ("arm", "baseline", "region", "metric", "claimed better", "difference",
               "95 % bootstrap interval over cases", "standard error, cases and seeds",
               "p (Holm)", "Wilcoxon p, these trained models")  # fmt: skip
    return Table(columns, tuple(rows), 5)


def verdict(study: Study) -> str:
    """In a sentence, what the comparisons show; empty where there are none."""
    comparisons = study.ranking.comparisons
    if not comparisons:
        return ""
    shown = sum(one.better for one in comparisons)
    if not shown:
        return "No arm is shown to be better than another (Holm, p < 0.05)."
    pairs = plural(len(comparisons) // 2, "comparison")
    return f"An arm is shown to be better in {shown} of {pairs} (Holm, p < 0.05)."


def claims(study: Study) -> Table | None:
    """Which arm is better than which others."""
    beaten: dict[tuple[str, str, str], list[str]] = {}
    for one in study.ranking.comparisons:
        if one.better:
            key = one.first, one.region, NAMES.get(one.metric, one.metric)
            beaten.setdefault(key, []).append(one.second)
    if not beaten:
        return None
    place = {arm: index for index, arm in enumerate(study.arms)}
    ordered = sorted(beaten.items(), key=lambda each: place.get(each[0][0], len(place)))
    rows = tuple((*key, ", ".join(others)) for key, others in ordered)
    return Table(("arm", "region", "metric", "better than"), rows, 4)


def cost(study: Study) -> Table:
    """What the trials of each arm took, as means over them."""
    rows = []
    for arm in study.arms:
        records = [trial.record for trial in study.finished(arm) if trial.record]
        if not records:
            rows.append((arm, NONE, *[NONE] * 9))
            continue
        devices = ", ".join(sorted({record.run.device for record in records}))
        rows.append(
            (
                arm,
                devices,
                str(len(records)),
                *(
                    seconds(_mean(records, partial(_seconds, name)))
                    for name in ("training", "evaluation", "waiting_for_data")
                ),
                number(_mean(records, lambda record: record.run.windows_per_second), 2),
                memory(_most(records)),
                amount(_mean(records, lambda record: record.result.parameters)),
                amount(_mean(records, lambda record: record.result.flops)),
                amount(_mean(records, lambda record: record.result.encoder_flops)),
            )
        )
    columns = ("arm", "device", "trials", "training", "evaluation", "waiting for data",
               "windows/s", "peak memory", "parameters", "FLOPs", "of the encoder")  # fmt: skip
    return Table(columns, tuple(rows), 2)


def _seconds(name: str, record: Record) -> float | None:
    return record.run.seconds.get(name)


def _mean(records: Sequence[Record], read: Callable[[Record], float | None]) -> float | None:
    kept = [value for value in map(read, records) if value is not None]
    return float(np.mean(kept)) if kept else None


def _most(records: Sequence[Record]) -> float | None:
    known = (record.run.peak_memory_bytes for record in records)
    return max((count for count in known if count is not None), default=None)


def arms(study: Study) -> Table:
    """What competes."""
    rows = tuple(
        (
            arm,
            told.kind,
            "random weights" if told.kind == "random" else told.source or NONE,
            told.scheme or NONE,
            normalization(told),
            told.architecture,
            told.weights[:16] or NONE,
        )
        for arm, told in study.arms.items()
    )
    columns = ("arm", "kind", "source", "scheme", "normalisation", "network",
               "SHA-256 of the weights")  # fmt: skip
    marked = frozenset(i for i, a in enumerate(study.arms.values()) if a.normalization in DOUBTFUL)
    return Table(columns, rows, len(columns), marked)


def splits(study: Study) -> Table:
    """Numbers of cases of every fold."""
    folds = {trial.described.fold: trial.described.cases for trial in study.trials}
    rows = tuple(
        (str(fold), str(len(cases.train)), str(len(cases.validation)), str(len(cases.test)))
        for fold, cases in sorted(folds.items())
    )
    return Table(("fold", "training", "inner validation", "test"), rows, 0)


def settings(named: Mapping[str, object]) -> Table:
    """Settings side by side; those that differ come first and are marked."""
    flat = [flattened(value) for value in named.values()]
    unlike = set(differing(flat)) if len(flat) > 1 else set()
    names = list(dict.fromkeys(name for each in flat for name in each))
    ordered = [name for name in names if name in unlike] + [n for n in names if n not in unlike]
    rows = tuple((name, *(each.get(name, NONE) for each in flat)) for name in ordered)
    return Table(("setting", *named), rows, 1 + len(flat), frozenset(range(len(unlike))))


def missing(results: Results) -> str | None:
    """How many trials have no record, in words."""
    absent = [trial for trial in results.trials if not trial.record]
    if not absent:
        return None
    failed = sum(trial.failure is not None for trial in absent)
    total = plural(len(results.trials), "trial")
    doubted = sum(trial.doubt is not None for trial in absent)
    states = f"{failed} failed, {len(absent) - failed - doubted} not run"
    states += f", {doubted} left out" if doubted else ""
    return f"{len(absent)} of {total} have no record: {states}"
