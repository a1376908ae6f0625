import dataclasses
import itertools
import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inflate_zoo.bench.ranking import questions, statistics
from inflate_zoo.bench.ranking.corrections import judged_at
from inflate_zoo.bench.ranking.ranking import rank
from inflate_zoo.bench.ranking.statistics import Means
from inflate_zoo.bench.ranking.types import Caveat, Contestant, Outcome

METRICS = ("dice", "surface_dice")
few = settings(max_examples=15)


def contestant(arm, names):
    """`random` and names that end in `2d` are what they are called, all others are inflated."""
    if arm == "random" or arm.endswith(" 2d"):
        return Contestant(arm, "random" if arm == "random" else "2d")
    baselines = "random" if "random" in names else None, f"{arm} 2d"
    return Contestant(
        arm, "inflated", baselines[0], baselines[1] if baselines[1] in names else None
    )


def study(gains, *, seeds=5, cases=20, folds=1, regions=("organ",), spread=0.004, task="t", rng=0):
    """Outcomes of arms whose Dice is raised by their gain; case i is tested in fold i % folds."""
    generator = np.random.default_rng(rng)
    normal = generator.normal
    base = 0.7 + normal(0, 0.08, (cases, len(regions), 2))
    made = []
    for arm, gain in gains.items():
        recipe = normal(0, 0.015, (cases, len(regions), 2)) + gain
        for seed in range(seeds):
            for fold in range(folds):
                values = base + recipe + normal(0, spread) + normal(0, 0.01, base.shape)
                scores = {
                    f"case_{case:02}": {
                        region: dict(zip(METRICS, values[case, place].tolist(), strict=True))
                        for place, region in enumerate(regions)
                    }
                    for case in range(fold, cases, folds)
                }
                made.append(Outcome(task, "p", contestant(arm, gains), seed, fold, scores))
    return made


def only(ranking):
    (task,) = ranking.tasks
    return task


def standings(ranking):
    return {standing.arm: standing for standing in only(ranking).standings}


def arms_of(ranking):
    return [standing.arm for standing in only(ranking).standings]


def of_pair(ranking, first, second, question="sources", metric="dice"):
    found = [each for each in only(ranking).asked(question, metric)
             if {each.first, each.second} == {first, second}]  # fmt: skip
    assert len(found) == 1
    return found[0]


def renamed(made, names):
    def named(told):
        baselines = {which: names.get(getattr(told, which)) for which in ("random", "flat")}
        return dataclasses.replace(told, arm=names[told.arm], **baselines)

    return [dataclasses.replace(each, contestant=named(each.contestant)) for each in made]


def leaves(anything):
    if dataclasses.is_dataclass(anything):
        anything = dataclasses.asdict(anything)
    if isinstance(anything, dict):
        anything = list(anything.items())
    if isinstance(anything, list | tuple):
        return [leaf for each in anything for leaf in leaves(each)]
    return [anything]


def assert_alike(got, expected):
    """Equal but for the last digits of numbers, as sums in another order differ there."""
    got, expected = leaves(got), leaves(expected)
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        exact = not isinstance(one, float)
        assert one == (other if exact else pytest.approx(other, rel=1e-6, abs=1e-12))


BEST = {"plain": 0.0, "also": 0.0, "best": 0.06, "worst": -0.06, "random": -0.2}


def test_a_better_arm_stands_first_and_equals_share_the_places_after_it():
    ranking = rank(study(BEST))
    assert sorted(arms_of(ranking)[1:3]) == ["also", "plain"]
    assert [arms_of(ranking)[at] for at in (0, 3, 4)] == ["best", "worst", "random"]
    assert [each.rank for each in only(ranking).standings] == [1, 2.5, 2.5, 4, 5]
    assert [each.letters for each in only(ranking).standings] == ["a", "b", "b", "c", ""]
    assert [value for _, value in ranking.overall] == [1, 2.5, 2.5, 4, 5]
    assert only(ranking).caveats == ranking.caveats == ()


def test_equal_ranks_stand_in_the_order_of_their_means():
    made = standings(rank(study(BEST)))
    means = {arm: made[arm].mean["dice"] for arm in ("also", "plain")}
    order = [arm for arm in arms_of(rank(study(BEST))) if arm in means]
    assert order == sorted(means, key=means.get, reverse=True)


def test_an_arm_that_only_loses_stands_behind_one_that_does_neither():
    ranking = rank(study({"high": 0.02, "middle": 0.01, "low": 0.0}, spread=0.008, rng=3))
    claims = [(each.first, each.second) for each in only(ranking).asked("sources") if each.claimed]
    assert claims == [("high", "low")]
    assert [(each.arm, each.rank, each.letters) for each in only(ranking).standings] == [
        ("high", 1, "a"), ("middle", 2, "ab"), ("low", 3, "b")
    ]  # fmt: skip


def test_the_questions_come_in_order_and_each_by_both_metrics():
    gains = BEST | {"best 2d": 0.0, "plain 2d": -0.1}
    task = only(rank(study(gains)))
    told = [(each.question, each.metric) for each in task.comparisons]
    assert list(dict.fromkeys(told)) == [
        (question, metric) for question in ("transfer", "sources", "depth") for metric in METRICS
    ]
    order = [standing.arm for standing in task.standings]
    for question, metric in dict.fromkeys(told):
        places = [(order.index(each.first), order.index(each.second))
                  for each in task.asked(question, metric)]  # fmt: skip
        assert places == sorted(places)
    assert [each.second for each in task.asked("transfer")] == ["random"] * 4
    assert [(each.first, each.second) for each in task.asked("depth")] == [
        ("best", "best 2d"), ("plain", "plain 2d")
    ]  # fmt: skip
    assert {frozenset((each.first, each.second)) for each in task.asked("sources")} == set(
        map(frozenset, itertools.combinations(["plain", "also", "best", "worst"], 2))
    )


def test_a_2d_arm_is_in_no_rank_and_stands_behind():
    alone, beside = rank(study(BEST)), rank(study(BEST | {"best 2d": 0.5}))
    ranks = {arm: each.rank for arm, each in standings(beside).items()}
    assert ranks.pop("best 2d") is None
    assert ranks == {arm: each.rank for arm, each in standings(alone).items()}
    assert arms_of(beside)[-1] == "best 2d"
    depth = of_pair(beside, "best", "best 2d", "depth")
    assert depth.better == "best 2d"
    assert depth.difference < 0
    assert "best 2d" not in dict(beside.overall)
    assert beside.caveats == ()


def test_an_arm_outside_the_ranking_is_shown_and_nothing_else():
    made = study(BEST | {"odd": 0.3})
    outside = Contestant("odd", "inflated", "random", outside="it sees more")
    made = [dataclasses.replace(each, contestant=outside) if each.contestant.arm == "odd" else each
            for each in made]  # fmt: skip
    ranking, without = rank(made), rank(study(BEST))
    assert only(ranking).comparisons == only(without).comparisons
    assert only(ranking).standings[:-1] == only(without).standings
    odd = only(ranking).standings[-1]
    assert (odd.arm, odd.rank, odd.letters, odd.contestant) == ("odd", None, "", outside)
    assert odd.mean["dice"] > 0.9


def test_first_is_the_arm_with_the_higher_mean():
    ranking = rank(study({"a": 0.0, "b": 0.02, "c": 0.01}))
    means = {arm: each.mean for arm, each in standings(ranking).items()}
    for each in only(ranking).comparisons:
        higher, lower = means[each.first][each.metric], means[each.second][each.metric]
        assert each.difference == pytest.approx(higher - lower)
        assert each.difference > 0


def test_a_comparison_holds_the_numbers_of_the_statistics():
    made = study({"a": 0.02, "b": 0.0, "c": 0.01}, cases=8)
    values = np.array(
        [
            [
                [scores["organ"]["surface_dice"] for scores in each.cases.values()]
                for each in made
                if each.contestant.arm == arm
            ]
            for arm in "abc"
        ]
    )
    (asked,) = questions.ask([Contestant(arm, "inflated") for arm in "abc"])
    (answer,) = questions.answer(Means.of(values), [asked]).values()
    alpha = judged_at(answer.tests.p, answer.correction, 0.05, answer.claimed)
    widths = statistics.half_widths(answer.tests, alpha)
    needed = statistics.seeds_needed(values, asked.pairs, answer.tests, alpha)
    at = asked.pairs.tolist().index([0, 2])
    paired = values[0].mean(axis=0) - values[2].mean(axis=0)
    low, high = statistics.bootstrap(paired[None])
    found = of_pair(rank(made), "a", "c", metric="surface_dice")
    assert (found.first, found.second) == ("a", "c")
    assert found.difference == pytest.approx(paired.mean())
    for name in ("standard_error", "degrees", "p"):
        assert getattr(found, name) == pytest.approx(getattr(answer.tests, name)[at])
    assert found.p_adjusted == pytest.approx(answer.p_adjusted[at])
    assert found.level == pytest.approx(float(answer.level)) == 0.05
    assert found.claimed == answer.claimed[at]
    assert found.half_width == pytest.approx(widths[at])
    assert found.seeds_needed == (None if found.claimed else needed[at])
    assert (found.low, found.high) == pytest.approx((low[0], high[0]))
    assert found.wilcoxon_p == pytest.approx(statistics.wilcoxon_p(paired))
    assert (found.cases, found.seeds) == (8, 5)
    standing = standings(rank(made))["c"]
    assert standing.mean["surface_dice"] == pytest.approx(values[2].mean())
    assert standing.cells == pytest.approx(
        {("organ", metric): value for metric, value in standing.mean.items()}
    )
    spread = values[2].mean(axis=1).std(ddof=1)
    assert standing.seed_spread["surface_dice"] == pytest.approx(spread)


def test_a_pair_says_the_same_whichever_of_its_arms_stands_first_in_the_table():
    made = study({"a": 0.02, "b": 0.0}, cases=8, regions=("organ", "vessel"))
    names = {"a": "b", "b": "a"}
    for metric in METRICS:
        straight = of_pair(rank(made), "a", "b", metric=metric)
        turned = of_pair(rank(renamed(made, names)), "a", "b", metric=metric)
        assert (straight.first, turned.first) == ("a", "b")
        assert_alike(turned, dataclasses.replace(straight, first="b", second="a"))


@few
@given(st.integers(0, 10**6), st.floats(0, 0.1))
def test_the_interval_leaves_out_0_exactly_where_a_difference_is_claimed(rng, step):
    gains = {name: step * place for place, name in enumerate(["random", "a", "b", "c", "a 2d"])}
    for each in only(rank(study(gains, cases=6, rng=rng))).comparisons:
        assert (abs(each.difference) > each.half_width) == each.claimed
        assert each.claimed == (each.p_adjusted <= each.level)
        assert each.better == ((each.first if each.difference > 0 else each.second)
                               if each.claimed else None)  # fmt: skip
        assert each.seeds_needed is None or (not each.claimed and 5 < each.seeds_needed < 100)


def test_the_share_of_a_question_that_is_answered_goes_to_the_other():
    task = only(rank(study({"a": 0.0, "b": 0.0, "random": -0.2})))
    assert {each.level for each in task.asked("transfer")} == {0.025}
    assert {each.level for each in task.asked("sources")} == {0.05}
    task = only(rank(study({"a": 0.0, "b": 0.0, "random": 0.0})))
    assert {each.level for each in task.comparisons} == {0.025}


def test_the_value_of_a_case_is_the_mean_over_its_regions():
    gains = {"a": 0.02, "b": 0.0, "random": -0.1}
    made = study(gains, regions=("x", "y"))
    for each in made:
        for number, scores in enumerate(each.cases.values()):
            if number < 5:
                scores["y"] = dict.fromkeys(METRICS)
    alone = [
        dataclasses.replace(
            each,
            cases={
                case: {
                    "organ": {
                        metric: float(np.mean([region[metric] for region in scores.values()
                                               if region[metric] is not None]))
                        for metric in METRICS
                    }
                }
                for case, scores in each.cases.items()
            },
        )
        for each in made
    ]  # fmt: skip
    got, expected = only(rank(made)), only(rank(alone))
    without = [dataclasses.replace(each, regions=()) for each in got.comparisons]
    assert_alike(without, [dataclasses.replace(each, regions=()) for each in expected.comparisons])
    assert [each.rank for each in got.standings] == [each.rank for each in expected.standings]


def test_regions_stand_below_their_pair_with_intervals_of_their_own():
    made = study({"a": 0.03, "b": 0.0, "random": -0.1}, regions=("x", "y"))
    pair = of_pair(rank(made), "a", "b")
    assert [each.region for each in pair.regions] == ["x", "y"]
    for each in pair.regions:
        single = [
            dataclasses.replace(
                one, cases={case: {each.region: v[each.region]} for case, v in one.cases.items()}
            )
            for one in made
        ]
        alone = of_pair(rank(single), "a", "b")
        assert each.difference == pytest.approx(alone.difference)
        assert alone.level == pair.level
        assert alone.claimed == pair.claimed
        assert each.half_width == pytest.approx(alone.half_width)


@few
@given(st.randoms(use_true_random=False), st.integers(0, 1000))
def test_order_does_not_matter(shuffler, rng):
    gains = {"a": 0.03, "b": 0.0, "c": 0.0, "random": 0.0, "a 2d": 0.0}
    made = study(gains, folds=2, cases=8, regions=("x", "y"), rng=rng)
    expected = rank(made)
    mixed = [
        dataclasses.replace(
            each, cases=dict(shuffler.sample(list(each.cases.items()), len(each.cases)))
        )
        for each in made
    ]
    shuffler.shuffle(mixed)
    assert rank(mixed) == expected


@few
@given(st.permutations(["zeta", "alpha", "mid", "other"]), st.integers(0, 1000))
def test_names_do_not_matter(names, rng):
    gains = {"a": 0.03, "b": 0.0, "c": 0.01, "random": -0.02}
    made = study(gains, cases=8, rng=rng)
    new = dict(zip(gains, names, strict=True))
    old = {after: before for before, after in new.items()}

    def told(ranking, named):
        pairs = {
            (each.question, each.metric, named[each.first], named[each.second]): (
                each.difference, each.p_adjusted, each.claimed, each.half_width, each.low
            )
            for each in only(ranking).comparisons
        }  # fmt: skip
        places = {named[each.arm]: (each.rank, each.letters) for each in only(ranking).standings}
        return sorted(pairs.items()), sorted(places.items())

    same = {name: name for name in gains}
    assert_alike(told(rank(renamed(made, new)), old), told(rank(made), same))


def test_a_copy_ties_with_its_original():
    made = study({"a": 0.05, "b": 0.0, "random": -0.2})
    copy = [
        dataclasses.replace(each, contestant=dataclasses.replace(each.contestant, arm="copy"))
        for each in made
        if each.contestant.arm == "a"
    ]
    by_arm = standings(rank(made + copy))
    assert by_arm["a"].rank == by_arm["copy"].rank == 1.5
    assert by_arm["a"].letters == by_arm["copy"].letters == "a"
    pair = of_pair(rank(made + copy), "a", "copy")
    assert (pair.first, pair.difference, pair.claimed) == ("a", 0, False)


@pytest.mark.parametrize("how", ["failed", "not there"])
def test_an_arm_with_a_missing_trial_stands_last_and_is_in_no_question(how):
    gains = {"best": 0.1, "a": 0.03, "b": 0.0, "gone": 0.1, "random": -0.1, "a 2d": 0.0}
    made = study(gains, folds=2)
    lost = {("best", 1, 0), ("gone", 0, 0), ("gone", 2, 1), ("a 2d", 0, 1)}
    kept = [each for each in made if (each.contestant.arm, each.seed, each.fold) not in lost]
    if how == "failed":
        kept += [Outcome("t", "p", contestant(each[0], gains), *each[1:], None) for each in lost]
    ranking = rank(kept)
    by_arm = standings(ranking)
    assert arms_of(ranking) == ["a", "b", "random", "best", "gone", "a 2d"]
    missing = {arm: each.missing for arm, each in by_arm.items() if each.missing}
    assert missing == {"best": 1, "gone": 2, "a 2d": 1}
    ranks = {arm: each.rank for arm, each in by_arm.items()}
    assert ranks == {"a": 1, "b": 2, "random": 3} | dict.fromkeys(["best", "gone", "a 2d"])
    best = by_arm["best"]
    assert best.mean == best.cells == best.seed_spread == {}
    assert best.letters == ""
    complete = rank([each for each in made if each.contestant.arm in ("a", "b", "random")])
    assert only(ranking).comparisons == only(complete).comparisons


def test_without_a_complete_random_transfer_is_not_asked():
    made = [
        each
        for each in study({"a": 0.0, "b": 0.0, "random": -0.2})
        if (each.contestant.arm, each.seed) != ("random", 1)
    ]
    assert {each.question for each in only(rank(made)).comparisons} == {"sources"}
    assert {each.level for each in only(rank(made)).comparisons} == {0.05}


def test_a_training_that_no_arm_has_is_missing_in_all():
    # a seed counts with all its folds only: seed 2 saw half of the cases
    made = [
        each for each in study({"a": 0.1, "b": 0.0}, folds=2) if (each.seed, each.fold) != (2, 1)
    ]
    ranking = rank(made)
    assert [each.missing for each in only(ranking).standings] == [1, 1]
    assert only(ranking).comparisons == ()


def test_nothing_complete_is_no_ranking():
    ranking = rank([Outcome("t", "p", Contestant(arm, "inflated"), 0, 0, None) for arm in "ba"])
    told = [(each.arm, each.rank, each.letters) for each in only(ranking).standings]
    assert told == [("a", None, ""), ("b", None, "")]
    assert any("0 of 2 arms are complete" in each.text for each in only(ranking).caveats)
    assert ranking.overall == rank([]).tasks == rank([]).overall == ()


def test_a_single_arm_has_no_question_and_no_letter():
    ranking = rank(study({"a": 0.0}))
    assert only(ranking).comparisons == ()
    assert [(each.rank, each.letters) for each in only(ranking).standings] == [(1, "")]
    assert [each.text for each in only(ranking).caveats] == ["there is only one arm"]


def test_one_complete_arm_of_several_is_no_ranking():
    ranking = rank([*study({"a": 0.0}), Outcome("t", "p", Contestant("b", "inflated"), 0, 0, None)])
    assert [each.text for each in only(ranking).caveats] == ["1 of 2 arms is complete"]


@pytest.mark.parametrize("seeds", [1, 2, 3, 4, 5])
def test_few_seeds_are_a_caveat_and_one_allows_no_test(seeds):
    ranking = rank(study({"a": 0.3, "b": 0.0, "random": -0.3}, seeds=seeds))
    task = only(ranking)
    weights = [each.weight for each in task.caveats]
    assert weights == {1: ["not a ranking"], 5: []}.get(seeds, ["provisional"])
    assert [each.weight for each in ranking.caveats] == weights
    assert task.seeds == seeds
    if seeds == 1:
        assert {each.p_adjusted for each in task.comparisons} == {1.0}
        untested = {(each.standard_error, each.half_width, each.seeds_needed)
                    for each in task.comparisons}  # fmt: skip
        assert untested == {(None, None, None)}
        assert {each.rank for each in task.standings} == {2.0}
        assert task.standings[0].seed_spread == dict.fromkeys(METRICS)
        assert task.comparisons[0].wilcoxon_p < 1e-4
    elif seeds > 2:
        assert [each.rank for each in task.standings] == [1, 2, 3]
    if 1 < seeds < 5:
        assert task.caveats[0].sentence == "provisional: 5 seeds tell more"


@pytest.mark.parametrize(("cases", "caveats"), [(1, 1), (2, 1), (9, 1), (10, 0)])
def test_few_cases_are_a_caveat(cases, caveats):
    task = only(rank(study({"a": 0.1, "b": 0.0}, cases=cases)))
    assert len(task.caveats) == caveats
    few = "1 test case is" if cases == 1 else f"{cases} test cases are"
    assert [each.text for each in task.caveats] == [f"{few} too few; it takes 10"] * caveats
    one = task.comparisons[0]
    assert (one.low is None) == (one.degrees is None) == (cases == 1)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_arms_that_are_all_alike_tie_without_nan(value):
    scores = {f"c{case}": {"x": dict.fromkeys(METRICS, value)} for case in range(12)}
    arms = ["a", "b", "c", "random"]
    ranking = rank(
        [Outcome("t", "p", contestant(arm, arms), seed, 0, scores)
         for arm in arms for seed in range(5)]
    )  # fmt: skip
    assert {each.rank for each in only(ranking).standings} == {2.5}
    assert {each.letters for each in only(ranking).standings} == {"a", ""}
    assert {each.wilcoxon_p for each in only(ranking).comparisons} == {1.0}
    plain = [dataclasses.asdict(each) for each in only(ranking).comparisons]
    json.dumps(plain, allow_nan=False)


def test_overall_is_the_mean_of_ranks_over_tasks():
    first = study({"a": 0.1, "b": 0.0, "c": -0.1}, task="one")
    second = study({"a": -0.1, "b": 0.05, "c": 0.05}, task="two", rng=2)
    ranking = rank(first + second)
    assert [task.task for task in ranking.tasks] == ["one", "two"]
    assert ranking.overall == (("b", 1.75), ("a", 2.0), ("c", 2.25))
    assert ranking.caveats == ()


def test_a_task_under_two_protocols_counts_twice_and_says_so():
    first, second = study({"a": 0.1, "b": 0}), study({"a": 0, "b": 0}, rng=2)
    ranking = rank(first + [dataclasses.replace(each, protocol="other") for each in second])
    assert len(ranking.tasks) == 2
    assert ranking.caveats == (Caveat("note", "'t' counts once per protocol"),)


def test_an_arm_that_a_task_lacks_is_left_out_overall():
    ranking = rank(
        study({"a": 0, "b": 0, "c": 0}, task="one") + study({"a": 0, "b": 0}, task="two")
    )
    assert sorted(arm for arm, _ in ranking.overall) == ["a", "b"]
    assert [each.sentence for each in ranking.caveats] == [
        "'c' is ranked in 1 of 2 tasks and is left out of the overall ranks"
    ]


@pytest.mark.parametrize("lost", [("one",), ("one", "two")], ids=["in one task", "in both"])
def test_an_arm_that_lacks_a_trial_in_any_task_is_left_out_overall(lost):
    made = [
        each
        for task in ("one", "two")
        for each in study({"a": 0.1, "b": 0.05, "c": 0, "random": -0.1, "c 2d": 0}, task=task)
        if (each.task, each.contestant.arm, each.seed) not in {(t, "c", 4) for t in lost}
    ]
    ranking = rank(made)
    assert ranking.overall == (("a", 1), ("b", 2), ("random", 3 + 0.5 * (2 - len(lost))))
    assert [each.sentence for each in ranking.caveats] == [
        f"'c' is ranked in {2 - len(lost)} of 2 tasks and is left out of the overall ranks"
    ]


def test_what_is_none_or_provisional_in_one_task_is_so_overall():
    ranking = rank(
        study({"a": 0, "b": 0}, task="one", seeds=1) + study({"a": 0, "b": 0}, task="two", seeds=3)
        + study({"a": 0, "b": 0}, task="three")
    )  # fmt: skip
    assert [each.weight for each in ranking.caveats] == ["not a ranking", "provisional"]
    assert ranking.caveats[0].text == "the overall ranks hold 'one' under 'p', which is none"
    assert ranking.caveats[1].text == (
        "the overall ranks hold 'two' under 'p', where 5 seeds tell more"
    )


def test_a_ranking_of_many_arms_and_regions_is_quick():
    names = [f"arm{place}" for place in range(13)]
    made = study(dict.fromkeys(names, 0.0), cases=24, regions=tuple("abcde"))
    random.Random(0).shuffle(made)
    assert len(only(rank(made)).comparisons) == 13 * 12 // 2 * 2
