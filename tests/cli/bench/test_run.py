"""The commands of the ranking: what they refuse, what they print, what fails and what goes on."""

import csv
import json
import os
import re
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from inflate_zoo.bench.definitions.trials import TrialSpec
from inflate_zoo.bench.training import sampling, stepper, trainer
from tests.support.bench_command import FEW, bench, run
from tests.support.datasets import change_table, write_decathlon
from tests.support.trials import FROZEN, SHAPE


@pytest.mark.parametrize(
    "words, told",
    [
        (("--protocol", "quik"), ("no protocol named 'quik'", "did you mean 'quick'?")),
        (("--scheme", "centre"), ("no scheme named 'centre'", "did you mean 'center'?")),
        (("--dataset", "msd-task4"), ("no task named", "did you mean 'msd-task04'?")),
        (("--set", "train.step=3"), ("no field 'train.step'", "did you mean 'train.steps'?")),
        (("--set", "train.steps=-3"), ("cannot be changed that way", "train.steps")),
        (("--set", "train.steps"), ("is no key=value",)),
        (("--suite", "objectives"), ("--source and --suite",)),
        (("--folds", "5"), ("no fold 5", "0 to 4")),
        (("--folds", "-1"), ("no fold -1",)),
        (("--folds", "a"), ("is no list of numbers", "--folds all")),
        (("--channel-rule", "mean"), ("no channel rule 'mean'", "sum or rgb")),
        (("--channel-rule", "rgb"), ("needs 3 channels", "has 1")),
        (("--source", "absent/"), ("absent",)),
        (("--source", "vit"), None),
        (("--dataset", "msd-task04"), ("not the one task 'msd-task04' was defined on",)),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(here, words, told):
    result = bench(*words, "--out", "refused" if told else "twice")
    if told is None:  # the same source twice counts once
        assert result.exit_code == 0, result.output
        return
    assert result.exit_code == 2, result.output
    for text in told:
        assert text in result.stderr
    assert len(result.stderr.splitlines()) < 14
    assert not (here / "refused").exists()


def test_one_line_says_what_is_about_to_run_before_anything_is_read(here):
    result = bench("--out", "line", "--source", "random", "--seeds", "2", "--dry-run")
    first = result.stderr.splitlines()[0]
    assert re.fullmatch(
        r"a task derived from the data, protocol quick\+\w+: 2 arms x 2 seeds = 4 trials on cpu, "
        r"one at a time, 1 thread; run folder line",
        first,
    )
    result = bench("--dry-run", "--folds", "0,1", "--at-once", "2", "--threads", "3")
    first = result.stderr.splitlines()[0]
    assert ": 1 arm x 1 seed x 2 folds = 2 trials on cpu, 2 at a time, 3 threads each" in first
    assert re.search(r"run folder runs/data-quick\+\w+$", first)
    assert "2 at a time" in result.stdout


def test_trials_side_by_side_are_those_of_one_after_another(here, monkeypatch):
    def told(folders):
        def after(seeds):
            return (f"after {len(seeds)} of 2 seeds: {folders[0].name}",)

        return SimpleNamespace(after=after)

    module = ModuleType("inflate_zoo.bench.report.so_far")
    module.SoFar = told
    monkeypatch.setitem(sys.modules, module.__name__, module)
    words = ("--source", "random", "--seeds", "2")
    one = bench("--out", "row", *words)
    assert one.exit_code == 0, one.output
    two = bench("--out", "side", "--at-once", "2", *words)
    assert two.exit_code == 0, two.output
    assert two.stdout == one.stdout.replace("predict row/", "predict side/")
    for result, out in ((one, "row"), (two, "side")):
        assert f"after 1 of 2 seeds: {out}" in result.stderr.splitlines()
    records = [
        {
            path.parent.name: json.loads(path.read_text())
            for path in here.glob(f"{out}/*/*/record.json")
        }
        for out in ("row", "side")
    ]
    assert len(records[0]) == 4
    for name, record in records[0].items():
        assert records[1][name]["result"] == record["result"]
        assert records[1][name]["run"]["threads"] == record["run"]["threads"] == 1


def test_a_wrong_source_does_not_wait_for_data(here, monkeypatch):
    from inflate_zoo.bench.trials import planning

    monkeypatch.setattr(planning, "read_dataset", lambda _: pytest.fail("data were read"))
    result = bench("--out", "refused", source=("vit", "./nowhere"))
    assert result.exit_code == 2, result.output


def test_a_suite_and_data_that_are_not_there(here):
    result = bench("--suite", "objective", source=())
    assert (result.exit_code, "did you mean 'objectives'?" in result.stderr) == (2, True)
    result = bench(data=None)
    assert (result.exit_code, "add --data DIR" in result.stderr) == (2, True)
    result = bench("--dataset", "msd-task04", data=None)
    assert result.exit_code == 2
    assert "https://" in result.stderr
    assert "CC-BY-SA" in result.stderr
    result = bench(data="nowhere")
    assert (result.exit_code, "'nowhere' is no folder" in result.stderr) == (2, True)
    result = bench("--device", "gpu", "--out", "refused")
    assert (result.exit_code, "no device 'gpu'" in result.stderr) == (2, True)
    assert not (here / "refused").exists()
    result = bench("--device", "cuda:77", "--out", "refused")
    assert (result.exit_code, "this machine has no device" in result.stderr) == (2, True)
    (here / "file").write_text("")
    result = bench("--out", "file")
    assert (result.exit_code, "choose another folder with --out" in result.stderr) == (2, True)


def test_bad_data_sets_are_counted_whole(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_decathlon(tmp_path / "bad", 12, SHAPE)
    for name in ("case_01", "case_07"):
        path = folder / "imagesTr" / f"{name}.nii.gz"
        path.write_bytes(path.read_bytes()[:-200])
    (folder / "labelsTr" / "case_09.nii.gz").unlink()
    result = bench("--out", "run", data="bad", source=(home / "vit",))
    assert result.exit_code == 2
    assert "'bad' has 3 problems" in result.stderr
    for name in ("case_01: ", "case_07: ", "case_09: "):
        assert name in result.stderr
    write_decathlon(tmp_path / "few", 9, SHAPE)
    result = bench("--out", "run", data="few", source=(home / "vit",))
    assert result.exit_code == 2
    assert "9 cases" in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_dry_run_lists_the_trials_and_leaves_out_alone(here):
    words = ("--out", "dry", "--dry-run", "--seeds", "2", "--source", "random", "--folds", "0,3")
    result = bench(*words)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert len(lines) == 9
    assert sum("vit center, seed 1, fold 3: " in line for line in lines) == 1
    assert "8 trials, 8 to run" in lines[-1]
    found = json.loads(bench(*words, "--format", "json").stdout)
    assert len(found["trials"]) == 8
    assert found["seconds"] == pytest.approx(sum(row["seconds"] for row in found["trials"]))
    assert found["disk_bytes"] > 0
    assert not (here / "dry").exists()


def test_a_run_that_is_only_planned_is_run_by_others(here, monkeypatch):
    words = ("--out", "a plan", "--source", "random", "--seeds", "2")
    result = bench(*words, "--plan")
    assert result.exit_code == 0, result.output
    assert result.stdout == "4 trials planned in a plan\n"
    assert result.stderr.endswith("inflate-zoo bench-trial --from 'a plan'\n")
    folders = sorted((here / "a plan" / "trials").iterdir())
    assert len(folders) == 4
    names = {path.name for folder in folders for path in folder.iterdir()}
    assert {name.split("-")[0] for name in names} == {"trial.json", "place"}
    done = run("bench-trial", "--from", "a plan", "--device", "cpu", "--workers", "0")
    assert (done.exit_code, done.stdout) == (0, "4 done, 0 failed\n")
    again = bench(*words, "--plan", "--format", "json")
    assert sorted(json.loads(again.stdout)["trials"]) == [folder.name for folder in folders]
    # Taking the hashes of 10,000 trials takes seconds: once is enough.
    monkeypatch.setattr(TrialSpec, "hash", property(lambda _: pytest.fail("hashed anew")))
    whole = bench(*words)
    assert whole.exit_code == 0
    assert "training" not in whole.stderr
    refused = bench(*words, "--plan", "--dry-run")
    assert (refused.exit_code, "give one of them" in refused.stderr) == (2, True)


def test_a_run_its_json_and_its_second_run(here):
    result = bench("--out", "good", "--source", "random", "--format", "json")
    assert result.exit_code == 0, result.output
    table = json.loads(result.stdout)
    (task,) = table["tasks"]
    assert {entry["arm"] for entry in task["standings"]} == {"vit center", "random"}
    assert all(entry["missing"] == 0 for entry in task["standings"])
    again = bench("--out", "good", "--source", "random")
    assert again.exit_code == 0
    assert "training" not in again.stderr
    assert "converting" not in again.stderr
    assert "vit center" in again.stdout
    (trial, *_) = sorted((here / "good" / "trials").iterdir())
    assert run("bench-trial", trial).stdout == "1 done, 0 failed\n"
    dry = bench("--out", "good", "--source", "random", "--dry-run")
    assert "2 trials, 0 to run" in dry.stdout
    other = run("report", "good", "--format", "json")
    assert json.loads(other.stdout) == table


def nan_loss(monkeypatch, home):
    real = stepper.GroupLoss.forward
    monkeypatch.setattr(
        stepper.GroupLoss, "forward", lambda self, *a: real(self, *a) * float("nan")
    )


def out_of_memory(monkeypatch, home):
    def full(*_):
        raise torch.OutOfMemoryError("tried to allocate 9 GiB of /some/path")

    monkeypatch.setattr(stepper.GroupLoss, "forward", full)


def broken_window(monkeypatch, home):
    def broken(*_):
        raise ValueError("no place")

    monkeypatch.setattr(sampling, "draw", broken)


def unexpected(monkeypatch, home):
    def odd(*_):
        raise ZeroDivisionError("odd")

    monkeypatch.setattr(stepper.GroupLoss, "forward", odd)


@pytest.mark.parametrize(
    "cause, kind, reason, named",
    [
        (nan_loss, "nan_loss", "NaN or infinite at step 0", True),
        (out_of_memory, "out_of_memory", "out of memory", False),
        (broken_window, "data_worker", "ValueError: no place", True),
        (unexpected, "error", "ZeroDivisionError: odd", False),
    ],
)
def test_a_trial_that_fails_is_told_and_tried_again(here, monkeypatch, cause, kind, reason, named):
    out = f"fails-{kind}"
    real = trainer.Trainer.run

    def run_one(self):
        with pytest.MonkeyPatch.context() as patch:
            if self._spec.arm.kind == "inflated":
                cause(patch, here)
            return real(self)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "run", run_one)
        result = bench("--out", out, "--source", "random")
    assert result.exit_code == 1, result.output
    assert "bug" not in result.stderr
    assert reason in result.stderr
    (path,) = (here / out).glob("trials/*/failure.json")
    failure = json.loads(path.read_text())
    assert failure["kind"] == kind
    assert reason in failure["reason"]
    assert str(here) not in path.read_text()
    assert "/some/path" not in path.read_text()
    assert (failure["case"] is not None) is named
    if named:
        train = json.loads((path.parent / "trial.json").read_text())["cases"]["train"]
        assert set(failure["case"].split(", ")) <= set(train)
    # The other went on; the failed one is last and flagged.
    assert len(list((here / out).glob("trials/*/record.json"))) == 1
    lines = result.stdout.splitlines()
    rows = [line for line in lines if re.match(r"(vit center|random) +[\d–]", line)]  # noqa: RUF001
    assert len(rows) == 2
    assert "random" in rows[0]
    assert "vit center" in rows[-1]
    assert "not ranked" in rows[-1]
    assert "MISSING" in rows[-1]
    # The same command tries it again.
    again = bench("--out", out, "--source", "random")
    assert again.exit_code == 0, again.output
    assert not path.exists()
    assert "MISSING" not in again.stdout


def test_a_learning_rate_that_explodes(here):
    changes = (*FEW, "train.steps=6", "train.learning_rate=1e20", "train.clip=1e20")
    result = bench("--out", "explodes", changes=changes)
    assert result.exit_code == 1
    (path,) = (here / "explodes").glob("trials/*/failure.json")
    failure = json.loads(path.read_text())
    assert failure["kind"] == "nan_loss"
    assert failure["case"]


@pytest.mark.skipif(sys.platform == "win32", reason="workers are forked")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_data_worker_that_dies(here, monkeypatch):
    parent, real = os.getpid(), sampling.draw

    def dies(*arguments):
        if os.getpid() != parent:
            os._exit(3)
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(sampling, "draw", dies)
        result = bench("--out", "worker", "--workers", "1")
    assert result.exit_code == 1
    (path,) = (here / "worker").glob("trials/*/failure.json")
    assert json.loads(path.read_text())["kind"] == "data_worker"
    assert bench("--out", "worker", "--workers", "1").exit_code == 0


def test_hostile_case_names_go_through(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_decathlon(tmp_path / "data", 10, SHAPE)
    hostile = ["=1+1", "<img src=x onerror=alert(1)>", "a\nb\u202ec", "\x1b[31mred", "ü" * 100,
               "| a | b |", "&amp;", "-rf", "'; drop", "{{x}}"]  # fmt: skip
    for number, name in enumerate(hostile):
        for part in ("imagesTr", "labelsTr"):
            path = folder / part / f"case_{number:02d}.nii.gz"
            path.rename(path.with_name(f"{name.replace('/', '_')}.nii.gz"))
    entries = [
        {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
        for name in hostile
    ]
    change_table(folder, training=entries)
    with monkeypatch.context() as patch:
        nan_loss(patch, home)
        result = bench("--out", "run", source=(home / "vit",))
    assert result.exit_code == 1
    assert not set(result.stderr) & {"\x1b", "\u202e"}
    folds = ("--folds", "all")
    result = bench("--out", "run", *folds, source=(home / "vit",))
    assert result.exit_code == 0, result.output
    for text in (result.stdout, result.stderr):
        assert not set(text) & {"\x1b", "\u202e"}
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<img src=x" not in page
    with (tmp_path / "run" / "results.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@")) and len(cell) > 1]
    records = [json.loads(p.read_text()) for p in (tmp_path / "run").glob("trials/*/record.json")]
    assert {c["case"] for r in records for c in r["result"]["cases"]} == set(hostile)
    trial = next(path.parent for path in (tmp_path / "run").glob("trials/*/record.json"))
    images = sorted((folder / "imagesTr").iterdir())
    result = run("predict", trial, *images, "--out", "predictions", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 10
    assert not set(result.stdout) & {"\x1b", "\u202e"}


def test_a_frozen_backbone_runs_as_well(here):
    result = bench("--out", "probe", "--source", "vit:2d", changes=(*FEW, *FROZEN))
    assert result.exit_code == 0, result.output
    assert "vit 2d" in result.stdout
