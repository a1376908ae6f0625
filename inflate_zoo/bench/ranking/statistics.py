"""Statistics of paired comparisons between training recipes, on arrays alone.

Shapes: ... any number of leading studies, A arms, S seeds (trainings) per arm, C cases, P pairs of
arms, as (P, 2) places of arms.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Floats = NDArray[np.float64]
Places = NDArray[np.intp]
ENOUGH_SEEDS = 5  # from here on the degrees of freedom are as good as they look
MOST_SEEDS = 99  # that are ever advised
_WILD = 6.0  # by simulation the error is kept with 4 already
_FEWEST_ARMS = 4  # of a pool that one is left out of: of three a single pair would be left
_RESAMPLES = 5000
_ROUNDING = 1e-12  # a spread below this share of the largest value is rounding


@dataclass(frozen=True)
class Means:
    """What the tests see of the scores.

    Attributes:
        per_case: Mean over seeds, shape (..., A, C).
        per_seed: Mean over cases, shape (..., A, S).
    """

    per_case: Floats
    per_seed: Floats

    @classmethod
    def of(cls, values: Floats) -> Means:
        """Of scores, shape (..., A, S, C)."""
        return cls(values.mean(axis=-2), values.mean(axis=-1))


@dataclass(frozen=True)
class Spread:
    """Why the difference of a pair is uncertain.

    Attributes:
        cases: Variance over cases of the difference of means over seeds, shape (..., P).
        seeds: Variance over seeds of the difference of means over cases, or that of the pool where
            it is larger; the same shape.
        degrees: Degrees of freedom of `seeds`, the same shape.
        pool_degrees: Those of the pool's variance.
    """

    cases: Floats
    seeds: Floats
    degrees: Floats
    pool_degrees: float


@dataclass(frozen=True)
class PairTests:
    """Two-sided tests of pairs: does the one recipe differ from the other?

    Attributes:
        difference: Mean over cases and seeds of the first minus that of the second, shape (..., P).
        standard_error: Of the difference, the same shape.
        degrees: Degrees of freedom, the same shape; 1 where untested.
        p: Two-sided p, the same shape; 1 where untested.
        tested: Whether a test was possible: two seeds, two cases and some spread; the same shape.
        spread: What the standard error is made of.
    """

    difference: Floats
    standard_error: Floats
    degrees: Floats
    p: Floats
    tested: NDArray[np.bool_]
    spread: Spread


def compare(means: Means, pairs: Places, pool: Places) -> PairTests:
    """Test pairs of arms: are the recipes different?

    A recipe is trained S times and every training is tested on the same C cases, so a difference
    is uncertain for two reasons: t = difference / sqrt(s2 / C + v / S), with s2 the variance over
    cases and v the variance over seeds of the pair's difference. Pairs are formed seed by seed, as
    a seed does the same to all arms: it draws the same decoder and the same windows. v is that of
    the pair or the mean over the pairs of its pool, whichever is larger: the pool steadies so few
    trainings, yet must not lend a wild pair the calm of the others. The degrees of freedom are the
    pool's, see `_worth`, and fall towards the pair's own S - 1 as the pair exceeds the pool. Nor
    must one wild arm widen the pairs of all others: see `_pooled`. The degrees of the sum are
    Satterthwaite's (1946, Biometrics Bulletin 2: 110-114), with C - 1 for s2; with fewer than 5
    seeds simulations ask for less, see `_careful`.

    Args:
        means: Of scores of which more is better, with at least one case.
        pairs: The pairs, shape (P, 2).
        pool: Pairs that steady them, shape (Q, 2), Q at least 1.

    Returns:
        The tests.
    """
    seeds, cases = means.per_seed.shape[-1], means.per_case.shape[-1]
    paired = _paired(means.per_case, pairs)
    difference = paired.mean(axis=-1)
    of_cases = paired.var(axis=-1, ddof=1) if cases > 1 else np.zeros_like(difference)
    spread = _spread(means.per_seed, pairs, pool, of_cases)
    total = spread.cases / cases + spread.seeds / seeds
    size = np.abs(means.per_case).max(axis=(-2, -1), initial=0.0)[..., None]
    tested = total > (_ROUNDING * size) ** 2
    tested &= seeds > 1 and cases > 1
    degrees = np.where(tested, _satterthwaite(spread, cases, seeds), 1.0)
    t = np.where(tested, difference / np.sqrt(np.where(tested, total, 1.0)), 0.0)
    p = np.where(tested, 2 * special.stdtr(degrees, -np.abs(t)), 1.0)
    return PairTests(difference, np.sqrt(total), degrees, p, tested, spread)


def _paired(per_arm: Floats, pairs: Places) -> Floats:
    """Differences of pairs, the first minus the second, shape (..., P, last)."""
    return np.asarray(per_arm[..., pairs[:, 0], :] - per_arm[..., pairs[:, 1], :])


def _spread(per_seed: Floats, pairs: Places, pool: Places, of_cases: Floats) -> Spread:
    seeds = per_seed.shape[-1]
    if seeds < 2:
        nothing = np.zeros_like(of_cases)
        return Spread(of_cases, nothing, np.ones_like(nothing), 1.0)
    own = _paired(per_seed, pairs).var(axis=-1, ddof=1)
    steady, most = _pooled(per_seed, pairs, pool)
    larger = np.maximum(own, steady)
    share = np.divide(steady, larger, out=np.ones_like(larger), where=larger > 0)
    degrees = np.maximum(seeds - 1, most * share**2)
    return Spread(of_cases, larger, degrees, pool_contrasts(pool) * (seeds - 1))


def _pooled(per_seed: Floats, pairs: Places, pool: Places) -> tuple[Floats, Floats]:
    """Variance over seeds of the pool of each pair, and its degrees of freedom, (..., P) each.

    One wild arm would widen every comparison of the others. It is left out of the pool of the pairs
    that it is not in where its pairs vary more than `_WILD` times as much as those of the others.
    """
    seeds, arms = per_seed.shape[-1], np.unique(pool)
    paired = _paired(per_seed, pool)
    each = paired.var(axis=-1, ddof=1)
    whole, worth = each.mean(axis=-1)[..., None], _worth(paired)[..., None] * (seeds - 1)
    shape = (*each.shape[:-1], len(pairs))
    if seeds < ENOUGH_SEEDS or len(arms) < _FEWEST_ARMS or len(pool) < comb(len(arms), 2):
        return np.broadcast_to(whole, shape), np.broadcast_to(worth, shape)
    has = (pool == arms[:, None, None]).any(axis=-1).astype(float)  # (arms, Q)
    with_it = each @ (has / has.sum(axis=1, keepdims=True)).T
    without = each @ ((1 - has) / (1 - has).sum(axis=1, keepdims=True)).T
    wildest = with_it.argmax(axis=-1)[..., None]
    rest = np.take_along_axis(without, wildest, axis=-1)
    is_wild = np.take_along_axis(with_it, wildest, axis=-1) > _WILD * rest
    left_out = is_wild & (pairs != arms[wildest][..., None]).all(axis=-1)
    others = 1 - has[wildest[..., 0]]
    calmer = _worth(paired * others[..., None])[..., None] * (seeds - 1)
    return np.where(left_out, rest, whole), np.where(left_out, calmer, worth)


def _worth(paired: Floats) -> Floats:
    """How many independent differences the pairs of a pool are worth, (..., Q, S) to (...).

    The mean of their variances has this many times S - 1 degrees of freedom: tr(G)^2 / tr(G^2) with
    G the pairs' covariance, here as it is seen (Box 1954, Annals of Mathematical Statistics 25:
    290-302; Greenhouse and Geisser 1959, Psychometrika 24: 95-112). Where arms spread unequally it
    is less than their number, down to 1 where all the spread is one arm's; of equal ones so few
    seeds show somewhat too little, which errs on the safe side.
    """
    apart = paired - paired.mean(axis=-1, keepdims=True)
    gram = np.swapaxes(apart, -1, -2) @ apart  # of seeds, fewer than pairs; the traces are equal
    total = np.trace(gram, axis1=-2, axis2=-1) ** 2
    squares = (gram**2).sum(axis=(-2, -1))
    worth: Floats = np.divide(total, squares, out=np.ones_like(total), where=squares > 0)
    return worth


def pool_contrasts(pool: Places) -> float:
    """What `_worth` would be of arms of equal variance, for a pool of shape (Q, 2).

    All pairs of k arms are worth k - 1, k pairs without a common arm k.
    """
    signs = np.zeros((len(pool), int(pool.max()) + 1))
    rows = np.arange(len(pool))
    signs[rows, pool[:, 0]], signs[rows, pool[:, 1]] = 1, -1
    shared = signs.T @ signs
    return float(np.trace(shared) ** 2 / (shared**2).sum())


def _satterthwaite(spread: Spread, cases: int, seeds: int) -> Floats:
    """Degrees of freedom of cases / C + seeds / S; with few seeds the careful ones."""
    of_cases, of_seeds = spread.cases / cases, spread.seeds / seeds
    total = of_cases + of_seeds
    safe = np.where(total > 0, total, 1.0)
    known = (of_cases / safe) ** 2 / max(cases - 1, 1) + (of_seeds / safe) ** 2 / spread.degrees
    degrees = 1 / np.where(known > 0, known, 1.0)
    careful: Floats = np.minimum(degrees, _careful(spread.pool_degrees, seeds))
    return careful


def _careful(pool_degrees: float, seeds: int) -> float:
    """The most degrees of freedom that so few seeds allow: infinite from 5 on.

    With fewer Satterthwaite's sum is too hopeful by simulation. What holds is S - 1 times the
    differences that the pool is worth, of which no more than 2 (S - 1) count.
    """
    if seeds >= ENOUGH_SEEDS:
        return np.inf
    return min(pool_degrees, 2.0 * max(seeds - 1, 1) ** 2)


def half_widths(tests: PairTests, alpha: Floats) -> Floats:
    """Half the interval of each difference that leaves out 0 where p is below its alpha.

    Args:
        tests: The tests.
        alpha: Two-sided level of each pair, shape (..., P).

    Returns:
        Shape (..., P); of pairs that are not tested it means nothing.
    """
    return np.asarray(-special.stdtrit(tests.degrees, alpha / 2) * tests.standard_error)


def seeds_needed(
    values: Floats, pairs: Places, tests: PairTests, alpha: Floats
) -> list[int | None]:
    """About how many seeds would tell each pair apart, were its difference the one found.

    The spread over cases of means over S seeds is that of the recipes and an S-th of that of the
    single trainings, which more seeds reduce; the spread over seeds stays what the test took. At
    that number the chance to tell the pair apart is about one half.

    Args:
        values: Scores of one study, shape (A, S, C).
        pairs: The pairs, shape (P, 2).
        tests: Their tests.
        alpha: Two-sided level of each pair, shape (P,).

    Returns:
        For each pair more seeds than there are, at most 99; None where those would not do, or
        where it is not tested.
    """
    seeds, cases = values.shape[-2:]
    if seeds < 2 or cases < 2 or seeds >= MOST_SEEDS:
        return [None] * len(pairs)
    single = _single_trainings(values, pairs)
    recipes = np.maximum(tests.spread.cases - single / seeds, 0.0)
    more = range(seeds + 1, MOST_SEEDS + 1)
    found = np.stack(
        [
            _found_with(each, recipes + single / each, seeds, cases, tests, alpha) & tests.tested
            for each in more
        ]
    )
    return [more[int(row.argmax())] if row.any() else None for row in found.T]


def _found_with(
    number: int, of_cases: Floats, seeds: int, cases: int, tests: PairTests, alpha: Floats
) -> NDArray[np.bool_]:
    """Whether pairs would be told apart with another number of seeds, shape (P,)."""
    old, ratio = tests.spread, (number - 1) / (seeds - 1)
    spread = Spread(of_cases, old.seeds, old.degrees * ratio, old.pool_degrees * ratio)
    error = np.sqrt(of_cases / cases + old.seeds / number)
    needed = -special.stdtrit(_satterthwaite(spread, cases, number), alpha / 2) * error
    found: NDArray[np.bool_] = np.abs(tests.difference) >= needed
    return found


def _single_trainings(values: Floats, pairs: Places) -> Floats:
    """Variance of a pair's difference in one case and seed around those of both, shape (P,)."""
    seeds, cases = values.shape[-2:]
    rest = values - values.mean(axis=-1, keepdims=True) - values.mean(axis=-2, keepdims=True)
    rest = rest + values.mean(axis=(-2, -1), keepdims=True)
    paired: Floats = rest[pairs[:, 0]] - rest[pairs[:, 1]]
    return np.asarray((paired**2).sum(axis=(-2, -1)) / ((seeds - 1) * (cases - 1)))


def baseline_shares(means: Means, pairs: Places, tests: PairTests) -> Floats:
    """The part of each comparison's variance that all comparisons with its baseline share.

    A difference varies as its arm and its baseline do together, two arms of one baseline as they
    do: what the one exceeds half of the other by is the baseline's.

    Args:
        means: Of the scores.
        pairs: Arm and baseline, shape (P, 2).
        tests: Of these pairs.

    Returns:
        Shape (..., P), in [0, 1]; 0 where a baseline has one arm, and below 5 seeds, from which it
        cannot be told well enough by simulation.
    """
    cases, seeds = means.per_case.shape[-1], means.per_seed.shape[-1]
    found = np.zeros(tests.p.shape)
    if seeds < ENOUGH_SEEDS or cases < 2:
        return found
    for baseline in np.unique(pairs[:, 1]):
        own = pairs[:, 1] == baseline
        if own.sum() > 1:
            shared = _baseline_variance(means.per_case, pairs[own]) / cases
            shared = shared + _baseline_variance(means.per_seed, pairs[own]) / seeds
            found[..., own] = shared[..., None]
    total = np.where(tests.tested, tests.standard_error**2, 1.0)
    return np.where(tests.tested, np.minimum(found / total, 1.0), 0.0)


def _baseline_variance(per_arm: Floats, pairs: Places) -> Floats:
    """What a shared baseline adds to the variance over cases or seeds, shape (...)."""
    differences = _paired(per_arm, pairs).var(axis=-1, ddof=1).mean(axis=-1)
    arms = per_arm[..., pairs[:, 0], :]
    apart = arms - arms.mean(axis=-2, keepdims=True)
    of_arms = apart.var(axis=-1, ddof=1).sum(axis=-1) / (len(pairs) - 1)
    return np.asarray(np.maximum(differences - of_arms, 0.0))


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


def tied_ranks(scores: Floats) -> Floats:
    """Ranks from 1 for the greatest score; equal scores share the mean of their ranks.

    Args:
        scores: Shape (A,).

    Returns:
        Ranks, shape (A,).
    """
    return np.asarray(stats.rankdata(-scores), dtype=np.float64)
