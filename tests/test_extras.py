"""What an index has, and what is missing."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from inflate_zoo.cli import common
from inflate_zoo.extras import install_hint, version_of

ROOT = Path(__file__).parents[1]


def test_the_hint_names_what_an_index_has():
    with (ROOT / "pyproject.toml").open("rb") as file:
        extra = tomllib.load(file)["project"]["optional-dependencies"]["bench"]
    hint = install_hint(common.BENCH_LIBRARIES)
    assert sorted(re.findall('"([^"]*)"', hint)) == sorted(extra)
    assert "inflate" not in hint
    assert install_hint(["no_such"]) == 'pip install "no-such"'


def test_a_version_is_that_of_the_distribution_or_else_of_the_module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "of_another_name.py").write_text('__version__ = "3.1"')
    (tmp_path / "that_tells_none.py").touch()
    assert version_of("numpy") == version("numpy")
    assert version_of("of-another-name") == "3.1"
    assert version_of("that_tells_none") == "unknown"
    with pytest.raises(ModuleNotFoundError):
        version_of("no_such")
