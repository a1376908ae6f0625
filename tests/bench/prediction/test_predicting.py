"""Predictions: those of the evaluation, on the images' own grids, whole or absent."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from inflate_zoo.bench.data.cases import preprocess
from inflate_zoo.bench.definitions.datasets import Case
from inflate_zoo.bench.definitions.trial_folder import TrialFolder
from inflate_zoo.bench.prediction.predicting import find_trial
from inflate_zoo.bench.scoring.inference import SlidingWindowPredictor
from inflate_zoo.errors import UsageError
from tests.support.datasets import in_unit, random_volume, write_nifti
from tests.support.prediction import predict, voxels


@pytest.mark.parametrize("kind", ["inflated", "2d"])
def test_a_test_case_gets_the_prediction_that_was_scored(run, kind, tmp_path):
    trial = run.trial(kind)
    names = trial.spec.cases.test
    images = [run.data / "imagesTr" / f"{name}.nii.gz" for name in names]
    out = tmp_path / "out"
    words = (trial.folder, *images, "--out", out, "--references", run.data / "labelsTr")
    result = predict(*words, "--format", "json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    recorded = {entry.case: entry.regions for entry in trial.believed().result.cases}
    assert [entry["case"] for entry in told["predictions"]] == sorted(names)
    some = 0
    for entry, scored in zip(told["predictions"], told["summary"]["metric_per_case"], strict=True):
        regions = recorded[entry["case"]]
        found = nib.load(out / entry["file"])
        image = nib.load(run.data / "imagesTr" / entry["file"])
        assert found.shape == image.shape
        assert found.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(found.affine, image.affine)
        label = voxels(run.data / "labelsTr" / entry["file"])
        for region, value in (("front", 2), ("back", 5)):
            ours, truth = np.asarray(found.dataobj) == value, label == value
            dice = 2 * (ours & truth).sum() / (ours.sum() + truth.sum())
            assert regions[region]["dice"] == pytest.approx(dice, abs=1e-12)
            assert scored["metrics"][str(value)]["Dice"] == pytest.approx(dice, abs=1e-12)
            assert entry["volumes_ml"][region] == pytest.approx(ours.sum() * 2 / 1000)
            assert regions[region]["volume_mm3"] == pytest.approx(ours.sum() * 2)
            some += int(ours.sum())
    assert some  # an empty prediction would be right by chance
    assert json.loads((out / "summary.json").read_text()) == told["summary"]
    for name, scored in zip(sorted(names), told["summary"]["metric_per_case"], strict=True):
        assert list(scored) == ["reference_file", "prediction_file", "metrics"]  # nnU-Net's
        assert scored["reference_file"] == str(run.data / "labelsTr" / f"{name}.nii.gz")
        assert scored["prediction_file"] == str(out / f"{name}.nii.gz")


def test_where_headers_round_training_and_prediction_see_the_same(run, tmp_path, monkeypatch):
    """The label's spacing gives 17 voxels along an axis, the image's 18."""
    trial, size = run.trial(), 14
    image, label = random_volume(3, (size, size, size), 1)
    path = write_nifti(tmp_path / "images" / "odd.nii.gz", image[..., 0])
    near = np.diag([0.998, 0.998, 0.998, 1])
    values = np.array([0, 2, 5], np.uint8)[label]
    reference = write_nifti(tmp_path / "labels" / "odd.nii.gz", values, near)
    seen, look = [], SlidingWindowPredictor.probabilities
    monkeypatch.setattr(
        SlidingWindowPredictor,
        "probabilities",
        lambda self, image: seen.append(image) or look(self, image),
    )
    result = predict(
        trial.folder, path, "--out", tmp_path / "out", "--references", reference.parent
    )
    assert result.exit_code == 0, result.output
    arrays, spacing = preprocess(trial.spec.task, Case("odd", (path,), reference))
    assert np.array_equal(seen[0], arrays["image"])
    assert arrays["label"].shape == arrays["image"].shape[1:]
    assert spacing == pytest.approx((0.998, 0.998, 0.998))


def test_an_image_in_micron_gets_the_same_prediction_in_micron(run, tmp_path):
    trial = run.trial().folder
    for folder in ("imagesTr", "labelsTr"):
        shutil.copytree(run.data / folder, tmp_path / folder)
    for path in (tmp_path / "imagesTr").iterdir():
        in_unit(path, 1000, 3)
    told = []
    for images, out in ((run.data, "a"), (tmp_path, "b")):
        words = (images / "imagesTr" / "case_00.nii.gz", "--out", tmp_path / out)
        result = predict(trial, *words, "--references", tmp_path / "labelsTr", "--format", "json")
        assert result.exit_code == 0, result.output
        told.append(json.loads(result.stdout))
    for entry in (said["summary"]["metric_per_case"][0] for said in told):
        del entry["prediction_file"]  # the folder's
    assert told[0] == told[1]
    plain, found = (nib.load(tmp_path / out / "case_00.nii.gz") for out in "ab")
    np.testing.assert_array_equal(np.asarray(found.dataobj), np.asarray(plain.dataobj))
    np.testing.assert_allclose(found.affine[:3], 1000 * plain.affine[:3])
    assert found.header.get_xyzt_units()[0] == "micron"


def test_the_trial_is_found(run, pair, tmp_path):
    assert find_trial(run.trials[0].folder).spec == run.trials[0].spec
    assert find_trial(pair.out).folder == pair.trials[0].folder
    with pytest.raises(UsageError) as caught:
        find_trial(run.out)
    assert "holds 2 trained networks" in str(caught.value)
    for trial in run.trials:
        assert f"{trial.folder}: {trial.spec.arm.label}, seed 0, fold 0" in str(caught.value)
    copy = tmp_path / "run"
    shutil.copytree(run.out, copy)
    for path in copy.glob("trials/*/record.json"):
        path.unlink()
    with pytest.raises(UsageError, match="none of the 2 trials"):
        find_trial(copy)
    undone = next((copy / "trials").iterdir())
    with pytest.raises(UsageError, match="not done") as caught:
        find_trial(undone)
    assert f"inflate-zoo bench-trial {undone}" in caught.value.hint
    with pytest.raises(UsageError, match="neither a trial's folder"):
        find_trial(tmp_path)


def test_a_trial_moved_elsewhere_predicts_without_cache_and_place(run, tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    for name in ("trial.json", "record.json", "config.json", "model.safetensors"):
        shutil.copy(run.trial().folder / name, kept)
    image = run.data / "imagesTr" / "case_00.nii.gz"
    assert predict(kept, image, "--out", tmp_path / "out").exit_code == 0
    (kept / "model.safetensors").unlink()
    gone = predict(kept, image, "--out", tmp_path / "other")
    assert gone.exit_code == 2
    assert not (tmp_path / "other").exists()
    assert TrialFolder(kept).believed(moved=True)


def test_what_dies_half_way_leaves_whole_files(run, tmp_path, monkeypatch):
    from inflate_zoo.bench.prediction import predicting

    real, calls = predicting.write_like, []

    def dies(path, *arguments):
        calls.append(path)
        if len(calls) == 3:
            raise KeyboardInterrupt
        real(path, *arguments)

    monkeypatch.setattr(predicting, "write_like", dies)
    out, labels = tmp_path / "out", run.data / "labelsTr"
    out.mkdir()
    (out / "summary.json").write_text("of other predictions")
    words = (run.trial().folder, run.data / "imagesTr", "--out", out, "--references", labels)
    assert predict(*words, "--force").exit_code == 130
    assert sorted(path.name for path in out.iterdir()) == ["case_00.nii.gz", "case_01.nii.gz"]
    assert all(voxels(path).shape == (14, 12, 6) for path in out.iterdir())


def test_what_dies_before_the_first_file_leaves_no_empty_folders(run, tmp_path, monkeypatch):
    from inflate_zoo.bench.prediction import predicting

    def dies(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(predicting, "write_like", dies)
    image, above = run.data / "imagesTr" / "case_00.nii.gz", tmp_path / "above"
    assert predict(run.trial().folder, image, "--out", above / "out").exit_code == 130
    assert not above.exists()
