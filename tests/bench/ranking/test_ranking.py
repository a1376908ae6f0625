import dataclasses
import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inflate_zoo.bench.ranking import statistics
from inflate_zoo.bench.ranking.ranking import rank
from inflate_zoo.bench.ranking.types import Outcome
from inflate_zoo.errors import UsageError

METRICS = ("dice", "surface_dice")
few = settings(max_examples=15)


def study(gains, *, seeds=3, cases=20, folds=1, regions=("organ",), spread=0.004, task="t", rng=0):
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
                made.append(Outcome(task, "p", arm, seed, fold, scores))
    return made


def only(ranking):
    (task,) = ranking.tasks
    return task


def standings(ranking):
    return {standing.arm: standing for standing in only(ranking).standings}


def without_names(ranking, names):
    """All that a ranking says, with each arm called by its place in `names`."""
    task = only(ranking)
    called = {name: str(place) for place, name in enumerate(names)}
    placed = [dataclasses.replace(each, arm=called[each.arm]) for each in task.standings]
    pairs = [
        dataclasses.replace(each, first=called[each.first], second=called[each.second])
        for each in task.comparisons
    ]
    pairs.sort(key=lambda each: (each.region, each.metric, each.first, each.second))
    return sorted(placed, key=lambda each: each.arm), pairs


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
        assert one == (other if exact else pytest.approx(other, rel=1e-7, abs=1e-12))


def test_a_better_arm_stands_first_and_equals_share_the_places_after_it():
    ranking = rank(study({"plain": 0.0, "also": 0.0, "best": 0.06, "worst": -0.06}))
    assert [each.arm for each in only(ranking).standings] == ["best", "also", "plain", "worst"]
    assert [each.group for each in only(ranking).standings] == ["1", "2-3", "2-3", "4"]
    assert [each.rank for each in only(ranking).standings] == [1, 2.5, 2.5, 4]
    assert standings(ranking)["best"].points == {("organ", metric): 3 for metric in METRICS}
    assert ranking.overall == (("best", 1), ("also", 2.5), ("plain", 2.5), ("worst", 4))
    assert only(ranking).caveats == ranking.caveats == ()


def test_points_are_the_comparisons_that_say_better():
    ranking = rank(study({name: 0.02 * place for place, name in enumerate("abcd")}))
    for standing in only(ranking).standings:
        for cell, points in standing.points.items():
            assert points == sum(
                each.better
                for each in only(ranking).comparisons
                if (each.region, each.metric) == cell and each.first == standing.arm
            )
    assert len(only(ranking).comparisons) == 4 * 3 * 2


@few
@given(st.integers(0, 10**6), st.floats(0, 0.1))
def test_no_two_arms_are_better_than_each_other(rng, step):
    ranking = rank(
        study({name: step * place for place, name in enumerate("abc")}, cases=6, rng=rng)
    )
    better = {
        (each.region, each.metric, each.first, each.second)
        for each in only(ranking).comparisons
        if each.better
    }
    assert not {(region, metric, b, a) for region, metric, a, b in better} & better


def test_a_comparison_holds_the_numbers_of_the_statistics():
    made = study({"a": 0.02, "b": 0.0, "c": 0.01}, cases=8)
    values = np.array(
        [
            [
                [scores["organ"]["surface_dice"] for scores in each.cases.values()]
                for each in made
                if each.arm == arm
            ]
            for arm in "abc"
        ]
    )
    test = statistics.compare(values)
    paired = values[0].mean(axis=0) - values[2].mean(axis=0)
    low, high = statistics.bootstrap(paired[None])
    found = {
        (each.first, each.second): each
        for each in only(rank(made)).comparisons
        if each.metric == "surface_dice"
    }
    forth, back = found["a", "c"], found["c", "a"]
    assert forth.difference == pytest.approx(paired.mean()) == pytest.approx(-back.difference)
    for name in ("standard_error", "degrees", "t", "p", "p_holm"):
        assert getattr(forth, name) == pytest.approx(getattr(test, name)[0, 2])
        assert getattr(back, name) == pytest.approx(getattr(test, name)[2, 0])
    assert (forth.low, forth.high) == pytest.approx((low[0], high[0]))
    assert (back.low, back.high) == pytest.approx((-high[0], -low[0]))
    assert forth.wilcoxon_p == back.wilcoxon_p == pytest.approx(statistics.wilcoxon_p(paired))
    assert (forth.cases, forth.seeds) == (8, 3)
    standing = standings(rank(made))["c"]
    assert standing.means["organ", "surface_dice"] == pytest.approx(values[2].mean())
    spread = values[2].mean(axis=1).std(ddof=1)
    assert standing.seed_spread["organ", "surface_dice"] == pytest.approx(spread)


@few
@given(st.randoms(use_true_random=False), st.integers(0, 1000))
def test_order_does_not_matter(shuffler, rng):
    made = study({"a": 0.03, "b": 0.0, "c": 0.0}, folds=2, cases=8, regions=("x", "y"), rng=rng)
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
@given(st.permutations(["zeta", "alpha", "mid"]), st.integers(0, 1000))
def test_names_do_not_matter(names, rng):
    gains, old = [0.03, 0.0, 0.01], ["a", "b", "c"]
    made = study(dict(zip(old, gains, strict=True)), cases=8, rng=rng)
    renamed = dict(zip(old, names, strict=True))
    again = [dataclasses.replace(each, arm=renamed[each.arm]) for each in made]
    assert_alike(without_names(rank(again), names), without_names(rank(made), old))


def test_a_copy_ties_with_its_original():
    made = study({"a": 0.05, "b": 0.0})
    copy = [dataclasses.replace(each, arm="copy") for each in made if each.arm == "a"]
    by_arm = standings(rank(made + copy))
    assert by_arm["a"].group == by_arm["copy"].group == "1-2"
    assert by_arm["a"].rank == by_arm["copy"].rank == 1.5


@pytest.mark.parametrize("how", ["failed", "not there"])
def test_an_arm_with_a_missing_trial_stands_last_and_is_flagged(how):
    made = study({"best": 0.1, "a": 0.03, "b": 0.0, "gone": 0.1}, folds=2)
    lost = {("best", 1, 0), ("gone", 0, 0), ("gone", 2, 1)}
    kept = [each for each in made if (each.arm, each.seed, each.fold) not in lost]
    if how == "failed":
        kept += [Outcome("t", "p", *each, None) for each in lost]
    ranking = rank(kept)
    by_arm = standings(ranking)
    assert [each.arm for each in only(ranking).standings] == ["a", "b", "best", "gone"]
    assert [by_arm[arm].missing for arm in ("a", "b", "best", "gone")] == [0, 0, 1, 2]
    assert by_arm["best"].rank == by_arm["gone"].rank == 3.5
    assert by_arm["best"].group == "3-4"
    assert by_arm["best"].points == by_arm["best"].means == by_arm["best"].seed_spread == {}
    assert {each.first for each in only(ranking).comparisons} == {"a", "b"}
    complete = rank([each for each in made if each.arm in "ab"])
    assert only(ranking).comparisons == only(complete).comparisons


def test_a_training_that_no_arm_has_is_missing_in_all():
    # a seed counts with all its folds only: seed 2 saw half of the cases
    made = [
        each for each in study({"a": 0.1, "b": 0.0}, folds=2) if (each.seed, each.fold) != (2, 1)
    ]
    ranking = rank(made)
    assert [each.missing for each in only(ranking).standings] == [1, 1]
    assert only(ranking).comparisons == ()


def test_nothing_complete_is_no_ranking():
    ranking = rank([Outcome("t", "p", arm, 0, 0, None) for arm in "ba"])
    assert [(each.arm, each.rank, each.group) for each in only(ranking).standings] == [
        ("a", 1.5, "1-2"), ("b", 1.5, "1-2")
    ]  # fmt: skip
    assert any("0 of 2 arms are complete" in each for each in only(ranking).caveats)
    assert rank([]).tasks == rank([]).overall == ()


def test_a_case_without_a_value_counts_for_nobody():
    made = study({"a": 0.02, "b": 0.0}, cases=12, regions=("x", "y"))
    holes = [made[0], made[4]]  # of either arm
    for place, hole in enumerate(holes):
        hole.cases[f"case_0{place}"]["x"]["dice"] = None
    del made[1].cases["case_02"]["x"]
    ranking = rank(made)
    counted = {(each.region, each.metric): each.cases for each in only(ranking).comparisons}
    assert counted == {("x", "dice"): 9, ("x", "surface_dice"): 11, ("y", "dice"): 12,
                       ("y", "surface_dice"): 12}  # fmt: skip
    assert only(ranking).cases == 12
    assert only(ranking).caveats == (
        "not a ranking: region 'x' has 9 test cases with a dice; it takes 10",
    )
    for each in made:
        for case in ("case_00", "case_01", "case_02"):
            each.cases[case].pop("x", None)
    less = standings(rank(made))["a"].means["x", "dice"]
    assert less == standings(ranking)["a"].means["x", "dice"]


def test_a_region_that_no_case_has_is_left_out():
    made = study({"a": 0.1, "b": 0.0}, regions=("x", "y"))
    for each in made:
        for scores in each.cases.values():
            scores["y"] = dict.fromkeys(METRICS)
    ranking = rank(made)
    assert set(standings(ranking)["a"].points) == {("x", metric) for metric in METRICS}
    assert "region 'y' has 0 test cases" in only(ranking).caveats[0]
    for each in made:
        for scores in each.cases.values():
            scores["x"] = dict.fromkeys(METRICS)
    empty = rank(made)
    assert only(empty).comparisons == ()
    assert {each.rank for each in only(empty).standings} == {1.5}


def test_folds_are_pooled_and_each_case_counts_once():
    whole = study({"a": 0.02, "b": 0.0}, cases=10)
    dealt = [
        dataclasses.replace(
            each,
            fold=fold,
            cases={name: each.cases[name] for name in sorted(each.cases)[fold::5]},
        )
        for each in whole
        for fold in range(5)
    ]
    assert_alike(only(rank(dealt)).standings, only(rank(whole)).standings)
    tested, expected = (only(rank(each)).comparisons[0] for each in (dealt, whole))
    assert tested.p_holm == pytest.approx(expected.p_holm)
    assert {each.cases for each in only(rank(dealt)).comparisons} == {10}
    assert only(rank(dealt)).cases == 10


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_few_seeds_are_a_caveat_and_one_allows_no_test(seeds):
    ranking = rank(study({"a": 0.3, "b": 0.0}, seeds=seeds))
    task = only(ranking)
    assert (seeds < 3) == bool(task.caveats) == bool(ranking.caveats)
    assert all(each.startswith("not a ranking:") for each in task.caveats + ranking.caveats)
    assert task.seeds == seeds
    assert task.smallest_p == {1: 1 / 2, 2: 1 / 6, 3: 1 / 20}[seeds]
    if seeds == 1:
        assert {each.p_holm for each in task.comparisons} == {1.0}
        assert {each.standard_error for each in task.comparisons} == {None}
        assert {each.group for each in task.standings} == {"1-2"}
        assert task.standings[0].seed_spread == {("organ", metric): None for metric in METRICS}
        assert task.comparisons[0].wilcoxon_p < 1e-4
    else:
        assert task.standings[0].group == "1"


@pytest.mark.parametrize(("cases", "caveats"), [(1, 1), (2, 1), (9, 1), (10, 0)])
def test_few_cases_are_a_caveat(cases, caveats):
    task = only(rank(study({"a": 0.1, "b": 0.0}, cases=cases)))
    assert len(task.caveats) == caveats
    assert all("test cases are too few" in each for each in task.caveats)
    assert (task.comparisons[0].low is None) == (task.comparisons[0].t is None) == (cases == 1)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_arms_that_are_all_alike_tie_without_nan(value):
    scores = {f"c{case}": {"x": dict.fromkeys(METRICS, value)} for case in range(12)}
    ranking = rank([Outcome("t", "p", arm, seed, 0, scores) for arm in "abc" for seed in range(3)])
    assert {each.group for each in only(ranking).standings} == {"1-3"}
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
    assert ranking.caveats == ("'t' counts once per protocol",)


def test_an_arm_that_a_task_lacks_is_left_out_overall():
    ranking = rank(
        study({"a": 0, "b": 0, "c": 0}, task="one") + study({"a": 0, "b": 0}, task="two")
    )
    assert [arm for arm, _ in ranking.overall] == ["a", "b"]
    assert ranking.caveats == ("'c' stands in 1 of 2 tasks and is left out of the overall ranks",)


def test_two_trials_under_one_name_are_refused():
    made = study({"a": 0.0, "b": 0.0})
    with pytest.raises(UsageError, match="two trials of arm 'b', seed 2, fold 0"):
        rank([*made, made[-1]])


def test_a_ranking_of_many_arms_and_regions_is_quick():
    names = [f"arm{place}" for place in range(13)]
    made = study(dict.fromkeys(names, 0.0), cases=24, regions=tuple("abcde"))
    random.Random(0).shuffle(made)
    assert len(only(rank(made)).comparisons) == 13 * 12 * 5 * 2
