"""Intensities, resampling there and back, derived tasks."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, map_coordinates

from inflate_zoo.bench.data.cases import preprocess
from inflate_zoo.bench.data.deriving import derive_task, resolve_task
from inflate_zoo.bench.data.layouts import read_dataset
from inflate_zoo.bench.data.preprocessing import class_indices, normalize, target_shape
from inflate_zoo.bench.data.resampling import (
    resample_image,
    resample_labels,
    resampled_shape,
    restore,
)
from inflate_zoo.bench.data.volumes import read_volume
from inflate_zoo.bench.definitions.protocols import Data
from inflate_zoo.bench.definitions.tasks import Intensity
from inflate_zoo.errors import UsageError
from tests.support.datasets import (
    change_table,
    in_unit,
    random_volume,
    write_decathlon,
    write_nifti,
    write_nnunet,
)

SIZES = st.tuples(*[st.integers(1, 9)] * 3)
SHAPES = [
    ((7, 9, 8), (14, 9, 13)),
    ((12, 11, 10), (5, 11, 3)),
    ((9, 6, 20), (4, 13, 7)),
    ((1, 5, 6), (3, 2, 1)),
    ((30, 8, 8), (1, 8, 9)),
]


def centres(source, target):
    """Coordinates of the target's voxel centres in the source's voxels."""
    axes = [
        (np.arange(new) + 0.5) * old / new - 0.5 for old, new in zip(source, target, strict=True)
    ]
    return np.meshgrid(*axes, indexing="ij")


def reference_linear(array, shape):
    array = array.astype(np.float64)
    return map_coordinates(array, centres(array.shape, shape), order=1, mode="nearest")


@pytest.mark.parametrize("source, target", SHAPES)
def test_images_are_resampled_as_scipy_does_it(source, target):
    array = np.random.default_rng(0).random(source, np.float32)
    sigmas = [max(0, (old / new - 1) / 2) for old, new in zip(source, target, strict=True)]
    smooth = gaussian_filter(array.astype(np.float64), sigmas, mode="nearest")
    np.testing.assert_allclose(
        resample_image(array, target), reference_linear(smooth, target), atol=2e-6
    )


@pytest.mark.parametrize("source, target", SHAPES)
def test_labels_take_the_class_of_greatest_linear_weight(source, target):
    labels = np.random.default_rng(1).integers(0, 4, source).astype(np.uint8)
    weights = np.stack([reference_linear(labels == index, target) for index in range(4)])
    got = resample_labels(labels, target)
    chosen = np.take_along_axis(weights, got[None].astype(int), 0)[0]
    np.testing.assert_allclose(chosen, weights.max(0), atol=1e-5)
    clear = np.sort(weights, 0)[-1] - np.sort(weights, 0)[-2] > 1e-5
    assert np.array_equal(got[clear], weights.argmax(0)[clear])


def test_a_tie_goes_to_the_lower_class():
    labels = np.array([0, 2, 1, 2], np.uint8).reshape(1, 1, 4)
    assert resample_labels(labels, (1, 1, 2)).tolist() == [[[0, 1]]]


def test_absent_classes_and_single_voxels():
    labels = np.zeros((9, 9, 9), np.uint8)
    labels[4, 4, 4] = 200
    assert resample_labels(labels, (3, 3, 3))[1, 1, 1] == 200  # the centres coincide
    assert not resample_labels(labels, (2, 2, 2)).any()
    full = np.full((3, 3, 3), 7, np.uint8)
    assert (resample_labels(full, (5, 2, 4)) == 7).all()


@pytest.mark.parametrize("source, target", SHAPES)
def test_restore_is_the_argmax_of_trilinear_probabilities(source, target):
    scores = np.random.default_rng(2).random((4, *source), np.float32)
    weights = np.stack([reference_linear(one, target) for one in scores])
    got = restore(torch.from_numpy(scores), target)
    assert got.dtype == np.uint8
    clear = np.sort(weights, 0)[-1] - np.sort(weights, 0)[-2] > 1e-5
    assert clear.any()
    assert np.array_equal(got[clear], weights.argmax(0)[clear])


def test_restore_on_its_own_grid_interpolates_nothing_and_takes_any_float():
    scores = torch.rand(3, 4, 5, 6, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert np.array_equal(restore(scores, (4, 5, 6)), scores.float().argmax(0).numpy())
    assert not restore(torch.ones(3, 2, 2, 2), (2, 2, 2)).any()


def test_the_same_shape_is_returned_as_it_is():
    image, labels = np.random.random((3, 4, 5)).astype(np.float32), np.ones((3, 4, 5), np.uint8)
    assert resample_image(image, (3, 4, 5)) is image
    assert resample_labels(labels, (3, 4, 5)) is labels


@given(source=SIZES, target=SIZES, value=st.floats(0, 1, width=32))
def test_a_constant_image_stays_constant_and_nothing_leaves_the_range(source, target, value):
    constant = resample_image(np.full(source, value, np.float32), target)
    assert constant.shape == target
    np.testing.assert_allclose(constant, value, atol=1e-6)
    noise = np.random.default_rng(0).random(source, np.float32)
    got = resample_image(noise, target)
    assert got.min() >= noise.min() - 1e-6
    assert got.max() <= noise.max() + 1e-6


def test_thick_slices_there_and_back():
    labels = np.zeros((6, 20, 20), np.uint8)
    labels[1:5, 4:15, 3:17], labels[2:4, 8:12, 8:12] = 1, 2
    shape = resampled_shape(labels.shape, (5, 1, 1), (1, 1, 1))
    assert shape == (30, 20, 20)
    fine = resample_labels(labels, shape)
    onehot = torch.nn.functional.one_hot(torch.from_numpy(fine).long(), 3).movedim(-1, 0).float()
    assert np.array_equal(restore(onehot, labels.shape), labels)


def test_shapes():
    assert resampled_shape((300, 512, 512), (1, 0.7, 0.7), (1.5, 1.5, 1.5)) == (200, 239, 239)
    assert resampled_shape((1, 2, 3), (1, 1, 1), (9, 9, 1)) == (1, 1, 3)
    with pytest.raises(UsageError, match="would become 5120000 x 512 x 512 voxels"):
        resampled_shape((512, 512, 512), (10, 1, 1), (1e-3, 1, 1))


def test_a_window_is_linear_between_its_ends():
    got = normalize(
        np.array([-2000, -100, 0, 150, 400], np.int16), Intensity(rule="window", low=-100, high=300)
    )
    np.testing.assert_allclose(got, [0, 0, 0.25, 0.625, 1])
    assert got.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_percentiles_are_those_of_the_volume(dtype):
    array = (np.random.default_rng(0).random((9, 8, 7)) * 200).astype(dtype)
    got = normalize(array, Intensity(rule="percentiles", low=5, high=90))
    low, high = np.percentile(array.astype(np.float64), [5, 90])
    np.testing.assert_allclose(got, ((array - low) / (high - low)).clip(0, 1), atol=1e-5)


def test_numbers_that_are_none_do_not_spread():
    array = np.array([np.nan, -np.inf, np.inf, *range(101)], np.float32)
    got = normalize(array, Intensity(rule="percentiles", low=0, high=100))
    np.testing.assert_allclose(got, [0, 0, 1, *np.arange(101) / 100], atol=1e-6)
    assert not normalize(np.full(5, np.nan), Intensity(rule="percentiles", low=0, high=100)).any()


def test_constant_and_nearly_constant_volumes():
    rule = Intensity(rule="percentiles", low=0.5, high=99.5)
    assert not normalize(np.full((3, 3), 7.0), rule).any()
    nearly = np.zeros(1000, np.float32)
    nearly[3] = 5
    assert normalize(nearly, rule)[3] == 1  # both percentiles are 0


def test_class_indices():
    values = (0, 3, 255)
    labels = np.array([[0, 3], [255, 3]])
    for dtype in (np.uint8, np.int16, np.int64, np.float32):
        got = class_indices(labels.astype(dtype), values, "x")
        assert got.tolist() == [[0, 1], [2, 1]]
    for odd in (7, 256, -1, 0.5, np.nan, 259):
        with pytest.raises(UsageError, match=f"'x' holds the value {odd:g}"):
            class_indices(np.array([[0, odd]]), values, "x")


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


def test_whole_slices_are_resized_in_the_plane_alone(tmp_path):
    folder = write_decathlon(tmp_path, 2, (5, 9, 6))
    dataset = read_dataset(folder)
    task = derive_task(dataset, ["case_00"], "x").model_copy(update={"slice_size": 16})
    arrays, _ = preprocess(resolve_task(task, Data(whole_slices=True)), dataset.cases[0])
    assert arrays["image"].shape == (1, 6, 16, 16)
    assert arrays["label"].shape == (6, 16, 16)
    assert arrays["reference"].shape == (6, 9, 5)
    image = read_volume(dataset.cases[0].images[0], "axial").array[0]
    scaled = torch.from_numpy(normalize(image, task.intensity))[:, None]
    resized = torch.nn.functional.interpolate(scaled, (16, 16), mode="bilinear")[:, 0]
    np.testing.assert_allclose(arrays["image"][0], resized, atol=2e-3)
    # The same slice in another volume is the same.
    assert target_shape(task, (7, 512, 300), (5, 1, 1)) != (7, 16, 16)
    whole = resolve_task(task, Data(whole_slices=True))
    assert target_shape(whole, (7, 512, 300), (5, 1, 1)) == (7, 16, 16)


def test_a_coarser_spacing_that_is_proposed_fits():
    huge = ((20, 24, 16), (1000.0, 1000.0, 1000.0), (1.0, 2.0, 1.0))
    for shape, spacing, target in (huge, ((1, 9000, 9000), (0.01, 100.0, 1e5), (1.0, 1.0, 1.0))):
        with pytest.raises(UsageError, match="a volume with voxels of") as caught:
            resampled_shape(shape, spacing, target)
        proposed = json.loads(caught.value.hint.rpartition("=")[2])
        resampled_shape(shape, spacing, proposed)


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
