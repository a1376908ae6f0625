"""The ranking over tasks against other ways to take them together."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import kendalltau, rankdata

from inflate_zoo.bench.ranking.ranking import rank
from inflate_zoo.bench.ranking.stability import agreements, unstable
from inflate_zoo.bench.ranking.types import Contestant, Outcome, Standing, TaskRanking


def task(name, ranks):
    standings = tuple(
        Standing(Contestant(arm, "inflated"), value, "", {}, {}, {}, 0)
        for arm, value in sorted(ranks.items())
    )
    return TaskRanking(name, "p", standings, (), 12, 3, ())


def made(seed, arms="abcde", tasks=4, cases=15):
    rng = np.random.default_rng(seed)
    own = [{a: float(r) for a, r in zip(arms, rankdata(rng.random(len(arms))), strict=True)}
           for _ in range(tasks)]  # fmt: skip
    # Tasks of more cases, which count no more.
    scores = [{a: rng.random(cases * 4**n) for a in arms} for n in range(tasks)]
    overall = {a: float(np.mean([each[a] for each in own])) for a in arms}
    return overall, [task(f"task {n}", each) for n, each in enumerate(own)], scores, own


@pytest.mark.parametrize("seed", range(5))
def test_every_way_written_out(seed):
    overall, tasks, scores, own = made(seed)
    arms = list(overall)

    def against(value):
        return kendalltau([overall[a] for a in arms], [value(a) for a in arms]).statistic

    def over_tasks(value):
        return lambda a: np.mean([value(each, a) for each in scores])

    def ranks_within(each, a):
        values = np.array([each[arm] for arm in arms])
        order = np.array([rankdata(-column) for column in values.T])
        return order[:, arms.index(a)].mean()

    expected = {
        "mean, then rank": against(over_tasks(lambda e, a: -e[a].mean())),
        "median, then rank": against(over_tasks(lambda e, a: -np.median(e[a]))),
        "rank, then mean": against(over_tasks(ranks_within)),
    }
    without = {
        f"task {n}, p": against(lambda a, n=n: np.mean([o[a] for i, o in enumerate(own) if i != n]))
        for n in range(4)
    }
    found = agreements(overall, tasks, scores)
    assert {each.against: pytest.approx(each.tau) for each in found[:3]} == expected
    assert found[3].tau == pytest.approx(min(without.values()))
    assert without[found[3].left_out] == pytest.approx(min(without.values()))


def test_two_tasks_leave_none_out_and_one_is_not_compared():
    overall, tasks, scores, _ = made(0, tasks=2)
    assert [each.against for each in agreements(overall, tasks, scores)] == [
        "mean, then rank", "median, then rank", "rank, then mean"
    ]  # fmt: skip
    assert agreements(overall, tasks[:1], scores[:1]) == ()
    assert agreements({"a": 1.0}, tasks, scores) == ()


def test_where_there_is_no_order_there_is_no_tau():
    overall, tasks, scores, _ = made(1)
    found = agreements(dict.fromkeys(overall, 2.0), tasks, scores)
    assert {each.tau for each in found} == {None}
    assert unstable(found) == ()


def test_an_arm_that_failed_somewhere_is_not_compared():
    overall, tasks, scores, _ = made(2)
    whole = agreements(overall, tasks, scores)
    del scores[1]["c"]
    fewer = {arm: value for arm, value in overall.items() if arm != "c"}
    for each in (*scores[:1], *scores[2:]):
        assert "c" in each
    assert agreements(overall, tasks, scores) != whole
    assert agreements(overall, tasks, scores) == agreements(fewer, tasks, scores)


def outcomes(name, levels, outlier=None, seed=0):
    """Arms at fixed levels; `outlier` gets a few cases that drag its mean to the ground."""
    rng = np.random.default_rng(seed)
    cases = rng.normal(0, 0.002, (len(levels), 5, 12))
    found = []
    for place, (arm, level) in enumerate(levels.items()):
        for run in range(5):
            values = level + cases[place, run]
            if arm == outlier:
                values[:2] = 0
            scores = {f"c{n}": {"x": {"dice": float(v), "surface_dice": float(v)}}
                      for n, v in enumerate(values)}  # fmt: skip
            found.append(Outcome(name, "p", Contestant(arm, "inflated"), run, 0, scores))
    return found


LEVELS = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6}


def test_a_ranking_that_all_ways_agree_on_is_stable():
    ranking = rank([o for n in range(3) for o in outcomes(f"t{n}", LEVELS, seed=n)])
    assert [each.tau for each in ranking.stability] == [1.0] * 4
    assert ranking.caveats == ()


def test_a_ranking_that_turns_over_is_called_unstable():
    second = {"b": 0.9, "c": 0.8, "d": 0.7, "a": 0.6}
    third = {"c": 0.9, "d": 0.8, "a": 0.7, "b": 0.6}
    ranking = rank(
        [*outcomes("one", LEVELS), *outcomes("two", second), *outcomes("three", third, seed=1)]
    )
    told = [
        caveat.sentence
        for caveat in ranking.caveats
        if caveat.weight == "unstable" and caveat.text.startswith("Kendall's tau is")
    ]
    assert told
    assert any("'one task left out' (" in caveat for caveat in told)
    mean = next(each for each in ranking.stability if each.against == "mean, then rank")
    assert dataclasses.asdict(mean) == {"against": "mean, then rank", "tau": mean.tau,
                                        "left_out": None}  # fmt: skip


def test_one_task_over_folds_has_no_overall_ranking_to_doubt():
    folds = [dataclasses.replace(o, fold=f) for f in range(2) for o in outcomes("t", LEVELS)]
    assert rank(folds).stability == ()
