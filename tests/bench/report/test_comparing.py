"""Two arms, as the whole ranking sees them."""

import dataclasses

import pytest

from inflate_zoo.bench.report.collect import collect
from inflate_zoo.bench.report.comparing import compare
from inflate_zoo.bench.report.results import rank_trials
from inflate_zoo.errors import UsageError
from tests.support import records

ARMS = records.arms_of(("made-up/vit-one", "made-up/vit-two"), ("center",))
ONE, TWO, FLAT = "vit-one center", "vit-two center", "vit-one 2d"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return records.save_run(
        tmp_path_factory.mktemp("run"), arms=ARMS, seeds=5, incomplete=False, overlays=False
    )


def test_a_pair_is_judged_as_in_the_whole_ranking(run):
    results = rank_trials(collect([run]))
    (study,) = results.studies
    for first, second, question, why in (
        (ONE, TWO, "sources", "one of 1 pair under 'which source is better'"),
        (TWO, ONE, "sources", "one of 1 pair under 'which source is better'"),
        (ONE, "random", "transfer", "one of 2 pairs under 'does transfer help'"),
        (ONE, FLAT, "depth", "one of 2 pairs under 'does depth help'"),
    ):
        (found,) = compare(results, first, second)
        assert found.title == study.title
        dice, surface = found.comparisons
        assert dice in study.ranking.asked(question)
        assert dice.claimed
        verdict, base, regions, models, beside = found.sentences
        told = f"{dice.difference:+.3f} ± {dice.half_width:.3f}"
        assert verdict == f"{dice.first} is ahead of {dice.second}: {told} Dice."
        assert base == f"5 seeds, 12 test cases; {why}."
        assert regions.startswith(f"By region: anterior {dice.regions[0].difference:+.3f} ± ")
        assert f"{dice.low:+.3f} to {dice.high:+.3f}" in models
        width = f"{surface.difference:+.3f} ± {surface.half_width:.3f}"
        assert beside == f"Surface Dice claims the same: {width}."


def test_a_pair_that_is_not_told_apart_says_what_it_would_take(tmp_path):
    alike = [records.Arm(name, "inflated", name, "center", 0.8) for name in ("mae", "clip")]
    folder = records.save_run(tmp_path, arms=alike, seeds=3, incomplete=False, overlays=False)
    (found,) = compare(rank_trials(collect([folder])), "mae", "clip")
    (dice, _) = found.comparisons
    assert not dice.claimed
    assert found.sentences[0].startswith(f"{dice.first} and {dice.second} are not told apart: ")
    assert ("would need about" in found.sentences[0]) == (dice.seeds_needed is not None)
    assert "provisional: 5 seeds tell more" in found.sentences


def changed(results, change):
    (study,) = results.studies
    own = tuple(dataclasses.replace(one, **change(one)) for one in study.ranking.comparisons)
    ranking = dataclasses.replace(study.ranking, comparisons=own)
    return dataclasses.replace(results, studies=(dataclasses.replace(study, ranking=ranking),))


@pytest.mark.parametrize("difference, told", [
    (0.004, "; for a difference of 0.004 not even 99 seeds would do on these cases."),
    (0.0, "."),
    (-0.0002, "."),
])  # fmt: skip
def test_that_no_number_of_seeds_would_do_is_told_of_a_difference(run, difference, told):
    def change(one):
        return {"difference": difference, "claimed": False, "half_width": 0.02}

    (found,) = compare(changed(rank_trials(collect([run])), change), ONE, "random")
    gap = f"+{abs(difference):.3f}"
    assert found.sentences[0] == f"{ONE} and random are not told apart: {gap} ± 0.020 Dice{told}"


def test_surface_dice_that_was_not_tested_claims_nothing(run):
    def change(one):
        if one.metric == "dice":
            return {}
        turned = {"first": one.second, "second": one.first}  # ordered by its own mean
        return turned | {"difference": 0.0, "claimed": False, "half_width": None}

    (found,) = compare(changed(rank_trials(collect([run])), change), ONE, TWO)
    assert found.sentences[-1] == "Surface Dice was not tested: +0.000."


def test_where_no_case_has_a_region_it_is_said(tmp_path):
    for arm in ARMS:
        made = records.record(arm, cases=2)
        for case in made["result"]["cases"]:
            case["mean_dice"] = None
            for scores in case["regions"].values():
                for metric in scores:
                    scores[metric] = scores[metric] if metric.startswith("vol") else None
        records.save(tmp_path, made, overlays=False)
    for second in ("random", TWO):
        (found,) = compare(rank_trials(collect([tmp_path])), ONE, second)
        told = "No test case has a region to score, so this pair is not compared."
        assert told in found.sentences
        assert not any("No question asks" in each for each in found.sentences)


def test_a_pair_that_no_question_asks_for_is_not_tested(run):
    (found,) = compare(rank_trials(collect([run])), FLAT, "random")
    assert found.comparisons == ()
    assert found.sentences[0].startswith("No question asks for this pair, so it is not tested")


def test_an_arm_that_lacks_a_trial_is_not_compared(tmp_path):
    folder = records.save_run(tmp_path, arms=ARMS, seeds=2, cases=4, overlays=False)
    (found,) = compare(rank_trials(collect([folder])), ONE, "random")
    (study,) = rank_trials(collect([folder])).studies
    assert found.caveats == study.caveats
    assert found.sentences[:2] == (
        "not a ranking: 4 test cases are too few; it takes 10",
        "random lacks 1 trial, so it is not compared.",
    )
    assert {caveat.sentence for caveat in study.caveats} <= set(found.sentences)


def test_arms_that_are_not_there_are_refused_by_name(run, tmp_path):
    results = rank_trials(collect([run]))
    with pytest.raises(UsageError, match="no arm named 'clip'") as refused:
        compare(results, ONE, "clip")
    assert TWO in refused.value.hint
    with pytest.raises(UsageError) as refused:
        compare(results, TWO[:-1], ONE)
    assert refused.value.hint == f"did you mean '{TWO}'?"
    with pytest.raises(UsageError, match="cannot be compared with itself"):
        compare(results, ONE, ONE)
    for name, arm in (("first", ARMS[0]), ("second", ARMS[2])):
        task = records.task(name)
        records.save(tmp_path, records.record(arm, task=task), overlays=False)
    with pytest.raises(UsageError, match="no task has both") as refused:
        compare(rank_trials(collect([tmp_path])), ONE, TWO)
    assert refused.value.details == (
        f"first, protocol quick: {ARMS[0].label}",
        f"second, protocol quick: {ARMS[2].label}",
    )


def test_what_makes_it_no_ranking_stands_first_and_a_guess_is_marked(tmp_path):
    for number, arm in enumerate(ARMS):
        for seed in range(5):
            protocol = records.protocol(steps=150 if seed else 151)
            made = records.record(arm, seed, protocol=protocol)
            if not number:
                made["trial"]["arm"]["normalization"] = "guessed"
            records.save(tmp_path, made, overlays=False)
    (found,) = compare(rank_trials(collect([tmp_path])), ONE, TWO)
    assert found.sentences[0].startswith("not a ranking: the protocol settings differ")
    assert found.caveats[0].sentence == found.sentences[0]
    assert found.sentences[1].startswith(f"{ONE} is ahead of {TWO}")
    (guess,) = [told for told in found.sentences if "is a guess" in told]
    assert f"'{ONE}'" in guess


def test_names_too_long_for_a_table_are_told_whole(tmp_path):
    names = [f"{'very ' * 8}long {word}" for word in ("one", "two")]
    arms = [records.Arm(name, "inflated", name, "center", 0.8) for name in names]
    folder = records.save_run(tmp_path, arms=arms, seeds=1, incomplete=False, overlays=False)
    with pytest.raises(UsageError) as refused:
        compare(rank_trials(collect([folder])), "clip", names[0])
    assert all(name in refused.value.hint for name in names)
