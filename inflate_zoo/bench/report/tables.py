"""Tables of a study: standings, differences, cost, settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

import numpy as np

from inflate_zoo.bench.definitions.results import Record, Result
from inflate_zoo.bench.definitions.scores import pooled
from inflate_zoo.bench.definitions.trials import ArmSpec
from inflate_zoo.bench.ranking.types import Comparison, Question, Ranking, Standing, TaskRanking
from inflate_zoo.bench.report.answers import disagreements
from inflate_zoo.bench.report.output.document import Table
from inflate_zoo.bench.report.output.text import (
    NONE,
    amount,
    memory,
    number,
    probability,
    seconds,
    signed,
    with_width,
)
from inflate_zoo.bench.report.results import (
    DOUBTFUL,
    Results,
    Study,
    case_means,
    differing,
    flattened,
)
from inflate_zoo.texts import plural

NAMES = {"dice": "Dice", "surface_dice": "surface Dice"}
_HD95 = "hd95_mm"
_ABOUT: Mapping[Question, tuple[str, str, str]] = MappingProxyType(
    {
        "transfer": ("arm", "random weights", "Does transfer help: each arm less random weights"),
        "sources": ("arm", "other", "Which source is better: all pairs, the higher mean first"),
        "depth": ("arm", "its 2d", "Does depth help: each arm less the same weights as 2d"),
    }
)


def standings(study: Study) -> Table:
    """Who stands where: means, the deciding interval against random weights, who ties with whom.

    Columns that say the same of every arm are left out, unless it is something to know.
    """
    arms = study.arms
    transfer = {one.first: one for one in study.ranking.asked("transfer")}
    tested = any(one.half_width is not None for one in study.ranking.asked("sources"))
    doubtful = {name for name, arm in arms.items() if arm.normalization in DOUBTFUL}
    rows = []
    for standing in study.ranking.standings:
        rows.append(
            (
                standing.arm,
                number(standing.mean.get("dice")),
                _difference(transfer.get(standing.arm)),
                (standing.letters if tested else "") or NONE,
                number(standing.mean.get("surface_dice")),
                normalization(arms[standing.arm]) if doubtful else NONE,
                _note(standing),
            )
        )
    columns = ("arm", "Dice", "against random", "ties", "surface Dice", "normalisation", "note")
    marked = frozenset(
        i for i, s in enumerate(study.ranking.standings) if s.missing or s.arm in doubtful
    )
    caption = (
        "Mean over regions, test cases and seeds; ± is the interval of the test. Arms that share "
        "a letter are not told apart."
    )
    table = Table(columns, tuple(rows), 1, marked, caption)
    noted = any(row[-1] != NONE for row in rows)
    kept = (0, 1, 4, *([5] if doubtful else []), *([6] if noted else []))
    return table.varied(kept)


def _note(standing: Standing) -> str:
    """Why an arm is not ranked."""
    if standing.missing:
        return f"not ranked, {plural(standing.missing, 'trial')} MISSING"
    return "outside the ranking" if standing.contestant.outside else NONE


def _difference(one: Comparison | None) -> str:
    return NONE if one is None else with_width(one.difference, one.half_width)


def normalization(arm: ArmSpec) -> str:
    """Who says which normalisation an arm's weights hold; in capitals where that is doubtful."""
    known = arm.normalization or NONE
    return DOUBTFUL[arm.normalization][0] if arm.normalization in DOUBTFUL else known


def regions(study: Study) -> Table:
    """Every arm's means in every region."""
    rows = []
    for standing in study.ranking.standings:
        together = {} if standing.missing else _pooled(study, standing.arm)
        for region in study.regions:
            if standing.missing or not any(name == region for name, _ in standing.cells):
                continue
            distances = case_means(study, standing.arm, region, _HD95)
            far = float(np.mean([*distances.values()])) if distances else None
            rows.append(
                (
                    standing.arm,
                    region,
                    number(standing.cells.get((region, "dice"))),
                    number(standing.cells.get((region, "surface_dice"))),
                    number(together.get(region)),
                    number(far, 2),
                    f"{len(distances)} of {study.ranking.cases}",
                )
            )
    columns = ("arm", "region", "Dice", "surface Dice", "pooled Dice", "HD95, mm",
               "cases with HD95")  # fmt: skip
    return Table(columns, tuple(rows), 2, caption="Means over test cases and seeds.")


def _pooled(study: Study, arm: str) -> dict[str, float]:
    """Dice over the voxels of all cases of all folds together, the mean over seeds, by region."""
    by_seed: dict[int, list[Result]] = {}
    for trial in study.finished(arm):
        if trial.record:
            by_seed.setdefault(trial.described.seed, []).append(trial.record.result)
    values: dict[str, list[float]] = {}
    for folds in by_seed.values():
        scores = folds[0].pooled
        if len(folds) > 1:
            scores = pooled(case.regions for result in folds for case in result.cases)
        for region, found in scores.items():
            if (dice := found.get("dice")) is not None:
                values.setdefault(region, []).append(dice)
    return {region: float(np.mean(known)) for region, known in values.items()}


def seeds(study: Study) -> Table:
    """What another training of each arm changed, and the ranks."""
    rows = tuple(
        (
            standing.arm,
            NONE if standing.rank is None else f"{standing.rank:g}",
            number(standing.seed_spread.get("dice"), 4),
            number(standing.seed_spread.get("surface_dice"), 4),
        )
        for standing in study.ranking.standings
    )
    columns = ("arm", "rank", "spread of Dice", "spread of surface Dice")
    caption = "Standard deviation between the means of the seeds; ranks by claims, ties shared."
    return Table(columns, rows, 1, caption=caption)


def overall(ranking: Ranking) -> Table | None:
    """Mean ranks over tasks, where there are several."""
    if len(ranking.tasks) < 2 or not ranking.overall:
        return None
    rows = tuple((arm, f"{rank:.2f}") for arm, rank in ranking.overall)
    return Table(("arm", "mean rank over tasks"), rows, caption="All tasks count alike.")


def stability(ranking: Ranking) -> Table | None:
    """How well the overall ranking agrees with other ways to take the tasks together."""
    if not ranking.stability:
        return None
    rows = tuple(
        (
            f"{each.against} ({each.left_out})" if each.left_out else each.against,
            number(each.tau, 2),
        )
        for each in ranking.stability
    )
    caption = "How far other ways to take the tasks together give the same order; 1 is the same."
    return Table(("the ranks over all tasks against", "Kendall's tau"), rows, caption=caption)


def differences(comparisons: Sequence[Comparison]) -> Table:
    """The pairs of one question with what speaks for a difference."""
    first, second, about = _ABOUT[comparisons[0].question]
    rows = [
        (
            one.first,
            one.second,
            with_width(one.difference, one.half_width),
            "yes" if one.claimed else "no",
            probability(one.p_adjusted),
            NONE if one.seeds_needed is None else str(one.seeds_needed),
            f"{signed(one.low)} to {signed(one.high)}",
            probability(one.wilcoxon_p),
        )
        for one in comparisons
    ]
    columns = (first, second, "difference", "told apart", "p, corrected", "seeds it would take",
               "95 % bootstrap, these models", "Wilcoxon p, these models")  # fmt: skip
    metric = NAMES[comparisons[0].metric]
    caption = f"{about}, by {metric}; ± is the interval of the test, at {_level(comparisons)}."
    return Table(columns, tuple(rows), 2, caption=caption)


def _level(comparisons: Sequence[Comparison]) -> str:
    levels = sorted({f"{100 * one.level:.2g} %" for one in comparisons})
    return " or ".join(levels)


def by_region(comparisons: Sequence[Comparison]) -> Table | None:
    """Below each claimed pair its regions: a second step, no tests of their own."""
    rows = tuple(
        (one.first, one.second, each.region, with_width(each.difference, each.half_width))
        for one in comparisons
        if one.claimed and len(one.regions) > 1
        for each in one.regions
    )
    caption = "Where pairs that are told apart differ, in Dice by region; no tests of their own."
    columns = ("arm", "other", "region", "difference")
    return Table(columns, rows, 3, caption=caption) if rows else None


def unlike(task: TaskRanking) -> Table | None:
    """Pairs of which Dice and surface Dice do not claim the same."""
    rows = tuple((one.first, one.second, sentence) for one, sentence in disagreements(task))
    caption = "Where surface Dice does not say what Dice says."
    return Table(("arm", "other", "claimed"), rows, 3, caption=caption) if rows else None


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
    caption = "Means over trials; memory is the greatest, FLOPs are of one window, forward."
    return Table(columns, tuple(rows), 2, caption=caption)


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
    return Table(columns, rows, len(columns), marked, "What competes.")


def splits(study: Study) -> Table:
    """Numbers of cases of every fold."""
    folds = {trial.described.fold: trial.described.cases for trial in study.trials}
    rows = tuple(
        (str(fold), str(len(cases.train)), str(len(cases.validation)), str(len(cases.test)))
        for fold, cases in sorted(folds.items())
    )
    return Table(
        ("fold", "training", "inner validation", "test"), rows, 0, caption="Cases of each fold."
    )


def settings(named: Mapping[str, object]) -> Table:
    """Settings side by side; those that differ come first and are marked."""
    flat = [flattened(value) for value in named.values()]
    unlike = set(differing(flat)) if len(flat) > 1 else set()
    names = list(dict.fromkeys(name for each in flat for name in each))
    ordered = [name for name in names if name in unlike] + [n for n in names if n not in unlike]
    rows = tuple((name, *(each.get(name, NONE) for each in flat)) for name in ordered)
    caption = "Settings; those that differ come first and are marked." if unlike else "Settings."
    marked = frozenset(range(len(unlike)))
    return Table(("setting", *named), rows, 1 + len(flat), marked, caption)


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
    return f"{len(absent)} of {total} {'has' if len(absent) == 1 else 'have'} no record: {states}"
