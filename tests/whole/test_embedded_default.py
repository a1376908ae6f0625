"""`bench` with no arguments: what it compares, and that it runs to its report."""

import json

import pytest
from typer.testing import CliRunner

from inflate_zoo.cli import app
from tests.support.trials import one_thread

ARMS = {
    "builtin-supervised center",
    "builtin-mae center",
    "builtin-dino center",
    "builtin-clip center",
    "builtin-supervised average",
    "random",
}


# Neither the decoder nor the windows matter here: the cheapest that see every case.
CHEAP = (
    "train.steps=1", "train.validate_every=0", "network.decoder=linear",
    "network.window=[16,32,32]", "evaluation.overlap=0",
)  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Sources are converted and cases prepared once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(tmp_path, monkeypatch, cache):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INFLATE_ZOO_CACHE", str(cache))

    def bench(*words):
        words = ["bench", "--device", "cpu", "--workers", "0", *words]
        with one_thread():
            return CliRunner().invoke(app.app, words)

    return bench


def test_without_arguments(run, tmp_path):
    few = [word for change in CHEAP for word in ("--set", change)]
    result = run("--seeds", "1", *few, "--format", "json")
    assert result.exit_code == 0, result.output
    records = [
        json.loads(path.read_text()) for path in tmp_path.glob("runs/*/trials/*/record.json")
    ]
    trials = [record["trial"] for record in records]
    assert {trial["arm"]["label"] for trial in trials} == ARMS
    assert len(trials) == len(ARMS)
    for trial in trials:
        assert trial["task"]["name"] == "hippocampus-mini"
        assert trial["protocol"]["name"].startswith("quick+")
        assert len(trial["cases"]["test"]) == 25
        assert len({trial["arm"]["config"]["embed_dim"] for trial in trials}) == 1
    [folder] = (tmp_path / "runs").iterdir()
    assert folder.name == f"hippocampus-mini-{trials[0]['protocol']['name']}"
    assert (folder / "report.html").exists()
    assert "not a ranking" in (folder / "report.md").read_text()  # one seed is none
    assert str(tmp_path) not in (folder / "report.html").read_text()


def test_five_seeds_of_every_arm_are_planned(run):
    result = run("--dry-run", "--format", "json", "--set", "train.steps=1")
    assert result.exit_code == 0, result.output
    planned = json.loads(result.stdout)
    assert len(planned["trials"]) == 5 * len(ARMS)


def test_one_named_part_turns_the_defaults_off(run):
    result = run("--source", "builtin/clip")
    assert result.exit_code == 2
    assert "no data set was named" in result.output
    result = run("--dataset", "hippocampus-mini", "--source", "builtin/clip", "--dry-run",
                 "--protocol", "quick", "--set", "train.steps=1", "--format", "json")  # fmt: skip
    assert result.exit_code == 0, result.output
