"""Tables and facts that fit a terminal."""

import pytest

from inflate_zoo.cli.tables import Column, facts, hanging, table

COLUMNS = (
    Column("name"),
    Column("size", right=True),
    Column("licence", least=8),
    Column("objective", least=12),
)
ROWS = [
    ("vit-base-patch16", "337 MiB", "apache-2.0", "supervised classification of pictures"),
    ("mae", "1 MiB", "some licence of its own (recipe only)", "masks"),
]


def test_in_a_pipe_every_row_is_one_line_without_a_heading():
    found = table(COLUMNS, ROWS)
    first = "vit-base-patch16  337 MiB  apache-2.0                             supervised "
    assert found.lines == (
        f"{first}classification of pictures",
        "mae                 1 MiB  some licence of its own (recipe only)  masks",
    )
    assert found.left_out == ()


@pytest.mark.parametrize("width", [80, 100, 150])
def test_on_a_terminal_no_line_is_wider_and_no_word_is_lost(width):
    found = table(COLUMNS, ROWS, width)
    assert max(map(len, found.lines)) <= width
    assert found.lines[0].split() == ["name", "size", "licence", "objective"]
    words = " ".join(found.lines).split()
    for row in ROWS:
        for cell in row:
            assert all(word in words for word in cell.split())
    assert found.left_out == ()
    assert all(line == line.rstrip() for line in found.lines)


def test_where_there_is_no_room_the_last_columns_are_left_out_and_told():
    found = table(COLUMNS, ROWS, 40)
    assert found.left_out == ("objective",)
    assert max(map(len, found.lines)) <= 40
    found = table(COLUMNS, ROWS, 30)
    assert found.left_out == ("licence", "objective")
    assert found.lines[1] == "vit-base-patch16  337 MiB"


def test_what_is_never_broken_stays_whole_however_narrow():
    assert table(COLUMNS, ROWS, 10).lines[2] == "mae                 1 MiB"


def test_a_column_that_is_empty_is_not_missed_in_a_pipe():
    found = table((Column("name"), Column("size"), Column("what")), [("a", "", "b")])
    assert (found.lines, found.left_out) == (("a  b",), ())


def test_a_table_of_nothing_has_no_heading():
    assert table(COLUMNS, [], 80).lines == ()


def test_a_line_goes_on_set_in():
    line = "  proof    passed: greatest error 1.2e-06 of the RMS (tolerance 1e-04)"
    assert hanging(line, 11, None) == [line]
    assert hanging(line, 11, 80) == [line]
    first, *rest = hanging(line, 11, 40)
    assert first == "  proof    passed: greatest error"
    assert all(part.startswith(" " * 11) and part[11] != " " for part in rest)
    assert max(len(part) for part in (first, *rest)) <= 40
    assert len(hanging(line, 60, 20)) > 1  # set in by half of a terminal at most


def test_facts_begin_in_one_column():
    rows = [("name", "a"), ("a name that is long", "b"), ("", "c")]
    assert facts(rows, 8, None) == ["name    a", "a name that is long b", "        c"]
