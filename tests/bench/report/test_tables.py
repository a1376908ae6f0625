"""Tables against plain arithmetic."""

import dataclasses

import numpy as np

from inflate_zoo.bench.definitions.scores import COUNTS, pooled
from inflate_zoo.bench.report import results, tables
from inflate_zoo.bench.report.collect import collect
from inflate_zoo.bench.report.output import text
from tests.support import records
from tests.support.reports import ARMS, study_of


def over_regions(study, arm, metric):
    """Mean over cases of the mean over regions, of arms whose cases have all regions."""
    values = [results.case_means(study, arm, region, metric) for region in study.regions]
    return np.mean([[*each.values()] for each in values])


def test_differences_are_told_with_the_interval_that_decides(tmp_path):
    study = study_of(tmp_path, seeds=5, cases=12)
    for question, pairs in {
        "transfer": {("vit-one center", "random"), ("vit-two center", "random")},
        "sources": {("vit-one center", "vit-two center")},
        "depth": {("vit-one center", "vit-one 2d"), ("vit-two center", "vit-two 2d")},
    }.items():
        for metric in ("dice", "surface_dice"):
            asked = study.ranking.asked(question, metric)
            table = tables.differences(asked)
            assert {row[:2] for row in table.rows} == pairs
            for one, row in zip(asked, table.rows, strict=True):
                means = [over_regions(study, arm, metric) for arm in row[:2]]
                assert row[2] == f"{means[0] - means[1]:+.3f} ± {one.half_width:.3f}"
                assert (row[3] == "yes") == (abs(one.difference) > one.half_width)


def test_regions_are_shown_below_claimed_pairs_alone(tmp_path):
    study = study_of(tmp_path, seeds=5, cases=12)
    asked = study.ranking.asked("transfer")
    assert all(one.claimed for one in asked)
    shown = tables.by_region((asked[0], dataclasses.replace(asked[1], claimed=False)))
    assert [row[:3] for row in shown.rows] == [
        (asked[0].first, "random", "anterior"), (asked[0].first, "random", "posterior")
    ]  # fmt: skip
    for row, each in zip(shown.rows, asked[0].regions, strict=True):
        gaps = [np.mean([*results.case_means(study, arm, row[2], "dice").values()])
                for arm in row[:2]]  # fmt: skip
        assert row[3] == f"{gaps[0] - gaps[1]:+.3f} ± {each.half_width:.3f}"
    assert tables.by_region([dataclasses.replace(asked[0], claimed=False)]) is None


def test_one_table_has_the_mean_the_interval_and_the_letter_and_no_constant_column(tmp_path):
    study = study_of(tmp_path, seeds=5, cases=12)
    table = tables.standings(study)
    assert table.columns == ("arm", "Dice", "against random", "ties", "surface Dice")
    transfer = {one.first: one for one in study.ranking.asked("transfer")}
    for row, standing in zip(table.rows, study.ranking.standings, strict=True):
        one = transfer.get(standing.arm)
        width = text.NONE if one is None else f"{one.difference:+.3f} ± {one.half_width:.3f}"
        mean = f"{over_regions(study, standing.arm, 'dice'):.3f}"
        assert row[:4] == (standing.arm, mean, width, standing.letters or text.NONE)
    alone = study_of(tmp_path / "alone", seeds=1, cases=12)
    assert "ties" not in tables.standings(alone).columns  # nothing was tested
    lone = tmp_path / "lone"
    records.save(lone, records.record(ARMS[0], 0, 6), overlays=False)
    of_one = tables.standings(results.rank_trials(collect([lone])).studies[0])
    assert of_one.columns == ("arm", "Dice", "surface Dice")  # a result, not what all arms share


def test_hausdorff_distances_are_means_over_the_cases_that_have_one(tmp_path):
    made = [records.record(ARMS[0], seed, 6) for seed in range(2)]
    lacking = made[1]["result"]["cases"][2]["regions"]["anterior"]
    lacking["hd95_mm"] = None
    for each in made:
        records.save(tmp_path, each, overlays=False)
    table = tables.regions(results.rank_trials(collect([tmp_path])).studies[0])
    place = table.columns.index("HD95, mm")
    told = {row[1]: row[place : place + 2] for row in table.rows}
    for region, kept in (("anterior", [0, 1, 3, 4, 5]), ("posterior", range(6))):
        values = [made[seed]["result"]["cases"][case]["regions"][region]["hd95_mm"]
                  for seed in range(2) for case in kept]  # fmt: skip
        assert told[region] == (f"{np.mean(values):.2f}", f"{len(kept)} of 6")


def test_pooled_dice_is_over_the_voxels_of_the_cases_of_all_folds(tmp_path):
    both, sizes = {}, {}
    for seed in range(2):
        for fold, count in enumerate((3, 9)):
            names = [f"case_{fold}{place}" for place in range(count)]
            made = records.record(ARMS[0], seed, fold=fold, cases_named=names)
            for place, case in enumerate(made["result"]["cases"]):
                for region, scores in case["regions"].items():
                    counts = (100 + seed, 900 + place, 300) if fold else (50, 60, 50 + place)
                    scores |= dict(zip(COUNTS, counts, strict=True))
                    both[seed, region] = both.get((seed, region), 0) + counts[0]
                    sizes[seed, region] = sizes.get((seed, region), 0) + counts[1] + counts[2]
            own = pooled(case["regions"] for case in made["result"]["cases"])
            made["result"]["pooled"] = own
            records.save(tmp_path, made, overlays=False)
    table = tables.regions(results.rank_trials(collect([tmp_path])).studies[0])
    for row in table.rows:
        dice = [2 * both[seed, row[1]] / sizes[seed, row[1]] for seed in range(2)]
        assert row[table.columns.index("pooled Dice")] == f"{np.mean(dice):.3f}"


def test_without_a_doubtful_arm_there_is_no_such_column(tmp_path):
    study = study_of(tmp_path, seeds=1, cases=2)
    assert "normalisation" not in tables.standings(study).columns
    assert not any("normalisation" in caveat.text for caveat in study.caveats)


def test_one_trial_without_a_record_is_told_as_one(tmp_path):
    made = records.record(records.arms_of()[0])
    records.save_failed(tmp_path, made)
    told = tables.missing(results.rank_trials(collect([tmp_path])))
    assert told == "1 of 1 trial has no record: 1 failed, 0 not run"


def test_settings_that_differ_come_first():
    table = tables.settings({"one": {"a": 1, "b": {"c": 2}}, "two": {"a": 1, "b": {"c": 3}}})
    assert table.rows == (("b.c", "2", "3"), ("a", "1", "1"))
    assert table.marked == {0}
