"""What is asked of a study, and the answers: each question's pairs, its share of the error, claims.

Up to three questions share one error of 5 % equally. A question of which every hypothesis is
rejected hands its share to the others in equal parts (Bretz, Maurer, Brannath and Posch 2009,
Statistics in Medicine 28: 586-604); what is handed on never adds up to more than was shared, and a
question that holds a true hypothesis hands nothing on without an error.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inflate_zoo.bench.ranking import statistics
from inflate_zoo.bench.ranking.corrections import (
    AgainstBaselines,
    AllPairs,
    Correction,
    step_down,
)
from inflate_zoo.bench.ranking.statistics import Floats, Means, PairTests, Places
from inflate_zoo.bench.ranking.types import Contestant, Question

ERROR = 0.05  # that any claim of a task and metric is wrong


@dataclass(frozen=True)
class Asked:
    """One question.

    Attributes:
        question: Which.
        pairs: Its hypotheses, places of arms, shape (P, 2).
        pool: The pairs whose spread over seeds steadies them, shape (Q, 2).
    """

    question: Question
    pairs: Places
    pool: Places


@dataclass(frozen=True)
class Answer:
    """What the pairs of one question came to; shape (..., P) each.

    Attributes:
        tests: The tests.
        correction: What corrects them for their number.
        p_adjusted: After the step-down correction.
        level: What the question may be wrong with, after others handed theirs on; shape (...).
        claimed: Whether a pair differs.
    """

    tests: PairTests
    correction: Correction
    p_adjusted: Floats
    level: Floats
    claimed: NDArray[np.bool_]


def ask(contestants: Sequence[Contestant]) -> tuple[Asked, ...]:
    """The questions that these arms can answer, each with at least one pair.

    Args:
        contestants: Arms whose trials are complete, each in its place.
    """
    inside = {each.arm: place for place, each in enumerate(contestants) if each.outside is None}
    ours = [at for at in inside.values() if contestants[at].kind == "inflated"]
    randoms = [at for at in inside.values() if contestants[at].kind == "random"]
    transfer = [(at, inside[r]) for at in ours if (r := contestants[at].random) in inside]
    sources = list(itertools.combinations(ours, 2))
    depth = [(at, inside[f]) for at in ours if (f := contestants[at].flat) in inside]
    everyone = list(itertools.combinations([*ours, *randoms], 2))
    found = (
        _asked("transfer", transfer, everyone),
        _asked("sources", sources, sources),
        _asked("depth", depth, depth),
    )
    return tuple(each for each in found if len(each.pairs))


def _asked(
    question: Question, pairs: Sequence[tuple[int, int]], pool: Sequence[tuple[int, int]]
) -> Asked:
    return Asked(question, np.array(pairs, np.intp), np.array(pool, np.intp))


def answer(means: Means, asked: Sequence[Asked]) -> Mapping[Question, Answer]:
    """Test what is asked and correct for all of it.

    Args:
        means: Of the scores of the arms that were asked about.
        asked: The questions; none gives no answer.
    """
    tests = [statistics.compare(means, each.pairs, each.pool) for each in asked]
    known = [_correction(means, *each) for each in zip(asked, tests, strict=True)]
    adjusted = [step_down(test.p, each) for test, each in zip(tests, known, strict=True)]
    levels = shares([each.max(axis=-1) for each in adjusted])
    return {
        each.question: Answer(
            tests[at], known[at], adjusted[at], levels[at], adjusted[at] <= levels[at][..., None]
        )
        for at, each in enumerate(asked)
    }


def _correction(means: Means, asked: Asked, tests: PairTests) -> Correction:
    if asked.question == "sources":
        return AllPairs(len(np.unique(asked.pairs)))
    of_baseline = statistics.baseline_shares(means, asked.pairs, tests)
    return AgainstBaselines(of_baseline, asked.pairs[:, 1])


def shares(hardest: Sequence[Floats]) -> list[Floats]:
    """The level of each question after those that reject all have handed theirs on.

    Args:
        hardest: The largest corrected p of each question, shape (...) each.

    Returns:
        Levels, shape (...) each: 5 % over the questions still open when it was answered.
    """
    if not hardest:
        return []
    worst = np.stack(hardest)
    finished = np.zeros(worst.shape, dtype=bool)
    levels = np.full(worst.shape, ERROR / len(hardest))
    for _ in hardest:
        finished |= worst <= levels
        still_open = np.maximum(len(hardest) - finished.sum(axis=0), 1)
        levels = np.where(finished, levels, ERROR / still_open)
    return list(levels)
