"""What all commands share."""

import re
import tomllib
from pathlib import Path

import pytest

from inflate_zoo.cli import common
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
