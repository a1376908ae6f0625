import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from inflate_zoo.bench.ranking import questions, statistics
from inflate_zoo.bench.ranking.corrections import AgainstBaselines, AllPairs, step_down
from inflate_zoo.bench.ranking.statistics import Means
from inflate_zoo.bench.ranking.types import Contestant

few = settings(max_examples=60)


def inflated(arm, **baselines):
    return Contestant(arm, "inflated", **baselines)


def asked(arms):
    """Question to its pairs, and to those of its pool, by name."""
    names = [each.arm for each in arms]

    def named(places):
        return {(names[first], names[second]) for first, second in places}

    return {each.question: (named(each.pairs), named(each.pool)) for each in questions.ask(arms)}


def test_three_questions_of_two_sources():
    arms = [
        inflated("a", random="random", flat="a 2d"),
        inflated("b", random="random", flat="b 2d"),
        Contestant("a 2d", "2d"),
        Contestant("b 2d", "2d"),
        Contestant("random", "random"),
    ]
    depth = {("a", "a 2d"), ("b", "b 2d")}
    assert asked(arms) == {
        "transfer": ({("a", "random"), ("b", "random")},
                     {("a", "b"), ("a", "random"), ("b", "random")}),
        "sources": ({("a", "b")}, {("a", "b")}),
        "depth": (depth, depth),
    }  # fmt: skip
    assert list(asked(arms)) == ["transfer", "sources", "depth"]


@pytest.mark.parametrize(
    ("arms", "expected"),
    [
        ([], []),
        ([inflated("a")], []),
        ([Contestant("random", "random"), Contestant("2d", "2d")], []),
        ([inflated("a"), inflated("b")], ["sources"]),
        ([inflated("a", random="random"), Contestant("random", "random")], ["transfer"]),
        ([inflated("a", flat="2d"), Contestant("2d", "2d")], ["depth"]),
        ([inflated("a", random="gone", flat="gone too"), inflated("b")], ["sources"]),
    ],
)
def test_a_question_without_a_pair_is_not_asked(arms, expected):
    assert list(asked(arms)) == expected


def test_arms_outside_the_ranking_take_part_in_nothing():
    arms = [
        inflated("a", random="random", flat="a 2d"),
        Contestant("b", "inflated", random="random", outside="for a reason"),
        Contestant("a 2d", "2d", outside="for a reason"),
        Contestant("random", "random"),
    ]
    assert asked(arms) == {"transfer": ({("a", "random")}, {("a", "random")})}
    arms[-1] = Contestant("random", "random", outside="for a reason")
    assert asked(arms) == {}


def test_arms_of_two_networks_have_their_own_random_and_one_pool():
    arms = [
        inflated("a", random="random 1"),
        inflated("b", random="random 2"),
        Contestant("random 1", "random"),
        Contestant("random 2", "random"),
    ]
    pairs, pool = asked(arms)["transfer"]
    assert pairs == {("a", "random 1"), ("b", "random 2")}
    assert pool == set(itertools.combinations(["a", "b", "random 1", "random 2"], 2))
    assert asked(arms)["sources"] == ({("a", "b")}, {("a", "b")})


def test_schemes_of_one_source_share_its_2d():
    arms = [inflated("a center", flat="a 2d"), inflated("a mean", flat="a 2d"),
            Contestant("a 2d", "2d")]  # fmt: skip
    assert asked(arms)["depth"][0] == {("a center", "a 2d"), ("a mean", "a 2d")}
    assert asked(arms)["sources"][0] == {("a center", "a mean")}


def by_hand(hardest):
    """One round after the other: who has rejected all leaves, the rest shares alike."""
    levels, left = {}, list(range(len(hardest)))
    while left:
        level = 0.05 / len(left)
        done = [place for place in left if hardest[place] <= level]
        levels |= dict.fromkeys(done or left, level)
        left = [place for place in left if place not in done] if done else []
    return [levels[place] for place in range(len(hardest))]


@few
@given(st.lists(st.sampled_from([0.0, 0.016, 0.0166, 0.02, 0.025, 0.03, 0.05, 0.06, 1.0]),
                min_size=1, max_size=3))  # fmt: skip
def test_shares_are_handed_on_as_by_hand(hardest):
    got = questions.shares([np.array(each) for each in hardest])
    assert [float(each) for each in got] == pytest.approx(by_hand(hardest))


def test_shares_of_known_values():
    def levels(*hardest):
        return [float(each) for each in questions.shares([np.array(h) for h in hardest])]

    assert levels(0.5) == [0.05]
    assert levels(0.5, 0.5) == [0.025, 0.025]
    assert levels(0.01, 0.03) == [0.025, 0.05]
    assert levels(0.03, 0.5) == [0.025, 0.025]
    assert levels(0.01, 0.02, 0.5) == pytest.approx([0.05 / 3, 0.025, 0.05])
    assert levels(0.5, 0.5, 0.5) == pytest.approx([0.05 / 3] * 3)


@few
@given(arrays(float, (3, 4), elements=st.floats(0, 0.2)))
def test_studies_share_for_themselves(hardest):
    together = np.stack(questions.shares(list(hardest)))
    for study in range(4):
        alone = questions.shares(list(hardest[:, study]))
        np.testing.assert_allclose(together[:, study], np.array(alone))


@few
@given(arrays(float, 3, elements=st.floats(0, 0.2)))
def test_what_questions_that_do_not_reject_all_may_err_with_never_exceeds_the_whole(hardest):
    levels = np.array(questions.shares(list(hardest)))
    unfinished = hardest > levels
    assert levels[unfinished].sum() <= questions.ERROR + 1e-12


def test_an_answer_is_its_tests_and_its_correction():
    rng = np.random.default_rng(0)
    arms = [
        inflated("a", random="random", flat="a 2d"),
        inflated("b", random="random"),
        Contestant("a 2d", "2d"),
        Contestant("random", "random"),
    ]
    gains = np.array([0.2, 0.19, 0.0, 0.0])[:, None, None]
    values = gains + rng.normal(0, 0.02, (4, 5, 12)) + rng.normal(0, 0.01, (4, 5, 1))
    means = Means.of(values)
    whole = questions.ask(arms)
    found = questions.answer(means, whole)
    for each in whole:
        got = found[each.question]
        tests = statistics.compare(means, each.pairs, each.pool)
        np.testing.assert_array_equal(got.tests.p, tests.p)
        shares = statistics.baseline_shares(means, each.pairs, tests)
        correction = (
            AllPairs(2)
            if each.question == "sources"
            else AgainstBaselines(shares, each.pairs[:, 1])
        )
        np.testing.assert_array_equal(got.p_adjusted, step_down(tests.p, correction))
        np.testing.assert_array_equal(got.claimed, got.p_adjusted <= got.level)
    assert found["transfer"].claimed.all()
    assert found["depth"].claimed.all()
    assert not found["sources"].claimed.any()
    assert float(found["transfer"].level) == pytest.approx(0.05 / 3)
    assert float(found["sources"].level) == pytest.approx(0.05)
    assert questions.answer(means, ()) == {}
