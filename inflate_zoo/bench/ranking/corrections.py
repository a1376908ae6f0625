"""Step-down corrections of p values for their number, by the chance that the smallest is so small.

Shapes: ... any number of leading studies, M hypotheses of one question, A arms.

Each p stands for a normal deviate of the same two-sided p; the deviates have the correlation that
comparisons have which share an arm. Holm's (1979) and Shaffer's (1986) factors would take them for
as good as unrelated and find a little less, most where a wild `random` is in all comparisons.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, lru_cache
from math import comb
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy import special

from inflate_zoo.bench.ranking.statistics import Floats, Places

_STEP = 0.25  # of integrals over a normal deviate: exact to 1e-6 as long as no share exceeds _MOST
_MOST = 0.95
_HALF = np.arange(0, 6 + _STEP, _STEP)  # the integrands are even
_DENSITY = np.where(_HALF == 0, 1, 2) * np.exp(-(_HALF**2) / 2) * _STEP / np.sqrt(2 * np.pi)
_DEVIATES = np.arange(0, 8.5, 0.025)
_SMALLEST = 1e-16  # of any p


class Correction(Protocol):
    """What is known of the hypotheses of a question besides their p."""

    def taken(self, order: Places) -> Self:
        """The same with the hypotheses in another order, shape (..., M)."""

    def chance(self, p: Floats, step: int) -> Floats:
        """How likely at most, without any difference, any hypothesis from `step` on has such a p.

        Args:
            p: Shape (...).
            step: How many hypotheses before it are rejected.
        """


@dataclass(frozen=True)
class AllPairs:
    """All pairs of arms.

    The most that so many rejections leave possible (Shaffer 1986, Journal of the American
    Statistical Association 81: 826-831): arms fall into groups of equal ones, and each group errs
    where its range is wide (Westfall 1997, the same journal 92: 299-306). That range is taken from
    arms of one variance; with others it is narrower (Hayter 1984, Annals of Statistics 12: 61-75).

    Attributes:
        arms: How many.
    """

    arms: int

    def taken(self, order: Places) -> AllPairs:  # noqa: ARG002 - every order is alike
        """The same."""
        return self

    def chance(self, p: Floats, step: int) -> Floats:
        """As `Correction` says."""
        at = np.interp(_deviate(p), _DEVIATES, _worst_groups(self.arms)[step])
        return np.asarray(np.exp(at))


@dataclass(frozen=True)
class AgainstBaselines:
    """Arms against baselines, several against one.

    Comparisons with one baseline share its part of the variance (Dunnett and Tamhane 1991,
    Statistics in Medicine 10: 939-947); those with different ones are taken as unrelated, which
    errs on the safe side (Sidak 1967, Journal of the American Statistical Association 62: 626-633).

    Attributes:
        shares: The part of each comparison's variance that is its baseline's, shape (..., M).
        baselines: Which baseline each has, shape (M,) or (..., M).
    """

    shares: Floats
    baselines: Places

    def taken(self, order: Places) -> AgainstBaselines:
        """As `Correction` says."""
        baselines = np.broadcast_to(self.baselines, order.shape)
        return replace(
            self,
            shares=np.take_along_axis(self.shares, order, axis=-1),
            baselines=np.take_along_axis(baselines, order, axis=-1),
        )

    def chance(self, p: Floats, step: int) -> Floats:
        """As `Correction` says."""
        shares = np.minimum(self.shares[..., step:, None], _MOST)
        bound, shift = _deviate(p)[..., None, None], np.sqrt(shares) * _HALF
        rest = np.sqrt(1 - shares)
        inside = special.ndtr((bound - shift) / rest) - special.ndtr((-bound - shift) / rest)
        baselines = self.baselines[..., step:]
        quiet = np.ones(p.shape)
        for baseline in np.unique(baselines):
            own = np.where((baselines == baseline)[..., None], inside, 1.0)
            quiet *= own.prod(axis=-2) @ _DENSITY
        return np.asarray(1 - quiet)


def _deviate(p: Floats) -> Floats:
    """The normal deviate that is exceeded in size with chance p."""
    return np.asarray(-special.ndtri(np.maximum(p, _SMALLEST) / 2))


def step_down(p: Floats, correction: Correction) -> Floats:
    """Correct p values for their number: the smallest first, and none below the one before it.

    Args:
        p: Values in [0, 1], shape (..., M).
        correction: Of these hypotheses.

    Returns:
        Corrected values, the same shape, at least p and at most 1.
    """
    order = np.argsort(p, axis=-1, kind="stable")
    ascending, known = np.take_along_axis(p, order, axis=-1), correction.taken(order)
    steps = [known.chance(ascending[..., step], step) for step in range(p.shape[-1])]
    raised = np.maximum(np.stack(steps, axis=-1), ascending)
    raised = np.minimum(np.maximum.accumulate(raised, axis=-1), 1.0)
    corrected = np.empty_like(raised)
    np.put_along_axis(corrected, order, raised, axis=-1)
    return corrected


def judged_at(
    p: Floats, correction: Correction, level: float, claimed: NDArray[np.bool_]
) -> Floats:
    """The largest p with which each hypothesis of one study would have been claimed at its step.

    That is its own step where it is claimed; where it is not, the step at which the procedure
    stopped, as none after it is looked at.

    Args:
        p: Values as given to `step_down`, shape (M,).
        correction: As given to it.
        level: Of the question.
        claimed: Whether each is claimed, shape (M,).

    Returns:
        Two-sided levels, shape (M,).
    """
    order = np.argsort(p, kind="stable")
    known, stopped = correction.taken(order), int(claimed.sum())
    looked_at = range(min(stopped + 1, len(p)))
    found = np.array([_critical(known, step, level, len(p)) for step in looked_at])
    steps = np.empty_like(order)
    steps[order] = np.arange(len(p))
    judged: Floats = found[np.minimum(steps, stopped)]
    return judged


def _critical(correction: Correction, step: int, level: float, count: int) -> float:
    """The p whose chance is the level, by halving on a scale of logarithms.

    It is at least the level over the number of hypotheses, by Bonferroni.
    """
    low, high = np.log(level / (2 * count)), np.log(level)
    for _ in range(28):
        middle = (low + high) / 2
        p = np.exp(np.array(middle))
        if max(float(correction.chance(p, step)), float(p)) <= level:
            low = middle
        else:
            high = middle
    return float(np.exp(low))


@lru_cache(maxsize=32)
def _worst_groups(arms: int) -> Floats:
    """Logarithm of the largest chance after so many rejections, shape (pairs, deviates)."""
    quiet = _quietest(arms)
    pairs = comb(arms, 2)
    rows = [
        np.min([each for count, each in quiet.items() if count <= pairs - rejected], axis=0)
        for rejected in range(pairs)
    ]
    chances: Floats = np.maximum(1 - np.array(rows), _SMALLEST)
    return np.asarray(np.log(chances))


@cache
def _quietest(arms: int) -> dict[int, Floats]:
    """Number of equal pairs to the least chance that all groups stay within each deviate."""
    if arms == 0:
        return {0: np.ones_like(_DEVIATES)}
    found: dict[int, Floats] = {}
    for group in range(1, arms + 1):
        for others, quiet in _quietest(arms - group).items():
            count, both = comb(group, 2) + others, quiet * _range_within(group)
            found[count] = np.minimum(found.get(count, both), both)
    return found


@cache
def _range_within(arms: int) -> Floats:
    """Chance that no two of so many normal deviates differ by more than sqrt(2) each deviate."""
    if arms < 2:
        return np.ones_like(_DEVIATES)
    x = np.arange(-8, 8.05, 0.05)
    density = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi) * 0.05
    below = special.ndtr(x) - special.ndtr(x - np.sqrt(2) * _DEVIATES[:, None])
    return np.asarray(np.minimum(arms * below ** (arms - 1) @ density, 1.0))
