"""Names, numbers and differences as sentences have them."""

import pytest

from inflate_zoo.bench.report.output import wording
from tests.support.rankings import comparison


@pytest.mark.parametrize(
    "arms, told",
    [
        ("a", "a"),
        ("ab", "a and b"),
        ("abc", "a, b and c"),
        ("abcde", "a, b, c, d and e"),
        ("abcdef", "a, b, c, d and 2 more"),
    ],
)
def test_names_stand_in_a_row_and_many_are_counted(arms, told):
    assert wording.names_of(arms) == told


def test_a_long_name_keeps_its_ends():
    shown = wording.names_of(["first" + "x" * 90 + "last"])
    assert len(shown) == 32
    assert shown.startswith("first")
    assert shown.endswith("last")


def test_small_numbers_are_words():
    assert [wording.in_words(count) for count in (0, 1, 12, 13)] == ["no", "one", "twelve", "13"]


@pytest.mark.parametrize(
    "values, told",
    [
        ((0.021,), "+0.02"),
        ((0.021, 0.104), "+0.10 to +0.02"),
        ((0.021, 0.018), "+0.02"),  # alike as they are shown
        ((0.1, 0.004), "+0.100 to +0.004"),  # two decimals would show a zero
        ((-0.1, 0.05), "+0.05 to -0.10"),
        ((0.0002, -0.0003), "+0.000"),  # no zero has a minus
    ],
)
def test_differences_go_from_the_greatest_to_the_smallest(values, told):
    pairs = [comparison("sources", ("a", "b"), value) for value in values]
    assert wording.span_text(pairs) == f"{told} Dice"


def test_a_difference_has_the_width_that_decides():
    one = comparison("sources", ("a", "b"), 0.051, width=0.02)
    assert wording.width_text(one) == "+0.051 ± 0.020 Dice"
