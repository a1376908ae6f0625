"""Predictions: those of the evaluation, on the images' own grids, whole or absent."""

import errno
import fcntl
import itertools
import json
import os
import shutil
import sys
from contextlib import ExitStack

import nibabel as nib
import numpy as np
import pytest
import torch

from inflate_zoo.bench.data.cases import preprocess
from inflate_zoo.bench.data.grids import to_file_grid
from inflate_zoo.bench.data.volumes import read_grid
from inflate_zoo.bench.definitions.datasets import Case
from inflate_zoo.bench.definitions.trial_folder import TrialFolder
from inflate_zoo.bench.prediction.done import Folder
from inflate_zoo.bench.scoring.inference import SlidingWindowPredictor
from inflate_zoo.files.writing.turns import only_one
from tests.support.datasets import in_unit, near_45, random_volume, write_nifti
from tests.support.dicom import write_series
from tests.support.prediction import predict, voxels
from tests.support.turns import while_waiting


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
    assert spacing == (1.0, 1.0, 1.0)  # distances are measured on the image's grid, too


def test_near_45_degrees_a_reference_is_turned_as_the_image(run, tmp_path):
    image, label = random_volume(3, (12, 12, 8), 1)
    path = write_nifti(tmp_path / "images" / "odd.nii.gz", image[..., 0], near_45(1e-6))
    values, found = np.array([0, 2, 5], np.uint8)[label], []
    for by in (1e-6, -1e-6):
        reference = write_nifti(tmp_path / "labels" / "odd.nii.gz", values, near_45(by))
        words = (path, "--out", tmp_path / str(by), "--references", reference.parent)
        result = predict(run.trial().folder, *words, "--format", "json")
        assert result.exit_code == 0, result.output
        found.append(json.loads(result.stdout)["summary"]["foreground_mean"])
    assert found[0] == found[1]


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

    real, calls = predicting.label_file, []

    def dies(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(predicting, "label_file", dies)
    out, labels = tmp_path / "out", run.data / "labelsTr"
    out.mkdir()
    (out / "summary.json").write_text("of other predictions")
    words = (run.trial().folder, run.data / "imagesTr", "--out", out, "--references", labels)
    assert predict(*words, "--force").exit_code == 130
    names = ["case_00.nii.gz", "case_01.nii.gz"]
    assert sorted(path.name for path in out.iterdir()) == [*names, "predictions.json"]
    assert all(voxels(out / name).shape == (14, 12, 6) for name in names)


def test_what_dies_before_the_first_file_leaves_no_empty_folders(run, tmp_path, monkeypatch):
    from inflate_zoo.bench.prediction import predicting

    def dies(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(predicting, "label_file", dies)
    image, above = run.data / "imagesTr" / "case_00.nii.gz", tmp_path / "above"
    assert predict(run.trial().folder, image, "--out", above / "out").exit_code == 130
    assert not above.exists()


@pytest.fixture
def looks(monkeypatch):
    """What networks were shown, one entry for each look."""
    seen, look = [], SlidingWindowPredictor.probabilities
    monkeypatch.setattr(
        SlidingWindowPredictor,
        "probabilities",
        lambda self, image: seen.append((self, image)) or look(self, image),
    )
    return seen


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_done_is_kept_and_the_same_command_goes_on(run, tmp_path, monkeypatch, looks):
    from inflate_zoo.bench.prediction import predicting

    trial, labels = run.trial().folder, run.data / "labelsTr"
    words = (trial, run.data / "imagesTr", "--references", labels, "--save-probabilities", "--out")
    assert predict(*words, tmp_path / "whole").exit_code == 0
    looks.clear()
    real, calls = predicting.write_npz, []

    def dies(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(predicting, "write_npz", dies)
        assert predict(*words, tmp_path / "out").exit_code == 130
    assert len(looks) == 3
    again = predict(*words, tmp_path / "out", "--format", "json")
    assert again.exit_code == 0, again.output
    told = json.loads(again.stdout)
    assert [entry["kept"] for entry in told["predictions"]] == [True, True] + [False] * 8
    assert len(looks) == 3 + 8
    whole, out = contents(tmp_path / "whole"), contents(tmp_path / "out")
    for files in (whole, out):
        files["summary.json"] = files["summary.json"].replace(b"/whole/", b"/out/")
    assert whole == out
    looks.clear()
    last = predict(*words, tmp_path / "out", "--force")
    assert "10 of 10 cases had been predicted before" in last.stderr
    assert not looks
    assert contents(tmp_path / "out")["summary.json"] == out["summary.json"]


def test_an_image_that_changed_is_segmented_again(run, tmp_path, looks):
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    for name in ("case_00", "case_01"):
        shutil.copy(run.data / "imagesTr" / f"{name}.nii.gz", images)
    words = (run.trial().folder, images, "--out", out)
    assert predict(*words).exit_code == 0
    before = contents(out)
    shutil.copy(run.data / "imagesTr" / "case_02.nii.gz", images / "case_01.nii.gz")
    looks.clear()
    assert predict(*words).exit_code == 0
    assert len(looks) == 1
    after = contents(out)
    assert after["case_00.nii.gz"] == before["case_00.nii.gz"]
    assert after["case_01.nii.gz"] != before["case_01.nii.gz"]


def test_another_network_s_predictions_are_not_taken_for_its_own(run, tmp_path, looks):
    image, out = run.data / "imagesTr" / "case_00.nii.gz", tmp_path / "out"
    assert predict(run.trial().folder, image, "--out", out).exit_code == 0
    before = contents(out)
    other = predict(run.trial("2d").folder, image, "--out", out)
    assert other.exit_code == 2
    label = run.trial().spec.arm.label
    assert f"'out' holds predictions of {label}, seed 0, fold 0" in other.stderr
    assert "made without --mirror" in predict(
        run.trial().folder, image, "--out", out, "--mirror"
    ).stderr  # fmt: skip
    assert contents(out) == before
    looks.clear()
    assert predict(run.trial("2d").folder, image, "--out", out, "--force").exit_code == 0
    assert len(looks) == 1
    assert contents(out)["case_00.nii.gz"] != before["case_00.nii.gz"]
    assert predict(run.trial("2d").folder, image, "--out", out).exit_code == 0
    assert len(looks) == 1  # it knows its own


def test_what_a_user_changed_or_put_there_is_not_replaced(run, tmp_path):
    images, out = run.data / "imagesTr", tmp_path / "out"
    words = (run.trial().folder, "--out", out)
    assert predict(*words, images / "case_00.nii.gz").exit_code == 0
    for name in ("case_00.nii.gz", "case_01.nii.gz"):
        path = write_nifti(out / name, np.ones((14, 12, 6), np.uint8))
        kept = path.read_bytes()
        refused = predict(*words, images / "case_00.nii.gz", images / "case_01.nii.gz")
        assert refused.exit_code == 2
        assert f"  {name}\n" in refused.stderr
        assert path.read_bytes() == kept
        assert predict(*words, images / "case_00.nii.gz", "--force").exit_code == 0


def test_probabilities_are_those_of_the_labels_on_the_file_s_own_axes(run, tmp_path):
    """As nnU-Net keeps them: [class, z, y, x], of the array that nibabel reads, turned round."""
    image, out = run.data / "imagesTr" / "case_00.nii.gz", tmp_path / "out"
    result = predict(run.trial().folder, image, "--out", out, "--save-probabilities")
    assert result.exit_code == 0, result.output
    with np.load(out / "case_00.npz") as archive:
        assert archive.files == ["probabilities"]
        found = archive["probabilities"]
    label = voxels(out / "case_00.nii.gz")
    assert found.dtype == np.float32
    assert found.shape == (3, *label.shape[::-1])
    np.testing.assert_allclose(found.sum(0), 1, rtol=1e-5)
    values = np.array([0, 2, 5], np.uint8)[found.argmax(0)]
    np.testing.assert_array_equal(values.T, label)
    assert len(np.unique(label)) > 1


def probabilities_of(out, case="case_00"):
    with np.load(out / f"{case}.npz") as archive:
        return archive["probabilities"]


def test_seeds_and_folds_are_an_ensemble(seeds, tmp_path):
    """The mean of what each of them says alone, though folds see other intensities."""
    image = seeds.data / "imagesTr" / "case_00.nii.gz"
    label = seeds.trials[0].spec.arm.label
    alone = {}
    for trial in seeds.trials:
        out = tmp_path / trial.hash
        words = (trial.folder, image, "--out", out, "--save-probabilities")
        assert predict(*words).exit_code == 0
        alone[trial.spec.fold, trial.spec.seed] = probabilities_of(out)
    for number, (chosen, members) in enumerate(
        (
            (("--fold", 1), [(1, 0), (1, 1)]),
            (("--seed", 0), [(0, 0), (1, 0)]),
            ((), [(0, 0), (0, 1), (1, 0), (1, 1)]),
        )
    ):
        out = tmp_path / str(number)
        words = (seeds.out, image, "--arm", label, *chosen, "--out", out, "--save-probabilities")
        result = predict(*words, "--format", "json")
        assert result.exit_code == 0, result.output
        assert f"mean of {len(members)} networks: " in result.stderr
        told = [(entry["fold"], entry["seed"]) for entry in json.loads(result.stdout)["networks"]]
        assert told == members
        found, expected = probabilities_of(out), np.mean([alone[m] for m in members], axis=0)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert np.abs(found - alone[0, 0]).max() > 1e-3
        np.testing.assert_array_equal(voxels(out / "case_00.nii.gz").T, found.argmax(0))


def test_an_ensemble_is_of_one_arm_however_commands_called_it(seeds, tmp_path):
    shutil.copytree(seeds.out, tmp_path / "run")
    label = f"{seeds.trials[0].spec.arm.label} beside others"
    path = tmp_path / "run" / "trials" / seeds.trials[0].hash / "trial.json"
    spec = json.loads(path.read_text())
    spec["arm"]["label"] = label
    path.write_text(json.dumps(spec))
    image = seeds.data / "imagesTr" / "case_00.nii.gz"
    words = (tmp_path / "run", image, "--arm", label, "--out", tmp_path / "out")
    result = predict(*words, "--format", "json")
    assert result.exit_code == 0, result.output
    assert result.stderr.count(label) == len(seeds.trials)
    networks = json.loads(result.stdout)["networks"]
    assert [entry["arm"] for entry in networks] == [label] * len(seeds.trials)


def test_mirroring_is_the_mean_over_flips(run, tmp_path, looks):
    trial, image = run.trial(), run.data / "imagesTr" / "case_00.nii.gz"
    words = (trial.folder, image, "--save-probabilities", "--out")
    assert predict(*words, tmp_path / "plain").exit_code == 0
    (see, shown), *_ = looks
    looks.clear()
    result = predict(*words, tmp_path / "mirrored", "--mirror")
    assert result.exit_code == 0, result.output
    assert "each image is segmented 8 times: in 8 mirrored forms, by 1 network" in result.stderr
    assert "warning: it was trained without flips" in result.stderr
    assert len(looks) == 8
    total = 0
    for steps in itertools.product((1, -1), repeat=3):
        turned = tuple(slice(None, None, step) for step in steps)
        answer = see.probabilities(np.ascontiguousarray(shown[:, *turned])).numpy()
        total = total + answer[:, *turned].astype(np.float64)
    grid, slices = read_grid(image), trial.spec.task.slices
    restored = torch.nn.functional.interpolate(
        torch.from_numpy(total / 8).float()[None], size=grid.voxels(slices), mode="trilinear"
    )[0].numpy()
    expected = [to_file_grid(each, grid, slices).transpose(2, 1, 0) for each in restored]
    plain, found = (probabilities_of(tmp_path / name) for name in ("plain", "mirrored"))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    label = voxels(tmp_path / "mirrored" / "case_00.nii.gz")
    np.testing.assert_array_equal(np.array([0, 2, 5], np.uint8)[found.argmax(0)].T, label)
    assert np.abs(found - plain).max() > 1e-3


def test_a_dicom_series_gets_the_prediction_of_the_same_nifti(run, tmp_path):
    rng = np.random.default_rng(4)
    voxels_hu = rng.integers(-900, 1200, (14, 12, 6)).astype(np.int16)
    affine = np.array([[-1.0, 0, 0, 5], [0, -1.0, 0, -7], [0, 0, 2.0, 3], [0, 0, 0, 1]])
    write_series(tmp_path / "scans" / "anna", voxels_hu, affine, slopes=[2] * 6, intercept=-1024)
    write_series(tmp_path / "scans" / "bert_0000", voxels_hu[::-1], affine)
    write_nifti(tmp_path / "nifti" / "anna.nii.gz", voxels_hu.astype(np.int32) * 2 - 1024, affine)
    write_nifti(tmp_path / "nifti" / "bert.nii.gz", voxels_hu[::-1], affine)
    for source, out in (("scans", "a"), ("nifti", "b")):
        result = predict(run.trial().folder, tmp_path / source, "--out", tmp_path / out)
        assert result.exit_code == 0, result.output
    for case in ("anna", "bert"):
        ours, theirs = (nib.load(tmp_path / out / f"{case}.nii.gz") for out in "ab")
        np.testing.assert_array_equal(np.asarray(ours.dataobj), np.asarray(theirs.dataobj))
        np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-4)
        assert np.asarray(ours.dataobj).any()
    again = predict(run.trial().folder, tmp_path / "scans", "--out", tmp_path / "a")
    assert "2 of 2 cases had been predicted before" in again.stderr
    (tmp_path / "scans" / "anna" / "00-0").unlink()
    cut = predict(run.trial().folder, tmp_path / "scans", "--out", tmp_path / "a")
    assert cut.exit_code == 0  # five slices, still a volume
    assert "1 of 2 cases had been predicted before" in cut.stderr


def test_two_commands_on_one_folder_wait_for_one_another(run, tmp_path, monkeypatch):
    out, images = tmp_path / "out", run.data / "imagesTr"
    left = out / f".case_00.nii.gz.{'0' * 32}.partial"
    with ExitStack() as first:
        first.enter_context(only_one(out))
        left.write_text("the first one's work")
        while_waiting(monkeypatch, lambda: (left.rename(out / "case_00.nii.gz"), first.close()))
        result = predict(run.trial().folder, images / "case_00.nii.gz", "--out", out)
    assert result.exit_code == 2
    assert "warning: another process predicts into 'out': this one waits" in result.stderr
    assert "'out' is not empty" in result.stderr  # of what the first one made there meanwhile


@pytest.fixture
def meanwhile(monkeypatch):
    """Calls what is put there in the midst of the next case, where nothing locks."""
    record, steps = Folder.record, []

    def unknown(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    def recorded(self, job, entry):
        if steps:
            steps.pop()()
        record(self, job, entry)

    monkeypatch.setattr(fcntl, "flock", unknown)
    monkeypatch.setattr(Folder, "record", recorded)
    return steps


def test_where_nothing_locks_two_commands_leave_each_other_s_work(run, tmp_path, meanwhile):
    out, images = tmp_path / "out", run.data / "imagesTr"
    words = (run.trial().folder, "--out", out)
    names = [f"case_0{number}.nii.gz" for number in range(3)]
    assert predict(*words, images / names[0]).exit_code == 0
    meanwhile.append(lambda: predict(*words, images / names[2]))
    first = predict(*words, images / names[1])
    assert first.exit_code == 0, first.output
    assert sorted(contents(out)) == [*names, "predictions.json"]
    again = predict(*words, *(images / name for name in names))
    assert "3 of 3 cases had been predicted before" in again.stderr


def test_where_nothing_locks_two_networks_are_never_mixed(run, tmp_path, meanwhile):
    out, image = tmp_path / "out", run.data / "imagesTr" / "case_00.nii.gz"
    for force in ((), ("--force",)):
        meanwhile.append(lambda: predict(run.trial("2d").folder, image, "--out", out, "--force"))
        first = predict(run.trial().folder, image, "--out", out, *force)
        assert first.exit_code == 2
        assert "'out' holds predictions of" in first.stderr
        again = predict(run.trial("2d").folder, image, "--out", out)
        assert "1 of 1 case had been predicted before" in again.stderr
        shutil.rmtree(out)


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text there")
def test_scores_in_a_folder_whose_name_is_no_text_are_written(run, tmp_path):
    """All was predicted, and then it ended in a traceback."""
    out, name = tmp_path / os.fsdecode(b"out\xff"), run.trial().spec.cases.test[0]
    image = run.data / "imagesTr" / f"{name}.nii.gz"
    words = (image, "--out", out, "--references", run.data / "labelsTr")
    result = predict(run.trial().folder, *words)
    assert result.exit_code == 0, result.output
    (entry,) = json.loads((out / "summary.json").read_text())["metric_per_case"]
    assert entry["prediction_file"] == f"{tmp_path}/out\\udcff/{name}.nii.gz"
