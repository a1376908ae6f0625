"""A report as a page."""

import re

from tests.support.reports import Page


def test_hostile_names_leave_the_page_whole(hostile):
    page = (hostile[0] / "report.html").read_text()
    assert "<img" not in page
    assert "<script" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "\u202e" not in page
    assert "\\u202e" in page
    for tag in ("table", "tr", "td", "li", "details", "svg", "figure"):
        assert len(re.findall(rf"<{tag}[ >]", page)) == page.count(f"</{tag}>"), tag


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing(made):
    page = Page((made[1] / "report.html").read_text())
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)
    for name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("src", "xlink:href"):
            assert value.startswith(("#", "data:image/png;base64,"))
        if name == "href":  # on this machine, and only where the reader asks for it
            assert ":" not in value
            assert not value.startswith("/")
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'; img-src data:") in (
        page.attributes
    )


def test_the_page_links_its_files_and_every_trial(made):
    _, out, results = made
    page = Page((out / "report.html").read_text())
    links = [value for name, value in page.attributes if name == "href" and value[0] != "#"]
    for each in links:
        assert (out / each).exists(), each
    folders = {(out / each).resolve() for each in links if "trials" in each}
    assert folders == {trial.folder.resolve() for trial in results.trials}
    assert {"results.csv", "results.json", "report.md"} <= set(links)
    text = (out / "report.md").read_text()
    linked = re.findall(r"\]\(([^)]+)\)", text)
    assert {"results.csv", *(each for each in links if "trials" in each)} <= set(linked)


def test_every_table_says_what_it_holds_and_what_its_heads_are_of(made):
    text = (made[1] / "report.html").read_text()
    tables = re.findall(r"<table>.*?</table>", text, re.DOTALL)
    assert len(tables) > 10
    for each in tables:
        assert re.match(r"<table><caption><span>[^<]{4,}", each)
        rows = each.count("<tr")
        assert each.count('scope="row"') == rows - 1
        assert each.count("<th ") == each.count('scope="col"') + rows - 1
