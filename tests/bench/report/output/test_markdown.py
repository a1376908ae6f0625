"""A report as Markdown."""


def test_hostile_names_leave_the_markdown_tables_whole(hostile):
    lines = (hostile[0] / "report.md").read_text().splitlines()
    widths, rows = set(), 0
    for line in [*lines, ""]:
        if line.startswith("|"):
            widths.add(line.count("|"))
            rows += 1
            continue
        assert len(widths) <= 1
        widths = set()
    assert rows > 50
    code = "    "  # an indented line is code, in which nothing has a meaning
    assert not [line for line in lines if "<" in line and not line.startswith(code)]
