"""Parts of the report against plain arithmetic: baselines, ranks under other cases, overlays."""

import copy
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from inflate_zoo.bench.ranking.types import Caveat
from inflate_zoo.bench.report import content, overlays, results, tables, terminal
from inflate_zoo.bench.report.baselines import to_baselines
from inflate_zoo.bench.report.collect import collect
from inflate_zoo.bench.report.output import markdown, page
from inflate_zoo.bench.report.output.document import Bullets, Fold, Picture
from inflate_zoo.cli.bench.report import as_json
from inflate_zoo.errors import UsageError
from tests.support import records

ARMS = records.arms_of(("made-up/vit-one", "made-up/vit-two"), ("center",))


def study_of(folder, **settings):
    run = records.save_run(folder, arms=ARMS, incomplete=False, overlays=False, **settings)
    return results.rank_trials(collect([run])).studies[0]


def test_every_arm_is_compared_with_random_and_its_own_2d(tmp_path):
    study = study_of(tmp_path, seeds=2, cases=6)
    pairs = {(one.first, one.second) for one in to_baselines(study)}
    assert pairs == {
        ("vit-one center", "random"),
        ("vit-two center", "random"),
        ("vit-one 2d", "random"),
        ("vit-two 2d", "random"),
        ("vit-one center", "vit-one 2d"),
        ("vit-two center", "vit-two 2d"),
    }
    table = tables.differences(to_baselines(study))
    for row in table.rows:
        metric = "dice" if row[3] == "Dice" else "surface_dice"
        means = [
            np.mean([*results.case_means(study, arm, row[2], metric).values()]) for arm in row[:2]
        ]
        assert row[5] == f"{means[0] - means[1]:+.3f}"


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
    shown = tables.standings(study, pooled=False)
    place = shown.columns.index("normalisation")
    assert place < shown.words
    marks = {row[2]: row[place] for row in shown.rows}
    guessed = {arm for arm, fed in FED.items() if fed == "guessed"}
    assert {arm for arm, mark in marks.items() if mark == "GUESSED"} == guessed
    assert marks["vit-two center"] == "stated"
    assert {shown.rows[i][2] for i in shown.marked} == guessed
    told = "the input normalisation of 'vit-one 2d', 'vit-one center' is a guess"
    assert any(caveat.sentence.startswith(told) for caveat in study.caveats)
    assert "GUESSED" in terminal.table(made)
    blocks, _ = content.compose(made)
    for text in (
        page.render("t", blocks, NoPictures()),
        markdown.render("t", blocks, NoPictures()),
    ):
        assert "GUESSED" in text
        assert "-mean" in text
    fed = {s["arm"]: s["normalization"] for s in as_json(made)["tasks"][0]["standings"]}
    assert fed == {arm: FED.get(arm) for arm in fed}
    assert tables.arms(study).columns[4] == "normalisation"


class NoPictures(dict):
    """Stands for any drawing."""

    def __missing__(self, name):
        return Picture(name, "<svg ></svg>", b"")


def test_without_a_doubtful_arm_there_is_no_such_column(tmp_path):
    study = study_of(tmp_path, seeds=1, cases=2)
    assert "normalisation" not in tables.standings(study, pooled=True).columns
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
    assert {(one.first, one.second) for one in to_baselines(study)} == {
        pair
        for name in heads
        for pair in (
            (f"{name} center", f"random {name}"),
            (f"{name} 2d", f"random {name}"),
            (f"{name} center", f"{name} 2d"),
        )
    }


@pytest.mark.parametrize("depths, count", [((2, 6), 4), ((2, 4), 0)], ids=["same", "unlike"])
def test_the_networks_of_each_fold_are_compared(tmp_path, depths, count):
    for arm in (ARMS[0], ARMS[-1]):
        for fold, depth in enumerate(depths if arm.kind == "random" else (2, 6)):
            records.save(tmp_path, configured(arm, fold=fold, patch_depth=depth), overlays=False)
    study = results.rank_trials(collect([tmp_path])).studies[0]
    assert len(to_baselines(study)) == count


def test_the_verdict_counts_what_is_shown_and_says_so_where_nothing_is(tmp_path):
    apart = study_of(tmp_path / "apart")
    shown = sum(one.better for one in apart.ranking.comparisons)
    pairs = {
        (frozenset((one.first, one.second)), one.region, one.metric)
        for one in apart.ranking.comparisons
    }
    assert 0 < shown <= len(pairs)
    assert tables.verdict(apart).startswith(
        f"An arm is shown to be better in {shown} of {len(pairs)} "
    )
    alike = [records.Arm(f"{name} center", "inflated", name, "center", 0.8) for name in "cd"]
    run = records.save_run(tmp_path / "alike", arms=alike, incomplete=False, overlays=False)
    alike = results.rank_trials(collect([run])).studies[0]
    assert tables.verdict(alike) == "No arm is shown to be better than another (Holm, p < 0.05)."


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
        for block in content._origins(found)
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
    bullets = [block for block in content._origins(found) if isinstance(block, Bullets)]
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


def test_painted_classes_are_edged_and_filled():
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (5, 4)).astype(np.uint8)
    classes = np.zeros((5, 4), np.uint8)
    classes[1:4, 1:3] = 2
    pixels = overlays.painted(grey, classes)
    assert pixels.shape == (15, 12, 3)
    np.testing.assert_array_equal(pixels[0, :3], np.full((3, 3), grey[0, 0]))
    rgb = np.array([int(overlays.colour(2)[i : i + 2], 16) for i in (1, 3, 5)])
    np.testing.assert_array_equal(pixels[3, 3], rgb)
    np.testing.assert_array_equal(pixels[7, 4], np.rint(0.65 * grey[2, 1] + 0.35 * rgb))


@pytest.mark.parametrize("change", [
    lambda tensors: tensors.update({"best.prediction": torch.zeros(3, 3, dtype=torch.uint8)}),
    lambda tensors: tensors.update({"best.image": torch.zeros(48, 48)}),
    lambda tensors: tensors.update({"best.image": torch.zeros(48, dtype=torch.uint8)}),
], ids=["shape", "dtype", "rank"])  # fmt: skip
def test_overlays_of_another_form_are_refused(tmp_path, change):
    place = records.save(tmp_path, records.record(ARMS[0]))
    path = place / "overlays.safetensors"
    whole = overlays.read(path, place.name)
    assert len(whole.pictures) == 9
    tensors = {f"{a}.{b}": torch.from_numpy(t) for (a, b), t in whole.pictures.items()}
    change(tensors)
    state = json.dumps({kind: said.model_dump() for kind, said in whole.said.items()})
    save_file(tensors, path, metadata={"state": state})
    with pytest.raises(UsageError, match=place.name):
        overlays.read(path, place.name)


def test_the_weight_of_a_caveat_decides_and_not_its_words():
    note = Caveat("note", "not a ranking: so a class is called")
    assert content._notice((note,)).title == "Read this first"
    doubt = Caveat("not a ranking", "one seed")
    assert content._notice((doubt,)).title == "This is not a ranking"
    assert content._notice((note, doubt)).sentences == (note.text, "not a ranking: one seed")
