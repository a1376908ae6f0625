"""The sentences that answer first, on hand-made rankings and on made-up runs."""

import dataclasses

import pytest

from inflate_zoo.bench.ranking.types import Caveat
from inflate_zoo.bench.report.answers import answer, answer_of, disagreements, noun_of
from inflate_zoo.bench.report.collect import collect
from inflate_zoo.bench.report.results import rank_trials
from tests.support import records
from tests.support.rankings import against_random, between, comparison, ranking

MEANS = {"mae": 0.72, "supervised": 0.70, "clip": 0.66, "dino": 0.64}
ALL = {**MEANS, "random": 0.59}
ABOVE = against_random({arm: mean - 0.59 for arm, mean in MEANS.items()})
TIED = [("mae", "supervised")]


def test_a_study_that_claims_much_says_which_by_how_much_and_how_sure():
    told = answer(ranking(ALL, [*ABOVE, *between(MEANS, TIED)]), "source")
    assert told.sentences == (
        "All four sources beat random weights (+0.13 to +0.05 Dice).",
        "mae and supervised lead, not told apart (a difference of 0.02 would need about 9 seeds); "
        "both are ahead of clip and dino.",
        "5 seeds, 25 test cases: at most about a 5 % chance of any false claim.",
    )


def test_leaders_that_are_ahead_of_different_arms_are_told_one_by_one():
    tied = [*TIED, ("supervised", "dino"), ("supervised", "clip"), ("clip", "dino")]
    told = answer(ranking(ALL, [*ABOVE, *between(MEANS, tied)]))
    assert told.sources.endswith("; mae is ahead of clip and dino.")
    tied = [*TIED, ("supervised", "clip"), ("clip", "dino")]
    told = answer(ranking(ALL, [*ABOVE, *between(MEANS, tied)]))
    assert told.sources.endswith("; mae is ahead of clip and dino, supervised of dino.")


@pytest.mark.parametrize("count, told", [
    (4, "mae leads: it is ahead of all three others (+0.08 to +0.02 Dice)."),
    (3, "mae leads: it is ahead of both others (+0.06 to +0.02 Dice)."),
    (2, "mae leads: it is ahead of the other (+0.02 Dice)."),
])  # fmt: skip
def test_one_that_is_ahead_of_all_leads(count, told):
    means = dict(list(MEANS.items())[:count])
    assert answer(ranking(means, between(means))).sources == told


def test_where_no_pair_is_told_apart_none_leads():
    means = dict(list(MEANS.items())[:3])
    tied = [("mae", "supervised"), ("mae", "clip"), ("supervised", "clip")]
    told = answer(ranking(means, between(means, tied)), "source").sources
    assert told == (
        "None of the three sources is told apart from another (the largest difference, 0.06, "
        "would need about 9 seeds)."
    )
    two = {"mae": 0.72, "clip": 0.719}
    told = answer(ranking(two, between(two, [("mae", "clip")], seeds=None))).sources
    assert told == (
        "mae and clip are not told apart (+0.001 ± 0.020 Dice; for a difference of 0.001 not even "
        "99 seeds would do on these cases)."
    )
    told = answer(ranking(means, between(means, tied, seeds=None)), "source").sources
    assert told == (
        "None of the three sources is told apart from another (for the largest difference, 0.06, "
        "not even 99 seeds would do on these cases)."
    )


@pytest.mark.parametrize("gap, run, seeds", [
    (0.0, 5, None), (0.0004, 5, None), (0.0004, 5, 60), (0.02, 99, None), (0.02, 120, None),
], ids=["none", "as good as none", "and a number", "as many seeds", "more seeds"])  # fmt: skip
def test_what_is_not_known_of_more_seeds_is_not_told(gap, run, seeds):
    means = {"clip": 0.7 + gap, "mae": 0.7}
    pairs = [dataclasses.replace(one, seeds=run)
             for one in between(means, [("clip", "mae")], seeds=seeds)]  # fmt: skip
    told = answer(ranking(means, pairs)).sources
    assert told == f"clip and mae are not told apart (+{gap:.3f} ± 0.020 Dice)."


def test_arms_that_tie_with_the_first_but_not_with_each_other_do_not_lead_together():
    means = dict(list(MEANS.items())[:3])
    tied = [("mae", "supervised"), ("mae", "clip")]
    told = answer(ranking(means, between(means, tied))).sources
    assert told.startswith("mae has the highest mean, not told apart from supervised and clip")
    assert told.endswith("; supervised is ahead of clip.")


@pytest.mark.parametrize("gaps, undecided, told", [
    ({"mae": 0.13}, (), "mae beats random weights (+0.130 ± 0.020 Dice)."),
    ({"mae": 0.01}, ("mae",), "mae is not told apart from random weights (+0.010 ± 0.020 Dice)."),
    ({"mae": -0.1}, (), "mae falls below random weights (-0.100 ± 0.020 Dice)."),
    ({"mae": 0.13, "clip": 0.06}, (), "Both sources beat random weights (+0.13 to +0.06 Dice)."),
    ({"mae": 0.02, "clip": -0.01}, ("mae", "clip"),
     "None of the two sources is told apart from random weights (+0.02 to -0.01 Dice)."),
    ({"mae": 0.13, "clip": 0.06, "dino": 0.004}, ("dino",),
     "mae and clip beat random weights (+0.13 to +0.06 Dice); dino is not told apart from random "
     "weights (+0.004 Dice)."),
    ({"mae": 0.13, "dino": -0.06}, (),
     "mae beats random weights (+0.13 Dice); dino falls below random weights (-0.06 Dice)."),
], ids=["one", "one open", "one below", "two", "two open", "mixed", "worse"])  # fmt: skip
def test_transfer_is_told_by_what_is_claimed(gaps, undecided, told):
    means = {arm: 0.6 + gap for arm, gap in gaps.items()} | {"random": 0.6}
    assert answer(ranking(means, against_random(gaps, undecided)), "source").transfer == told


def test_depth_is_told_of_the_arms_that_have_a_flat_one():
    means = ALL | {"mae 2d": 0.7}
    depth = comparison("depth", ("mae", "mae 2d"), 0.02, claimed=False)
    told = answer(ranking(means, [*ABOVE, *between(MEANS), depth]), "source")
    assert told.depth == "mae is not told apart from its own 2d (+0.020 ± 0.020 Dice)."
    both = [comparison("depth", (arm, f"{arm} 2d"), 0.02) for arm in ("mae", "clip")]
    told = answer(ranking(means | {"clip 2d": 0.6}, [*ABOVE, *both]), "source")
    expected = "Both sources that can be compared are ahead of their own 2d (+0.02 Dice)."
    assert told.depth == expected


@pytest.mark.parametrize("means, told", [
    ({}, "There is nothing to compare: no arm is complete."),
    ({"mae": None, "random": None}, "There is nothing to compare: no arm is complete."),
    ({"mae": 0.7}, "mae reaches a Dice of 0.700; there is no other arm to compare it with."),
    ({"mae": 0.7, "clip": None},
     "mae reaches a Dice of 0.700; there is no other complete arm to compare it with."),
    ({"mae": 0.7, "mae 2d": 0.71},
     "By mean Dice alone, which is no test: mae 2d 0.710, mae 0.700."),
], ids=["none", "none complete", "one", "one complete", "no question"])  # fmt: skip
def test_without_a_comparison_the_answer_says_why(means, told):
    made = answer(ranking(means))
    assert made.sources == told
    assert made.certainty == "5 seeds, 25 test cases: nothing was tested."
    assert (made.transfer, made.depth) == ("", "")


def test_one_seed_tests_nothing_and_says_so():
    few = [Caveat("not a ranking", "with one seed the spread is unknown")]
    untested = [comparison("transfer", (arm, "random"), 0.1, claimed=False, width=None)
                for arm in MEANS]  # fmt: skip
    told = answer(ranking(ALL, untested, seeds=1, caveats=few))
    assert told.sentences == (
        "By mean Dice alone, which is no test: mae 0.720, supervised 0.700, clip 0.660, dino 0.640,"
        " random 0.590.",
        "1 seed, 25 test cases: this is not a ranking.",
    )


@pytest.mark.parametrize("change, why", [
    ({}, "no complete source has random weights of its own network beside it"),
    ({"random": None}, "random weights lack trials"),
    ("absent", "no arm with random weights was run ('--source random')"),
], ids=["other network", "incomplete", "absent"])  # fmt: skip
def test_why_it_is_not_known_whether_transfer_helps(change, why):
    means = MEANS if change == "absent" else ALL | change
    told = answer(ranking(means, between(MEANS)), "source")
    assert told.transfer == f"Whether transfer helps is not known: {why}."
    assert told.sources.startswith("mae leads")


def test_with_one_complete_source_none_is_better():
    gap = against_random({"mae": 0.1})
    told = answer(ranking({"mae": 0.7, "random": 0.6}, gap), "source").sources
    assert told == "One source was run, so there is no other to compare it with."
    told = answer(ranking({"mae": 0.7, "random": 0.6, "clip": None}, gap), "source")
    assert told.sources == "Of two sources only mae is complete."
    assert told.transfer == "mae beats random weights (+0.100 ± 0.020 Dice)."


def test_few_seeds_are_provisional():
    few = [Caveat("provisional", "5 seeds tell more"), Caveat("note", "a note")]
    told = answer(ranking(ALL, [*ABOVE, *between(MEANS)], seeds=3, caveats=few))
    assert told.certainty == "3 seeds, 25 test cases: provisional, 5 seeds tell more."


def test_many_long_names_stay_readable():
    arms = [f"an-organisation-with-a-name/model-{place:02d}" for place in range(14)]
    means = {arm: 0.9 - 0.01 * place for place, arm in enumerate(arms)}
    tied = [(a, b) for i, a in enumerate(arms) for b in arms[i + 1 :] if b != arms[-1]]
    told = answer(ranking(means, between(means, tied)))
    assert "and 9 more lead, not told apart" in told.sources
    assert len(told.sources) < 700
    assert "\n" not in told.sources


def test_surface_dice_that_says_otherwise_is_told_pair_by_pair():
    dice = [*ABOVE, *between(MEANS, TIED)]
    beside = [dataclasses.replace(one, metric="surface_dice") for one in dice]
    same = answer(ranking(ALL, [*dice, *beside]))
    assert same.certainty.endswith("Surface Dice claims the same.")
    assert disagreements(ranking(ALL, [*dice, *beside])) == []
    turned = []
    for one in beside:
        if (one.first, one.second) == ("mae", "supervised"):  # ordered by its own mean
            turned.append(dataclasses.replace(one, first="supervised", second="mae", claimed=True))
        elif (one.first, one.second) == ("clip", "dino"):
            turned.append(dataclasses.replace(one, first="dino", second="clip"))
        elif (one.first, one.second) == ("mae", "random"):
            turned.append(dataclasses.replace(one, claimed=False))
        else:
            turned.append(one)
    found = answer(ranking(ALL, [*dice, *turned]))
    assert found.certainty.endswith(
        "Surface Dice differs in 3 of 10 pairs: mae ahead of random by Dice alone; supervised "
        "ahead of mae by surface Dice alone; clip ahead of dino by Dice, behind it by surface Dice."
    )


def test_surface_dice_that_was_not_tested_claims_nothing():
    dice = [*ABOVE, *between(MEANS, TIED)]

    def beside(*pairs):
        blank = {"metric": "surface_dice", "claimed": False, "half_width": None}
        return ranking(ALL, [*dice, *(
            dataclasses.replace(one, **(blank if (one.first, one.second) in pairs else
                                        {"metric": "surface_dice"})) for one in dice
        )])  # fmt: skip

    none = beside(*((one.first, one.second) for one in dice))
    assert answer(none).certainty.endswith("claim. Surface Dice was not tested.")
    some = beside(("mae", "random"), ("clip", "dino"))
    assert answer(some).certainty.endswith(". Surface Dice claims the same where it was tested.")
    assert disagreements(none) == disagreements(some) == []
    turned = [
        dataclasses.replace(one, claimed=True)
        if one.metric == "surface_dice" and (one.first, one.second) in TIED
        else one
        for one in some.comparisons
    ]
    told = answer(dataclasses.replace(some, comparisons=tuple(turned))).certainty
    assert told.endswith(
        "Surface Dice differs in 1 of 8 pairs where it was tested: mae ahead of supervised by "
        "surface Dice alone."
    )


def test_a_source_that_competes_twice_makes_them_arms(tmp_path):
    for name, schemes in (("one", ("center",)), ("two", ("center", "average"))):
        run = records.save_run(
            tmp_path / name, arms=records.arms_of(schemes=schemes), seeds=2, cases=4,
            incomplete=False, overlays=False,
        )  # fmt: skip
        (study,) = rank_trials(collect([run])).studies
        assert noun_of(study) == {"one": "source", "two": "arm"}[name]


def test_what_else_is_known_against_a_study_is_in_its_answer(tmp_path):
    for seed, steps in enumerate((150, 151)):
        for arm in records.arms_of():
            made = records.record(arm, seed, protocol=records.protocol(steps=steps))
            records.save(tmp_path, made, overlays=False)
    (study,) = rank_trials(collect([tmp_path])).studies
    assert answer_of(study).certainty.endswith("this is not a ranking.")
