"""What several tasks say together."""

import pytest

from inflate_zoo.bench.ranking.types import Agreement, Caveat, Ranking
from inflate_zoo.bench.report import overall
from inflate_zoo.bench.report.results import Results
from tests.support.rankings import against_random, ranking


@pytest.fixture(autouse=True)
def no_trials(monkeypatch):
    monkeypatch.setattr(overall, "noun_of", lambda study: "source")


def told(tasks, ranks, stability=(), caveats=()):
    made = Ranking(tuple(tasks), tuple(ranks.items()), tuple(stability), tuple(caveats))
    return overall.answer_overall(Results(made, (None,), (), ()))


def task(name, gaps, undecided=()):
    means = {arm: 0.6 + gap for arm, gap in gaps.items()} | {"random": 0.6}
    return ranking(means, against_random(gaps, undecided), task=name)


def test_one_task_says_nothing_over_tasks():
    assert told([task("one", {"mae": 0.1})], {"mae": 1.0}) is None


def test_tasks_count_how_often_each_arm_beats_random_weights():
    gaps = {"mae": 0.13, "clip": 0.06, "dino": 0.01}
    made = told(
        [task("a", gaps, ["dino"]), task("b", gaps, ["dino"]), task("c", gaps, ["dino", "clip"])],
        {"mae": 1.0, "clip": 2.0, "dino": 3.0, "random": 4.0},
        [Agreement("mean, then rank", 1.0, None), Agreement("median, then rank", 0.91, None)],
    )
    assert made.sentences == (
        "Over three tasks mae beats random weights in all three, clip in two of three, dino in "
        "none of three (+0.13 to +0.01 Dice).",
        "By mean rank mae leads (1.00), before clip (2.00), dino (3.00).",
        "The order over tasks is descriptive, no test of its own; other ways to take the tasks "
        "together agree with it to a Kendall's tau of 0.91 or more.",
    )


def test_where_all_beat_random_weights_everywhere_it_is_said_once():
    gaps = {"mae": 0.13, "clip": 0.06}
    made = told([task("a", gaps), task("b", gaps)], {"mae": 1.5, "clip": 1.5, "random": 3.0})
    assert made.transfer == (
        "Over two tasks all sources beat random weights in both (+0.13 to +0.06 Dice)."
    )
    assert made.sources == "By mean rank mae and clip are level (1.50)."
    lost = [task(name, gaps, gaps) for name in "ab"]
    never = told(lost, {"mae": 1.5, "clip": 1.5, "random": 3.0})
    assert never.transfer.startswith("Over two tasks all sources beat random weights in neither (")
    assert made.certainty == "The order over tasks is descriptive, no test of its own."


@pytest.mark.parametrize("more", [{}, {"dino": 0.62}], ids=["incomplete", "other network"])
def test_sources_that_are_not_compared_are_not_among_all(more):
    gaps = {"mae": 0.13, "clip": 0.06}
    means = {arm: 0.6 + gap for arm, gap in gaps.items()} | {"random": 0.6, "dino": None} | more
    tasks = [ranking(means, against_random(gaps), task=name) for name in "ab"]
    assert told(tasks, {"mae": 1.0, "clip": 2.0}).transfer == (
        "Over two tasks all sources that can be compared beat random weights in both (+0.13 to "
        "+0.06 Dice)."
    )
    outside = [ranking(means, against_random(gaps), task=name, outside={"dino": "it sees more"})
               for name in "ab"]  # fmt: skip
    assert "all sources beat" in told(outside, {"mae": 1.0, "clip": 2.0}).transfer


@pytest.mark.parametrize("comparing, lost, where", [
    (1, 0, "in the one that compares them"), (1, 1, "in none that compares them"),
    (2, 0, "in both that compare them"), (2, 1, "in one of two that compare them"),
    (2, 2, "in neither that compares them"),
    (3, 0, "in all three that compare them"), (3, 1, "in two of three that compare them"),
    (3, 3, "in none of three that compare them"),
])  # fmt: skip
def test_that_not_all_tasks_compare_is_told(comparing, lost, where):
    gaps = {"mae": 0.13, "clip": 0.06}
    tasks = [task(f"with {n}", gaps, gaps if n < lost else ()) for n in range(comparing)]
    tasks += [ranking({"mae": 0.7, "clip": 0.6}, task=f"without {n}") for n in range(4 - comparing)]
    made = told(tasks, {"mae": 1.0, "clip": 2.0})
    assert made.transfer == (
        f"Over four tasks all sources beat random weights {where} (+0.13 to +0.06 Dice)."
    )


def test_a_source_that_one_task_lacks_is_told_by_itself():
    gaps = {"mae": 0.13, "clip": 0.06}
    made = told([task("a", gaps), task("b", {"mae": 0.1})], {"mae": 1.0})
    assert made.transfer == (
        "Over two tasks mae beats random weights in both, clip in the one that compares it (+0.13 "
        "to +0.06 Dice)."
    )


def test_provisional_tasks_are_counted():
    gaps, early = {"mae": 0.13, "clip": 0.06}, Caveat("provisional", "a task of few seeds")
    made = told([task("a", gaps), task("b", gaps)], {"mae": 1.0, "clip": 2.0}, (), [early])
    assert made.certainty == (
        "The order over tasks is descriptive, no test of its own, and one of its two tasks "
        "provisional."
    )


def test_without_random_weights_only_the_order_is_told():
    means = {"mae": 0.7, "clip": 0.6}
    made = told([ranking(means, task=name) for name in "ab"], {"mae": 1.0, "clip": 2.0})
    assert made.transfer == ""
    assert made.sources == "By mean rank mae leads (1.00), before clip (2.00)."
    alone = told([ranking({"mae": 0.7}, task=name) for name in "ab"], {"mae": 1.0})
    assert alone.sources == ""
    assert alone.certainty == ""
