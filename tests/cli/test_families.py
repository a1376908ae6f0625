"""The commands `families` and `schemes`."""

import json

from inflate_zoo.inflation.schemes import SCHEMES
from inflate_zoo.naming.catalog import families
from tests.support.commands import run


def test_each_family_is_listed_with_examples():
    result = run("families")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert len(lines) == 2 * len(families())
    for family, first, second in zip(families(), lines[::2], lines[1::2], strict=True):
        assert first.split() == [family.name, *family.summary.split()]
        assert second.strip() == f"e.g. {', '.join(family.examples[:2])}"
    assert len({len(line) - len(line.lstrip()) for line in lines[1::2]}) == 1


def test_programs_get_families_with_what_chooses_them():
    found = json.loads(run("families", "--format", "json").stdout)
    assert [entry["name"] for entry in found] == [family.name for family in families()]
    fields = {"name", "summary", "library", "model_types", "examples"}
    assert all(set(entry) == fields for entry in found)


def test_each_scheme_is_listed_with_one_line_on_what_it_does():
    lines = run("schemes").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(SCHEMES)
    told = json.loads(run("schemes", "--format", "json").stdout)
    assert [f"{entry['name']:<10}{entry['summary']}" for entry in told] == lines
    assert all(len(entry["summary"]) > 20 for entry in told)
