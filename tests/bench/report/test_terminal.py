"""Answers and standings in a terminal."""

import re

import pytest

from inflate_zoo.bench.report import terminal
from inflate_zoo.bench.report.output.document import Table
from inflate_zoo.bench.report.terminal import table


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
