import pytest

from inflate_zoo.bench.definitions.trials import TrialSpec
from inflate_zoo.bench.ranking.types import Contestant
from inflate_zoo.bench.report.baselines import contestants
from inflate_zoo.bench.report.collect import collect
from inflate_zoo.bench.report.results import rank_trials
from tests.support import records

ARMS = records.arms_of(("made-up/vit-one", "made-up/vit-two"), ("center", "average"))


def told(arm, *, fold=0, decoder="unetr", digest="", **config):
    made = records.record(arm, 0, 4, fold=fold)["trial"]
    made["arm"]["source_digest"] = digest
    made["arm"]["config"] = records.config(arm.kind, **config)
    made["protocol"]["network"]["decoder"] = decoder
    return TrialSpec.model_validate(made)


def arm(label, kind="inflated", source="s"):
    return records.Arm(label, kind, source, None, 0.8)


def test_every_inflated_arm_has_random_and_the_2d_of_its_source():
    found = contestants([told(each) for each in ARMS])
    assert found == {
        **{
            f"vit-{name} {scheme}": Contestant(
                f"vit-{name} {scheme}", "inflated", "random", f"vit-{name} 2d"
            )
            for name in ("one", "two")
            for scheme in ("center", "average")
        },
        "vit-one 2d": Contestant("vit-one 2d", "2d"),
        "vit-two 2d": Contestant("vit-two 2d", "2d"),
        "random": Contestant("random", "random"),
    }


def test_an_arm_of_another_patch_has_the_2d_of_that_patch():
    flat = {"patch_depth": 1}
    trials = [
        told(arm("coarse"), patch_size=[8, 8]), told(arm("fine"), patch_size=[4, 4]),
        told(arm("a coarse 2d", "2d"), patch_size=[8, 8], **flat),
        told(arm("fine 2d", "2d"), patch_size=[4, 4], **flat),
    ]  # fmt: skip
    found = contestants(trials)
    assert (found["coarse"].flat, found["fine"].flat) == ("a coarse 2d", "fine 2d")


def test_sources_of_one_name_have_their_own_2d():
    trials = [
        told(arm(f"{name} {what}", kind), digest=name)
        for name in ("new", "old")
        for what, kind in (("a 2d", "2d"), ("center", "inflated"))
    ]
    found = contestants(trials)
    assert (found["new center"].flat, found["old center"].flat) == ("new a 2d", "old a 2d")
    # What was planned before digests were noted is known by its name alone.
    assert contestants([trials[0], told(arm("center"))])["center"].flat == "new a 2d"
    assert contestants([trials[0], told(arm("center"), digest="old")])["center"].flat is None


def test_what_was_not_run_is_no_baseline():
    found = contestants([told(ARMS[0]), told(arm("other 2d", "2d", "other"))])
    assert found[ARMS[0].label] == Contestant(ARMS[0].label, "inflated")


def test_random_belongs_to_the_arms_of_its_network_whatever_one_line_says():
    trials = [
        told(each, num_heads=heads)
        for name, heads in (("six", 6), ("twelve", 12))
        for each in (arm(name, source=name), arm(f"random {name}", "random", "random"))
    ]
    assert len({each.arm.architecture for each in trials}) == 1
    found = contestants(trials)
    assert (found["six"].random, found["twelve"].random) == ("random six", "random twelve")


def test_what_weights_bring_makes_no_other_network():
    trials = [told(arm("a"), pool="mean", volume=[8, 96, 96]),
              told(arm("random", "random", "random"))]  # fmt: skip
    assert contestants(trials)["a"].random == "random"


@pytest.mark.parametrize("depths, baseline", [((2, 6), "random"), ((2, 4), None)])
def test_the_networks_of_each_fold_are_compared(depths, baseline):
    trials = [
        told(each, fold=fold, patch_depth=depth)
        for each, own in ((arm("a"), (2, 6)), (arm("random", "random", "random"), depths))
        for fold, depth in enumerate(own)
    ]
    assert contestants(trials)["a"].random == baseline


def test_2d_is_outside_the_ranking_under_a_decoder_that_keeps_its_planes_apart():
    found = contestants([told(each, decoder="linear") for each in ARMS])
    outside = {label: each.outside for label, each in found.items() if each.outside}
    assert set(outside) == {"vit-one 2d", "vit-two 2d"}
    assert all("token planes" in reason for reason in outside.values())
    under_unetr = contestants([told(each) for each in ARMS])
    assert not any(each.outside for each in under_unetr.values())


@pytest.mark.parametrize("decoder, questions", [
    ("unetr", {"transfer", "sources", "depth"}), ("linear", {"transfer", "sources"})
])  # fmt: skip
def test_the_ranking_asks_what_the_arms_allow(tmp_path, decoder, questions):
    for each in ARMS:
        for seed in range(5):
            made = records.record(each, seed)
            made["trial"]["protocol"]["network"]["decoder"] = decoder
            records.save(tmp_path, made, overlays=False)
    (task,) = rank_trials(collect([tmp_path])).ranking.tasks
    assert {each.question for each in task.comparisons} == questions
    flat = {each.arm: each.rank for each in task.standings if each.contestant.kind == "2d"}
    assert set(flat.values()) == {None}
    assert {each.arm for each in task.standings[-2:]} == set(flat)


def test_each_study_has_its_own_baselines(tmp_path):
    records.save(tmp_path, records.record(ARMS[0]), overlays=False)
    other = records.task("other")
    for each in (ARMS[0], ARMS[-1]):
        records.save(tmp_path, records.record(each, task=other), overlays=False)
    made, found = rank_trials(collect([tmp_path])).ranking.tasks
    assert {each.contestant.random for each in made.standings} == {None}
    assert "random" in {each.contestant.random for each in found.standings}
