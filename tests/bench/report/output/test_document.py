"""Blocks of a report."""

from inflate_zoo.bench.report.output.document import Table


def test_columns_that_say_the_same_of_every_row_are_left_out_unless_kept():
    table = Table(
        ("arm", "kind", "note", "Dice", "seeds"),
        (("a", "2d", "x", "0.8", "5"), ("b", "2d", "y", "0.7", "5")),
        words=3,
        marked=frozenset({1}),
    )
    shown = table.varied({0, 4})
    assert shown.columns == ("arm", "note", "Dice", "seeds")
    assert shown.rows == (("a", "x", "0.8", "5"), ("b", "y", "0.7", "5"))
    assert (shown.words, shown.marked) == (2, {1})


def test_of_a_single_row_the_kept_columns_remain_alone():
    shown = Table(("arm", "kind", "Dice"), (("a", "2d", "0.8"),), words=2).varied({2})
    assert (shown.columns, shown.rows, shown.words) == (("Dice",), (("0.8",),), 0)
