"""Simulated studies: how often equal recipes are called different, and better ones are found."""

import numpy as np
import pytest

from inflate_zoo.bench.ranking import questions, statistics
from inflate_zoo.bench.ranking.ranking import rank
from inflate_zoo.bench.ranking.statistics import Means
from inflate_zoo.bench.ranking.types import Outcome
from tests.support import studies
from tests.support.studies import LIKE_TRAININGS, SETTINGS, Setting, claims, error, simulate

STUDIES = 4000
LIMIT = 0.06


def asked(arms, depth=0):
    return questions.ask(studies.contestants(arms, depth))


@pytest.mark.parametrize("seeds", studies.SEEDS)
@pytest.mark.parametrize("arms", studies.ARMS)
def test_equal_recipes_are_rarely_called_different(arms, seeds):
    found = {
        (cases, name): error(
            simulate(STUDIES, arms, seeds, cases, setting, rng=(arms, seeds, cases, place)),
            asked(arms),
        )
        for cases in studies.CASES
        for place, (name, setting) in enumerate(SETTINGS.items())
    }
    assert max(found.values()) <= LIMIT, found


@pytest.mark.parametrize("arms", [5, 8])
@pytest.mark.parametrize(
    "setting",
    [
        Setting(first=0.02), Setting(first=0.03), Setting(shared=0.02, first=0.04),
        Setting(shared=0.01, first=0.06), Setting(own=0.02, first=0.06),
    ],
)  # fmt: skip
def test_a_source_that_is_somewhat_wild_keeps_the_error(arms, setting):
    """It is left out of the pool in some studies and not in others."""
    for cases in studies.CASES:
        means = simulate(STUDIES, arms, 5, cases, setting, rng=(arms, cases))
        assert error(means, asked(arms)) <= LIMIT


@pytest.mark.parametrize("seeds", [2, 4])
@pytest.mark.parametrize("arms", [2, 3, 8])
def test_so_few_seeds_keep_the_error_too(arms, seeds):
    for place, setting in enumerate(SETTINGS.values()):
        means = simulate(STUDIES, arms, seeds, 52, setting, rng=(arms, seeds, place))
        assert error(means, asked(arms)) <= LIMIT


@pytest.mark.parametrize("seeds", [5, 10])
@pytest.mark.parametrize(
    ("arms", "depth", "studies_"), [(3, 1, 20_000), (6, 2, 4000), (9, 3, 4000)]
)
def test_three_questions_together_keep_the_error(arms, depth, studies_, seeds):
    for place, setting in enumerate(SETTINGS.values()):
        means = simulate(studies_, arms, seeds, 25, setting, rng=(arms, depth, seeds, place))
        assert error(means, asked(arms, depth)) <= LIMIT


@pytest.mark.parametrize("answered", ["transfer", "depth", "transfer and depth", "sources"])
@pytest.mark.parametrize("arms", [7, 8])
def test_shares_that_are_handed_on_keep_the_error(answered, arms):
    """A question whose pairs all differ vastly hands its share to those whose pairs are equal."""
    sources = arms // 2
    gains = np.zeros(arms)
    if "transfer" in answered:
        gains[:-1] = 5.0
    if "depth" in answered:
        gains[sources:-1] -= 10.0
    if answered == "sources":
        gains[:sources] = 5.0 * np.arange(sources)
        gains[sources:-1] = gains[: arms - 1 - sources]
    whole = asked(arms, arms - 1 - sources)
    for place, setting in enumerate(SETTINGS.values()):
        if setting.skewed:
            continue
        means = simulate(STUDIES, arms, 5, 25, setting, gains=gains, rng=(arms, place))
        made = claims(means, whole)
        wrong = np.zeros(STUDIES, bool)
        for each in whole:
            equal = gains[each.pairs[:, 0]] == gains[each.pairs[:, 1]]
            wrong |= made[each.question][:, equal].any(axis=1)
            if each.question in answered:
                assert made[each.question][:, ~equal].all()
        assert 0 < wrong.mean() <= LIMIT


@pytest.mark.parametrize("setting", [Setting(own=0.0), Setting(own=0.02)])
def test_the_test_is_not_idle_on_equal_recipes(setting):
    assert error(simulate(STUDIES, 2, 10, 52, setting), asked(2)) >= 0.035


@pytest.mark.parametrize("arms", [3, 8])
def test_skewed_scores_and_lost_cases_keep_the_error(arms):
    values = 1 - np.exp(-3 * studies.scores(2000, arms, 5, 20, Setting()))
    lost = np.random.default_rng(1).random(values.shape) < 0.03
    assert error(Means.of(np.where(lost, 0.0, values)), asked(arms)) <= LIMIT


def test_trainings_of_different_folds_keep_the_error():
    effects = np.random.default_rng(2).normal(0, 0.015, (2000, 3, 5, 5))
    values = studies.scores(2000, 3, 5, 20, Setting(own=0.0)) + np.repeat(effects, 4, axis=-1)
    assert error(Means.of(values), asked(3)) <= LIMIT


def test_means_drawn_alone_have_the_spread_of_those_of_scores():
    setting = Setting(shared=0.02, own=0.01, random=0.03)
    drawn = simulate(20_000, 3, 5, 4, setting)
    taken = Means.of(studies.scores(20_000, 3, 5, 4, setting, rng=1))
    for one, other in ((drawn.per_case, taken.per_case), (drawn.per_seed, taken.per_seed)):
        spreads = [np.cov(each.reshape(20_000, -1).T) for each in (one, other)]
        np.testing.assert_allclose(spreads[0], spreads[1], atol=3e-4)
    both = [np.cov(each.per_case[:, 0, 0], each.per_seed[:, 0, 0])[0, 1] for each in (drawn, taken)]
    assert both[0] == pytest.approx(both[1], abs=2e-4)


@pytest.mark.parametrize(
    ("arms", "seeds", "setting", "expected"),
    [
        (8, 5, "calm", [(0.23, 0.05), (0.59, 0.31), (0.98, 0.89)]),
        (8, 5, "wild random", [(0.02, 0.06), (0.04, 0.29), (0.11, 0.83)]),
        (8, 10, "calm", [(0.46, 0.21), (0.89, 0.75), (0.995, 0.99)]),
        (4, 5, "calm", [(0.43, 0.22), (0.74, 0.66), (0.98, 0.98)]),
        (8, 5, "wild source", [(0.18, 0.04), (0.47, 0.22), (0.83, 0.68)]),
    ],
)
def test_gains_of_two_three_and_five_points_are_found(arms, seeds, setting, expected):
    for gain, least in zip((0.02, 0.03, 0.05), expected, strict=True):
        found = studies.power(2000, arms, seeds, 25, LIKE_TRAININGS[setting], gain)
        assert np.greater_equal(found, least).all(), (gain, found)


def test_a_worse_arm_is_not_called_better():
    gains = np.array([0.03, 0.0, 0.0, 0.0])
    made = claims(simulate(STUDIES, 4, 5, 25, Setting(), gains=gains), asked(4))
    assert (made["transfer"][:, 0] < 0).mean() < 0.001
    assert (made["sources"][:, :2] < 0).mean() < 0.001


def test_wilcoxon_on_these_models_would_call_equal_recipes_different():
    # why the trainings have to count: here it speaks of the trained models only
    values = studies.scores(200, 2, 3, 52, Setting(own=0.02)).mean(axis=2)
    found = [statistics.wilcoxon_p(study[0] - study[1]) < 0.05 for study in values]
    assert np.mean(found) > 0.5


def test_the_ranking_as_a_whole_keeps_the_error():
    arms = studies.contestants(4, 1)
    wrong = 0
    for values in studies.scores(60, 4, 5, 20, Setting(own=0.005), rng=3):
        outcomes = [
            Outcome("t", "p", arm, seed, 0, as_cases(values[place, seed]))
            for place, arm in enumerate(arms)
            for seed in range(5)
        ]
        (task,) = rank(outcomes).tasks
        dice = [each for each in task.comparisons if each.metric == "dice"]
        ranked = [each for each in dice if each.question != "depth" and each.claimed]
        assert (len({each.rank for each in task.standings if each.rank}) == 1) or ranked
        made = claims(Means.of(values[None]), asked(4, 1))
        assert [each.claimed for each in dice].count(True) == sum(
            int(np.abs(each).sum()) for each in made.values()
        )
        wrong += any(each.claimed for each in dice)
    assert wrong / 60 <= 0.05 + 3 * (0.05 * 0.95 / 60) ** 0.5


def as_cases(row):
    return {f"case_{place}": {"x": {"dice": float(value)}} for place, value in enumerate(row)}
