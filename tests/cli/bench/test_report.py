"""`inflate-zoo report`: what it prints, what it names as left out, how it ends."""

import json
import shutil

import pytest
import typer
from typer.testing import CliRunner

from inflate_zoo.bench.report import content
from inflate_zoo.bench.report.terminal import table
from inflate_zoo.bench.report.writing import write_report
from inflate_zoo.cli.bench import report as cli
from tests.support import records

FILES = {"report.html", "report.md", "results.csv", "results.json", "plots"}
ARMS = [arm for arm in records.arms_of() if arm.scheme != "center"]
SMALL = records.arms_of(("made-up/vit-one",), ("center",))


@pytest.fixture
def undrawn(monkeypatch):
    """Leave the drawings out, which take most of the time."""
    monkeypatch.setattr(content.plots, "of_study", lambda study, **_: {})
    monkeypatch.setattr(content.overlays, "of_study", lambda study: {})


def app():
    made = typer.Typer()
    made.command(cli.NAME)(cli.command)
    return made


def left_out(folder, out):
    """What the command names, once it has said how it ends."""
    told = CliRunner().invoke(app(), [str(folder), "--out", str(out)])
    assert told.exit_code == 1
    assert len(told.stderr.splitlines()) <= 10
    errors = [line for line in told.stderr.splitlines() if line.startswith("error: ")]
    assert str(folder) not in str(errors)
    return errors


@pytest.mark.parametrize("name, content", [
    ("record.json", "{"), ("record.json", "[]"), ("record.json", '{"format": 1}'),
    ("record.json", "[" * 9999), ("trial.json", "{"), ("trial.json", '{"seed": 1}'),
    ("trial.json", None), ("record.json", '{"format": 2, "hash": "a", "trial": {}, "result": {}}'),
])  # fmt: skip
def test_a_damaged_trial_is_named_and_left_out(tmp_path, undrawn, name, content):
    run = records.save_run(
        tmp_path / "run", arms=SMALL[:2], seeds=2, cases=2, overlays=False, incomplete=False
    )
    place = min((run / "trials").iterdir())
    if content is None:
        (place / name).unlink()
    else:
        (place / name).write_text(content)
    (line,) = left_out(run, tmp_path / "out")
    assert place.name in line
    page = (tmp_path / "out" / "report.html").read_text()
    assert (f"{place.name}</a></th>" in page) == (name == "record.json")
    assert ("trial left out" in page) == (name == "record.json")
    told = CliRunner().invoke(app(), [str(run), "--out", str(tmp_path / "o"), "--format", "json"])
    assert place.name in json.loads(told.stdout)["left_out"][0]


def test_where_nothing_can_be_read_the_command_says_so(tmp_path):
    place = records.save(tmp_path, records.record(SMALL[0]), overlays=False)
    (place / "trial.json").write_text("{")
    (line,) = left_out(tmp_path, tmp_path)
    assert "no trial that can be read" in line


def test_quiet_says_the_next_step_beside_the_error(tmp_path, undrawn):
    places = [
        records.save(tmp_path, records.record(SMALL[0], seed=seed), overlays=False)
        for seed in (0, 1)
    ]
    (places[0] / "record.json").write_text("{")
    told = CliRunner().invoke(app(), [str(tmp_path), "-q"]).stderr
    error, step = told.splitlines()
    assert error.startswith("error: ")
    assert step.startswith("run the 'inflate-zoo bench' command that made them again")


def test_many_that_are_left_out_are_counted(tmp_path, undrawn):
    run = records.save_run(tmp_path, arms=SMALL, seeds=4, cases=2, overlays=False)
    for place in (run / "trials").iterdir():
        (place / "record.json").write_text("{")
    lines = left_out(run, tmp_path / "out")
    assert len(lines) == 8
    assert lines[-1] == "error: and 5 more"


def test_a_good_copy_elsewhere_counts_and_the_bad_one_is_named(tmp_path, undrawn):
    made = [records.record(arm) for arm in SMALL]
    for each in made:
        bad, good = (
            records.save(tmp_path / name, each, overlays=False) for name in ("bad", "good")
        )
    shutil.copyfile(good.parent / made[0]["hash"] / "record.json", bad / "record.json")
    told = CliRunner().invoke(app(), [str(tmp_path / "bad"), str(tmp_path / "good")])
    assert told.exit_code == 1
    assert f"trial '{bad.name}' is not to be believed: it is of another trial" in told.stderr
    assert "have no record" not in told.stdout


def test_the_command_prints_the_table_or_json(tmp_path, undrawn):
    run = records.save_run(tmp_path / "run", arms=ARMS, overlays=False)
    results = write_report([run], tmp_path / "before")
    tmp_path = tmp_path / "out"
    human = CliRunner().invoke(app(), [str(run), "--out", str(tmp_path)])
    assert human.exit_code == 0, human.output
    assert human.stdout == table(results)
    found = CliRunner().invoke(app(), [str(run), "--out", str(tmp_path), "--format", "json"])
    told = json.loads(found.stdout, parse_constant=pytest.fail)
    (task,) = told["tasks"]
    assert task["standings"][0]["arm"] == "vit-one average"
    assert task["standings"][-1]["rank"] is None
    assert task["comparisons"][0].keys() >= {"first", "second", "p_adjusted", "claimed"}
    written = json.loads((tmp_path / "results.json").read_text())
    for each in (*told["trials"], *written["trials"]):
        folder = each.pop("folder")
        assert folder.endswith(f"trials/{each['hash']}")
    assert told == written  # folders aside: as they were named, and seen from the file


def test_the_command_writes_into_the_first_folder_by_default(tmp_path):
    run = records.save_run(tmp_path / "run", arms=SMALL[:1], seeds=1, cases=2, incomplete=False)
    assert CliRunner().invoke(app(), [str(run)]).exit_code == 0
    assert FILES | {"trials"} == {path.name for path in run.iterdir()}
    refused = CliRunner().invoke(app(), [str(tmp_path)])
    assert refused.exit_code == 2
    assert "holds no folder of trials" in refused.stderr


def test_the_command_needs_the_libraries_of_the_ranking(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused = CliRunner().invoke(app(), [str(tmp_path)])
    assert refused.exit_code == 2
    assert "pip install " in refused.stderr


def test_two_arms_are_compared_and_nothing_is_written(tmp_path):
    arms = records.arms_of(("made-up/vit-one", "made-up/vit-two"), ("center",))
    run = records.save_run(tmp_path, arms=arms, seeds=5, incomplete=False, overlays=False)
    one, two = (arm.label for arm in arms if arm.kind == "inflated")
    before = sorted(run.iterdir())
    told = CliRunner().invoke(app(), [str(run), "--compare", one, two])
    assert told.exit_code == 0, told.output
    title, verdict, *_ = told.stdout.splitlines()
    assert title == "made-up, protocol quick"
    assert verdict.startswith(f"  {one} is ahead of {two}: +0.")
    found = CliRunner().invoke(app(), ["--compare", one, two, str(run), "--format", "json"])
    (task,) = json.loads(found.stdout)["tasks"]
    assert task["sentences"][0] == verdict.strip()
    assert task["caveats"] == []
    assert [each["metric"] for each in task["comparisons"]] == ["dice", "surface_dice"]
    refused = CliRunner().invoke(app(), [str(run), "--compare", one, "clip"])
    assert refused.exit_code == 2
    assert "no arm named 'clip'" in refused.stderr
    refused = CliRunner().invoke(app(), [str(run), "--compare", one, two, "--out", "other"])
    assert (refused.exit_code, "--out has no use" in refused.stderr) == (2, True)
    assert sorted(run.iterdir()) == before
