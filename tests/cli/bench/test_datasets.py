"""Where the data set of a benchmark is found or fetched."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from inflate_zoo.bench.definitions.catalog import load_task
from inflate_zoo.cli import app
from inflate_zoo.cli.bench.datasets import DataPlace, find_data
from tests.support.file_server import FileServer


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data sets"


def bench(*words):
    words = ["bench", "--source", "builtin/clip", "--device", "cpu", "--workers", "0", *words]
    return CliRunner().invoke(app.app, words)


def task_file(folder, address):
    text = (
        'title = "Boxes"\nmodality = "MRI"\nchannels = ["MRI"]\nspacing = [1, 1, 1]\n'
        "labels = { background = 0, front = 1, back = 2 }\nregions = { front = [1] }\n"
        'intensity = { rule = "percentiles", low = 0, high = 100 }\nlicense = "CC0-1.0"\n'
        f'address = "{address}"\n'
    )
    (folder / "boxes.toml").write_text(text)
    return str(folder / "boxes.toml")


def test_a_benchmark_fetches_its_data(tmp_path, monkeypatch, root):
    from tests.support.datasets import write_decathlon

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INFLATE_ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("INFLATE_ZOO_DATA", str(root))
    write_decathlon(tmp_path / "Boxes", 10, (16, 16, 8))
    shutil.make_archive(str(tmp_path / "data"), "tar", tmp_path, "Boxes")
    few = [word for change in ("train.steps=1", "train.validate_every=0", "network.window=[8,8,8]")
           for word in ("--set", change)]  # fmt: skip
    with FileServer((tmp_path / "data.tar").read_bytes()) as server:
        words = ["--dataset", task_file(tmp_path, server.address), "--protocol", "quick", *few]
        refused = bench(*words)
        assert refused.exit_code == 2
        assert "task 'boxes' needs its data: Boxes, CC0-1.0" in refused.output
        assert "add --download" in refused.output
        result = bench(*words, "--seeds", "1", "--download", "--format", "json")
        assert result.exit_code == 0, result.output
        assert "fetching Boxes" in result.stderr
        assert json.loads(result.stdout)["tasks"][0]["task"] == "boxes"
    # And finds them without being asked to fetch.
    again = bench(*words, "--seeds", "1")
    assert again.exit_code == 0, again.output


def test_nothing_to_fetch_is_named():
    result = bench("--download")
    assert result.exit_code == 2
    assert "add --dataset, e.g. --dataset msd-task04" in result.output


@pytest.mark.parametrize("dataset, files", [
    ("acdc", ["training/patient001/patient001_frame01.nii.gz"]),
    ("btcv", ["RawData/Training/img/img0001.nii.gz", "RawData/Training/label/label0001.nii.gz"]),
    ("msd-task04", ["dataset.json"]),
])  # fmt: skip
def test_what_lies_in_data_is_taken_though_download_is_said(tmp_path, dataset, files):
    assert find_data(tmp_path, dataset, download=True) == DataPlace(tmp_path, load_task(dataset))
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert find_data(tmp_path, dataset, download=True) == DataPlace(tmp_path)
