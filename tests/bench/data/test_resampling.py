"""Back to an image's own grid: class by class what all classes at once would give."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, map_coordinates

from inflate_zoo.bench.data.resampling import (
    resample_image,
    resample_labels,
    resampled_shape,
    restore,
)
from inflate_zoo.errors import UsageError


def scores(classes, shape):
    """Probabilities in steps of 1/4, so that many are equal."""
    random = torch.Generator().manual_seed(0)
    return torch.randint(0, 5, (classes, *shape), generator=random) / 4


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


@pytest.mark.parametrize("classes", [1, 2, 256])
@pytest.mark.parametrize("shape", [(5, 6, 7), (10, 6, 3), (3, 11, 14), (1, 1, 1)])
def test_restoring_is_the_argmax_of_all_classes_at_once(classes, shape):
    given = scores(classes, (5, 6, 7))
    before = given.clone()
    whole = torch.nn.functional.interpolate(given[None], shape, mode="trilinear")[0]
    found = restore(given, shape)
    assert found.dtype == np.uint8
    assert np.array_equal(found, whole.argmax(0).numpy())
    assert torch.equal(given, before)


def test_a_voxel_without_numbers_is_background():
    given = scores(3, (2, 3, 4))
    given[:, 1] = torch.nan
    assert not restore(given, (2, 3, 4))[1].any()
    assert restore(given, (2, 3, 4))[0].any()


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


def test_a_coarser_spacing_that_is_proposed_fits():
    huge = ((20, 24, 16), (1000.0, 1000.0, 1000.0), (1.0, 2.0, 1.0))
    for shape, spacing, target in (huge, ((1, 9000, 9000), (0.01, 100.0, 1e5), (1.0, 1.0, 1.0))):
        with pytest.raises(UsageError, match="a volume with voxels of") as caught:
            resampled_shape(shape, spacing, target)
        proposed = json.loads(caught.value.hint.rpartition("=")[2])
        resampled_shape(shape, spacing, proposed)
