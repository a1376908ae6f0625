"""The whole report: files, numbers, determinism, odd runs."""

import dataclasses
import html
import json
import re
from pathlib import Path

import numpy as np
import pytest

from inflate_zoo.bench.ranking import stability
from inflate_zoo.bench.report import content
from inflate_zoo.bench.report.answers import answer_of
from inflate_zoo.bench.report.output.document import Picture
from inflate_zoo.bench.report.output.text import NONE, for_markdown
from inflate_zoo.bench.report.terminal import table
from inflate_zoo.bench.report.writing import write_report
from inflate_zoo.errors import UsageError, WriteError
from tests.support import records
from tests.support.reports import Page, loaded

FILES = {"report.html", "report.md", "results.csv", "results.json", "plots"}
ARMS = [arm for arm in records.arms_of() if arm.scheme != "center"]
SMALL = records.arms_of(("made-up/vit-one",), ("center",))


def test_all_files_are_there_and_nothing_half_written(made):
    _, out, _ = made
    assert {path.name for path in out.iterdir()} == FILES
    names = {path.name for path in (out / "plots").iterdir()}
    stems = {"1-cases-1", "1-cases-2", "1-ranks", "1-loss", "1-validation-dice", "1-overlays",
             "1-differences-sources", "1-differences-depth"}  # fmt: skip
    assert {f"{stem}.{kind}" for stem in stems for kind in ("png", "svg")} == names
    linked = re.findall(r"\]\(plots/([^)]+)\)", (out / "report.md").read_text())
    assert set(linked) == {name for name in names if name.endswith(".png")}


def test_two_reports_of_the_same_trials_have_the_same_bytes(made):
    run, out, _ = made
    again = out.with_name("again")  # beside it, as links lead from it to the trials
    write_report([run], again)
    for path in sorted(out.rglob("*")):
        if path.is_file():
            assert (again / path.relative_to(out)).read_bytes() == path.read_bytes(), path.name


def test_the_answer_and_the_conditions_stand_above_the_table(made):
    _, out, results = made
    (study,) = results.studies
    told = answer_of(study).sentences
    assert len(told) >= 2
    for text, plain in (
        ((out / "report.html").read_text(), html.escape),
        ((out / "report.md").read_text(), for_markdown),
        (table(results), str),
    ):
        places = [text.index(plain(sentence)) for sentence in told]
        assert places == sorted(places)
        assert text.index(plain("Ran on made-up-host, device cpu, 2026-01-02")) < places[0]
        assert places[-1] < text.index("surface Dice", places[-1])
    title = f"<title>{results.studies[0].title}: which source transfers</title>"
    assert title in (out / "report.html").read_text()


def test_the_command_that_predicts_with_the_best_trial_can_be_typed(tmp_path, undrawn, monkeypatch):
    run = records.save_run(tmp_path / "a run", arms=SMALL, seeds=2, cases=4, incomplete=False)
    scores = {}
    for path in run.glob("trials/*/record.json"):
        made = json.loads(path.read_text())
        scores[made["hash"]] = np.mean([case["mean_dice"] for case in made["result"]["cases"]])
    best = max(scores, key=scores.get)
    made = write_report([run], run)
    assert "Its network is not kept" in (run / "report.html").read_text()
    assert "predict" not in table(made)
    (run / "trials" / best / "model.safetensors").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    made = write_report([Path("a run")], Path("a run"))
    typed = f"inflate-zoo predict 'a run/trials/{best}' IMAGES --out predictions"
    assert f"best trial: {typed}\n" in table(made)
    shown = f"inflate-zoo predict trials/{best} IMAGES --out predictions"
    assert shown in (run / "report.html").read_text()


def test_how_hausdorff_distances_are_defined_stands_where_they_are_shown(made):
    for name in ("report.html", "report.md"):
        text = (made[1] / name).read_text()
        assert text.index("HD95, mm") < text.index("by surface area") < text.index("DeepMind")


def test_no_path_of_this_machine_is_told(made):
    run, out, _ = made
    for path in out.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert str(run.parent).encode() not in content


def test_means_are_plain_arithmetic(made):
    run, out, _ = made
    rows = Page((out / "report.html").read_text()).rows
    start = next(place for place, row in enumerate(rows) if "HD95, mm" in row)
    head = rows[start]
    shown = {tuple(row[:2]): dict(zip(head, row, strict=True)) for row in rows[start + 1 :]
             if len(row) == len(head)}  # fmt: skip
    spread = next(place for place, row in enumerate(rows) if "spread of Dice" in row)
    spreads = {row[0]: row[2:4] for row in rows[spread + 1 :] if len(row) == 4}
    for arm in ("vit-one average", "vit-two average"):
        own = [each for each in loaded(run) if each["trial"]["arm"]["label"] == arm]
        assert len(own) == 3
        seeds = {"dice": [], "surface_dice": []}
        for each in own:
            for metric, found in seeds.items():
                values = [
                    np.mean([case["regions"][region][metric] for region in case["regions"]])
                    for case in each["result"]["cases"]
                ]
                found.append(np.mean(values))
        assert spreads[arm] == [f"{np.std(found, ddof=1):.4f}" for found in seeds.values()]
        for region in ("anterior", "posterior"):
            body = shown[arm, region]
            for metric, name in (("dice", "Dice"), ("surface_dice", "surface Dice")):
                values = [case["regions"][region][metric]
                          for each in own for case in each["result"]["cases"]]  # fmt: skip
                assert body[name] == f"{np.mean(values):.3f}"
            pooled = np.mean([each["result"]["pooled"][region]["dice"] for each in own])
            assert body["pooled Dice"] == f"{pooled:.3f}"


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
    assert [line.split()[2] for line in table(results).splitlines()[-2:]] == [NONE, NONE]


@pytest.mark.parametrize("settings", [
    {"arms": SMALL[:1], "seeds": 1, "cases": 1},
    {"arms": SMALL[:1], "seeds": 2, "cases": 3},
    {"arms": SMALL, "seeds": 1, "cases": 2},
], ids=["one case", "one arm", "one seed"])  # fmt: skip
def test_small_runs_say_that_they_are_no_ranking(tmp_path, settings):
    run = records.save_run(tmp_path, **settings, incomplete=False)
    printed = table(write_report([run], run))
    assert printed.index("not a ranking:") < printed.index("arm  ")
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
    names = {path.stem for path in (tmp_path / "plots").iterdir()}
    assert names > {"1-cases-1", "1-ranks"}
    assert not {name for name in names if "loss" in name or "overlay" in name}
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
    assert re.search(r"train\.random\\_learning\\_rate \| +0\.0005", page)
    assert re.search(r"train\.learning\\_rate \| +0\.001", page)
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
    found = json.loads((tmp_path / "results.json").read_text())["stability"]
    assert [each["against"] for each in found][-1] == "one task left out"


@pytest.mark.parametrize("count", [3, 4])
def test_curves_and_slices_are_for_a_few_tasks(tmp_path, monkeypatch, count):
    def drawn(*names):
        return {name: lambda: Picture("made up", "<svg ></svg>", b"png") for name in names}

    def plots(study, *, full):
        return drawn("differences-sources", *["loss"] * full)

    monkeypatch.setattr(content.plots, "of_study", plots)
    monkeypatch.setattr(content.overlays, "of_study", lambda study: drawn("overlays"))
    for place in range(count):
        task = records.task(f"task-{place}")
        records.save_run(tmp_path, arms=SMALL, cases=4, incomplete=False, task=task, seeds=2)
    write_report([tmp_path], tmp_path)
    found = {path.stem for path in (tmp_path / "plots").iterdir()}
    page = (tmp_path / "report.html").read_text()
    for kind in ("loss", "overlay"):
        assert any(kind in name for name in found) == (count == 3)
    assert any("differences" in name for name in found)
    assert ("are drawn where there are 3 tasks or fewer" in page) == (count == 4)


def test_many_regions_are_folded(tmp_path):
    regions = tuple(f"organ {i}" for i in range(12))
    task = records.task("many", regions)
    run = records.save_run(
        tmp_path, arms=SMALL[:2], seeds=2, cases=3, incomplete=False, overlays=False, task=task
    )
    write_report([run], run)
    text = (run / "report.html").read_text()
    assert "4 further regions not drawn" in text
    assert "organ 11" in text


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
