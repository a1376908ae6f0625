"""Names of strangers: they are shown, and have no effect."""

import csv
import io
import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inflate_zoo.bench.report import terminal
from inflate_zoo.bench.report.output import text
from inflate_zoo.bench.report.output.document import Table
from inflate_zoo.bench.report.terminal import table
from inflate_zoo.bench.report.writing import write_report
from inflate_zoo.errors import visible
from tests.support import records

HOSTILE = [
    "<img src=x onerror=alert(1)>", "a|b", "=1+1", "first\nsecond", "x" * 255, "left\u202eright",
    "`code` **bold** [a](http://b.example)", "$x^{$ $", "中文 \U0001f600", "]]>--><script>",
    "[red]markup[/red]", "\x1b[31mred", "tab\tbed", "&amp;", '" onload="x',
]  # fmt: skip


@given(st.text())
def test_html_has_no_tag_and_no_hidden_character(name):
    shown = text.for_html(name)
    assert not set(shown) & set("<>\"'\n")
    assert shown.isprintable()


@given(st.text())
def test_markdown_has_no_cell_tag_or_code(name):
    shown = text.for_markdown(name)
    assert not set(shown) & set("<>|`\n")
    assert not re.search(r"(?<!\\)[*_\[\]~!$]", shown)


@given(st.text())
def test_csv_starts_no_formula_and_stays_one_row(name):
    shown = text.for_csv(name)
    assert not shown.lstrip().startswith(tuple("=+-@\t\r"))
    written = io.StringIO()
    csv.writer(written).writerow([shown.encode("utf-8").decode()])
    assert [[shown]] == list(csv.reader(io.StringIO(written.getvalue()))) or not shown


@given(st.text(), st.integers(3, 60))
def test_short_names_fit_and_keep_their_ends(name, most):
    shown = text.shortened(name, most)
    assert len(shown) <= most
    full = visible(name)
    assert shown == full or (shown[0] == full[0] and shown[-1] == full[-1])


def test_half_a_character_is_shown():
    assert text.for_html("\ud800") == text.for_csv("\ud800") == "\\ud800"


def test_numbers_are_told_or_absent():
    assert text.number(None) == text.signed(float("nan")) == text.probability(None) == text.NONE
    assert text.with_width(0.5, None) == "+0.500"
    assert text.with_width(-0.5, 0.01) == "-0.500 ± 0.010"
    assert text.probability(1e-9) == "< 0.0001"
    assert text.amount(22_000_000) == "22.0 M"
    assert text.memory(1 << 31) == "2.0 GiB"
    assert text.seconds(90) == "90 s"
    assert text.seconds(9000) == "2.5 h"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A report in which every name that a stranger chooses is hostile."""
    out = tmp_path_factory.mktemp("hostile")
    arms = [
        records.Arm(name, "random" if place == 1 else "inflated", name, name, 0.8)
        for place, name in enumerate(HOSTILE)
        if place in (0, 1, 2, 5, 7, 11)
    ]
    task = records.task(HOSTILE[0], regions=(HOSTILE[0], HOSTILE[7]))
    task |= {"title": HOSTILE[4], "license": HOSTILE[0], "citation": HOSTILE[6]}
    protocol = records.protocol(HOSTILE[9])
    protocol["deviations"] = HOSTILE
    for arm in arms:
        for seed in range(2):
            names = [*HOSTILE[:-3], "+2", "@x"]
            made = records.record(arm, seed, task=task, protocol=protocol, cases_named=names)
            made["run"]["command"] = HOSTILE
            made["run"]["versions"] = {HOSTILE[0]: HOSTILE[1]}
            if seed and arm in arms[:3]:
                records.save_failed(out, made, HOSTILE[0], HOSTILE[3])
            else:
                records.save(out, made, overlays=not seed and arm in arms[:3])
    return out, write_report([out], out)


def test_hostile_names_leave_the_page_whole(hostile):
    page = (hostile[0] / "report.html").read_text()
    assert "<img" not in page
    assert "<script" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "\u202e" not in page
    assert "\\u202e" in page
    for tag in ("table", "tr", "td", "li", "details", "svg", "figure"):
        assert len(re.findall(rf"<{tag}[ >]", page)) == page.count(f"</{tag}>"), tag


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


def test_hostile_names_are_text_in_the_table_of_values(hostile):
    rows = list(csv.reader(io.StringIO((hostile[0] / "results.csv").read_text())))
    assert {len(row) for row in rows} == {12}
    assert not [cell for row in rows for cell in row if cell.startswith(tuple("=+-@\t"))]
    assert {"'=1+1", "'+2", "'@x"} <= {row[7] for row in rows}


def test_hostile_names_are_text_in_the_drawings(hostile):
    drawings = list((hostile[0] / "plots").glob("*.svg"))
    assert drawings
    for path in drawings:
        assert "<script" not in path.read_text()
        assert "<!--" not in path.read_text()


def test_hostile_names_are_text_in_the_terminal(hostile):
    printed = table(hostile[1])
    assert "\x1b" not in printed
    assert "\u202e" not in printed
    assert "\\x1b[31mred" in printed
    assert "trial failed: '<img src=x onerror=alert(1)>'" in printed


def test_a_terminal_gets_rules_and_the_same_cells(monkeypatch):
    shown = Table(("arm", "Dice"), (("[red]a[/red]", "0.5"), ("\x1b[31m", "0.6")), 1)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    drawn = terminal._drawn(shown)
    assert "─" in drawn
    assert "[red]a[/red]" in drawn
    assert "\\x1b[31m" in drawn


@pytest.mark.parametrize("columns", [60, 80, 150])
def test_nothing_is_wider_than_the_terminal_but_what_is_to_be_typed(hostile, monkeypatch, columns):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = re.sub("\x1b\\[[0-9;]*m", "", table(hostile[1])).splitlines()
    assert max(map(len, (line for line in lines if "inflate-zoo predict" not in line))) <= columns
    assert any(len(line) > columns - 30 for line in lines)


def test_an_address_means_the_same_folder_in_a_page_and_in_markdown():
    for path in ("../a run (1)/trials/x", "a&b#c?d\"e'f|g", "\udcff"):
        shown = text.for_address(path)
        assert re.fullmatch(r"[\w./%~-]+", shown)
        assert unquote(shown, errors="surrogateescape") == path
