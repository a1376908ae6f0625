"""Slices: which cases are shown, in what colours, and files of another form."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from inflate_zoo.bench.report import results
from inflate_zoo.bench.report.collect import collect
from inflate_zoo.bench.report.drawings import overlays
from inflate_zoo.errors import UsageError
from tests.support import records

ARMS = records.arms_of(("made-up/vit-one",), ("center",))


def study_of(folder):
    return results.rank_trials(collect([folder])).studies[0]


def firsts(study):
    (drawing,) = overlays.of_study(study).values()
    return {arm: overlays.of_arm(trials) for arm, trials in drawing.args[1].items()}


def test_the_worst_the_median_and_the_best_case_are_those_of_the_mean_over_arms_and_seeds(tmp_path):
    values = {}
    for arm in ARMS:
        for seed in range(2):
            made = records.record(arm, seed, 7)
            for each in made["result"]["cases"]:
                values.setdefault(each["case"], []).append(each["mean_dice"])
            records.save(tmp_path, made, overlays=seed == 0)
    ordered = sorted((np.mean(own), case) for case, own in values.items())
    assert len(ordered) == 7
    study = study_of(tmp_path)
    found = firsts(study)
    assert set(found) == {arm.label for arm in ARMS}
    shown = overlays.chosen(study, found)
    assert [place for place, _, _ in shown] == ["worst", "median", "best"]
    for (_, case, mean), (expected, name) in zip(
        shown, (ordered[0], ordered[3], ordered[-1]), strict=True
    ):
        assert case == name
        assert mean == pytest.approx(expected)


@pytest.mark.parametrize(
    "name, lines",
    [
        ("vit center", "vit center"),
        ("builtin-clip center", "builtin-clip|center"),
        ("builtin-supervised center", "builtin-|supervised center"),
        ("dinov2-vits14-saliency center", "dinov2-vits14-|saliency center"),
        ("abcdefghij klmnopqrst uvwxyz12345", "abcdefghij klmnop|qrst uvwxyz12345"),
        ("x" * 34, "x" * 17 + "|" + "x" * 17),
    ],
)
def test_a_head_is_broken_between_words_if_these_fit_on_two_lines(name, lines):
    assert overlays._lines(name) == lines.replace("|", "\n")


def test_arms_stand_beside_each_other_and_below_each_its_own_dice(tmp_path):
    for arm in ARMS:
        records.save(tmp_path, records.record(arm, 0, 4))
    study = study_of(tmp_path)
    found = firsts(study)
    tiles = overlays._tiles("made-up_001", found)
    assert len(tiles) == 1 + len(ARMS)
    assert [tile.shape for tile in tiles] == [(144, 144, 3)] * len(tiles)
    drawn = overlays.of_study(study)["overlays"]()
    assert drawn.svg.startswith("<svg")
    assert drawn.alt.endswith("one column per arm")


def test_overlays_of_earlier_releases_are_shown_where_most_arms_kept_a_case(tmp_path):
    kept = {ARMS[0].label: (1, 2, 3), ARMS[1].label: (2, 3, 4), ARMS[2].label: (3, 2, 0)}
    for arm in ARMS:
        made = records.record(arm, 0, 6)
        place = records.save(tmp_path, made, overlays=False)
        names = dict(zip(("worst", "median", "best"), kept[arm.label], strict=True))
        records.save_overlays(place / "overlays.safetensors", made, names=names)
    study = study_of(tmp_path)
    shown = overlays.chosen(study, firsts(study))
    assert {case for _, case, _ in shown} == {"made-up_002", "made-up_003"}
    assert overlays.of_study(study)["overlays"]().svg


def test_the_cases_of_all_folds_are_chosen_among(tmp_path):
    made, names = [], [["a", "b", "c", "d", "e"], ["f", "g"]]
    for arm in ARMS:
        for seed in range(2):
            for fold, own in enumerate(names):
                made.append(records.record(arm, seed, fold=fold, cases_named=own))
                for case in made[-1]["result"]["cases"]:
                    case["mean_dice"] = {"f": 0.1, "g": 0.95}.get(case["case"], 0.5)
                records.save(tmp_path, made[-1])
    study = study_of(tmp_path)
    shown = overlays.chosen(study, firsts(study))
    assert [(place, case) for place, case, _ in shown] == [
        ("worst", "f"), ("median", "c"), ("best", "g"),
    ]  # fmt: skip
    assert overlays.of_study(study)["overlays"]().svg


def test_pictures_of_the_cases_that_are_shown_alone_are_read(tmp_path):
    path = records.save(tmp_path, records.record(ARMS[0], 0, 6)) / "overlays.safetensors"
    whole, few = overlays.read(path, "t"), overlays.read(path, "t", {"made-up_004"})
    assert few.said == whole.said
    assert few.pictures.keys() == {
        ("made-up_004", what) for what in ("image", "reference", "prediction")
    }
    assert all((pixels == whole.pictures[key]).all() for key, pixels in few.pictures.items())


def test_without_any_overlay_nothing_is_drawn(tmp_path):
    records.save(tmp_path, records.record(ARMS[0], 0, 4), overlays=False)
    assert overlays.of_study(study_of(tmp_path)) == {}


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
    ("prediction", torch.zeros(3, 3, dtype=torch.uint8)),
    ("image", torch.zeros(48, 48)),
    ("image", torch.zeros(48, dtype=torch.uint8)),
], ids=["shape", "dtype", "rank"])  # fmt: skip
def test_overlays_of_another_form_are_refused(tmp_path, change):
    place = records.save(tmp_path, records.record(ARMS[0]))
    path = place / "overlays.safetensors"
    whole = overlays.read(path, place.name)
    assert len(whole.pictures) == 3 * 12
    tensors = {".".join(name): torch.from_numpy(each) for name, each in whole.pictures.items()}
    what, pixels = change
    tensors[f"{next(iter(whole.said))}.{what}"] = pixels
    state = json.dumps({case: said.model_dump() for case, said in whole.said.items()})
    save_file(tensors, path, metadata={"state": state})
    with pytest.raises(UsageError, match=place.name):
        overlays.read(path, place.name)
