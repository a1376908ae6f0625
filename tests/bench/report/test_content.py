"""Parts of the report against plain arithmetic: baselines, ranks under other cases, overlays."""

import copy
import dataclasses
import json

import numpy as np
import pytest

from inflate_zoo.bench.ranking.types import Caveat
from inflate_zoo.bench.report import content, results, tables, terminal
from inflate_zoo.bench.report.collect import collect
from inflate_zoo.bench.report.origins import origins
from inflate_zoo.bench.report.output import markdown, page, text
from inflate_zoo.bench.report.output.document import Bullets, Fold, Picture
from inflate_zoo.cli.bench.report import as_json
from tests.support import records

ARMS = records.arms_of(("made-up/vit-one", "made-up/vit-two"), ("center",))


def study_of(folder, **settings):
    run = records.save_run(folder, arms=ARMS, incomplete=False, overlays=False, **settings)
    return results.rank_trials(collect([run])).studies[0]


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


FED = {"vit-one center": "guessed", "vit-two center": "stated", "vit-one 2d": "guessed"}


def test_an_arm_whose_normalisation_is_a_guess_is_marked(tmp_path):
    """In the terminal's table, on the page, in the Markdown and in JSON."""
    run = records.save_run(tmp_path, arms=ARMS, seeds=1, cases=2, incomplete=False, overlays=False)
    for path in run.glob("trials/*/trial.json"):
        told = json.loads(path.read_text())
        told["arm"]["normalization"] = FED.get(told["arm"]["label"])
        path.write_text(json.dumps(told))
    made = results.rank_trials(collect([run]))
    study = made.studies[0]
    shown = tables.standings(study)
    place = shown.columns.index("normalisation")
    marks = {row[0]: row[place] for row in shown.rows}
    guessed = {arm for arm, fed in FED.items() if fed == "guessed"}
    assert {arm for arm, mark in marks.items() if mark == "GUESSED"} == guessed
    assert marks["vit-two center"] == "stated"
    assert {shown.rows[i][0] for i in shown.marked} == guessed
    told = "the input normalisation of 'vit-one 2d', 'vit-one center' is a guess"
    assert any(caveat.sentence.startswith(told) for caveat in study.caveats)
    assert "GUESSED" in terminal.table(made)
    blocks = content.compose(made).blocks
    for shown in (
        page.render("t", blocks, NoPictures()),
        markdown.render("t", blocks, NoPictures()),
    ):
        assert "GUESSED" in shown
        assert "-mean" in shown
    fed = {s["arm"]: s["normalization"] for s in as_json(made)["tasks"][0]["standings"]}
    assert fed == {arm: FED.get(arm) for arm in fed}
    assert tables.arms(study).columns[4] == "normalisation"


class NoPictures(dict):
    """Stands for any drawing."""

    def __missing__(self, name):
        return Picture(name, "<svg ></svg>", b"")


def test_without_a_doubtful_arm_there_is_no_such_column(tmp_path):
    study = study_of(tmp_path, seeds=1, cases=2)
    assert "normalisation" not in tables.standings(study).columns
    assert not any("normalisation" in caveat.text for caveat in study.caveats)


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


def test_an_arm_is_called_what_the_trial_says_now(tmp_path):
    for seed in range(3):
        for arm in (ARMS[0], ARMS[-1]):
            place = records.save(tmp_path, records.record(arm, seed, 4), overlays=False)
            told = json.loads((place / "trial.json").read_text())
            told["arm"]["label"] += " renamed"
            (place / "trial.json").write_text(json.dumps(told))
    study = results.rank_trials(collect([tmp_path])).studies[0]
    assert set(study.arms) == {f"{arm.label} renamed" for arm in (ARMS[0], ARMS[-1])}
    assert {standing.arm for standing in study.ranking.standings} == set(study.arms)


def folds_of(folder, change=lambda made, fold, arm: None):
    """Two folds, each of a task that was derived from other training cases."""
    for fold, (high, depth, key) in enumerate(((250.0, 2.5, "ab"), (270.0, 3.0, "cd"))):
        task = records.task()
        task["intensity"] = {"rule": "window", "low": -100.0, "high": high}
        task["spacing"] = [depth, 1.0, 1.0]
        names = [f"case_{fold}{place}" for place in range(6)]
        for arm in ARMS[:2]:
            for seed in range(2):
                made = records.record(
                    arm, seed, fold=fold, cases_named=names, task=copy.deepcopy(task)
                )
                made["trial"]["entries"] = {f"case_{n:02d}": key * 8 for n in range(16)}
                change(made, fold, arm)
                records.save(folder, made, overlays=False)
    return results.rank_trials(collect([folder]))


def test_what_is_measured_may_differ_between_folds(tmp_path):
    found = folds_of(tmp_path)
    (study,) = found.studies
    assert study.caveats == study.ranking.caveats
    assert not [caveat for caveat in study.caveats if "differ" in caveat.text]
    (shown,) = [
        block
        for block in origins(found)
        if isinstance(block, Fold) and block.title.startswith("Task")
    ]
    assert shown.blocks[0].columns == ("setting", "fold 0", "fold 1")
    assert set(shown.blocks[0].rows[:2]) == {
        ("intensity.high", "250.0", "270.0"), ("spacing", "[2.5, 1.0, 1.0]", "[3.0, 1.0, 1.0]")
    }  # fmt: skip


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


@pytest.mark.parametrize("decay, freeze, told", [
    (0.85, False, True), (1.0, False, False), (0.85, True, False)
])  # fmt: skip
def test_that_random_has_the_learning_rates_of_all_is_told(tmp_path, decay, freeze, told):
    protocol = records.protocol()
    protocol["train"]["layer_decay"] = decay
    protocol["network"] |= {"decoder": "linear", "freeze": freeze}
    records.save(tmp_path, records.record(ARMS[0], 0, 4, protocol=protocol), overlays=False)
    found = results.rank_trials(collect([tmp_path]))
    bullets = [block for block in origins(found) if isinstance(block, Bullets)]
    shown = dict(bullets[0].items).get("Learning rates:", "")
    assert ("times 0.85 per block" in shown and "for random as well" in shown) == told


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


def test_settings_that_differ_come_first():
    table = tables.settings({"one": {"a": 1, "b": {"c": 2}}, "two": {"a": 1, "b": {"c": 3}}})
    assert table.rows == (("b.c", "2", "3"), ("a", "1", "1"))
    assert table.marked == {0}


def test_the_weight_of_a_caveat_decides_and_not_its_words():
    note = Caveat("note", "not a ranking: so a class is called")
    doubt, few = Caveat("not a ranking", "one seed"), Caveat("provisional", "5 seeds tell more")
    assert content.parted((note, doubt, few)) == ([doubt], [note])
    (told,) = content._notice("title", [doubt])
    assert told.sentences == ("not a ranking: one seed",)
