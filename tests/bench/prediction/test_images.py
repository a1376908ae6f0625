"""Images that are to be segmented: found, grouped, and refused before the first is."""

import gzip
import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from inflate_zoo.bench.prediction.images import find_jobs
from inflate_zoo.cli import app
from inflate_zoo.errors import UsageError
from tests.support.datasets import in_unit, write_nifti
from tests.support.prediction import TURNED, predict, voxels


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


@pytest.mark.parametrize("names, cases", [
    (["scan_0001", "scan_0002", "b_0000"], ["b", "scan_0001", "scan_0002"]),
    (["pat_0000", "pat_0001", "pat_0002"], ["pat_0000", "pat_0001", "pat_0002"]),
    (["pat_0000_0000", "pat_0001_0000"], ["pat_0000", "pat_0001"]),
    (["pat", "pat_0000", "pat_0001"], ["pat", "pat_0000", "pat_0001"]),
])  # fmt: skip
def test_numbers_belong_to_names_where_there_is_one_channel(run, names, cases):
    """`data check` and `bench` take such names, too."""
    task = run.trial().spec.task
    jobs = find_jobs([Path(f"{name}.nii.gz") for name in names], None, task)
    assert [job.case for job in jobs] == cases
    with pytest.raises(UsageError, match="b: is named more than once"):
        find_jobs([Path("b.nii.gz"), Path("b_0000.nii.gz")], None, task)


def test_a_name_that_is_no_text_is_told_before_anything_is_segmented(run):
    """The record named another case: the same command refused what it had made itself."""
    paths = [Path(os.fsdecode(name)) for name in (b"x\xff.nii.gz", b"y.nii.gz")]
    with pytest.raises(UsageError, match="1 case") as caught:
        find_jobs(paths, None, run.trial().spec.task)
    assert caught.value.details == ("x\udcff: has a name that is no UTF-8: rename its files",)


def test_numbers_belong_to_names_of_files_that_have_all_channels(pair, tmp_path):
    task = pair.trial().spec.task
    whole = sorted((pair.data / "imagesTr").iterdir())[:3]
    for number, path in enumerate(whole):
        shutil.copy(path, tmp_path / f"pat_{number:04d}.nii.gz")
    for channel in range(2):
        write_nifti(tmp_path / f"pat_0009_{channel:04d}.nii.gz", voxels(whole[0])[..., channel])
    jobs = find_jobs([tmp_path], None, task)
    assert [job.case for job in jobs] == ["pat_0000", "pat_0001", "pat_0002", "pat_0009"]
    assert [len(job.images) for job in jobs] == [1, 1, 1, 2]
    (tmp_path / "pat_0001.nii.gz").write_bytes(b"broken")
    with pytest.raises(UsageError, match="pat: has the channels 0001, the task has 2"):
        find_jobs([tmp_path], None, task)


def test_an_image_that_lost_its_unit_is_told_before_the_first_is_segmented(run, tmp_path):
    for name in ("case_00", "case_01"):
        shutil.copy(run.data / "imagesTr" / f"{name}.nii.gz", tmp_path)
    in_unit(tmp_path / "case_01.nii.gz", 400, 0)
    result = predict(run.trial().folder, tmp_path, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "case_01: at 1.4 x 0.8 x 1.1 mm a volume with voxels of" in result.stderr
    assert not (tmp_path / "out").exists()


def test_of_a_sheared_image_the_volumes_are_right_and_it_is_told(run, tmp_path):
    image = run.data / "imagesTr" / "case_00.nii.gz"
    affine = nib.load(image).affine
    affine[:3, 2] += affine[:3, 1] * 0.7
    path = write_nifti(tmp_path / "case_00.nii.gz", voxels(image), affine)
    result = predict(run.trial().folder, path, "--out", tmp_path / "out", "--format", "json")
    assert result.exit_code == 0, result.output
    assert "warning: case_00: is sheared by its affine: a voxel is " in result.stderr
    (told,) = json.loads(result.stdout)["predictions"]
    found, voxel_ml = voxels(tmp_path / "out" / "case_00.nii.gz"), abs(np.linalg.det(affine)) / 1000
    assert told["volumes_ml"] == pytest.approx(
        {"front": (found == 2).sum() * voxel_ml, "back": (found == 5).sum() * voxel_ml}
    )
    assert found.any()


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


def test_what_is_not_there_is_not_called_an_image_of_another_kind(run, tmp_path):
    task, image = run.trial().spec.task, run.data / "imagesTr" / "case_00.nii.gz"
    for path in (tmp_path / "nowhere", tmp_path / "nowhere" / "case.dcm"):
        with pytest.raises(UsageError, match=f"'{path.name}' cannot be read: No such file"):
            find_jobs([path], None, task)
    for path in (tmp_path / "nowhere", image):
        with pytest.raises(UsageError, match=f"'{path.name}' is no folder") as caught:
            find_jobs([image], path, task)
        assert "labels" in caught.value.hint


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
