"""Ranking of arms from the scores of their trials: what is better, and what is a tie."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from inflate_zoo.bench.ranking import questions, statistics
from inflate_zoo.bench.ranking.corrections import judged_at
from inflate_zoo.bench.ranking.letters import letters
from inflate_zoo.bench.ranking.questions import Answer, Asked
from inflate_zoo.bench.ranking.stability import ArmScores, agreements, mean_ranks, unstable
from inflate_zoo.bench.ranking.statistics import Floats, Means
from inflate_zoo.bench.ranking.tables import METRICS, Study, Tables, study_of, tables_of
from inflate_zoo.bench.ranking.types import (
    Caveat,
    Comparison,
    Contestant,
    Metric,
    Outcome,
    Ranking,
    RegionDifference,
    Standing,
    TaskRanking,
)
from inflate_zoo.texts import plural

_ENOUGH_CASES = 10


def rank(
    outcomes: Sequence[Outcome],
    known: Mapping[tuple[str, str], Sequence[Caveat]] = MappingProxyType({}),
) -> Ranking:
    """Rank the arms of every task.

    Args:
        outcomes: One per trial, in any order.
        known: Task and protocol to what else makes it no ranking than its scores show.

    Returns:
        The ranking.

    Raises:
        UsageError: Two trials have the same task, protocol, arm, seed and fold.
    """
    studies: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        studies[outcome.task, outcome.protocol].append(outcome)
    ranked = [
        _rank_task(study_of(study), known.get(name, ())) for name, study in sorted(studies.items())
    ]
    tasks = tuple(task for task, _ in ranked)
    overall, caveats = mean_ranks(tasks)
    stability = agreements(dict(overall), tasks, [scores for _, scores in ranked])
    return Ranking(tasks, overall, stability, (*caveats, *unstable(stability)))


def _rank_task(study: Study, known: Sequence[Caveat]) -> tuple[TaskRanking, ArmScores]:
    tables = tables_of(study)
    asked = questions.ask([study.contestants[arm] for arm in study.complete])
    found = [one for metric in METRICS for one in _comparisons(study, tables, metric, asked)]
    standings = _standings(study, tables, [one for one in found if one.metric == "dice"])
    dice = tables.means["dice"]
    ranked = TaskRanking(
        task=study.task,
        protocol=study.protocol,
        standings=standings,
        comparisons=_in_order(found, [standing.arm for standing in standings], asked),
        cases=dice.shape[-1],
        seeds=len(study.seeds),
        caveats=(*_caveats(study, dice.shape[-1]), *known),
    )
    per_case = dice.mean(axis=1)
    return ranked, dict(zip(study.complete, per_case if per_case.size else (), strict=False))


def _in_order(
    found: Sequence[Comparison], arms: Sequence[str], asked: Sequence[Asked]
) -> tuple[Comparison, ...]:
    order = [each.question for each in asked]
    return tuple(
        sorted(
            found,
            key=lambda one: (
                order.index(one.question),
                METRICS.index(one.metric),
                arms.index(one.first),
                arms.index(one.second),
            ),
        )
    )


def _comparisons(
    study: Study, tables: Tables, metric: Metric, asked: Sequence[Asked]
) -> list[Comparison]:
    """Of all questions, by one metric."""
    values = tables.means[metric]
    if not values.shape[-1]:
        return []
    answers = questions.answer(Means.of(values), asked)
    return [
        one
        for each in asked
        for one in _Family(study.complete, tables, metric, each, answers[each.question]).told()
    ]


@dataclass(frozen=True)
class _Family:
    """One question by one metric, and what is told of each of its pairs."""

    arms: Sequence[str]
    tables: Tables
    metric: Metric
    asked: Asked
    answer: Answer

    def told(self) -> list[Comparison]:
        values, pairs = self.tables.means[self.metric], self.asked.pairs
        tests = self.answer.tests
        per_case = values.mean(axis=1)
        paired = per_case[pairs[:, 0]] - per_case[pairs[:, 1]]
        ends = np.stack(statistics.bootstrap(paired), axis=1).tolist()
        level, claims = float(self.answer.level), self.answer.claimed
        alpha = judged_at(tests.p, self.answer.correction, level, claims)
        widths = statistics.half_widths(tests, alpha)
        needed = statistics.seeds_needed(values, pairs, tests, alpha)
        regions = self._regions(alpha)
        found = []
        for at, (first, second) in enumerate(pairs.tolist()):
            tested, several = bool(tests.tested[at]), values.shape[-1] > 1
            claimed = bool(claims[at])
            one = Comparison(
                question=self.asked.question,
                metric=self.metric,
                first=self.arms[first],
                second=self.arms[second],
                difference=float(tests.difference[at]),
                standard_error=float(tests.standard_error[at]) if tested else None,
                degrees=float(tests.degrees[at]) if tested else None,
                p=float(tests.p[at]),
                p_adjusted=float(self.answer.p_adjusted[at]),
                level=level,
                claimed=claimed,
                half_width=float(widths[at]) if tested else None,
                seeds_needed=None if claimed else needed[at],
                low=ends[at][0] if several else None,
                high=ends[at][1] if several else None,
                wilcoxon_p=statistics.wilcoxon_p(paired[at]) if several else None,
                cases=values.shape[-1],
                seeds=values.shape[1],
                regions=tuple(each[at] for each in regions),
            )
            found.append(_higher_first(one) if one.question == "sources" else one)
        return found

    def _regions(self, alpha: Floats) -> list[list[RegionDifference]]:
        """Of each region that some case has, every pair's difference."""
        found = []
        for (region, metric), values in self.tables.cells.items():
            if metric == self.metric and values.shape[-1]:
                tests = statistics.compare(Means.of(values), self.asked.pairs, self.asked.pool)
                widths = statistics.half_widths(tests, alpha)
                found.append(
                    [
                        RegionDifference(region, difference, width if tested else None)
                        for difference, width, tested in zip(
                            tests.difference.tolist(),
                            widths.tolist(),
                            tests.tested.tolist(),
                            strict=True,
                        )
                    ]
                )
        return found


def _higher_first(one: Comparison) -> Comparison:
    """The same pair with the arm of the higher mean first, equal ones by label."""
    if one.difference > 0 or (one.difference == 0 and one.first < one.second):
        return one
    return replace(
        one,
        first=one.second,
        second=one.first,
        difference=abs(one.difference),
        low=None if one.high is None else -one.high,
        high=None if one.low is None else -one.low,
        regions=tuple(replace(each, difference=-each.difference) for each in one.regions),
    )


def _standings(study: Study, tables: Tables, found: Sequence[Comparison]) -> tuple[Standing, ...]:
    """Of all arms; `found` by Dice alone."""
    ranks = _ranks(study, found)
    standings = [
        _standing(study.contestants[arm], ranks.get(arm), study, tables) for arm in study.missing
    ]
    standings.sort(
        key=lambda one: (
            one.missing > 0,
            not one.contestant.inside,
            one.rank or 0.0,
            -one.mean.get("dice", 0.0),
            one.arm,
        )
    )
    pairs = [one for one in found if one.question == "sources"]
    ours = [one.arm for one in standings if any(one.arm in (p.first, p.second) for p in pairs)]
    shown = letters(ours, [(one.first, one.second) for one in pairs if one.claimed])
    return tuple(replace(one, letters=shown.get(one.arm, "")) for one in standings)


def _standing(contestant: Contestant, rank: float | None, study: Study, tables: Tables) -> Standing:
    arm, missing = contestant.arm, study.missing[contestant.arm]
    at = None if missing else study.complete.index(arm)
    means = {} if at is None else {m: t[at] for m, t in tables.means.items() if t.size}
    cells = {} if at is None else {cell: t[at] for cell, t in tables.cells.items() if t.size}
    return Standing(
        contestant=contestant,
        rank=rank,
        letters="",
        mean={metric: float(own.mean()) for metric, own in means.items()},
        cells={cell: float(own.mean()) for cell, own in cells.items()},
        seed_spread={metric: _spread(own) for metric, own in means.items()},
        missing=missing,
    )


def _spread(values: Floats) -> float | None:
    """Standard deviation between the means of seeds; values of shape (seeds, cases)."""
    return float(values.mean(axis=1).std(ddof=1)) if len(values) > 1 else None


def _ranks(study: Study, found: Sequence[Comparison]) -> Mapping[str, float]:
    """Of complete arms inside the ranking, by wins less losses against each other."""
    score = {arm: 0 for arm in study.complete if study.contestants[arm].inside}
    for one in found:
        if one.question != "depth" and (winner := one.better) is not None:
            score[winner] += 1
            score[one.second if winner == one.first else one.first] -= 1
    values = np.array(list(score.values()), dtype=np.float64)
    return dict(zip(score, statistics.tied_ranks(values).tolist(), strict=True))


def _caveats(study: Study, cases: int) -> tuple[Caveat, ...]:
    seeds, complete, arms = len(study.seeds), len(study.complete), len(study.missing)
    caveats = []
    if complete < 2:
        text = f"{complete} of {arms} arms {'is' if complete == 1 else 'are'} complete"
        caveats.append(Caveat("not a ranking", text if arms > 1 else "there is only one arm"))
    if seeds == 1:
        text = "with one seed the spread between trainings is unknown; it takes 2"
        caveats.append(Caveat("not a ranking", text))
    if cases < _ENOUGH_CASES:
        few = f"{plural(cases, 'test case')} {'is' if cases == 1 else 'are'} too few"
        text = f"{few}; it takes {_ENOUGH_CASES}"
        caveats.append(Caveat("not a ranking", text))
    if 1 < seeds < statistics.ENOUGH_SEEDS:
        caveats.append(Caveat("provisional", f"{statistics.ENOUGH_SEEDS} seeds tell more"))
    return tuple(caveats)
