"""Trained networks, made once."""

import numpy as np
import pytest

from tests.support.datasets import change_table, write_decathlon, write_nifti
from tests.support.prediction import TURNED, made_up, trained, voxels
from tests.support.trials import LINEAR


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """Two trained networks on a data set whose axes are turned and whose labels have gaps."""
    folder = tmp_path_factory.mktemp("one")
    data = write_decathlon(folder / "data", 10, (14, 12, 6), ("MRI",), TURNED)
    for path in (data / "labelsTr").iterdir():
        write_nifti(path, np.array([0, 2, 5], np.uint8)[voxels(path)], TURNED)
    change_table(data, labels={"0": "background", "2": "front", "5": "back"})
    return trained(folder, kinds=("inflated", "2d"))


@pytest.fixture(scope="session")
def pair(tmp_path_factory):
    """A network of two channels."""
    return trained(tmp_path_factory.mktemp("two"), channels=("T1", "T2"))


@pytest.fixture(scope="session")
def seeds(tmp_path_factory):
    """Two seeds in each of two folds, whose derived tasks have intensities of their own."""
    folder = tmp_path_factory.mktemp("four")
    made = made_up(folder, *LINEAR, seeds=2, folds=(0, 1), channels=("CT",))
    first, second = (made.trials[0], made.trials[-1])
    assert first.spec.fold != second.spec.fold
    assert first.spec.task.intensity != second.spec.task.intensity
    return made
