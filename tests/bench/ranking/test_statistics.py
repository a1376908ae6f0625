import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from inflate_zoo.bench.ranking import statistics

few = settings(max_examples=40)
ps = st.lists(st.floats(0, 1), min_size=1, max_size=12)
tables = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 6)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.sampled_from([0.0, 0.2, 0.25, 0.7, 1.0]))
)


def table(seed, arms=4, seeds=3, cases=9):
    rng = np.random.default_rng(seed)
    spread = rng.normal(0, 0.03, (arms, seeds, 1)) + rng.normal(0, 0.05, (arms, 1, cases))
    return 0.7 + spread + rng.normal(0, 0.02, (arms, seeds, cases))


def plain_holm(values):
    """Step-down as in a textbook: the k-th smallest is multiplied by how many are left."""
    left, running, corrected = len(values), 0.0, [0.0] * len(values)
    for place in sorted(range(len(values)), key=values.__getitem__):
        running = max(running, left * values[place])
        corrected[place] = min(1.0, running)
        left -= 1
    return corrected


@few
@given(ps)
def test_holm_is_the_step_down_of_a_textbook(values):
    np.testing.assert_allclose(statistics.holm(np.array(values)), plain_holm(values))


def test_holm_of_known_values():
    got = statistics.holm(np.array([0.01, 0.04, 0.03, 0.005]))
    np.testing.assert_allclose(got, [0.03, 0.06, 0.06, 0.02])


@few
@given(ps)
def test_holm_raises_p_and_keeps_its_order(values):
    p = np.array(values)
    corrected = statistics.holm(p)
    assert (corrected >= p).all()
    assert (np.diff(corrected[np.argsort(p, kind="stable")]) >= 0).all()
    assert corrected.max() <= 1


@pytest.mark.parametrize("shape", [(2, 3, 8), (4, 3, 20), (3, 5, 6)])
def test_compare_is_the_formula_written_out(shape):
    arms, seeds, cases = shape
    values = table(7, *shape)
    got = statistics.compare(values)
    variances = [np.var([values[a, s].mean() for s in range(seeds)], ddof=1) for a in range(arms)]
    for a in range(arms):
        for b in range(arms):
            if a == b:
                assert got.p[a, b] == got.p_holm[a, b] == 1
                continue
            paired = [(values[a, :, c] - values[b, :, c]).mean() for c in range(cases)]
            pooled = max(np.mean(variances), (variances[a] + variances[b]) / 2)
            parts = np.var(paired, ddof=1) / cases, 2 * pooled / seeds
            degrees = sum(parts) ** 2 / (
                parts[0] ** 2 / (cases - 1) + parts[1] ** 2 / (arms * (seeds - 1))
            )
            t = np.mean(paired) / math.sqrt(sum(parts))
            assert got.difference[a, b] == pytest.approx(np.mean(paired))
            assert got.standard_error[a, b] == pytest.approx(math.sqrt(sum(parts)))
            assert got.degrees[a, b] == pytest.approx(degrees)
            assert got.t[a, b] == pytest.approx(t)
            assert got.p[a, b] == pytest.approx(1 - stats.t(degrees).cdf(t))
    off = ~np.eye(arms, dtype=bool)
    np.testing.assert_allclose(got.p_holm[off], plain_holm(list(got.p[off])))


def test_without_spread_between_seeds_it_is_the_paired_t_test():
    values = np.repeat(table(3, arms=2, seeds=1), 3, axis=1)
    values += 0.3 - values.mean(axis=(1, 2), keepdims=True) + [[[0.03]], [[0.0]]]
    got = statistics.compare(values)
    expected = stats.ttest_rel(values[0, 0], values[1, 0], alternative="greater")
    assert got.p[0, 1] == pytest.approx(expected.pvalue)
    assert got.degrees[0, 1] == pytest.approx(8)


def test_without_spread_between_cases_it_is_the_t_test_of_seed_means():
    means = np.random.default_rng(0).normal(0.7, 0.03, (2, 4))
    got = statistics.compare(np.repeat(means[..., None], 50, axis=-1))
    expected = stats.ttest_ind(means[0], means[1], alternative="greater")
    assert got.p[0, 1] == pytest.approx(expected.pvalue)
    assert got.degrees[0, 1] == pytest.approx(6)


def test_the_calm_of_other_arms_does_not_hide_the_spread_of_two():
    values = np.concatenate([table(0, 2), np.repeat(table(1, 3)[:, :1], 3, axis=1)])
    alone, among = statistics.compare(values[:2]), statistics.compare(values)
    assert among.standard_error[0, 1] == pytest.approx(alone.standard_error[0, 1])


@pytest.mark.parametrize("shape", [(1, 3, 5), (3, 1, 5), (3, 3, 1), (3, 1, 1)])
def test_no_test_without_two_arms_seeds_and_cases(shape):
    got = statistics.compare(table(0, *shape))
    assert not got.tested.any()
    assert (got.p == 1).all()
    assert (got.p_holm == 1).all()
    assert (got.t == 0).all()


@pytest.mark.parametrize("gap", [0.0, 0.1])
def test_no_test_without_any_spread(gap):
    # 0.1 + 0.2 and the like leave a spread of 1e-17, which would make any gap significant
    values = np.full((2, 3, 7), 0.1 + 0.2)
    values[0] += gap + np.array([0, 5e-17, 1e-16, 0, 0, 0, 0])
    got = statistics.compare(values)
    assert not got.tested.any()
    assert (got.p_holm == 1).all()


def test_an_exact_copy_is_not_better():
    values = table(0, 2)
    got = statistics.compare(np.concatenate([values, values[:1]]))
    assert got.difference[0, 2] == 0
    assert got.p[0, 2] == got.p[2, 0] == pytest.approx(0.5)
    assert got.p_holm[0, 2] == got.p_holm[2, 0] > 0.4


@few
@given(tables)
def test_nothing_is_nan_and_better_is_one_way(values):
    got = statistics.compare(values)
    for array in (got.difference, got.standard_error, got.degrees, got.t, got.p, got.p_holm):
        assert np.isfinite(array).all()
    better = got.p_holm < 0.05
    assert not (better & better.T).any()
    assert ((got.p >= 0) & (got.p_holm >= got.p) & (got.p_holm <= 1)).all()
    np.testing.assert_array_equal(got.difference, -got.difference.T)


@few
@given(st.integers(0, 10**6), st.floats(-5, 5), st.integers(2, 5))
def test_a_constant_added_to_all_changes_nothing(seed, constant, arms):
    values = table(seed, arms)
    got, moved = statistics.compare(values), statistics.compare(values + constant)
    np.testing.assert_allclose(moved.p, got.p, rtol=1e-7)
    np.testing.assert_allclose(moved.difference, got.difference, atol=1e-12)


@few
@given(st.integers(0, 10**6), st.floats(0.01, 100))
def test_the_unit_changes_no_p(seed, factor):
    values = table(seed)
    got, scaled = statistics.compare(values), statistics.compare(values * factor)
    np.testing.assert_allclose(scaled.p_holm, got.p_holm, rtol=1e-7)


def test_leading_dimensions_are_studies_of_their_own():
    values = np.stack([table(seed) for seed in range(6)]).reshape(2, 3, 4, 3, 9)
    got = statistics.compare(values)
    for place in np.ndindex(2, 3):
        one = statistics.compare(values[place])
        np.testing.assert_allclose(got.p_holm[place], one.p_holm, rtol=1e-12)


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


@pytest.mark.parametrize(
    ("cases", "seeds", "expected"),
    [(20, 3, 1 / 20), (20, 1, 1 / 2), (2, 3, 1 / 4), (52, 5, 1 / 252), (4, 5, 1 / 16), (0, 1, 1)],
)
def test_smallest_p(cases, seeds, expected):
    assert statistics.smallest_p(cases, seeds) == expected


def test_tied_ranks_share_the_mean():
    got = statistics.tied_ranks(np.array([3.0, 1, 3, 0, 1, 1]))
    np.testing.assert_array_equal(got, [1.5, 4, 1.5, 6, 4, 4])


def test_seed_variance_is_between_the_means_of_seeds():
    values = table(2)
    got = statistics.seed_variance(values)
    np.testing.assert_allclose(got, [np.var(arm.mean(axis=1), ddof=1) for arm in values])
