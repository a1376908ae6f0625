"""Commands run as a user types them, in this process."""

from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from inflate_zoo.cli import app


def run(*words: object) -> Any:
    """What comes out of a command."""
    return CliRunner().invoke(app.app, [str(word) for word in words])


def refused(home: Path, *told: str, args: list[str]) -> None:
    """A command exits with 2, what is wrong and the next step, and leaves its folder alone."""
    before = sorted(home.rglob("*"))
    got = run(*args)
    assert got.exit_code == 2, got.output
    assert got.stdout == ""
    lines = got.stderr.splitlines()
    assert 2 <= len(lines) <= 10, got.stderr
    for word in told:
        assert word in got.stderr, got.stderr
    for leak in ("Traceback", "this is a bug", str(home)):
        assert leak not in got.stderr
    assert sorted(home.rglob("*")) == before
