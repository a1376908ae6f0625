"""inflate-zoo status, as it is typed."""

import json
import subprocess
import sys

import pytest

from inflate_zoo.bench.definitions.results import Failure
from inflate_zoo.cli.tables import hanging
from tests.support.bench_command import run
from tests.support.trials import tiny_run

REASON = "a training window of case 'case_03' cannot be made: ValueError: no place for it in there"


@pytest.fixture
def planned(tmp_path, monkeypatch):
    made = tiny_run(tmp_path, kinds=("inflated", "random"))
    made.trials[0].fail(Failure(kind="data_worker", reason=REASON, case="case_03"))
    monkeypatch.chdir(tmp_path)
    return made


def test_a_run_is_shown_and_told_to_programs(planned):
    shown = run("status", "run")
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[1:] == [
        "0 of 2 trials done, 1 failed, 1 waiting; no process works on it",
        "failed:",
        f"  vit center, seed 0, fold 0: {REASON} (case case_03)",
    ]
    table = json.loads(run("status", "run", "--format", "json").stdout)
    assert (table["out"], table["failed"], len(table["trials"])) == ("run", 1, 2)
    refused = run("status", "nowhere")
    assert (refused.exit_code, "'nowhere' is no folder" in refused.stderr) == (2, True)


@pytest.mark.parametrize("columns, lines", [(80, 5), (150, 4)])
def test_lines_fit_the_terminal(columns, lines):
    found = [
        part
        for indent, line in (
            ("", "run"),
            ("", "1 failed"),
            ("", "failed:"),
            ("  ", REASON + " (c)"),
        )
        for part in hanging(indent + line, len(indent) + 4, columns)
    ]
    assert len(found) == lines
    assert max(map(len, found)) <= columns
    assert found[-1].startswith("      " if columns == 80 else "  a training")


def test_it_needs_no_library_of_the_training(planned):
    script = "import sys; from inflate_zoo.cli.app import app\n"
    script += (
        "try:\n    app(['status', 'run'])\nexcept SystemExit as end:\n    assert not end.code\n"
    )
    script += "assert not {'torch', 'monai', 'accelerate', 'timm'} & set(sys.modules)\n"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
