"""Data sets as their makers publish them."""

import shutil

import nibabel
import numpy as np
import pytest

from inflate_zoo.bench.data.checking import check
from inflate_zoo.bench.data.layouts import read_dataset
from inflate_zoo.errors import UsageError


def volume(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(len(path.name)).choice(values, (6, 7, 5)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1.5, 1.5, 8, 1])), path)


def acdc(home, patients=(1, 2, 3)):
    for patient in patients:
        folder = home / f"patient{patient:03d}"
        for frame in (1, 12):
            name = f"patient{patient:03d}_frame{frame:02d}"
            volume(folder / f"{name}.nii.gz", range(200))
            volume(folder / f"{name}_gt.nii.gz", range(4))
        (folder / f"patient{patient:03d}_4d.nii.gz").write_bytes(b"all frames: not read")
        (folder / "Info.cfg").write_text("ED: 1\nES: 12\n")
    return home


def btcv(home, numbers=(1, 2, 21)):
    for number in numbers:
        volume(home / "img" / f"img{number:04d}.nii.gz", range(-1000, 1000))
        volume(home / "label" / f"label{number:04d}.nii.gz", range(14))
    (home / "img" / "._img0001.nii.gz").write_bytes(b"of a Mac")
    return home


@pytest.mark.parametrize("inner", ["", "training", "database/training"])
def test_acdc(tmp_path, inner):
    acdc(tmp_path / inner)
    (tmp_path / "testing" / "patient101").mkdir(parents=True)
    dataset = read_dataset(tmp_path)
    assert [case.name for case in dataset.cases] == [
        f"patient{patient:03d}_frame{frame:02d}" for patient in (1, 2, 3) for frame in (1, 12)
    ]
    case = dataset.cases[3]
    assert case.label.name == "patient002_frame12_gt.nii.gz"
    assert [path.name for path in case.images] == ["patient002_frame12.nii.gz"]
    assert dataset.labels["left ventricle"] == 3
    assert dataset.modality == "MRI"
    assert dataset.problems == ()
    assert not check(dataset).bad or {f.case for f in check(dataset).bad} == {""}  # too few cases


@pytest.mark.parametrize("inner", ["", "Training", "RawData/Training"])
def test_btcv(tmp_path, inner):
    btcv(tmp_path / inner)
    dataset = read_dataset(tmp_path)
    assert dataset.listed == ("img0001", "img0002", "img0021")
    assert dataset.cases[2].label.name == "label0021.nii.gz"
    assert len(dataset.labels) == 14
    assert dataset.modality == "CT"


def test_what_is_missing_is_listed(tmp_path):
    home = btcv(tmp_path)
    (home / "img" / "img0002.nii.gz").unlink()
    shutil.copy(home / "img" / "img0001.nii.gz", home / "img" / "img0033.nii.gz")
    dataset = read_dataset(tmp_path)
    assert [case.name for case in dataset.cases] == ["img0001", "img0021"]
    told = {found.case: found.what for found in dataset.problems}
    assert told == {"img0002": "missing: its image", "img0033": "missing: its label"}


def test_a_folder_that_is_none(tmp_path):
    (tmp_path / "img").mkdir()
    with pytest.raises(UsageError, match=r"has no dataset\.json"):
        read_dataset(tmp_path)


def test_what_is_wrong_is_said_of_the_task_where_there_is_no_table(tmp_path):
    acdc(tmp_path)
    label = tmp_path / "patient002" / "patient002_frame01_gt.nii.gz"
    volume(label, range(6))
    image = tmp_path / "patient003" / "patient003_frame01.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.ones((6, 7, 5, 2)), np.diag([1.5, 1.5, 8, 1])), image)
    told = {finding.case: finding for finding in check(read_dataset(tmp_path)).bad}
    values, channels = told["patient002_frame01"], told["patient003_frame01"]
    assert "values that task 'acdc' does not name: 4, 5" in values.what
    assert channels.what == "the image has 2 channel(s), task 'acdc' names 1"
    assert (values.hint, channels.hint) == ("correct the label", "correct the image")
