"""The ranking over tasks, and whether other ways to take it together would give another one.

A ranking that turns over when means become medians, or when one task goes, is an accident of the
choice (Maier-Hein et al. 2018, "Why rankings of biomedical image analysis competitions should be
interpreted with care").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from inflate_zoo.bench.ranking.types import Agreement, Caveat, TaskRanking

STABLE = 0.8  # Kendall's tau
Floats = NDArray[np.float64]
ArmScores = Mapping[str, Floats]  # arm to Dice per case, the mean over its regions and seeds


def mean_ranks(
    tasks: Sequence[TaskRanking],
) -> tuple[tuple[tuple[str, float], ...], tuple[Caveat, ...]]:
    """(arm, mean of its ranks over tasks), best first, and sentences on what it leaves out."""
    ranks: dict[str, list[float]] = {}
    for task in tasks:
        for standing in task.standings:
            if standing.contestant.inside:
                found = ranks.setdefault(standing.arm, [])
                found += [] if standing.rank is None else [standing.rank]
    mean = {arm: sum(each) / len(tasks) for arm, each in ranks.items() if len(each) == len(tasks)}
    absent = [
        Caveat(
            "note",
            f"'{arm}' is ranked in {len(each)} of {len(tasks)} tasks and is left out of the "
            "overall ranks",
        )
        for arm, each in sorted(ranks.items())
        if arm not in mean
    ]
    doubtful = [
        Caveat(
            "not a ranking",
            f"the overall ranks hold '{task.task}' under '{task.protocol}', which is none",
        )
        for task in tasks
        if any(own.weight == "not a ranking" for own in task.caveats)
    ]
    provisional = [
        Caveat(
            "provisional",
            f"the overall ranks hold '{task.task}' under '{task.protocol}', where {own.text}",
        )
        for task in tasks
        for own in task.caveats
        if own.weight == "provisional"
    ]
    names = [task.task for task in tasks]
    twice = [
        Caveat("note", f"'{name}' counts once per protocol")
        for name in sorted(set(names))
        if names.count(name) > 1
    ]
    ordered = tuple(sorted(mean.items(), key=lambda each: each[::-1]))
    return ordered, (*absent, *doubtful, *provisional, *twice)


def agreements(
    overall: Mapping[str, float], tasks: Sequence[TaskRanking], scores: Sequence[ArmScores]
) -> tuple[Agreement, ...]:
    """Kendall's tau-b of the overall ranking against others of the same arms.

    Tasks count alike; what is compared is what decides, a case's mean Dice over its regions. `mean,
    then rank` compares mean scores, `median, then rank` medians over cases, `rank, then mean` the
    mean of ranks within each case.
    With three tasks or more each is left out in turn; the one that changes most is given.

    Args:
        overall: Arm to its mean rank.
        tasks: The rankings it is the mean of.
        scores: Scores of each task's complete arms, more is better.

    Returns:
        Nothing for a single task, or where fewer than two arms are complete in all of them.
    """
    arms = [arm for arm in overall if all(arm in own for own in scores)]
    if len(tasks) < 2 or len(arms) < 2:
        return ()
    ranks = np.array([overall[arm] for arm in arms])
    tables = [np.stack([own[arm] for arm in arms]) for own in scores]
    ways = {
        "mean, then rank": [-table.mean(axis=1) for table in tables],
        "median, then rank": [-np.median(table, axis=1) for table in tables],
        "rank, then mean": [stats.rankdata(-table, axis=0).mean(axis=1) for table in tables],
    }
    found = [Agreement(way, _tau(ranks, np.mean(each, axis=0)), None) for way, each in ways.items()]
    if len(tasks) > 2:
        found.append(_without_one(arms, ranks, tasks))
    return tuple(found)


def _without_one(arms: Sequence[str], ranks: Floats, tasks: Sequence[TaskRanking]) -> Agreement:
    """The task whose absence changes the ranking most."""
    own = np.array([[_rank_in(task, arm) for arm in arms] for task in tasks])
    taus = [_tau(ranks, np.delete(own, place, axis=0).mean(axis=0)) for place in range(len(tasks))]
    known = [(tau, place) for place, tau in enumerate(taus) if tau is not None]
    if not known:
        return Agreement("one task left out", None, None)
    tau, place = min(known)
    return Agreement("one task left out", tau, f"{tasks[place].task}, {tasks[place].protocol}")


def _rank_in(task: TaskRanking, arm: str) -> float:
    """Of an arm that is ranked in every task."""
    found = {standing.arm: standing.rank for standing in task.standings}[arm]
    assert found is not None  # noqa: S101 - the overall ranks hold no other arm
    return found


def _tau(first: Floats, second: Floats) -> float | None:
    """Kendall's tau-b; `None` where either has no order at all."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(stats.kendalltau(first, second).statistic)


def unstable(stability: Sequence[Agreement]) -> tuple[Caveat, ...]:
    """On what the overall ranking does not agree with."""
    return tuple(
        Caveat(
            "unstable",
            f"Kendall's tau is {each.tau:z.2f} against '{each.against}'"
            + (f" ({each.left_out})" if each.left_out else ""),
        )
        for each in stability
        if each.tau is not None and each.tau < STABLE
    )
