"""Predictions: those of the evaluation, on the images' own grids, whole or absent."""

import gzip
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from inflate_zoo.bench.data.cases import preprocess
from inflate_zoo.bench.definitions.datasets import Case
from inflate_zoo.bench.definitions.trial_folder import TrialFolder
from inflate_zoo.bench.prediction.images import find_jobs
from inflate_zoo.bench.prediction.nnunet_summary import overlap, score, summarize
from inflate_zoo.bench.prediction.predicting import find_trial
from inflate_zoo.bench.scoring.inference import SlidingWindowPredictor
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.bench.training.progress import Silent
from inflate_zoo.bench.trials.running import run_trial
from inflate_zoo.cli import app
from inflate_zoo.errors import UsageError
from tests.support.datasets import (
    change_table,
    in_unit,
    random_volume,
    write_decathlon,
    write_nifti,
)
from tests.support.trials import one_thread, tiny_run

CHANGES = ("train.validate_every=0", "train.learning_rate=1e-2", "data.spacing=[1.4, 0.8, 1.1]")
# Left-right and front-back swapped, axes permuted, 2 mm along one.
TURNED = np.array([[0, -1.0, 0, 5], [0, 0, 2.0, -7], [-1.0, 0, 0, 3], [0, 0, 0, 1]])


def trained(folder, **settings):
    with one_thread():
        run = tiny_run(folder, *CHANGES, "train.steps=8", **settings)
        for trial in run.trials:
            assert run_trial(trial, Resources("cpu", 0), Silent()) == "done"
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two trained networks on a data set whose axes are turned and whose labels have gaps."""
    folder = tmp_path_factory.mktemp("one")
    data = write_decathlon(folder / "data", 10, (14, 12, 6), ("MRI",), TURNED)
    for path in (data / "labelsTr").iterdir():
        write_nifti(path, np.array([0, 2, 5], np.uint8)[voxels(path)], TURNED)
    change_table(data, labels={"0": "background", "2": "front", "5": "back"})
    return trained(folder, kinds=("inflated", "2d"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A network of two channels."""
    return trained(tmp_path_factory.mktemp("two"), channels=("T1", "T2"))


def predict(*words):
    with one_thread():
        return CliRunner().invoke(app.app, ["predict", *map(str, words), "--device", "cpu"])


def voxels(path):
    return np.asarray(nib.load(path).dataobj)


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


def test_lines_for_people_and_a_second_run(run, tmp_path):
    trial, out, scans = run.trial(), tmp_path / "out", tmp_path / "scans"
    scans.mkdir()
    for name in ("case_00", "case_01"):
        shutil.copy(run.data / "imagesTr" / f"{name}.nii.gz", scans)
    (scans / "._case_00.nii.gz").write_bytes(b"left by macOS")
    (scans / "notes.txt").write_text("no image")
    result = predict(trial.folder, scans, "--out", out)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("case_00.nii.gz  ")
    assert "front" in lines[0]
    assert " ml" in lines[0]
    assert sorted(path.name for path in out.iterdir()) == ["case_00.nii.gz", "case_01.nii.gz"]
    before = voxels(out / "case_00.nii.gz")
    again = predict(trial.folder, scans, "--out", out)
    assert again.exit_code == 2
    assert "--force" in again.stderr
    (out / "case_00.nii.gz").write_bytes(b"broken")
    (out / "mine.txt").write_text("mine")
    (out / f".case_00.nii.gz.{'0' * 32}.partial").write_text("left by a kill")
    assert predict(trial.folder, scans, "--out", out, "--force").exit_code == 0
    np.testing.assert_array_equal(voxels(out / "case_00.nii.gz"), before)
    assert (out / "mine.txt").read_text() == "mine"
    assert len(list(out.iterdir())) == 3


def test_channels_of_a_case_are_grouped(pair, tmp_path):
    trial = pair.trial()
    whole = pair.data / "imagesTr" / "case_03.nii.gz"
    image = nib.load(whole)
    parts = [
        write_nifti(tmp_path / f"case_03_{c:04d}.nii.gz", voxels(whole)[..., c], image.affine)
        for c in range(2)
    ]
    assert predict(trial.folder, whole, "--out", tmp_path / "a").exit_code == 0
    assert predict(trial.folder, *reversed(parts), "--out", tmp_path / "b").exit_code == 0
    one, two = (voxels(tmp_path / out / "case_03.nii.gz") for out in "ab")
    assert one.any()
    np.testing.assert_array_equal(one, two)
    lone = predict(trial.folder, parts[1], "--out", tmp_path / "c")
    assert lone.exit_code == 2
    assert "case_03: has the channels 0001, the task has 2" in lone.stderr
    few = write_nifti(tmp_path / "few.nii.gz", voxels(whole)[..., 0])
    lone = predict(trial.folder, few, whole, "--out", tmp_path / "c")
    assert lone.exit_code == 2
    assert "few: has 1 channel(s), the task has 2 (T1, T2)" in lone.stderr
    assert not (tmp_path / "c").exists()


def test_numbers_belong_to_names_where_there_is_one_channel(run, tmp_path):
    task = run.trial().spec.task
    files = [tmp_path / f"{name}.nii.gz" for name in ("scan_0001", "scan_0002", "b_0000")]
    jobs = find_jobs(files, None, task)
    assert [job.case for job in jobs] == ["b", "scan_0001", "scan_0002"]
    with pytest.raises(UsageError) as caught:
        find_jobs([tmp_path / "b_0000.nii.gz", tmp_path / "b_0001.nii.gz"], None, task)
    assert "b: has the channels 0000, 0001, the task has 1" in str(caught.value)


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


def test_an_image_that_lost_its_unit_is_told_before_the_first_is_segmented(run, tmp_path):
    for name in ("case_00", "case_01"):
        shutil.copy(run.data / "imagesTr" / f"{name}.nii.gz", tmp_path)
    in_unit(tmp_path / "case_01.nii.gz", 400, 0)
    result = predict(run.trial().folder, tmp_path, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "case_01: at 1.4 x 0.8 x 1.1 mm a volume with voxels of" in result.stderr
    assert not (tmp_path / "out").exists()


def test_every_bad_image_is_told_before_the_first_is_segmented(run, tmp_path):
    good = run.data / "imagesTr" / "case_00.nii.gz"
    bad, image = tmp_path / "bad", nib.load(good)
    array = voxels(good)
    write_nifti(bad / "blank.nii.gz", np.zeros_like(array), image.affine)
    odd = array.copy()
    odd[0, 0, 0] = np.nan
    write_nifti(bad / "nan.nii.gz", odd, image.affine)
    (bad / "cut.nii.gz").write_bytes(good.read_bytes()[:-300])
    (bad / "zeros.nii").write_bytes(gzip.decompress(good.read_bytes())[:400])
    result = predict(run.trial().folder, good, bad, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr.count("\n") < 20
    for text in ("4 case(s)", "blank: ", "one value only", "NaN", "cut: ", "zeros: "):
        assert text in result.stderr
    assert not (tmp_path / "out").exists()


def test_names_outputs_and_references_that_cannot_be(run, tmp_path):
    trial, images = run.trial().folder, run.data / "imagesTr"
    good, out = images / "case_00.nii.gz", tmp_path / "out"

    def refused(*words):
        result = predict(*words)
        assert result.exit_code == 2, result.output
        assert not out.exists()
        return result.stderr

    assert "case_00: is named more than once" in refused(trial, good, images, "--out", out)
    plain = tmp_path / "case_00.nii"
    plain.write_bytes(gzip.decompress(good.read_bytes()))
    assert "named more than once" in refused(trial, good, plain, "--out", out)
    assert "would replace images" in refused(trial, good, "--out", images, "--force")
    labels = run.data / "labelsTr"
    words = (trial, good, "--references", labels)
    assert "would replace images or references" in refused(*words, "--out", labels, "--force")
    assert "is no NIfTI file" in refused(trial, run.data / "dataset.json", "--out", out)
    assert "holds no .nii" in refused(trial, run.data, "--out", out)
    assert "missing" in refused(trial, tmp_path / "absent.nii.gz", "--out", out)
    partial = tmp_path / "labels"
    partial.mkdir()
    words = (trial, good, "--out", out, "--references", partial)
    assert "case_00: 'labels' holds no case_00.nii.gz" in refused(*words)
    label = voxels(labels / "case_00.nii.gz")
    write_nifti(partial / "case_00.nii.gz", label, np.eye(4))
    assert "case_00: " in refused(*words)
    write_nifti(partial / "case_00.nii.gz", label + np.uint8(7), TURNED)
    assert "the value 7" in refused(*words)
    assert "no device 'gpu'" in CliRunner().invoke(
        app.app, ["predict", str(trial), str(good), "--out", str(out), "--device", "gpu"]
    ).stderr  # fmt: skip


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


def test_scores_agree_with_the_definition():
    random = np.random.default_rng(0)
    found, true = random.random((2, 5, 6, 7)) < 0.4
    got = overlap(found, true)
    counts = [int((found == f)[true == t].sum()) for f in (1, 0) for t in (1, 0)]
    both, extra, lacking, neither = counts
    assert [got[key] for key in ("TP", "FP", "FN", "TN")] == counts
    assert got["Dice"] == pytest.approx(2 * both / (2 * both + extra + lacking))
    assert got["IoU"] == pytest.approx(both / (both + extra + lacking))
    assert (got["n_pred"], got["n_ref"]) == (both + extra, both + lacking)
    nothing = np.zeros((2, 2, 2), bool)
    assert overlap(nothing, nothing)["Dice"] is None
    assert overlap(~nothing, nothing)["Dice"] == 0
    assert neither == got["TN"]


def test_the_summary_has_nnunets_form(run):
    task = run.trial().spec.task.model_copy(update={"regions": {"all": (2, 5), "front": (2,)}})
    random = np.random.default_rng(1)
    scored = [
        {"metrics": score(*random.integers(0, 3, (2, 4, 4, 4)).astype(np.uint8), task)}
        for _ in range(3)
    ]
    assert list(scored[0]["metrics"]) == ["(2, 5)", "2"]
    table = summarize(scored)
    assert set(table) == {"foreground_mean", "mean", "metric_per_case"}
    values = [entry["metrics"]["2"]["Dice"] for entry in scored]
    assert table["mean"]["2"]["Dice"] == pytest.approx(np.mean(values))
    means = [table["mean"][key]["n_ref"] for key in table["mean"]]
    assert table["foreground_mean"]["n_ref"] == pytest.approx(np.mean(means))
    empty = np.zeros((4, 4, 4), np.uint8)
    scored.append({"metrics": score(empty, empty, task)})
    assert summarize(scored)["mean"]["2"]["Dice"] == pytest.approx(np.mean(values))
    alone = summarize(scored[-1:])
    assert alone["mean"]["2"]["Dice"] is None
    assert alone["foreground_mean"]["Dice"] is None
    assert alone["foreground_mean"]["TN"] == 64
