"""Every published task from its folder to a report, on random volumes of its form."""

import json

import pytest
from typer.testing import CliRunner

from inflate_zoo.bench.definitions.catalog import load_task
from inflate_zoo.cli import app
from tests.support.standins import CASES, GEOMETRY, write_standin
from tests.support.trials import one_thread

OTHERS = [name for name in GEOMETRY if name != "msd-task04"]  # which runs on real data elsewhere
FEW = (
    "train.steps=2",
    "train.validate_every=0",
    "network.window=[16,16,16]",
    "evaluation.overlap=0.0",
)
PAPER = ("train.steps=2", "train.batch=2", "train.dice_group=2", "network.features=32",
         "data.split=folds", "train.validate_every=2", "train.validation_cases=1")  # fmt: skip


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INFLATE_ZOO_CACHE", str(tmp_path / "cache"))

    def run(standin, protocol, changes, *sources):
        sets = [word for change in changes for word in ("--set", change)]
        arms = [word for source in sources for word in ("--source", source)]
        words = ["--data", str(standin.folder), "--dataset", str(standin.task), *arms]
        words += ["--protocol", protocol, "--seeds", "1", "--device", "cpu", "--workers", "0"]
        with one_thread():
            result = CliRunner().invoke(app.app, ["bench", *words, *sets, "--out", "run"])
        assert result.exit_code == 0, result.output
        records = [json.loads(p.read_text()) for p in tmp_path.glob("run/trials/*/record.json")]
        assert (tmp_path / "run" / "report.html").exists()
        return {record["trial"]["arm"]["kind"]: record for record in records}

    return run


@pytest.mark.parametrize("name", OTHERS)
def test_windows_in_three_dimensions(tmp_path, bench, name):
    standin = write_standin(tmp_path / "stand-in", name)
    task = load_task(name)
    record = bench(standin, "quick", FEW, "builtin/clip")["inflated"]
    trial, result = record["trial"], record["result"]
    assert trial["task"]["name"] == name
    assert trial["task"]["channels"] == list(task.channels)
    cases = 2 * CASES if name == "acdc" else CASES
    assert len(trial["entries"]) == cases
    assert len(result["cases"]) == cases // 5
    assert set(result["cases"][0]["regions"]) == set(task.regions)
    patch = (trial["arm"]["config"]["patch_depth"], *trial["arm"]["config"]["patch_size"])
    sizes = [voxels * mm for voxels, mm in zip(patch, task.spacing, strict=True)]
    assert 0.5 <= sizes[0] / sizes[1] <= 2 or patch[0] == 1  # about as deep as it is high
    test = {case["case"].split("_")[0] for case in result["cases"]}
    train = {case.split("_")[0] for case in trial["cases"]["train"]}
    assert name != "acdc" or not test & train


@pytest.mark.parametrize("name", ["msd-task01", "btcv", "acdc"])
def test_whole_slices_as_in_the_paper(tmp_path, bench, name):
    standin = write_standin(tmp_path / "stand-in", name, slice_size=20)
    records = bench(standin, "paper", PAPER, "builtin/clip", "builtin/clip:2d")
    for kind, depth in (("inflated", 5), ("2d", 1)):
        result = records[kind]["result"]
        assert result["window"] == [depth, 20, 20]
        assert result["pooled"].keys() == load_task(name).regions.keys()
        low, high = (records[kind]["trial"]["task"]["intensity"][end] for end in ("low", "high"))
        assert (low, high) == ((-175, 250) if name == "btcv" else (0.5, 99.5))
    # One product of the stem per voxel of the four other slices; all else is the same.
    tokens, channels, width = 25, len(load_task(name).channels), 144
    more = 2 * tokens * width * 16 * channels * 4
    three, two = (records[kind]["result"]["encoder_flops"] for kind in ("inflated", "2d"))
    assert three - two == more
