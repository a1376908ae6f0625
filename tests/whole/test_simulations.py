"""Simulated studies: how often equal recipes are called different, and better ones are found.

value[arm, seed, case] = case + arm + seed(arm, seed) + arm by case + noise(arm, seed, case)
"""

import numpy as np
import pytest

from inflate_zoo.bench.ranking import ranking, statistics
from inflate_zoo.bench.ranking.ranking import rank
from inflate_zoo.bench.ranking.types import Outcome

STUDIES = 2000
LIMIT = 0.05 + 3 * (0.05 * 0.95 / STUDIES) ** 0.5  # three standard errors of a simulated 0.05


def simulate(arms, cases, spreads, *, seeds=3, interaction=0.02, noise=0.02, gain=0.0, rng=0):
    """Dice of studies, shape (STUDIES, arms, seeds, cases); the first arm is better by `gain`.

    Args:
        spreads: Standard deviation of the seed effect, of all arms or of each.
    """
    normal = np.random.default_rng(rng).normal
    each = np.broadcast_to(spreads, arms)[:, None, None]
    values = 0.8 + normal(0, 0.08, (STUDIES, 1, 1, cases))
    values = values + each * normal(size=(STUDIES, arms, seeds, 1))
    values += normal(0, interaction, (STUDIES, arms, 1, cases))
    values += normal(0, noise, (STUDIES, arms, seeds, cases))
    values[:, 0] += gain
    return values


def any_better(values):
    """Share of studies of equal arms that call any arm better than another."""
    return (statistics.compare(values).p_holm < 0.05).any(axis=(1, 2)).mean()


@pytest.mark.parametrize("spread", [0.0, 0.005, 0.02])
@pytest.mark.parametrize(("arms", "cases"), [(2, 20), (2, 52), (4, 20), (8, 20)])
def test_equal_recipes_are_rarely_called_different(arms, cases, spread):
    assert any_better(simulate(arms, cases, spread)) <= LIMIT


@pytest.mark.parametrize("spread", [0.0, 0.02])
def test_the_test_is_not_idle_on_equal_recipes(spread):
    # all the chance lies where the test looks for it, so its error is near what it allows
    assert any_better(simulate(2, 52, spread, interaction=0.03, noise=0.003)) >= 0.03


@pytest.mark.parametrize("wild", [0.02, 0.03])
@pytest.mark.parametrize("arms", [3, 8])
def test_an_arm_that_varies_more_than_the_others_is_not_called_different(arms, wild):
    # a variance pooled over all arms alone gives 0.06 to 0.12 here
    spreads = [wild] + [wild / 10] * (arms - 1)
    assert any_better(simulate(arms, 20, spreads)) <= LIMIT + 0.015


@pytest.mark.parametrize("seeds", [2, 5])
def test_other_numbers_of_seeds_keep_the_error(seeds):
    assert any_better(simulate(3, 20, 0.01, seeds=seeds)) <= LIMIT


def test_skewed_scores_and_lost_cases_keep_the_error():
    values = simulate(3, 20, 0.01)
    lost = np.random.default_rng(1).random(values.shape) < 0.03
    values = np.where(lost, 0.0, 1 - np.exp(-3 * values.clip(0)))
    assert any_better(values) <= LIMIT


def test_trainings_of_different_folds_keep_the_error():
    effects = np.random.default_rng(2).normal(0, 0.015, (STUDIES, 3, 3, 5))
    assert any_better(simulate(3, 20, 0.0) + np.repeat(effects, 4, axis=-1)) <= LIMIT


@pytest.mark.parametrize(
    ("arms", "cases", "spread", "least"),
    [(2, 52, 0.005, 0.93), (2, 20, 0.005, 0.85), (8, 52, 0.002, 0.9), (2, 52, 0.01, 0.5)],
)
def test_a_gain_of_three_points_is_found(arms, cases, spread, least):
    tests = statistics.compare(simulate(arms, cases, spread, gain=0.03))
    assert (tests.p_holm[:, 0, 1:] < 0.05).mean() >= least
    assert (tests.p_holm[:, 1:, 0] < 0.05).mean() < 0.001


def test_wilcoxon_on_these_models_would_call_equal_recipes_different():
    # why the trainings have to count: here it speaks of the trained models only
    values = simulate(2, 52, 0.02, noise=0.01)[:200].mean(axis=2)
    found = [statistics.wilcoxon_p(study[0] - study[1]) < 0.05 for study in values]
    assert np.mean(found) > 0.5


def test_the_ranking_as_a_whole_keeps_the_error(monkeypatch):
    monkeypatch.setattr(ranking, "_METRICS", ("dice",))
    made = simulate(3, 20, 0.005, rng=3)[:150]
    wrong = 0
    for values in made:
        outcomes = [
            Outcome("t", "p", "abc"[arm], seed, 0, scores(values[arm, seed]))
            for arm in range(3)
            for seed in range(3)
        ]
        (task,) = rank(outcomes).tasks
        better = statistics.compare(values).p_holm < 0.05
        assert sum(sum(each.points.values()) for each in task.standings) == better.sum()
        assert (len({each.group for each in task.standings}) == 1) or better.any()
        wrong += better.any()
    assert wrong / len(made) <= 0.05 + 3 * (0.05 * 0.95 / len(made)) ** 0.5


def scores(row):
    return {f"case_{place}": {"x": {"dice": float(value)}} for place, value in enumerate(row)}
