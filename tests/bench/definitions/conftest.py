"""What tests of definitions share."""

import pytest

from tests.support.definitions import BASE


@pytest.fixture
def base(tmp_path):
    (tmp_path / "base.toml").write_text(BASE)
    return tmp_path / "base.toml"
