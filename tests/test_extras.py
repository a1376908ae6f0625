"""What an index has, and what is missing."""

import re
import tomllib
from pathlib import Path

from inflate_zoo.cli import common
from inflate_zoo.extras import install_hint

ROOT = Path(__file__).parents[1]


def test_the_hint_names_what_an_index_has():
    with (ROOT / "pyproject.toml").open("rb") as file:
        extra = tomllib.load(file)["project"]["optional-dependencies"]["bench"]
    hint = install_hint(common.BENCH_LIBRARIES)
    assert sorted(re.findall('"([^"]*)"', hint)) == sorted(extra)
    assert "inflate" not in hint
    assert install_hint(["no_such"]) == 'pip install "no-such"'
