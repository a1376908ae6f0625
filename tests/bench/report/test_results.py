"""Trials ranked: what differs between them, and ranks under other cases."""

import numpy as np
import pytest

from inflate_zoo.bench.definitions.trials import trial_hash
from inflate_zoo.bench.report import results
from inflate_zoo.bench.report.collect import collect
from tests.support import records
from tests.support.reports import ARMS, folds_of, study_of


def configured(arm, seed=0, fold=0, **changes):
    made = records.record(arm, seed, 4, fold=fold)
    made["trial"]["arm"]["config"] = records.config(arm.kind, **changes)
    return made


def test_random_belongs_to_the_arms_of_its_network_whatever_one_line_says(tmp_path):
    heads = {"six": 6, "twelve": 12}
    for name, count in heads.items():
        source = f"made-up/{name}"
        for arm in (
            records.Arm(f"{name} center", "inflated", source, "center", 0.8),
            records.Arm(f"{name} 2d", "2d", source, None, 0.7),
            records.Arm(f"random {name}", "random", "random", None, 0.6),
        ):
            kept = {"pool": "mean", "volume": [8, 96, 96]} if arm.kind == "inflated" else {}
            records.save(tmp_path, configured(arm, num_heads=count, **kept), overlays=False)
    study = results.rank_trials(collect([tmp_path])).studies[0]
    assert len({arm.architecture for arm in study.arms.values()}) == 1
    found = {standing.arm: standing.contestant for standing in study.ranking.standings}
    for name in heads:
        assert found[f"{name} center"].random == f"random {name}"
        assert found[f"{name} center"].flat == f"{name} 2d"


@pytest.mark.parametrize(
    "depths, random", [((2, 6), "random"), ((2, 4), None)], ids=["same", "unlike"]
)
def test_the_networks_of_each_fold_are_compared(tmp_path, depths, random):
    for arm in (ARMS[0], ARMS[-1]):
        for fold, depth in enumerate(depths if arm.kind == "random" else (2, 6)):
            records.save(tmp_path, configured(arm, fold=fold, patch_depth=depth), overlays=False)
    study = results.rank_trials(collect([tmp_path])).studies[0]
    assert {standing.contestant.random for standing in study.ranking.standings
            if standing.contestant.kind == "inflated"} == {random}  # fmt: skip


def in_task(name, value, folds, second_only):
    def change(made, fold, arm):
        if fold in folds and (arm == ARMS[1] or not second_only):
            made["trial"]["task"][name] = value

    return change


def in_entries(made, fold, arm):
    if fold == 1 and arm == ARMS[1]:
        made["trial"]["entries"]["case_03"] = "ef" * 8


@pytest.mark.parametrize("change, told", [
    (in_task("spacing", [1.0, 1.0, 1.0], {1}, True), "spacing ([1.0, 1.0, 1.0], [3.0, 1.0, 1.0])"),
    (in_task("intensity", {"rule": "window", "low": -100, "high": 260}, {0}, True),
     "intensity.high (250.0, 260.0)"),
    (in_task("slices", "axial", {1}, False), "slices (axial, coronal)"),
    (in_task("surface_tolerance_mm", 2.0, {0}, False), "surface_tolerance_mm (1.0, 2.0)"),
    (in_task("channels", ["CT"], {0}, False), "channels"),
    (in_task("regions", {"anterior": [1]}, {1}, False), "regions.posterior"),
    (in_entries, "the data of 1 case differ between trials, first 'case_03'"),
], ids=["spacing", "intensity", "slices", "tolerance", "channels", "regions", "data"])  # fmt: skip
def test_other_differences_are_told_with_several_folds(tmp_path, change, told):
    (study,) = folds_of(tmp_path, change).studies
    (caveat,) = [each for each in study.caveats if "differ" in each.text]
    assert caveat.weight == "not a ranking"
    assert told in caveat.text


@pytest.mark.parametrize("part, name, value", [
    ("protocol", "summary", "the same in other words"),
    ("protocol", "deviations", ["told otherwise"]),
    ("protocol", "overrides", ["train.batch=2", "train.steps=150"]),
    ("task", "title", "The same data, called otherwise"),
    ("task", "license", "CC-BY-SA-3.0"),
    ("task", "checksum", "md5:01"),
    ("task", "split", {"rule": "hash", "folds": 5, "digest": "ab" * 32}),
])  # fmt: skip
def test_words_that_differ_between_trials_make_no_difference(tmp_path, part, name, value):
    for arm in ARMS[:2]:
        for seed in range(5):
            made = records.record(arm, seed)
            named = trial_hash(made["trial"])
            if arm == ARMS[0]:
                made["trial"][part][name] = value
            assert trial_hash(made["trial"]) == named
            records.save(tmp_path, made, overlays=False)
    assert results.rank_trials(collect([tmp_path])).studies[0].caveats == ()


@pytest.mark.parametrize("arms", [ARMS[:1], ARMS[:2]], ids=["the other has it", "nobody has it"])
def test_what_an_arm_lacks_is_counted_by_seeds_and_folds(tmp_path, arms):
    for arm in ARMS[:2]:
        for seed in range(3):
            for fold in range(2):
                if (seed, fold) != (2, 1) or arm not in arms:
                    made = records.record(arm, seed, 4, fold=fold)
                    records.save(tmp_path, made, overlays=False)
    study = results.rank_trials(collect([tmp_path])).studies[0]
    told = [each.text for each in study.caveats if each.text.startswith("trial missing")]
    needed = "as an arm needs each of 3 seeds on each of 2 folds"
    assert told == [f"trial missing: '{arm.label}' lacks 1 trial, {needed}" for arm in arms]


def test_ranks_over_tasks_know_of_trials_that_differ_within_one(tmp_path):
    for name in ("first", "second"):
        for arm in ARMS:
            for seed in range(5):
                made = records.record(arm, seed, task=records.task(name))
                if name == "first" and not seed:
                    made["trial"]["protocol"]["train"]["steps"] += 1
                records.save(tmp_path, made, overlays=False)
    found = results.rank_trials(collect([tmp_path]))
    first, second = found.studies
    assert [caveat.weight for caveat in first.caveats] == ["not a ranking"]
    assert second.caveats == ()
    (told,) = [each for each in found.ranking.caveats if each.weight == "not a ranking"]
    assert told.text == "the overall ranks hold 'first' under 'quick', which is none"


@pytest.mark.parametrize("precision, why", [("bf16", "a GPU in bf16"), ("fp32", "round")])
def test_trials_on_a_cpu_beside_trials_on_a_gpu_are_told(tmp_path, precision, why):
    protocol = records.protocol()
    protocol["train"]["precision"] = precision

    def caveats(folder, devices):
        for seed, device in enumerate(devices):
            made = records.record(ARMS[0], seed, 4, protocol=protocol)
            made["run"]["device"] = device
            records.save(folder, made, overlays=False)
        return results.rank_trials(collect([folder])).studies[0].caveats

    (told,) = [c for c in caveats(tmp_path / "a", ("cpu", "NVIDIA X", "mps")) if "CPU" in c.text]
    assert told.sentence.startswith("1 trial ran on a CPU and 2 on a GPU")
    assert why in told.text
    for place, devices in enumerate((("cpu", "cpu", ""), ("NVIDIA X", "mps"))):
        assert not [c for c in caveats(tmp_path / str(place), devices) if "CPU" in c.text]


def test_rank_shares_agree_with_a_plain_bootstrap(tmp_path):
    study = study_of(tmp_path, seeds=2, cases=5)
    arms, shares = results.rank_shares(study)
    np.testing.assert_allclose(shares.sum(axis=0), 1)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    values = np.array(
        [
            [list(results.case_means(study, arm, region, "dice").values()) for arm in arms]
            for region in study.regions
        ]
    )
    rng = np.random.default_rng(5)
    counts = np.zeros((len(arms), len(arms)))
    for _ in range(2000):
        means = values[..., rng.integers(5, size=5)].mean(axis=(0, 2))
        for place, arm in enumerate(sorted(range(len(arms)), key=lambda a: -means[a])):
            counts[arm, place] += 1
    assert np.abs(shares - counts / 2000).max() < 0.06


def test_rank_shares_count_a_case_by_the_mean_over_its_regions(tmp_path):
    # `posterior` is rare: as a mean over regions of means over cases it would turn the ranks around
    scores = {"vit-one center": (0.70, 0.50), "vit-two center": (0.66, 0.80)}
    for arm in (arm for arm in ARMS if arm.label in scores):
        made = records.record(arm, 0, 40)
        for place, case in enumerate(made["result"]["cases"]):
            front, back = scores[arm.label]
            case["regions"]["anterior"]["dice"] = front
            case["regions"]["posterior"]["dice"] = back if place == 0 else None
        records.save(tmp_path, made, overlays=False)
    study = results.rank_trials(collect([tmp_path])).studies[0]
    means = {each.arm: each.mean["dice"] for each in study.ranking.standings}
    assert means["vit-one center"] > means["vit-two center"]
    arms, shares = results.rank_shares(study)
    assert shares[arms.index("vit-one center"), 0] > 0.9


def test_rank_shares_leave_out_a_case_without_a_value_for_all_arms(tmp_path):
    made = [records.record(arm, 0, 6) for arm in ARMS]
    made[0]["result"]["cases"][1]["regions"]["anterior"]["dice"] = None
    for each in made[1:]:  # would turn every rank around if it counted
        each["result"]["cases"][1]["regions"]["anterior"]["dice"] = 1.0
    for each in made:
        records.save(tmp_path, each, overlays=False)
    study = results.rank_trials(collect([tmp_path])).studies[0]
    arms, shares = results.rank_shares(study)
    assert shares[arms.index("vit-one center"), 0] > 0.9
