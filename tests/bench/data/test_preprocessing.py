"""Intensities, resampling there and back, derived tasks."""

import numpy as np
import pytest
import torch

from inflate_zoo.bench.data.cases import preprocess
from inflate_zoo.bench.data.deriving import derive_task, resolve_task
from inflate_zoo.bench.data.layouts import read_dataset
from inflate_zoo.bench.data.preprocessing import class_indices, normalize, target_shape
from inflate_zoo.bench.data.volumes import read_volume
from inflate_zoo.bench.definitions.protocols import Data
from inflate_zoo.bench.definitions.tasks import Intensity
from inflate_zoo.errors import UsageError
from tests.support.datasets import write_decathlon


def test_a_window_is_linear_between_its_ends():
    got = normalize(
        np.array([-2000, -100, 0, 150, 400], np.int16), Intensity(rule="window", low=-100, high=300)
    )
    np.testing.assert_allclose(got, [0, 0, 0.25, 0.625, 1])
    assert got.dtype == np.float32


def test_a_window_narrower_than_single_precision_keeps_its_digits():
    values = np.array([-np.inf, 1e6, 1e6 + 0.01, 2e6, np.inf, np.nan])
    got = normalize(values, Intensity(rule="window", low=1e6, high=1e6 + 0.04))
    np.testing.assert_allclose(got, [0, 0, 0.25, 1, 1, 0], atol=1e-6)
    assert got.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64, np.float64])
def test_large_values_that_lie_close_keep_their_digits(dtype):
    array = np.random.default_rng(0).integers(2**30, 2**30 + 200, (9, 8, 7)).astype(dtype)
    got = normalize(array, Intensity(rule="percentiles", low=0, high=100))
    steps = array - array.min()
    np.testing.assert_allclose(got, steps / steps.max(), atol=1e-6)


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
    with pytest.raises(UsageError, match=r"the value 3\.000001, which"):  # not "3", which is one
        class_indices(np.array([[0, 3 + 1e-6]]), values, "x")


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
    # No spacing, which they have none of, is said to help.
    large = whole.model_copy(update={"slice_size": 4096})
    with pytest.raises(UsageError, match="200 whole slices of 4096 x 4096 pixels fit") as caught:
        target_shape(large, (200, 512, 300), (5, 1, 1))
    assert "slice_size" in caught.value.hint
    assert target_shape(large, (128, 512, 300), (5, 1, 1)) == (128, 4096, 4096)
