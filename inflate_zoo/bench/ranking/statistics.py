"""Statistics of paired comparisons between training recipes, on arrays alone.

Shapes: ... any number of leading studies, A arms, S seeds (trainings) per arm, C cases.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
_RESAMPLES = 5000
_ROUNDING = 1e-12  # a spread below this share of the largest value is rounding


@dataclass(frozen=True)
class PairTests:
    """One-sided tests of all ordered pairs; entry [..., a, b] asks whether arm a is better than b.

    Attributes:
        difference: Mean over cases and seeds of a minus that of b, shape (..., A, A).
        standard_error: Of the difference, the same shape.
        degrees: Degrees of freedom, the same shape.
        t: Difference over standard error, the same shape; 0 where untested.
        p: One-sided p, the same shape; 1 where untested.
        p_holm: The same after Holm over the A(A-1) ordered pairs; 1 on the diagonal.
        tested: Whether a test was possible: two seeds, two cases and some spread; the same shape.
    """

    difference: Floats
    standard_error: Floats
    degrees: Floats
    t: Floats
    p: Floats
    p_holm: Floats
    tested: NDArray[np.bool_]


def seed_variance(values: Floats) -> Floats:
    """Variance between seeds of each arm's mean over cases.

    Args:
        values: Scores, shape (..., A, S, C).

    Returns:
        Variances, shape (..., A); 0 with one seed, where nothing is known of it.
    """
    if values.shape[-2] < 2:
        return np.zeros(values.shape[:-2])
    return np.asarray(values.mean(axis=-1).var(axis=-1, ddof=1))


def compare(values: Floats) -> PairTests:
    """Test every ordered pair of arms: is the one recipe better than the other?

    A recipe is trained S times and every training is tested on the same C cases, so its mean is
    uncertain for two reasons: t = difference / sqrt(s2 / C + 2 v / S), with s2 the variance over
    cases of the difference of means over seeds, and v the variance between seeds of an arm's mean
    over cases, pooled over all arms or over the two, whichever is larger: the pool steadies so few
    trainings, yet must not lend a wild arm the calm of the others. Degrees of freedom after
    Satterthwaite, from C - 1 and A (S - 1).

    Args:
        values: Scores of which more is better, shape (..., A, S, C).

    Returns:
        The tests.
    """
    arms, seeds, cases = values.shape[-3:]
    per_case = values.mean(axis=-2)
    paired = per_case[..., :, None, :] - per_case[..., None, :, :]
    difference = paired.mean(axis=-1)
    of_cases = paired.var(axis=-1, ddof=1) / cases if cases > 1 else np.zeros_like(difference)
    variance = seed_variance(values)
    of_two = (variance[..., :, None] + variance[..., None, :]) / 2
    of_seeds = 2 * np.maximum(of_two, variance.mean(axis=-1)[..., None, None]) / seeds
    total = of_cases + of_seeds
    size = np.abs(values).max(axis=(-3, -2, -1), initial=0.0)[..., None, None]
    tested = (total > (_ROUNDING * size) ** 2) & ~np.eye(arms, dtype=bool)
    tested &= seeds > 1 and cases > 1
    safe = np.where(tested, total, 1.0)
    known = (of_cases / safe) ** 2 / max(cases - 1, 1)
    known = known + (of_seeds / safe) ** 2 / max(arms * (seeds - 1), 1)
    degrees = 1 / np.where(tested, known, 1.0)
    t = np.where(tested, difference / np.sqrt(safe), 0.0)
    p = np.where(tested, stats.t.sf(t, degrees), 1.0)
    return PairTests(difference, np.sqrt(total), degrees, t, p, _holm_pairs(p), tested)


def _holm_pairs(p: Floats) -> Floats:
    """Holm over the ordered pairs of a matrix (..., A, A) of p, its diagonal left at 1."""
    off_diagonal = ~np.eye(p.shape[-1], dtype=bool)
    corrected = np.ones_like(p)
    corrected[..., off_diagonal] = holm(p[..., off_diagonal])
    return corrected


def holm(p: Floats) -> Floats:
    """Correct p values for their number after Holm.

    Args:
        p: Values in [0, 1], shape (..., M): a family along the last axis.

    Returns:
        Corrected values, the same shape, at most 1.
    """
    order = np.argsort(p, axis=-1, kind="stable")
    steps = np.arange(p.shape[-1], 0, -1)
    ascending = np.take_along_axis(p, order, axis=-1) * steps
    ascending = np.minimum(np.maximum.accumulate(ascending, axis=-1), 1.0)
    corrected = np.empty_like(ascending)
    np.put_along_axis(corrected, order, ascending, axis=-1)
    return corrected


def bootstrap(paired: Floats) -> tuple[Floats, Floats]:
    """95 % percentile interval of the mean, cases drawn with replacement from a fixed seed.

    It speaks of these trained models on other cases; another training is not in it. With few cases
    it is somewhat too narrow.

    Args:
        paired: Differences, shape (P, C) for P pairs of arms.

    Returns:
        Lower and upper end, shape (P,) each.
    """
    low, high = np.quantile(_weights(paired.shape[1]) @ paired.T, (0.025, 0.975), axis=0)
    return low, high


@lru_cache(maxsize=4)
def _weights(cases: int) -> Floats:
    """What each case counts in each resample, shape (resamples, cases)."""
    draws = np.random.default_rng(0).integers(cases, size=(_RESAMPLES, cases))
    draws += cases * np.arange(_RESAMPLES)[:, None]
    counts = np.bincount(draws.ravel(), minlength=_RESAMPLES * cases)
    return counts.reshape(_RESAMPLES, cases) / cases


def wilcoxon_p(paired: Floats) -> float:
    """Two-sided Wilcoxon signed-rank p of paired differences.

    Args:
        paired: Differences, shape (C,).

    Returns:
        p; 1 where every difference is 0.
    """
    nonzero = paired[paired != 0]  # Wilcoxon's own way with zeros
    return float(stats.wilcoxon(nonzero).pvalue) if len(nonzero) else 1.0


def smallest_p(cases: int, seeds: int) -> float:
    """Smallest one-sided p that an exact permutation test of two recipes could attain.

    Cases can be permuted by the signs of their differences (2**C ways), trainings by exchanging
    them between the two arms (C(2S, S) ways); both are drawn by chance, so the larger p holds. The
    t test may go below it, as it trusts the shape of the distribution.

    Args:
        cases: C.
        seeds: S.

    Returns:
        p, at most 1.
    """
    return max(2.0**-cases, 1 / comb(2 * seeds, seeds))


def tied_ranks(scores: Floats) -> Floats:
    """Ranks from 1 for the greatest score; equal scores share the mean of their ranks.

    Args:
        scores: Shape (A,).

    Returns:
        Ranks, shape (A,).
    """
    return np.asarray(stats.rankdata(-scores), dtype=np.float64)
