"""inflate-zoo data, as it is typed."""

import json

import numpy as np
from typer.testing import CliRunner

from inflate_zoo.cli.bench.data import app
from tests.support.datasets import write_decathlon, write_nifti


def run(*words):
    return CliRunner().invoke(app, ["check", *(str(word) for word in words)])


def test_json_holds_every_finding(tmp_path):
    folder = write_decathlon(tmp_path / "Boxes", 9, (4, 4, 4))
    write_nifti(folder / "labelsTr" / "case_04.nii.gz", np.zeros((4, 4, 4), np.uint8))
    result = run(folder, "--format", "json")
    assert result.exit_code == 2
    found = json.loads(result.stdout)
    assert (found["name"], found["cases"]) == ("Boxes", 9)
    assert [finding["case"] for finding in found["bad"]] == [""]
    assert found["warnings"][0].keys() == {"case", "what", "hint"}


def test_what_is_no_data_set_is_refused_in_two_lines(tmp_path):
    result = run(tmp_path)
    assert result.exit_code == 2
    assert result.stdout == ""
    first, second = result.stderr.splitlines()
    assert first.endswith("has no dataset.json")
    assert second.startswith("these layouts are understood")


def test_the_command_needs_the_libraries_of_the_ranking(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = run(write_decathlon(tmp_path, 10, (4, 4, 4)))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "pip install " in result.stderr
