"""The whole report: files, numbers, determinism, odd runs."""

import csv
import dataclasses
import io
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from inflate_zoo.bench.ranking import stability
from inflate_zoo.bench.report import content
from inflate_zoo.bench.report.output.document import Picture
from inflate_zoo.bench.report.output.text import NONE
from inflate_zoo.bench.report.terminal import table
from inflate_zoo.bench.report.writing import write_report
from inflate_zoo.cli.bench import report as cli
from inflate_zoo.errors import UsageError, WriteError
from tests.support import records

FILES = {"report.html", "report.md", "results.csv", "plots"}
ARMS = [arm for arm in records.arms_of() if arm.scheme != "center"]
SMALL = records.arms_of(("made-up/vit-one",), ("center",))


class Page(HTMLParser):
    """Tags, attributes and rows of cells of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.rows, self._cell = [], [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "tr":
            self.rows.append([])
        self._cell = tag in ("td", "th")
        if self._cell:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self._cell:
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run with a failed and a pending trial, its report, and what was printed."""
    base = tmp_path_factory.mktemp("report")
    run = records.save_run(base / "run", arms=ARMS)
    return run, base / "out", write_report([run], base / "out")


@pytest.fixture
def undrawn(monkeypatch):
    """Leave the drawings out, which take most of the time."""
    monkeypatch.setattr(content.plots, "of_study", lambda study, baselines, **_: {})
    monkeypatch.setattr(content.overlays, "of_study", lambda study: {})


def loaded(run):
    paths = sorted(run.glob("trials/*/record.json"))
    return [json.loads(path.read_text()) for path in paths]


def test_all_files_are_there_and_nothing_half_written(made):
    _, out, _ = made
    assert {path.name for path in out.iterdir()} == FILES
    names = {path.name for path in (out / "plots").iterdir()}
    stems = {"1-cases", "1-ranks", "1-loss", "1-validation-dice", "1-differences"}
    assert {f"{stem}.{kind}" for stem in stems for kind in ("png", "svg")} <= names
    assert sum(name.startswith("1-overlay-") for name in names) == 2 * 5
    linked = re.findall(r"\]\(plots/([^)]+)\)", (out / "report.md").read_text())
    assert set(linked) == {name for name in names if name.endswith(".png")}


def test_two_reports_of_the_same_trials_have_the_same_bytes(made, tmp_path):
    run, out, _ = made
    write_report([run], tmp_path)
    for path in sorted(out.rglob("*")):
        if path.is_file():
            assert (tmp_path / path.relative_to(out)).read_bytes() == path.read_bytes(), path.name


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing(made):
    page = Page((made[1] / "report.html").read_text())
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)
    for name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("src", "href", "xlink:href"):
            assert value.startswith(("#", "data:image/png;base64,"))
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'; img-src data:") in (
        page.attributes
    )


def test_no_machine_and_no_path_is_told(made):
    run, out, _ = made
    for path in out.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert str(run.parent).encode() not in content
            assert b"made-up-host" not in content


def test_means_and_spread_are_plain_arithmetic(made):
    run, out, _ = made
    rows = [row for row in Page((out / "report.html").read_text()).rows if len(row) == 12]
    head, body = rows[0], {row[2]: dict(zip(rows[0], row, strict=True)) for row in rows[1:]}
    assert head[:4] == ["rank", "places", "arm", "kind"]
    for arm in ("vit-one average", "vit-two average"):
        own = [each for each in loaded(run) if each["trial"]["arm"]["label"] == arm]
        assert len(own) == 3
        for region in ("anterior", "posterior"):
            for metric, name in (("dice", "Dice"), ("surface_dice", "surface Dice")):
                seeds = [
                    np.mean([case["regions"][region][metric] for case in each["result"]["cases"]])
                    for each in own
                ]
                told = f"{np.mean(seeds):.3f} ± {np.std(seeds, ddof=1):.3f}"
                assert body[arm][f"{name} {region}"] == told
            pooled = np.mean([each["result"]["pooled"][region]["dice"] for each in own])
            assert body[arm][f"pooled Dice {region}"] == f"{pooled:.3f}"


def test_the_table_of_values_holds_every_value_once(made):
    run, out, _ = made
    rows = list(csv.DictReader(io.StringIO((out / "results.csv").read_text())))
    expected = {
        (each["hash"], case["case"], region, metric): value
        for each in loaded(run)
        for case in each["result"]["cases"]
        for region, metrics in case["regions"].items()
        for metric, value in metrics.items()
        if value is not None
    }
    found = {(r["hash"], r["case"], r["region"], r["metric"]): float(r["value"]) for r in rows}
    assert found == expected
    assert len(rows) == len(expected)
    units = {"hd95_mm": "mm", "volume_mm3": "mm3", "reference_volume_mm3": "mm3"}
    assert {row["metric"] for row in rows} > units.keys()
    assert all(row["unit"] == units.get(row["metric"], "") for row in rows)


def test_failed_and_missing_trials_are_named_and_not_ranked(made):
    _, out, results = made
    for text in (
        table(results),
        (out / "report.md").read_text(),
        (out / "report.html").read_text(),
    ):
        plain = text.replace("&#x27;", "'").replace("\\", "")
        assert "2 of 15 trials have no record: 1 failed, 1 not run" in plain
        assert "trial failed: 'vit-two 2d', fold 0, seed 2" in plain
        assert "loss became NaN at step 7, case 'made-up_003'" in plain
        assert "trial missing: 'random', fold 0, seed 2 has not run" in plain
        assert plain.index("trial failed") < plain.index("not ranked")
    lines = table(results).splitlines()
    assert [line.split()[0] for line in lines[-3:-1]] == [NONE, NONE]


def test_several_folders_make_one_report_and_a_trial_counts_once(tmp_path, undrawn):
    one, two = tmp_path / "one", tmp_path / "two"
    for seed in range(2):
        for arm in SMALL:
            made = records.record(arm, seed)
            records.save(one if seed else two, made, overlays=False)
            records.save_failed(two if seed else one, made)
    results = write_report([one, two], tmp_path / "out")
    assert len(results.trials) == len(SMALL) * 2
    assert all(trial.record for trial in results.trials)
    again = write_report([two, one, one], tmp_path / "again")
    assert table(results) == table(again)
    same = [(tmp_path / name / "report.html").read_bytes() for name in ("out", "again")]
    assert same[0] == same[1]


@pytest.mark.parametrize("settings", [
    {"arms": SMALL[:1], "seeds": 1, "cases": 1},
    {"arms": SMALL[:1], "seeds": 2, "cases": 3},
    {"arms": SMALL, "seeds": 1, "cases": 2},
], ids=["one case", "one arm", "one seed"])  # fmt: skip
def test_small_runs_say_that_they_are_no_ranking(tmp_path, settings):
    run = records.save_run(tmp_path, **settings, incomplete=False)
    printed = table(write_report([run], run))
    assert printed.index("not a ranking:") < printed.index("places")
    assert "This is not a ranking" in (run / "report.html").read_text()
    assert "nan" not in printed


def test_without_curves_overlays_and_with_null_values(tmp_path):
    for seed in range(2):
        for arm in SMALL:
            made = records.record(arm, seed, 6)
            made["result"]["curves"] = {}
            made["result"]["cases"][2]["regions"]["anterior"]["dice"] = None
            for case in made["result"]["cases"]:
                case["regions"]["posterior"] = dict.fromkeys(case["regions"]["posterior"])
            made["run"] = {}
            records.save(tmp_path, made, overlays=False)
    results = write_report([tmp_path], tmp_path)
    assert "posterior" not in table(results)
    assert {path.stem for path in (tmp_path / "plots").iterdir()} == {
        "1-cases", "1-ranks", "1-differences"
    }  # fmt: skip
    assert "nan" not in (tmp_path / "report.md").read_text()


def test_a_run_that_failed_altogether_gets_a_report_that_says_so(tmp_path):
    for arm in SMALL:
        records.save_failed(tmp_path, records.record(arm), "out of memory")
    printed = table(write_report([tmp_path], tmp_path))
    assert "3 of 3 trials have no record: 3 failed, 0 not run" in printed
    assert printed.count("not ranked") == 3
    assert (tmp_path / "report.html").exists()


def test_settings_that_differ_under_one_name_are_told(tmp_path, undrawn):
    for seed, steps in enumerate((150, 151)):
        for arm in SMALL:
            made = records.record(arm, seed, protocol=records.protocol(steps=steps))
            records.save(tmp_path, made, overlays=False)
    printed = table(write_report([tmp_path], tmp_path))
    assert "not a ranking: the protocol settings differ among trials" in printed
    assert "train.steps (150, 151)" in printed


def test_random_weights_may_have_a_learning_rate_of_their_own_and_sources_may_not(
    tmp_path, undrawn
):
    def save(folder, rates):
        for seed in range(3):
            for arm in SMALL:
                told = records.protocol()
                told["train"]["learning_rate"] = rates[arm.kind]
                records.save(folder, records.record(arm, seed, protocol=told), overlays=False)
        results = write_report([folder], folder)
        return table(results), (folder / "report.md").read_text()

    own = {"random": 5e-4, "inflated": 1e-3, "2d": 1e-3}
    printed, page = save(tmp_path / "own", own)
    assert "settings differ" not in printed
    assert "0.001 for sources, 0.0005 for random weights" in page
    assert re.search(r"train\.random_learning_rate \| +0\.0005", page)
    assert re.search(r"train\.learning_rate \| +0\.001", page)
    printed, page = save(tmp_path / "unlike", own | {"2d": 2e-3})
    assert "not a ranking: the protocol settings differ among trials" in printed
    assert "train.learning_rate (0.001, 0.002)" in printed


def test_several_tasks_have_an_overall_table(tmp_path, undrawn):
    for name in ("first", "second"):
        records.save_run(
            tmp_path, arms=SMALL, cases=8, incomplete=False, task=records.task(name), seeds=3
        )
    results = write_report([tmp_path], tmp_path)
    assert "mean rank over tasks" in table(results)
    assert dict(results.ranking.overall)["vit-one center"] == 1


def test_the_ranking_over_tasks_says_how_far_other_ways_agree(tmp_path, undrawn, monkeypatch):
    monkeypatch.setattr(stability, "STABLE", 1.1)  # nothing agrees so well
    for place, name in ((0, "first"), (0, "second"), (1, "third")):
        # The arms change places from task to task.
        turned = [
            dataclasses.replace(arm, quality=0.6 + 0.1 * ((at + place) % len(SMALL)))
            for at, arm in enumerate(SMALL)
        ]
        records.save_run(
            tmp_path, arms=turned, cases=12, incomplete=False, task=records.task(name), seeds=3
        )
    results = write_report([tmp_path], tmp_path)
    assert "! unstable: Kendall's tau is" in table(results)
    page = (tmp_path / "report.html").read_text()
    assert "unstable: Kendall&#x27;s tau is" in page
    assert "the ranks over all tasks against" in page
    told = CliRunner().invoke(app(), [str(tmp_path), "--format", "json"])
    found = json.loads(told.stdout)["stability"]
    assert [each["against"] for each in found][-1] == "one task left out"


@pytest.mark.parametrize("count", [3, 4])
def test_curves_and_slices_are_for_a_few_tasks(tmp_path, monkeypatch, count):
    def drawn(*names):
        return {name: lambda: Picture("made up", "<svg ></svg>", b"png") for name in names}

    def plots(study, baselines, *, full):
        return drawn("cases", *["loss"] * full)

    monkeypatch.setattr(content.plots, "of_study", plots)
    monkeypatch.setattr(content.overlays, "of_study", lambda study: drawn("overlay-random"))
    for place in range(count):
        task = records.task(f"task-{place}")
        records.save_run(tmp_path, arms=SMALL, cases=4, incomplete=False, task=task, seeds=2)
    write_report([tmp_path], tmp_path)
    found = {path.stem for path in (tmp_path / "plots").iterdir()}
    page = (tmp_path / "report.html").read_text()
    for kind in ("loss", "overlay"):
        assert any(kind in name for name in found) == (count == 3)
    assert any("cases" in name for name in found)
    assert ("are drawn where there are 3 tasks or fewer" in page) == (count == 4)


def test_many_regions_are_folded(tmp_path):
    regions = tuple(f"organ {i}" for i in range(12))
    task = records.task("many", regions)
    run = records.save_run(
        tmp_path, arms=SMALL[:2], seeds=2, cases=3, incomplete=False, overlays=False, task=task
    )
    assert "Dice, mean over regions" in table(write_report([run], run))
    text = (run / "report.html").read_text()
    assert "4 further regions not drawn" in text
    assert "organ 11" in text


def test_a_folder_without_trials_is_refused(tmp_path):
    for folder, told in ((tmp_path, "holds no"), (tmp_path / "absent", "is no folder")):
        with pytest.raises(UsageError, match=told):
            write_report([folder], tmp_path / "out")
    (tmp_path / "trials" / ".staging").mkdir(parents=True)
    with pytest.raises(UsageError, match="holds no trials"):
        write_report([tmp_path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


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
    assert (f"{place.name}</td>" in page) == (name == "record.json")
    assert ("trial left out" in page) == (name == "record.json")
    told = CliRunner().invoke(app(), [str(run), "--out", str(tmp_path / "o"), "--format", "json"])
    assert place.name in json.loads(told.stdout)["left_out"][0]


def test_where_nothing_can_be_read_the_command_says_so(tmp_path):
    place = records.save(tmp_path, records.record(SMALL[0]), overlays=False)
    (place / "trial.json").write_text("{")
    (line,) = left_out(tmp_path, tmp_path)
    assert "no trial that can be read" in line


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


@pytest.mark.parametrize("content", [b"", b"\xff" * 64], ids=["empty", "noise"])
def test_damaged_overlays_are_refused_by_the_name_of_the_trial(tmp_path, content):
    place = records.save(tmp_path, records.record(SMALL[0]))
    (place / "overlays.safetensors").write_bytes(content)
    with pytest.raises(UsageError, match=place.name):
        write_report([tmp_path], tmp_path)


def test_an_output_that_cannot_be_written_leaves_the_old_report(tmp_path, monkeypatch):
    run = records.save_run(tmp_path, arms=SMALL[:1], seeds=1, cases=2, incomplete=False)
    write_report([run], run)
    old = (run / "report.html").read_bytes()

    def refuse(path, target):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.replace", refuse)
        with pytest.raises(WriteError, match="No space left"):
            write_report([run], run)
    assert (run / "report.html").read_bytes() == old
    assert not list(run.rglob("*.partial"))
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot hold the report"):
        write_report([run], tmp_path / "file")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "plots").write_text("")
    with pytest.raises(UsageError, match="cannot hold the report: File exists"):
        write_report([run], tmp_path / "other")


def test_a_report_that_is_interrupted_leaves_no_empty_folders(tmp_path, undrawn, monkeypatch):
    run = records.save_run(tmp_path, arms=SMALL[:1], seeds=1, cases=2, incomplete=False)

    def pressed(path, target):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", pressed)
    with pytest.raises(KeyboardInterrupt):
        write_report([run], tmp_path / "above" / "out")
    assert not (tmp_path / "above").exists()


def app():
    made = typer.Typer()
    made.command(cli.NAME)(cli.command)
    return made


def test_the_command_prints_the_table_or_json(made, tmp_path, undrawn):
    run, _, results = made
    human = CliRunner().invoke(app(), [str(run), "--out", str(tmp_path)])
    assert human.exit_code == 0, human.output
    assert human.stdout == table(results)
    found = CliRunner().invoke(app(), [str(run), "--out", str(tmp_path), "--format", "json"])
    told = json.loads(found.stdout, parse_constant=pytest.fail)
    (task,) = told["tasks"]
    assert task["standings"][0]["arm"] == "vit-one average"
    assert task["standings"][-1]["rank"] is None
    assert task["comparisons"][0].keys() >= {"first", "second", "p_holm", "better"}


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
