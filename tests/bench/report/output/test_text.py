"""Names of strangers: they are shown, and have no effect."""

import csv
import io
import re
from urllib.parse import unquote

from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from inflate_zoo.bench.report.output import text
from inflate_zoo.errors import visible


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


@given(
    st.text() | st.from_regex(r" {0,5}([-+*=#>]|[0-9]{1,10}[.)])[- ]{0,3}[a-z]?", fullmatch=True)
)
@example("1. Hippocampus")
@example("- one")
@example("---")
@example("    code")
def test_markdown_is_one_paragraph_wherever_it_begins(name):
    for before, around in (("", []), ("- ", ["bullet_list", "list_item"])):
        tokens = MarkdownIt().parse(f"{before}{text.for_markdown(name)}")
        blocks = [each.type.removesuffix("_open") for each in tokens if each.nesting == 1]
        told = "".join(each.content for token in tokens for each in token.children or ())
        assert told == visible(name).strip(" ")
        assert blocks == [*around, "paragraph"] or not told


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
    assert text.signed(-0.0002) == text.signed(-0.0) == "+0.000"
    assert text.number(-0.0002) == "0.000"
    assert text.number(-0.004, 2) == "0.00"
    assert text.signed(-0.0006) == "-0.001"
    assert text.probability(1e-9) == "< 0.0001"
    assert text.amount(22_000_000) == "22.0 M"
    assert text.memory(1 << 31) == "2.0 GiB"
    assert text.seconds(90) == "90 s"
    assert text.seconds(9000) == "2.5 h"


def test_an_address_means_the_same_folder_in_a_page_and_in_markdown():
    for path in ("../a run (1)/trials/x", "a&b#c?d\"e'f|g", "\udcff"):
        shown = text.for_address(path)
        assert re.fullmatch(r"[\w./%~-]+", shown)
        assert unquote(shown, errors="surrogateescape") == path
