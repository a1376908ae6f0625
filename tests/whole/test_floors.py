"""The floors of pyproject.toml are the releases that the tests are run with."""

import re
import tomllib
from pathlib import Path

import pytest

from inflate_zoo.nnunet.instructions import ALONE

ROOT = Path(__file__).parents[2]
FLOORS = ROOT / ".ci/floors.txt"


def floors_of(lines):
    """The least release of each requirement, as three numbers; the package itself has none."""
    found = [re.fullmatch(r"([\w-]+)[>=]=([\d.]+)", line) for line in lines if "[" not in line]
    return {line[1]: [*line[2].split("."), "0"][:3] for line in found}


@pytest.mark.skipif(not FLOORS.exists(), reason="not in the sdist")
def test_every_floor_is_the_one_that_is_tried():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = floors_of(
        [
            *project["dependencies"],
            *(line for name in ("bench", "dicom", "export") for line in extras[name]),
        ]
    )
    needed |= floors_of(line.partition(",")[0] for line in ALONE)
    lines = [line for line in FLOORS.read_text().splitlines() if not line.startswith("#")]
    tried = floors_of(lines)
    assert needed == {name: tried[name] for name in needed}
    tools = {name: floor for name, floor in floors_of(extras["dev"]).items() if name in tried}
    assert {"pytest", "pytest-xdist"} <= tools.keys()
    assert tools == {name: tried[name] for name in tools}
