import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from inflate_zoo.bench.ranking import statistics
from inflate_zoo.bench.ranking.statistics import Means

few = settings(max_examples=40)
tables = st.tuples(st.integers(2, 4), st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.sampled_from([0.0, 0.2, 0.25, 0.7, 1.0]))
)


def table(seed, arms=4, seeds=5, cases=9):
    rng = np.random.default_rng(seed)
    spread = rng.normal(0, 0.03, (arms, seeds, 1)) + rng.normal(0, 0.05, (arms, 1, cases))
    return 0.7 + spread + rng.normal(0, 0.02, (arms, seeds, cases))


def places(*pairs):
    return np.array(pairs, np.intp)


def all_pairs(arms):
    return places(*itertools.combinations(range(arms), 2))


def compare(values, pairs=None, pool=None):
    every = all_pairs(values.shape[-3])
    pairs = every if pairs is None else pairs
    return statistics.compare(Means.of(values), pairs, every if pool is None else pool)


def worth(values, pairs):
    """How many equal, independent differences would be as steady: by the eigenvalues."""
    seen = np.cov([(values[a] - values[b]).mean(axis=-1) for a, b in pairs])
    found = np.linalg.eigvalsh(np.atleast_2d(seen))
    return found.sum() ** 2 / (found**2).sum()


def variance_of_pair(values, a, b):
    return np.var([(values[a, s] - values[b, s]).mean() for s in range(values.shape[1])], ddof=1)


@pytest.mark.parametrize("shape", [(2, 5, 8), (4, 5, 20), (3, 7, 6), (5, 10, 12)])
def test_compare_is_the_formula_written_out(shape):
    arms, seeds, cases = shape
    values = table(7, *shape)
    values[0] += np.random.default_rng(1).normal(0, 0.05, (seeds, 1))
    got = compare(values)
    pool = np.mean([variance_of_pair(values, a, b) for a, b in all_pairs(arms)])
    exceeded, of_pool = 0, worth(values, all_pairs(arms)) * (seeds - 1)
    for at, (a, b) in enumerate(all_pairs(arms)):
        paired = [(values[a, :, c] - values[b, :, c]).mean() for c in range(cases)]
        own = variance_of_pair(values, a, b)
        larger = max(own, pool)
        exceeded += own > pool
        of_seeds = max(seeds - 1, of_pool * (pool / larger) ** 2)
        parts = np.var(paired, ddof=1) / cases, larger / seeds
        degrees = sum(parts) ** 2 / (parts[0] ** 2 / (cases - 1) + parts[1] ** 2 / of_seeds)
        t = np.mean(paired) / math.sqrt(sum(parts))
        assert got.difference[at] == pytest.approx(np.mean(paired))
        assert got.standard_error[at] == pytest.approx(math.sqrt(sum(parts)))
        assert got.degrees[at] == pytest.approx(degrees)
        assert got.p[at] == pytest.approx(2 * stats.t(degrees).sf(abs(t)))
    assert arms == 2 or 0 < exceeded < len(all_pairs(arms))


@pytest.mark.parametrize(
    ("seeds", "arms", "most"),
    [(2, 2, 1), (2, 3, 2), (2, 8, 2), (3, 2, 2), (3, 3, 4), (3, 4, 6), (3, 8, 8), (4, 3, 6),
     (4, 8, 18)],
)  # fmt: skip
def test_few_seeds_have_careful_degrees(seeds, arms, most):
    values = np.random.default_rng(0).normal(0.7, 0.02, (arms, seeds, 60))
    values += np.random.default_rng(1).normal(0, 1e-3, (arms, seeds, 1))
    got = compare(values)
    assert got.degrees.max() == pytest.approx(most)
    assert compare(np.repeat(values, 3, axis=1)).degrees.max() > most


def test_what_a_seed_does_to_all_arms_is_no_spread_between_them():
    values = table(2)
    shared = np.random.default_rng(3).normal(0, 0.3, (1, 5, 1))
    got, moved = compare(values), compare(values + shared)
    np.testing.assert_allclose(moved.p, got.p, rtol=1e-9)


def test_without_spread_between_seeds_it_is_the_paired_t_test():
    values = np.repeat(table(3, arms=2, seeds=1), 5, axis=1)
    got = compare(values)
    expected = stats.ttest_rel(values[0, 0], values[1, 0])
    assert got.p[0] == pytest.approx(expected.pvalue)
    assert got.degrees[0] == pytest.approx(8)


def test_without_spread_between_cases_it_is_the_paired_t_test_of_seed_means():
    means = np.random.default_rng(0).normal(0.7, 0.03, (2, 6))
    got = compare(np.repeat(means[..., None], 50, axis=-1))
    expected = stats.ttest_rel(means[0], means[1])
    assert got.p[0] == pytest.approx(expected.pvalue)
    assert got.degrees[0] == pytest.approx(5)


def test_the_calm_of_other_arms_does_not_hide_the_spread_of_two():
    values = np.concatenate([table(0, 2), np.repeat(table(1, 3)[:, :1], 5, axis=1)])
    alone, among = compare(values[:2]), compare(values)
    assert among.standard_error[0] == pytest.approx(alone.standard_error[0])
    assert among.spread.degrees[0] >= alone.spread.degrees[0] == 4


def test_the_spread_of_others_widens_no_pair_whose_pool_they_are_not_in():
    values = table(0, 4, seeds=4)  # too few to leave a wild arm out
    wild = np.array(values)
    wild[3] += np.random.default_rng(0).normal(0, 0.5, (4, 1))
    pairs = all_pairs(3)
    calm = compare(values, pairs, pairs)
    np.testing.assert_allclose(compare(wild, pairs, pairs).p, calm.p)
    assert (compare(wild, pairs).standard_error > 2 * calm.standard_error).all()


def with_a_wild_arm(arms, seeds, wild=0.2):
    values = table(3, arms, seeds)
    values[1] += np.random.default_rng(4).normal(0, wild, (seeds, 1))
    return values


@pytest.mark.parametrize("arms", [4, 6])
def test_one_wild_arm_does_not_widen_the_pairs_of_the_others(arms):
    values, seeds = with_a_wild_arm(arms, 5), 5
    got, others = compare(values), np.delete(values, 1, axis=0)
    known = [tuple(pair) for pair in all_pairs(arms) if 1 not in pair]
    calm = [1 not in pair for pair in all_pairs(arms)]
    rest = np.mean([variance_of_pair(values, a, b) for a, b in known])
    own = np.array([variance_of_pair(values, a, b) for a, b in known])
    np.testing.assert_allclose(got.spread.seeds[calm], np.maximum(own, rest))
    share = rest / np.maximum(own, rest)
    degrees = np.maximum(seeds - 1, worth(values, known) * (seeds - 1) * share**2)
    np.testing.assert_allclose(got.spread.degrees[calm], degrees)
    if arms > 4:
        np.testing.assert_allclose(got.p[calm], compare(others).p)
    # Its own pairs are judged as among all.
    whole = np.mean([variance_of_pair(values, a, b) for a, b in all_pairs(arms)])
    wild = [variance_of_pair(values, a, b) for a, b in all_pairs(arms) if 1 in (a, b)]
    np.testing.assert_allclose(got.spread.seeds[np.invert(calm)], np.maximum(wild, whole))


@pytest.mark.parametrize(("arms", "seeds", "wild"), [(3, 5, 0.2), (4, 4, 0.2), (4, 5, 0.03)])
def test_too_few_arms_or_seeds_or_too_little_leave_nobody_out(arms, seeds, wild):
    values = with_a_wild_arm(arms, seeds, wild)
    whole = np.mean([variance_of_pair(values, a, b) for a, b in all_pairs(arms)])
    assert (compare(values).spread.seeds >= whole * (1 - 1e-12)).all()


def test_each_of_several_studies_leaves_its_own_wild_arm_out():
    values = np.stack([with_a_wild_arm(5, 5), with_a_wild_arm(5, 5)[::-1], table(3, 5, 5)])
    got = compare(values)
    for place, one in enumerate(values):
        np.testing.assert_allclose(got.p[place], compare(one).p)
        np.testing.assert_allclose(got.degrees[place], compare(one).degrees)


@pytest.mark.parametrize(
    ("pool", "worth"),
    [([(0, 1)], 1), ([(0, 1), (0, 2), (1, 2)], 2), (itertools.combinations(range(6), 2), 5),
     ([(0, 1), (2, 3), (4, 5)], 3), ([(0, 3), (1, 3), (2, 3)], 2)],
)  # fmt: skip
def test_what_a_pool_is_worth_in_degrees(pool, worth):
    assert statistics.pool_contrasts(places(*pool)) == pytest.approx(worth)


def test_what_a_pool_is_worth_is_how_steady_its_variance_is():
    pool = places((0, 3), (1, 3), (2, 3), (4, 5))
    draws = np.random.default_rng(0).normal(size=(40_000, 6, 5))
    means = (draws[:, pool[:, 0]] - draws[:, pool[:, 1]]).var(axis=-1, ddof=1).mean(axis=-1)
    expected = statistics.pool_contrasts(pool) * 4
    assert 2 * means.mean() ** 2 / means.var() == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("pool", [list(itertools.combinations(range(6), 2)), [(0, 3), (1, 4)]])
def test_a_pool_of_unequal_arms_is_as_steady_as_its_degrees_say(pool):
    spreads = np.array([0.06, 0.02, 0.03, 0.02, 0.05, 0.01])[:, None]
    signs = np.zeros((len(pool), 6))
    for row, (first, second) in zip(signs, pool, strict=True):
        row[first], row[second] = 1, -1
    true = (signs * spreads.T**2) @ signs.T
    expected = 4 * np.trace(true) ** 2 / (true**2).sum()
    draws = spreads * np.random.default_rng(0).normal(size=(40_000, 6, 5))
    means = (signs @ draws).var(axis=-1, ddof=1).mean(axis=-1)
    assert 2 * means.mean() ** 2 / means.var() == pytest.approx(expected, rel=0.03)
    # With very many seeds it is seen as it is.
    many = spreads * np.random.default_rng(1).normal(size=(6, 1000))
    got = compare(np.repeat(many[..., None], 2, axis=-1), places(*pool), places(*pool))
    assert got.spread.degrees.max() == pytest.approx(expected / 4 * 999, rel=0.1)


@pytest.mark.parametrize("shape", [(2, 1, 5), (3, 5, 1), (3, 1, 1)])
def test_no_test_without_two_seeds_and_cases(shape):
    got = compare(table(0, *shape))
    assert not got.tested.any()
    assert (got.p == 1).all()


@pytest.mark.parametrize("gap", [0.0, 0.1])
def test_no_test_without_any_spread(gap):
    # 0.1 + 0.2 and the like leave a spread of 1e-17, which would make any gap significant
    values = np.full((2, 5, 7), 0.1 + 0.2)
    values[0] += gap + np.array([0, 5e-17, 1e-16, 0, 0, 0, 0])
    got = compare(values)
    assert not got.tested.any()
    assert (got.p == 1).all()


def test_an_exact_copy_does_not_differ():
    values = table(0, 2)
    got = compare(np.concatenate([values, values[:1]]), places((0, 2), (2, 0)))
    assert (got.difference == 0).all()
    assert (got.p == 1).all()


@few
@given(tables)
def test_nothing_is_nan_and_the_order_of_a_pair_turns_the_sign_alone(values):
    pairs = all_pairs(len(values))
    got, turned = compare(values), compare(values, pairs[:, ::-1])
    for array in (got.difference, got.standard_error, got.degrees, got.p):
        assert np.isfinite(array).all()
    assert ((got.p >= 0) & (got.p <= 1)).all()
    np.testing.assert_array_equal(got.p, turned.p)
    np.testing.assert_array_equal(got.difference, -turned.difference)


@few
@given(st.integers(0, 10**6), st.floats(-5, 5), st.integers(2, 5))
def test_a_constant_added_to_all_changes_nothing(seed, constant, arms):
    values = table(seed, arms)
    got, moved = compare(values), compare(values + constant)
    np.testing.assert_allclose(moved.p, got.p, rtol=1e-7)
    np.testing.assert_allclose(moved.difference, got.difference, atol=1e-12)


@few
@given(st.integers(0, 10**6), st.floats(0.01, 100))
def test_the_unit_changes_no_p(seed, factor):
    values = table(seed)
    np.testing.assert_allclose(compare(values * factor).p, compare(values).p, rtol=1e-7)


def test_leading_dimensions_are_studies_of_their_own():
    values = np.stack([table(seed) for seed in range(6)]).reshape(2, 3, 4, 5, 9)
    got = compare(values)
    means = Means.of(values)
    shares = statistics.baseline_shares(means, places((0, 3), (1, 3)), got_of(means))
    for place in np.ndindex(2, 3):
        one = compare(values[place])
        np.testing.assert_allclose(got.p[place], one.p, rtol=1e-12)
        own = Means.of(values[place])
        alone = statistics.baseline_shares(own, places((0, 3), (1, 3)), got_of(own))
        np.testing.assert_allclose(shares[place], alone, rtol=1e-9)


def got_of(means):
    return statistics.compare(means, places((0, 3), (1, 3)), all_pairs(4))


@few
@given(st.integers(0, 10**6), st.floats(0.001, 0.2))
def test_an_interval_leaves_out_0_exactly_where_p_is_below_its_level(seed, alpha):
    got = compare(table(seed))
    widths = statistics.half_widths(got, np.full(got.p.shape, alpha))
    np.testing.assert_array_equal(np.abs(got.difference) > widths, got.p < alpha)


def test_the_interval_of_a_t_test_is_scipys():
    values = np.repeat(table(3, arms=2, seeds=1), 5, axis=1)
    got = compare(values)
    low, high = stats.ttest_rel(values[0, 0], values[1, 0]).confidence_interval(0.99)
    (width,) = statistics.half_widths(got, np.array([0.01]))
    assert got.difference[0] - width == pytest.approx(low)
    assert got.difference[0] + width == pytest.approx(high)


@pytest.mark.parametrize("size", [1e-3, 1e-6, 1e-9])
def test_scores_that_hardly_differ_are_tested_as_others_are(size):
    noise = table(2) - 0.7
    expected, got = compare(noise), compare(0.7 + size * noise)
    assert got.tested.all()
    np.testing.assert_allclose(got.p, expected.p, rtol=1e-3)


def test_seeds_needed_is_where_the_same_recipes_would_be_told_apart():
    """With many more seeds drawn of the same arms, about half of the studies find the pair."""
    rng, alpha, pair = np.random.default_rng(5), np.array([0.025]), places((0, 1))
    of_cases = np.array([0.02, 0.0])[:, None, None] + rng.normal(0, 0.01, (2, 1, 25))
    of_cases -= of_cases.mean(axis=-1, keepdims=True) - np.array([0.012, 0.0])[:, None, None]

    def drawn(*shape, seeds):
        values = rng.normal(0, 0.02, (*shape, 2, seeds, 25)) + of_cases
        return values + rng.normal(0, 0.015, (*shape, 2, seeds, 1))

    advised = []
    for _ in range(100):
        values = drawn(seeds=5)
        values += np.array([0.012, 0.0])[:, None, None] - values.mean(axis=(1, 2), keepdims=True)
        (needed,) = statistics.seeds_needed(values, pair, compare(values), alpha)
        advised.append(needed or 100)
    typical = int(np.median(advised))
    assert 10 < typical < 40
    found = compare(drawn(4000, seeds=typical)).p < 0.025
    assert 0.35 < found.mean() < 0.65


def test_where_more_seeds_than_are_ever_advised_ran_none_are_advised():
    values = table(0, 2, statistics.MOST_SEEDS)
    got = compare(values)
    assert statistics.seeds_needed(values, all_pairs(2), got, np.array([0.01])) == [None]


@pytest.mark.parametrize(("noise", "spread"), [(0.01, 0.02), (0.08, 0.002), (0.05, 0.01)])
def test_seeds_needed_is_the_formula_written_out(noise, spread):
    rng = np.random.default_rng(3)
    values = rng.normal(0, noise, (2, 5, 20)) + rng.normal(0, spread, (2, 5, 1))
    values += np.array([0.01, 0.0])[:, None, None] - values.mean(axis=(1, 2), keepdims=True)
    paired = values[0] - values[1]
    rest = paired - paired.mean(axis=0) - paired.mean(axis=1)[:, None] + paired.mean()
    single = (rest**2).sum() / (4 * 19)
    recipes = max(0.0, paired.mean(axis=0).var(ddof=1) - single / 5)
    of_seeds = paired.mean(axis=1).var(ddof=1)

    def found(seeds):
        parts = (recipes + single / seeds) / 20, of_seeds / seeds
        degrees = sum(parts) ** 2 / (parts[0] ** 2 / 19 + parts[1] ** 2 / (seeds - 1))
        return stats.t(degrees).isf(0.0125) * math.sqrt(sum(parts)) < 0.01

    expected = next((seeds for seeds in range(6, 100) if found(seeds)), None)
    got = statistics.seeds_needed(values, places((0, 1)), compare(values), np.array([0.025]))
    assert got == [expected]
    assert expected is not None


@pytest.mark.parametrize("shape", [(3, 1, 9), (3, 5, 1), (3, 5, 9)])
def test_no_number_of_seeds_where_there_is_no_test_or_cases_hide_it(shape):
    values = table(0, *shape)
    values += np.random.default_rng(2).normal(0, 0.5, (shape[0], 1, shape[2]))
    got = compare(values)
    needed = statistics.seeds_needed(values, all_pairs(3), got, np.full(3, 0.01))
    assert needed == [None] * 3


def test_the_part_of_a_baseline_is_found_in_many_studies():
    rng = np.random.default_rng(0)
    spreads = np.array([0.01, 0.01, 0.01, 0.03])[:, None, None]
    values = spreads * rng.normal(size=(500, 4, 40, 1)) + rng.normal(0, 1e-6, (500, 4, 40, 30))
    means, pairs = Means.of(values), places((0, 3), (1, 3), (2, 3))
    tests = statistics.compare(means, pairs, pairs)
    found = statistics.baseline_shares(means, pairs, tests)
    # the larger of the pair's and the pool's variance is a little above 0.01^2 + 0.03^2
    assert found.mean() == pytest.approx(0.9, abs=0.03)
    alone = statistics.baseline_shares(
        means, pairs[:1], statistics.compare(means, pairs[:1], pairs)
    )
    assert (alone == 0).all()


def test_the_part_of_a_baseline_is_not_guessed_from_few_seeds():
    values = table(0, seeds=4)
    means, pairs = Means.of(values), places((0, 3), (1, 3))
    tests = statistics.compare(means, pairs, all_pairs(4))
    assert (statistics.baseline_shares(means, pairs, tests) == 0).all()


def test_the_bootstrap_interval_is_scipys():
    paired = np.random.default_rng(5).gamma(2, 0.02, (3, 15)) - 0.02
    low, high = statistics.bootstrap(paired)
    for place, row in enumerate(paired):
        expected = stats.bootstrap(
            (row,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1)
        ).confidence_interval
        assert low[place] == pytest.approx(expected.low, abs=0.05 * row.std())
        assert high[place] == pytest.approx(expected.high, abs=0.05 * row.std())


def test_the_bootstrap_is_the_same_every_time_and_for_every_set_of_pairs():
    paired = np.random.default_rng(5).normal(size=(3, 12))
    low, high = statistics.bootstrap(paired)
    np.testing.assert_array_equal(statistics.bootstrap(paired)[0], low)
    np.testing.assert_allclose(statistics.bootstrap(paired[1:])[1], high[1:], rtol=1e-12)


@pytest.mark.parametrize("cases", [5, 12, 30, 60])
def test_wilcoxon_is_scipys(cases):
    paired = np.random.default_rng(cases).normal(0.3, 1, cases)
    assert statistics.wilcoxon_p(paired) == pytest.approx(stats.wilcoxon(paired).pvalue)
    with_zeros = np.concatenate([np.zeros(3), paired])
    assert statistics.wilcoxon_p(with_zeros) == pytest.approx(stats.wilcoxon(paired).pvalue)


@few
@given(st.lists(st.sampled_from([0.0, 0.1, -0.1, 0.2]), min_size=1, max_size=60))
def test_wilcoxon_takes_ties_and_zeros(paired):
    assert 0 <= statistics.wilcoxon_p(np.array(paired)) <= 1


def test_wilcoxon_of_equal_models_is_1():
    assert statistics.wilcoxon_p(np.zeros(6)) == 1.0


def test_tied_ranks_share_the_mean():
    got = statistics.tied_ranks(np.array([3.0, 1, 3, 0, 1, 1]))
    np.testing.assert_array_equal(got, [1.5, 4, 1.5, 6, 4, 4])
