"""The table of measured errors: every family has its row, and what it says of tiny sizes holds."""

import re
from pathlib import Path

import pytest

from benchmarks import errors
from inflate_zoo.conversion.proof import TOLERANCE
from inflate_zoo.naming.catalog import families_by_name

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")
PAGE = Path(__file__).parents[2] / "converters" / "README.md"
NUMBER = r"\d\.\de-\d\d"
ROW = re.compile(
    rf"^\| (?P<name>[^|]+) \| (?P<source>[^|]+) \| (?P<center>{NUMBER}) "
    rf"\| (?P<average>{NUMBER}|as it is) \| (?P<tiny>{NUMBER}) \| (?P<reference>[^|]+) \|$",
    flags=re.MULTILINE,
)
ROWS = {row["name"]: row for row in ROW.finditer(PAGE.read_text(encoding="utf-8"))}


def test_the_table_has_the_rows_that_are_measured_in_their_order():
    assert list(ROWS) == list(errors.SOURCES)
    assert all(ROWS[name]["source"] == label for name, (label, *_) in errors.SOURCES.items())


def test_every_family_has_a_row_and_is_compared_with_its_own_library():
    families = families_by_name()
    assert {name.split(",")[0] for name in ROWS} == families.keys()
    for name, row in ROWS.items():
        family = families[name.split(",")[0]]
        library = "transformers" if family.library == "transformers" else "timm"
        library = "torchvision" if family.dimensions == 3 else library
        expected = rf"{library} [\d.]+ {family.reference}"
        assert re.fullmatch(expected, row["reference"]), name


def test_what_was_measured_at_real_size_is_far_below_the_tolerance():
    for row in ROWS.values():
        inflated = [row["average"]] * (row["average"] != "as it is")
        assert max(map(float, [row["center"], *inflated])) < TOLERANCE / 5


@pytest.mark.parametrize("name", errors.SOURCES)
def test_the_error_at_tiny_size_is_of_the_tables_order(name):
    found, told = errors.tiny(name), float(ROWS[name]["tiny"])
    assert found < TOLERANCE
    assert told / 10 < found < told * 10
