"""Small data sets in both layouts."""

import pytest

from tests.support.datasets import write_decathlon, write_nnunet


@pytest.fixture(scope="module")
def decathlon(tmp_path_factory):
    return write_decathlon(tmp_path_factory.mktemp("a") / "Boxes", shape=(4, 4, 4))


@pytest.fixture
def nnunet(tmp_path):
    return write_nnunet(tmp_path / "Dataset001_Boxes", cases=3, shape=(4, 4, 4))
