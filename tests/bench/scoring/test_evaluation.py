"""Scoring: windows over volumes of any size, and what is kept of every case."""

import json
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from inflate_zoo.bench.data.cases import open_case
from inflate_zoo.bench.scoring import evaluation
from inflate_zoo.bench.scoring.evaluation import evaluate, score_case, validation_dice
from inflate_zoo.bench.scoring.inference import SlidingWindowPredictor
from inflate_zoo.errors import WriteError
from inflate_zoo.segmentation.segmenter import segmenter
from tests.segmentation.test_segmenter import backbone
from tests.support.scoring import TASK, WINDOW, case_of, own_deprecation, predictor
from tests.support.trials import one_thread, tiny_run


@pytest.fixture(autouse=True, scope="module")
def quiet():
    with one_thread():
        yield


def test_validation_dice_is_the_mean_over_cases_and_their_regions():
    see, cases = predictor(), [case_of(0), case_of(1, classes=3), case_of(2, classes=1)]
    values = []
    for case in cases:
        found = see.probabilities(case.image).argmax(0).numpy()
        for members in ([1], [1, 2, 3], [3]):
            wanted = sum(case.label == member for member in members)
            got = sum(found == member for member in members)
            if wanted.sum():
                values.append(2 * (wanted * got).sum() / (wanted.sum() + got.sum()))
    assert len(values) == 5
    assert validation_dice(see, cases, TASK) == pytest.approx(np.mean(values))
    assert validation_dice(see, cases[2:], TASK) is None
    assert validation_dice(see, [], TASK) is None


@own_deprecation
def test_a_case_is_scored_on_its_own_grid_and_kept(tmp_path):
    see, case = predictor(), case_of(3, original=(7, 14, 10))
    scored = score_case(see, case, TASK, tmp_path, 5)
    probabilities = see.probabilities(case.image)
    there = torch.nn.functional.interpolate(probabilities[None], (7, 14, 10), mode="trilinear")
    found = there[0].argmax(0).numpy()
    assert scored.case == "case_3"
    for name, members in {"inner": [1], "all": [1, 2, 3], "cyst": [3]}.items():
        wanted, got = np.isin(case.reference, members), np.isin(found, members)
        scores = scored.regions[name]
        expected = 2 * (wanted & got).sum() / (wanted.sum() + got.sum())
        assert scores["dice"] == pytest.approx(expected)
        assert scores["reference_volume_mm3"] == pytest.approx(3 * wanted.sum())
    mean = np.mean([scores["dice"] for scores in scored.regions.values()])
    assert scored.mean_dice == pytest.approx(mean)
    assert json.loads((tmp_path / "cases" / "0005.json").read_text()) == scored.model_dump()
    overlay = load_file(tmp_path / "cases" / "0005.safetensors")
    chosen = scored.slice
    sizes = [(plane > 0).sum() for plane in case.reference]
    assert sizes[chosen] == max(sizes)
    squared = [  # nearest to the centres of as many pixels as fit into the extent
        np.floor((np.arange(pixels) + 0.5) * extent / pixels).astype(int)
        for extent, pixels in ((14, round(14 * 2 / 1.5)), (10, 10))
    ]
    for name, volume in (("reference", case.reference), ("prediction", found.astype(np.uint8))):
        assert torch.equal(overlay[name], torch.from_numpy(volume[chosen][np.ix_(*squared)]))
    assert overlay["image"].shape == overlay["reference"].shape
    assert overlay["image"].dtype == torch.uint8


@own_deprecation
def test_an_earlier_attempts_case_is_used_again(tmp_path, monkeypatch):
    see, case = predictor(), case_of(0)
    first = score_case(see, case, TASK, tmp_path, 0)

    def seen_again(self, image):
        raise AssertionError("computed twice")

    monkeypatch.setattr(SlidingWindowPredictor, "probabilities", seen_again)
    assert score_case(see, case, TASK, tmp_path, 0) == first
    with pytest.raises(AssertionError, match="computed twice"):
        score_case(see, case, TASK, tmp_path, 1)


@own_deprecation
@pytest.mark.parametrize("name, content", [
    ("0000.json", ""), ("0000.json", "[]"), ("0000.json", "another case"),
    ("0000.json", "a Dice of 7.5"),
    ("0000.safetensors", ""), ("0000.safetensors", None),
])  # fmt: skip
def test_what_was_kept_and_cannot_be_used_is_scored_anew(tmp_path, name, content):
    see, case = predictor(), case_of(0)
    first = score_case(see, case, TASK, tmp_path, 0)
    path = tmp_path / "cases" / name
    whole = path.read_bytes()
    if content is None:
        path.unlink()
    elif " " in content:
        changed = {"case": "other"} if "case" in content else {"mean_dice": 7.5}
        path.write_text(json.dumps(json.loads(whole) | changed))
    else:
        path.write_text(content)
    assert score_case(see, case, TASK, tmp_path, 0) == first
    assert path.read_bytes() == whole


@own_deprecation
def test_a_case_that_could_not_be_kept_is_scored_anew(tmp_path, monkeypatch):
    see, case = predictor(), case_of(0)

    def full(path, text):
        raise WriteError("disk full", hint="free space")

    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "replace_text", full)
        with pytest.raises(WriteError):
            score_case(see, case, TASK, tmp_path, 0)
    assert [path.name for path in (tmp_path / "cases").iterdir()] == ["0000.safetensors"]
    assert score_case(see, case, TASK, tmp_path, 0).case == "case_0"


@own_deprecation
@pytest.mark.parametrize("count", [1, 4, 5])
def test_overlays_are_those_of_every_case_with_a_dice(tmp_path, monkeypatch, count):
    cases = [case_of(seed, classes=1 if seed == 2 else 4) for seed in range(count)]
    monkeypatch.setattr(evaluation, "open_case", lambda cache, key: cases[int(key)])
    told = []
    scored = evaluate(
        predictor(), TASK, [(case.name, case.key) for case in cases], tmp_path, tmp_path,
        lambda *progress: told.append(progress),
    )  # fmt: skip
    assert told == [(done + 1, count) for done in range(count)]
    assert [entry.case for entry in scored] == [case.name for case in cases]
    shown = [index for index, entry in enumerate(scored) if index != 2]
    assert count < 3 or scored[2].mean_dice is None
    with safe_open(tmp_path / "overlays.safetensors", "pt") as file:
        state = json.loads(file.metadata()["state"])
        assert state.keys() == {f"{index:04d}" for index in shown}
        for index in shown:
            assert state[f"{index:04d}"] == {
                "case": f"case_{index}", "dice": scored[index].mean_dice,
                "slice": scored[index].slice,
            }  # fmt: skip
            kept = load_file(tmp_path / "cases" / f"{index:04d}.safetensors")
            for name in ("image", "reference", "prediction"):
                assert torch.equal(file.get_tensor(f"{index:04d}.{name}"), kept[name])


@own_deprecation
def test_without_any_region_there_are_no_overlays(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "open_case", lambda cache, key: case_of(0, classes=1))
    (scored,) = evaluate(predictor(), TASK, [("case_0", "0")], tmp_path, tmp_path, lambda *_: None)
    assert scored.mean_dice is None
    assert not (tmp_path / "overlays.safetensors").exists()


@own_deprecation
def test_planned_cases_are_scored_from_the_cache(tmp_path):
    run = tiny_run(tmp_path)
    spec = run.trial().spec
    names = [(name, spec.entries[name]) for name in spec.cases.test]
    torch.manual_seed(0)
    network = segmenter(backbone(in_channels=1, volume=(6, 4, 6)), classes=3, decoder="linear")
    see = SlidingWindowPredictor(
        network, WINDOW, spec.protocol.evaluation, torch.device("cpu"), nullcontext
    )
    scored = evaluate(see, spec.task, names, run.cache, tmp_path, lambda *_: None)
    for (name, key), entry in zip(names, scored, strict=True):
        case = open_case(run.cache, key)
        assert entry.case == name == case.name
        front = entry.regions["front"]
        assert front["reference_voxels"] == (case.reference == 1).sum()
