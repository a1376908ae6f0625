"""The form of a task."""

import pytest

from inflate_zoo.bench.definitions.catalog import load_task
from inflate_zoo.bench.definitions.tasks import class_regions
from inflate_zoo.errors import ConfigError
from inflate_zoo.files.locations import data_folder
from tests.support.definitions import write
from tests.support.scoring import TASK


def test_a_malformed_task_is_told_by_field(base):
    text = (data_folder("benchmarks/tasks") / "msd-task04.toml").read_text(encoding="utf-8")
    for old, new, message in (
        ("posterior = [2] }", "posterior = [3] }", "region 'posterior' unites"),
        ("low = 0.5", "low = 100", "intensity: low 100.0 is not below high 99.5"),
        ("background = 0, ", "", "labels are distinct values from 0"),
    ):
        assert old in text
        with pytest.raises(ConfigError, match=message):
            load_task(write(base, "t", text.replace(old, new)))


def test_regions_become_places_in_the_sorted_values():
    assert class_regions(TASK) == {"inner": (1,), "all": (1, 2, 3), "cyst": (3,)}
