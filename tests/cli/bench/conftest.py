"""A data set and a source for commands of the ranking."""

import pytest

from tests.support.checkpoints import save_transformers
from tests.support.datasets import write_decathlon
from tests.support.trials import SHAPE, VIT


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    write_decathlon(folder / "data", 10, SHAPE)
    save_transformers("vit", folder / "vit", **VIT)
    return folder


@pytest.fixture
def here(home, monkeypatch):
    monkeypatch.chdir(home)
    return home
