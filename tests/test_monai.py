"""The steps of `predict` as MONAI's transforms: the same arrays, the same labels."""

import re

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, decollate_batch

from inflate_zoo.bench.data.preprocessing import network_input
from inflate_zoo.bench.data.resampling import restore
from inflate_zoo.bench.data.volumes import read_channels, read_volume, write_like
from inflate_zoo.errors import UsageError
from inflate_zoo.monai import (
    CentreSliceInferer,
    PrepareImaged,
    RestoreLabelsd,
    SaveLabelsd,
    find_images,
)
from tests.bench.scoring.test_inference import OfTheCentre
from tests.support.datasets import random_volume, write_nifti
from tests.support.dicom import write_series
from tests.support.prediction import TURNED
from tests.support.scoring import volume
from tests.support.trials import one_thread, tiny_run


@pytest.fixture(autouse=True, scope="module")
def quiet():
    with one_thread():
        yield


@pytest.fixture
def files(tmp_path):
    """A case of two channels whose axes are turned."""
    image = random_volume(2, (9, 8, 7), 2)[0]
    paths = [tmp_path / "images" / f"a_{channel:04d}.nii.gz" for channel in range(2)]
    for channel, path in enumerate(paths):
        write_nifti(path, image[..., channel], TURNED)
    return paths


def arguments(task):
    return {
        "channels": len(task.channels),
        "spacing": list(task.spacing),
        "intensity": task.intensity.model_dump(),
        "slices": task.slices,
        "slice_size": task.slice_size if task.whole_slices else None,
    }


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    run = tiny_run(tmp_path_factory.mktemp("task"), channels=("T1", "T2"))
    return run.trials[0].spec.task.model_copy(update={"spacing": (1.4, 0.8, 1.1)})


CHANGES = {
    "as it is": {},
    "coronal": {"slices": "coronal"},
    "whole slices": {"whole_slices": True, "slice_size": 16},
    "a window": {"intensity": {"rule": "window", "low": -1, "high": 2}},
}


@pytest.mark.parametrize("changes", CHANGES)
def test_an_image_is_prepared_as_in_training_and_its_labels_come_back(changes, task, files):
    plain = task.model_dump() | CHANGES[changes]
    task = type(task).model_validate(plain)
    made = PrepareImaged(keys="image", **arguments(task))({"image": [str(p) for p in files]})
    expected = network_input(task, read_channels(files, task.slices), "a")
    assert made["image"].dtype == torch.float32
    np.testing.assert_array_equal(made["image"].numpy(), expected.image.astype(np.float32))
    logits = torch.randn(3, *made["image"].shape[1:], generator=torch.Generator().manual_seed(0))
    back = RestoreLabelsd("pred", "image", values=[0, 2, 5], slices=task.slices)
    found = back({**made, "pred": logits.softmax(0)})["pred"]
    classes = restore(logits.softmax(0), expected.grid.voxels(task.slices))
    path = files[0].parent / "expected.nii.gz"
    write_like(path, np.array([0, 2, 5], np.uint8)[classes], expected.grid, task.slices)
    written = read_volume(path, task.slices)
    assert found.dtype == torch.uint8
    assert found.shape[1:] == written.grid.shape
    np.testing.assert_allclose(found.affine, written.grid.affine, atol=1e-6)
    np.testing.assert_array_equal(found[0].numpy(), np.asarray(nib.load(path).dataobj))
    save = SaveLabelsd("pred", "image", path.parent / "out")
    save({**made, "pred": found, "case": "a"})
    save({**made, "pred": found})
    assert sorted(each.name for each in (path.parent / "out").iterdir()) == [
        "a.nii.gz", "a_0000.nii.gz",
    ]  # fmt: skip
    assert (path.parent / "out" / "a.nii.gz").read_bytes() == path.read_bytes()


def test_it_stays_together_in_monai_s_loader(task, files):
    steps = PrepareImaged(keys="image", **arguments(task))
    found = find_images(files[0].parent, 2)
    assert found == [{"image": [str(path) for path in files], "case": "a"}]
    (batch,) = DataLoader(Dataset(found, steps), batch_size=1)
    pred = batch["image"].softmax(1)
    (item,) = decollate_batch({"image": batch["image"], "pred": pred})
    back = RestoreLabelsd("pred", "image", values=[0, 1])(item)
    assert back["pred"].shape == (1, 9, 8, 7)
    assert back["pred"].meta["filename_or_obj"] == str(files[0])


def test_images_are_grouped_as_predict_groups_them(tmp_path, files):
    with pytest.raises(UsageError, match="cannot be predicted"):
        find_images(files[0].parent, 3)
    stored = np.random.default_rng(0).integers(0, 99, (4, 3, 5)).astype(np.int16)
    folder = write_series(tmp_path / "scans" / "anna", stored, np.diag([-1.0, -1, 1, 1]))
    assert find_images(tmp_path / "scans", 1) == [{"image": [str(folder)], "case": "anna"}]
    one = {"spacing": (1.0, 1.0, 1.0), "intensity": {"rule": "window", "low": 0, "high": 99}}
    made = PrepareImaged("image", channels=1, **one)({"image": str(folder)})
    assert made["image"].shape == (1, 5, 3, 4)
    labels = RestoreLabelsd("pred", "image", [0, 1])({**made, "pred": torch.rand(2, 5, 3, 4)})
    assert labels["pred"].shape == (1, 4, 3, 5)
    with pytest.raises(UsageError, match="has 1 channel"):
        PrepareImaged("image", channels=2, **one)({"image": str(folder)})


def with_nan(array):
    array[0, 0, 0] = np.nan
    return array


SPOILT = {
    "channel 1 is 8 x 8 x 7 voxels, the first 9 x 8 x 7": lambda array: (array[1:], TURNED),
    "channel 1 lies elsewhere than the first": lambda array: (array, TURNED + 40 * np.eye(4, k=3)),
    "channel 1 holds voxels that are NaN": lambda array: (with_nan(array), TURNED),
    "channel 1 holds one value only": lambda array: (np.full_like(array, 7), TURNED),
    "has 3 channel(s), the task has 2": lambda array: (np.stack([array, array + 1], -1), TURNED),
}


@pytest.mark.parametrize("told", SPOILT)
def test_an_image_that_predict_refuses_is_refused(told, task, files):
    write_nifti(files[1], *SPOILT[told](np.array(nib.load(files[1]).dataobj)))
    with pytest.raises(UsageError, match=re.escape(f"a_0000.nii.gz: {told}")) as raised:
        PrepareImaged(keys="image", **arguments(task))({"image": [str(path) for path in files]})
    assert raised.value.hint


def test_slices_are_told_by_windows_around_them():
    network, image = OfTheCentre(3, 5), volume(6, 8, 12)
    x = torch.from_numpy(image.astype(np.float32))[None]
    found = CentreSliceInferer((5, 8, 12), 4)(x, network)
    edge = np.pad(x.numpy(), [(0, 0), (0, 0), (2, 2), (0, 0), (0, 0)], "edge")
    with torch.no_grad():
        expected = torch.nn.functional.conv3d(
            torch.from_numpy(edge), network.mix.weight, network.mix.bias, padding=(0, 1, 1)
        )
    torch.testing.assert_close(found, expected)
