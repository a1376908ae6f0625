"""The command `convert`."""

import json
import re

from tests.support.commands import run


def test_convert_reports_the_proof(vit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("convert", vit, "--volume", "32,32,48")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == "my-vit-3d-center"
    assert re.search(r"proof    passed: greatest error \d\.\de-0\d of the RMS", result.stdout)
    assert "transformers" in result.stdout
    assert "license" in result.stderr
    again = run("verify", "my-vit-3d-center", "--source", vit)
    assert again.exit_code == 0
    assert "equal slices" in again.stdout


def test_json_is_for_programs(vit, tmp_path):
    result = run("convert", vit, "--out", tmp_path / "out", "--format", "json", "--no-verify")
    value = json.loads(result.stdout)
    assert value["recipe"]["scheme"] == "center"
    assert value["verification"] is None
    words = ("verify", tmp_path / "out", "--source", vit, "--format", "json")
    verified = json.loads(run(*words).stdout)
    assert verified["passed"] is True
    assert isinstance(verified["max_error_over_rms"], float)
    names = [entry["name"] for entry in json.loads(run("families", "--format", "json").stdout)]
    assert names == sorted(names)
    assert {"hf_vit", "dino", "timm_vit"} <= set(names)
    assert len(json.loads(run("schemes", "--format", "json").stdout)) == 4
