"""The floors of pyproject.toml are the releases that the tests are run with."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ROOT / ".ci/floors.txt"


@pytest.mark.skipif(not FLOORS.exists(), reason="not in the sdist")
def test_every_floor_is_the_one_that_is_tried():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["bench"]]
    promised = dict(re.fullmatch(r"([\w-]+)[>=]=([\d.]+)", line).groups() for line in needed)
    lines = [line for line in FLOORS.read_text().splitlines() if not line.startswith("#")]
    tried = dict(line.split("==") for line in lines)
    padded = {name: [*floor.split("."), "0"][:3] for name, floor in promised.items()}
    assert padded == {name: [*tried[name].split("."), "0"][:3] for name in promised}
