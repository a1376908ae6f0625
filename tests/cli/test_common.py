"""What all commands share."""

import io
import json
import os
import re
import tomllib
import warnings
from pathlib import Path

import pytest
import typer

from inflate_zoo.cli import common
from inflate_zoo.cli.tables import Column
from inflate_zoo.errors import UsageError
from tests.support.commands import run


def test_errors_are_two_lines_and_debug_raises(vit, tmp_path):
    result = run("convert", vit, "--scheme", "centre", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "error: no scheme named 'centre'",
        "did you mean 'center'?",
    ]
    result = run("convert", vit, "--scheme", "centre", "--debug")
    assert result.exception is not None
    assert "UnknownNameError" in type(result.exception).__name__


def test_what_a_file_says_cannot_drive_the_terminal(capsys):
    common.say("a name \x1b[2Jwith \u202e marks\nand a second line")
    assert capsys.readouterr().err == "a name \\x1b[2Jwith \\u202e marks\nand a second line\n"


def test_the_ranking_asks_for_all_its_libraries(monkeypatch):
    with (Path(__file__).parents[2] / "pyproject.toml").open("rb") as file:
        extra = tomllib.load(file)["project"]["optional-dependencies"]["bench"]
    named = {re.match(r"[\w-]+", line).group().replace("-", "_") for line in extra}
    assert set(common.BENCH_LIBRARIES) == named
    common.needs_bench()
    monkeypatch.setattr(common, "BENCH_LIBRARIES", ("json", "no_such_library"))
    with pytest.raises(UsageError, match="this command needs no_such_library") as caught:
        common.needs_bench()
    assert caught.value.hint.startswith("pip install ")


def test_quiet_holds_advice_back_and_nothing_else(capsys):
    @common.guarded
    def command(quiet=False, fails=False):
        common.say("advice")
        common.say("warning: this", urgent=True)
        warnings.warn_explicit("that", UserWarning, "m.py", 1, module="inflate_zoo.m")
        common.tell("result")
        if fails:
            raise UsageError("wrong", hint="do it right")

    command()
    assert capsys.readouterr().err == "advice\nwarning: this\nwarning: that\n"
    command(quiet=True)
    told = capsys.readouterr()
    assert (told.out, told.err) == ("result\n", "warning: this\nwarning: that\n")
    with pytest.raises(typer.Exit):
        command(quiet=True, fails=True)
    assert capsys.readouterr().err.endswith("error: wrong\ndo it right\n")
    common.say("advice")  # the next command in this process is asked anew
    assert capsys.readouterr().err == "advice\n"


def test_quiet_shows_no_bars(monkeypatch):
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.delenv("HF_HUB_DISABLE_PROGRESS_BARS", raising=False)
    seen = []

    @common.guarded
    def command(quiet=False):
        seen.append((common.watched(), os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS")))

    command()
    command(quiet=True)
    command()
    assert seen == [(True, None), (False, "1"), (True, None)]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_table_says_what_it_had_no_room_for(monkeypatch, capsys):
    monkeypatch.setattr(common, "terminal_width", lambda: 20)
    common.tell_table((Column("name"), Column("what", least=20)), [("a" * 15, "b" * 30)])
    told = capsys.readouterr()
    assert told.out == f"name\n{'a' * 15}\n"
    assert told.err == "no room for what: see --format json, or a wider terminal\n"


def test_json_holds_no_number_that_json_has_no_word_for(capsys):
    common.print_json({"errors": {"a": float("inf"), "b": 0.5}, "more": (float("nan"), [1, "NaN"])})
    told = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert told == {"errors": {"a": None, "b": 0.5}, "more": [None, [1, "NaN"]]}
