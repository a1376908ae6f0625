"""Lines that processes add to at the same time."""

import json

from inflate_zoo.files.budgets import MEMORY_LINE
from inflate_zoo.files.writing.lines import Lines


def read(lines):
    return [json.loads(line) for line in lines.new()]


def test_what_others_add_is_read_once(tmp_path):
    own, other = Lines(tmp_path / "sub" / "lines"), Lines(tmp_path / "sub" / "lines")
    assert read(own) == []
    own.add(["a", 1])
    other.add(["b", [2]])
    assert read(own) == read(other) == [["a", 1], ["b", [2]]]
    other.add(["ü"])
    assert read(own) == [["ü"]]
    assert read(own) == []


def test_a_torn_line_spoils_no_other(tmp_path):
    lines = Lines(tmp_path / "lines")
    with (tmp_path / "lines").open("ab") as file:
        file.write(b'["torn", 1')  # by a process that was killed
    lines.add(["whole"])
    assert list(lines.new()) == [b'["torn", 1\n', b'["whole"]\n']


def test_a_line_without_end_is_read_in_parts(tmp_path):
    (tmp_path / "lines").write_bytes(b"x" * (3 * MEMORY_LINE + 1))
    assert max(map(len, Lines(tmp_path / "lines").new())) == MEMORY_LINE


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path):
    (tmp_path / "file").touch()
    lines = Lines(tmp_path / "file" / "lines")
    lines.add(["a"])
    assert read(lines) == []
