"""A task for a data set that has none, and what a protocol changes of one."""

import nibabel as nib
import numpy as np
import pytest

from inflate_zoo.bench.data.deriving import derive_task, resolve_task
from inflate_zoo.bench.data.layouts import read_dataset
from inflate_zoo.bench.definitions.protocols import Data
from inflate_zoo.bench.definitions.tasks import Intensity
from inflate_zoo.errors import UsageError
from tests.support.datasets import (
    change_table,
    in_unit,
    near_45,
    random_volume,
    write_decathlon,
    write_nifti,
    write_nnunet,
)


@pytest.mark.parametrize(
    "spacing, slices, expected",
    [
        ((1, 1, 5), "axial", (5, 1, 1)),
        ((1, 5, 1), "coronal", (5, 1, 1)),
        ((5, 1, 0.5), "sagittal", (5, 0.5, 1)),
        ((1.4, 1, 1), "axial", (1, 1, 1.4)),
        ((1, 1.5, 1), "axial", (1, 1.5, 1)),
    ],
)
def test_the_depth_axis_is_the_one_of_far_thicker_voxels(tmp_path, spacing, slices, expected):
    folder = write_decathlon(tmp_path, 3, (4, 4, 4), affine=np.diag([*spacing, 1.0]))
    dataset = read_dataset(folder)
    task = derive_task(dataset, [case.name for case in dataset.cases], "boxes")
    assert (task.slices, task.spacing) == (slices, expected)


def test_a_spacing_keeps_four_decimals_and_three_digits(tmp_path):
    affine = np.diag([0.9765625, 0.00123456, 12.34567, 1.0])
    dataset = read_dataset(write_decathlon(tmp_path, 1, (4, 4, 4), affine=affine))
    assert derive_task(dataset, ["case_00"], "boxes").spacing == (12.3457, 0.00123, 0.9766)


def test_medians_over_slices_that_lie_otherwise_are_told(tmp_path):
    folder = write_decathlon(tmp_path, 4, (4, 4, 4), affine=np.diag([1, 1, 5, 1]))
    dataset = read_dataset(folder)
    names = [case.name for case in dataset.cases]
    write_nifti(dataset.cases[0].images[0], np.zeros((4, 4, 4)), np.diag([1, 1, 1.2, 1]))
    derive_task(dataset, names, "boxes")  # nothing is thick of this one
    write_nifti(dataset.cases[0].images[0], np.zeros((4, 4, 4)), np.diag([1, 5, 1, 1]))
    with pytest.warns(UserWarning, match="coronal slices.*'case_00'; the derived task") as told:
        assert derive_task(dataset, names, "boxes").spacing == (5, 1, 1)
    assert "along anterior (coronal slices)" in str(told[0].message)
    assert "takes axial slices and the medians, 1 x 1 x 5 mm" in str(told[0].message)
    derive_task(dataset, names[1:], "boxes")


def test_near_45_degrees_the_window_is_that_of_the_labelled_voxels(tmp_path):
    dataset = read_dataset(write_nnunet(tmp_path, 1, (8, 8, 4), ("CT",), near_45(1e-6)))
    label, windows = dataset.cases[0].label, []
    half = np.asarray(nib.load(label).dataobj).copy()
    half[4:] = 0
    for by in (1e-6, -1e-6):
        write_nifti(label, half, near_45(by))
        windows.append(derive_task(dataset, ["case_00"], "ct").intensity)
    assert windows[0] == windows[1]


def test_a_derived_task_is_what_the_data_set_says(tmp_path):
    dataset = read_dataset(write_decathlon(tmp_path / "Boxes", 3, (4, 4, 4), ("T1", "T2")))
    task = derive_task(dataset, ["case_00"], "mine")
    assert (task.name, task.title, task.modality, task.channels) == (
        "mine",
        "Boxes",
        "MRI",
        ("T1", "T2"),
    )
    assert task.regions == {"front": (1,), "back": (2,)}
    assert task.intensity == Intensity(rule="percentiles", low=0.5, high=99.5)
    assert (task.license, task.citation) == ("CC0-1.0", "nobody")


def test_ct_gets_a_window_from_labelled_voxels_of_the_training_cases(tmp_path):
    folder = write_nnunet(tmp_path, 4, (9, 9, 9), ("CT",))
    write_nifti(folder / "imagesTr" / "case_03_0000.nii.gz", np.full((9, 9, 9), 9000.0))
    dataset = read_dataset(folder)
    task = derive_task(dataset, ["case_00", "case_02"], "ct")
    pooled = []
    for seed in (0, 2):
        image, label = random_volume(seed, (9, 9, 9), 1)
        pooled.append(image[..., 0][label > 0])
    low, high = np.percentile(np.rint(np.concatenate(pooled)), [0.5, 99.5], method="inverted_cdf")
    assert task.intensity == Intensity(rule="window", low=low, high=high)


def test_a_window_is_of_whole_numbers_and_never_empty(tmp_path):
    folder = write_nnunet(tmp_path, 2, (9, 9, 9), ("CT",))
    write_nifti(folder / "imagesTr" / "case_00_0000.nii.gz", np.full((9, 9, 9), 99.7))
    task = derive_task(read_dataset(folder), ["case_00"], "ct")
    assert task.intensity == Intensity(rule="window", low=100, high=101)


def test_what_is_no_number_has_no_say_in_a_window(tmp_path):
    image, label = random_volume(0, (9, 9, 9), 1)
    folder = write_nnunet(tmp_path, 1, (9, 9, 9), ("CT",))
    values = image[..., 0].astype(np.float32)
    places = np.argwhere(label > 0)[:3]
    values[tuple(places.T)] = np.nan, np.inf, -np.inf
    write_nifti(folder / "imagesTr" / "case_00_0000.nii.gz", values)
    task = derive_task(read_dataset(folder), ["case_00"], "ct")
    known = np.rint(values[(label > 0) & np.isfinite(values)])
    low, high = np.percentile(known, [0.5, 99.5], method="inverted_cdf")
    assert task.intensity == Intensity(rule="window", low=low, high=high)


def test_a_task_cannot_be_derived_from_nothing(tmp_path):
    folder = write_nnunet(tmp_path, 2, (4, 4, 4), ("CT",))
    dataset = read_dataset(folder)
    with pytest.raises(UsageError, match="no training cases"):
        derive_task(dataset, [], "x")
    write_nifti(folder / "labelsTr" / "case_00.nii.gz", np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(UsageError, match="no voxel of the training cases is labelled"):
        derive_task(dataset, ["case_00"], "x")
    write_nifti(folder / "labelsTr" / "case_00.nii.gz", np.zeros((4, 4, 5), np.uint8))
    with pytest.raises(UsageError, match="4 x 4 x 5 voxels, its image 4 x 4 x 4"):
        derive_task(dataset, ["case_00"], "x")
    with pytest.raises(UsageError, match="has 1 problem"):
        derive_task(read_dataset(change_table(folder, numTraining=3)), ["case_01"], "x")


def test_a_protocol_changes_spacing_and_intensity_alone(tmp_path):
    dataset = read_dataset(write_decathlon(tmp_path, 2, (4, 4, 4)))
    task = derive_task(dataset, ["case_00"], "x")
    assert resolve_task(task, Data()) == task
    window = Intensity(rule="window", low=0, high=5)
    changed = resolve_task(task, Data(spacing=(3, 2, 1), intensity=window))
    assert (changed.spacing, changed.intensity) == ((3, 2, 1), window)
    assert changed.model_copy(update={"spacing": task.spacing, "intensity": task.intensity}) == task
    # What is said of CT holds for CT alone.
    assert resolve_task(task, Data(ct_intensity=window)) == task
    scan = task.model_copy(update={"modality": "CT"})
    assert resolve_task(scan, Data(ct_intensity=window)).intensity == window


@pytest.mark.parametrize("unit, per_mm", [(3, 1e3), (1, 1e-3)])
def test_a_task_from_files_in_another_unit_is_in_mm(tmp_path, unit, per_mm):
    def task_of(name, *unit):
        folder = tmp_path / name / "Boxes"
        write_decathlon(folder, 2, (6, 6, 4), affine=np.diag([0.7, 0.7, 3, 1]))
        for path in folder.glob("*/*.nii.gz"):
            in_unit(path, *unit)
        return derive_task(read_dataset(folder), ["case_00", "case_01"], "boxes")

    converted = task_of("a", per_mm, unit)
    assert converted == task_of("b", 1, 2)
    assert converted.spacing == (3, 0.7, 0.7)
    fine = task_of("c", 0.1, 3)
    assert fine.spacing == (0.0003, 7e-05, 7e-05)
    assert fine.surface_tolerance_mm == 0.0006  # else any surface would be within it
    assert converted.surface_tolerance_mm == 1
