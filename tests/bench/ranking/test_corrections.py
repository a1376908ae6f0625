import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from inflate_zoo.bench.ranking.corrections import (
    AgainstBaselines,
    AllPairs,
    judged_at,
    step_down,
)

few = settings(max_examples=40)
SMALL = np.array([0.2, 0.05, 0.01, 0.002, 1e-4, 1e-6, 1e-8])


def against(shares, baselines=None):
    shares = np.array(shares, float)
    return AgainstBaselines(shares, np.array(baselines or [0] * len(shares)))


def normal(p):
    return stats.norm.isf(p / 2)


def shaffer(arms, told_apart):
    """The most pairs of arms that can be equal, by trying all ways to group them."""

    def groupings(left):
        if not left:
            yield 0
            return
        for group in range(1, left + 1):
            for rest in groupings(left - group):
                yield math.comb(group, 2) + rest

    return max(n for n in set(groupings(arms)) if n <= math.comb(arms, 2) - told_apart)


@pytest.mark.parametrize("arms", [2, 3, 4, 7, 12])
def test_the_first_step_of_all_pairs_is_tukeys_range(arms):
    for p in SMALL[:-2]:
        expected = stats.studentized_range.sf(math.sqrt(2) * normal(p), arms, np.inf)
        assert AllPairs(arms).chance(np.array(p), 0) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("arms", [3, 4, 5, 8])
def test_every_step_of_all_pairs_is_at_most_shaffers_and_near_it_for_small_p(arms):
    for step in range(math.comb(arms, 2)):
        count = shaffer(arms, step)
        chances = AllPairs(arms).chance(SMALL, step)
        assert (chances <= count * SMALL * (1 + 1e-3)).all()
        assert chances[-1] == pytest.approx(count * SMALL[-1], rel=0.2)
        assert (chances >= SMALL * (1 - 1e-3)).all()


@pytest.mark.parametrize("groups", [(3, 1), (2, 2), (4,), (3, 2), (2, 1, 1)])
def test_no_group_of_equal_arms_errs_more_than_the_step_allows(groups):
    """By simulation: the arms of each group are equal, all others have been told apart."""
    arms = sum(groups)
    equal = sum(math.comb(group, 2) for group in groups)
    step = math.comb(arms, 2) - equal
    draws = np.random.default_rng(0).normal(size=(100_000, arms))
    ranges, at = [], 0
    for group in groups:
        ranges.append(np.ptp(draws[:, at : at + group], axis=1))
        at += group
    widest = np.max(ranges, axis=0) / math.sqrt(2)
    for p in (0.05, 0.01, 0.003):
        error = (widest > normal(p)).mean()
        chance = AllPairs(arms).chance(np.array(p), step)
        assert error <= chance + 4 * math.sqrt(error / len(draws))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_comparisons_that_share_nothing_are_corrected_after_sidak(count):
    expected = 1 - (1 - SMALL[:-1]) ** count
    chances = against([0.0] * count).chance(SMALL[:-1], 0)
    np.testing.assert_allclose(chances, expected, rtol=1e-3)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("count", [2, 3])
def test_comparisons_with_one_baseline_are_a_normal_distribution(count, share):
    covariance = np.full((count, count), share)
    np.fill_diagonal(covariance, 1)
    cloud = stats.multivariate_normal(np.zeros(count), covariance, seed=0)
    for p in (0.2, 0.05, 0.01):
        bound = np.full(count, normal(p))
        expected = 1 - cloud.cdf(bound, lower_limit=-bound)
        assert against([share] * count).chance(np.array(p), 0) == pytest.approx(expected, rel=0.02)


def test_unequal_parts_of_a_baseline_are_a_normal_distribution():
    shares = np.array([0.2, 0.5, 0.8])
    draws = np.random.default_rng(0).normal(size=(400_000, 4))
    seen = np.sqrt(1 - shares) * draws[:, :3] + np.sqrt(shares) * draws[:, 3:]
    for p in (0.1, 0.02):
        expected = (np.abs(seen) > normal(p)).any(axis=1).mean()
        assert against(shares).chance(np.array(p), 0) == pytest.approx(expected, rel=0.02)
        later = (np.abs(seen[:, 1:]) > normal(p)).any(axis=1).mean()
        assert against(shares).chance(np.array(p), 1) == pytest.approx(later, rel=0.02)


def test_comparisons_with_two_baselines_are_taken_as_unrelated():
    p = np.array([0.05, 0.01])
    both = against([0.5, 0.6, 0.7, 0.0], [8, 9, 8, 9]).chance(p, 0)
    first, second = against([0.5, 0.7]).chance(p, 0), against([0.6, 0.0]).chance(p, 0)
    np.testing.assert_allclose(both, 1 - (1 - first) * (1 - second), rtol=1e-9)


def test_a_baseline_that_is_all_of_the_variance_makes_one_comparison_of_many():
    chances = against([1.0] * 7).chance(SMALL[:-2], 0)
    assert (chances < 3 * SMALL[:-2]).all()
    assert (against([0.0] * 7).chance(SMALL[-3:-1], 0) > 6.9 * SMALL[-3:-1]).all()


def plain_step_down(p, chance):
    """As in a textbook: one after the other, and none below the one before it.

    Args:
        chance: Of a p and the places of the hypotheses that are left.
    """
    order = sorted(range(len(p)), key=p.__getitem__)
    running, corrected = 0.0, [0.0] * len(p)
    for step, place in enumerate(order):
        running = max(running, p[place], float(chance(np.array(p[place]), order[step:])))
        corrected[place] = min(1.0, running)
    return corrected


families = st.integers(2, 5).flatmap(
    lambda arms: st.tuples(
        st.just(arms),
        st.lists(st.floats(0, 1), min_size=math.comb(arms, 2), max_size=math.comb(arms, 2)),
    )
)


@few
@given(families)
def test_step_down_of_all_pairs_is_that_of_a_textbook(family):
    arms, p = family
    got = step_down(np.array(p), AllPairs(arms))
    expected = plain_step_down(p, lambda one, left: AllPairs(arms).chance(one, len(p) - len(left)))
    np.testing.assert_allclose(got, expected)


@few
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(0, 2)), min_size=1,
                max_size=6))  # fmt: skip
def test_step_down_against_baselines_takes_each_ones_own_share(family):
    p, shares, baselines = (list(each) for each in zip(*family, strict=True))
    got = step_down(np.array(p), against(shares, baselines))

    def chance(one, left):
        return against([shares[at] for at in left], [baselines[at] for at in left]).chance(one, 0)

    np.testing.assert_allclose(got, plain_step_down(p, chance))
    order = np.argsort(p, kind="stable")
    assert (np.diff(got[order]) >= 0).all()
    assert (got >= p).all()
    assert got.max() <= 1


def test_leading_dimensions_are_studies_of_their_own():
    rng = np.random.default_rng(0)
    p, shares = rng.random((2, 3, 4)), rng.random((2, 3, 4))
    baselines = np.array([1, 1, 2, 2])
    got = step_down(p, AgainstBaselines(shares, baselines))
    for place in np.ndindex(2, 3):
        alone = step_down(p[place], AgainstBaselines(shares[place], baselines))
        np.testing.assert_allclose(got[place], alone)


@few
@given(st.integers(0, 10**6), st.sampled_from([0.05, 0.025, 0.05 / 3]))
def test_what_is_judged_at_divides_what_is_claimed_from_what_is_not(seed, level):
    rng = np.random.default_rng(seed)
    p = rng.random(6) ** 4
    for correction in (AllPairs(4), against(rng.random(6), rng.integers(0, 2, 6).tolist())):
        claimed = step_down(p, correction) <= level
        alpha = judged_at(p, correction, level, claimed)
        np.testing.assert_array_equal(p <= alpha, claimed)
        assert len(set(alpha[~claimed])) <= 1
        assert (alpha <= level).all()


def test_a_claim_of_all_pairs_leaves_more_to_those_after_it():
    p = np.array([1e-6, 0.012, 0.9])
    assert step_down(p, AllPairs(3))[1] == pytest.approx(0.012, rel=1e-3)
    assert step_down(np.array([0.012, 0.9, 0.8]), AllPairs(3))[0] > 0.03


def test_pairs_of_many_arms_are_quick():
    assert step_down(np.full(math.comb(24, 2), 1e-4), AllPairs(24))[0] < 276e-4
