"""The command `export`."""

import json
import re

import pytest

from inflate_zoo import convert
from tests.support.commands import refused, run
from tests.support.zoo_cards import CARD


@pytest.fixture(scope="module")
def converted(vit, tmp_path_factory):
    with pytest.warns(UserWarning, match="states no license"):
        return convert(vit, tmp_path_factory.mktemp("c") / "my-vit-3d", verify=False)


def test_lines_for_people(converted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("export", converted, "--to", "onnx", "--volume", "16,16,24")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0] == "my-vit-3d-onnx"
    assert lines[1].startswith("  source   my-vit-3d (backbone: 3 blocks of width 48, patch 8x8x8")
    assert re.fullmatch(r"  file     model\.onnx, [\d,]+ B, opset \d+", lines[2])
    assert lines[3].startswith("  input    volume [batch, 1, 16, 16, 24], normalised as")
    assert lines[4] == "  output   tokens [batch, 13, 48]"
    assert re.match(r"  proof    passed: greatest error \d\.\de-\d\d of the RMS", lines[-1])


def test_json_for_programs(finished_run, tmp_path):
    trial = finished_run.trial()
    words = ("--to", "torch-export", "--batch", "2", "--out", tmp_path / "out")
    result = run("export", trial.folder, *words, "--format", "json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["folder"] == str(tmp_path / "out")
    assert told["batch"] == 2
    assert told["source"]["trial"] == trial.hash
    assert told["classes"][0]["name"] == "background"
    assert json.loads((tmp_path / "out" / "export.json").read_text()) == {
        name: value for name, value in told.items() if name != "folder"
    }


def test_an_entry_of_the_zoo(hub, work):
    result = run("export", CARD["name"], "--to", "monai-vit", "--out", "out")
    assert result.exit_code == 0, result.output
    assert f"  source   {CARD['name']} (backbone" in result.stdout
    assert "Each prefix token of the source (1 in all) stands" in result.stdout
    assert {path.name for path in (work / "out").iterdir()} == {"export.json", "model.safetensors"}


def test_nonsense_is_refused(converted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = str(converted)
    refused(tmp_path, "Missing option '--to'", args=["export", source])
    refused(tmp_path, "no target named 'onx'", "onnx", args=["export", source, "--to", "onx"])
    for batch in ("0", "-1", "1.5", "any", "", "99999", "٣"):
        told = ("neither 'dynamic' nor a number",)
        args = ["export", source, "--to", "onnx", f"--batch={batch}"]
        refused(tmp_path, *told, args=args)
    refused(tmp_path, "not divisible", args=["export", source, "--to", "onnx", "--volume", "9,8,8"])
    refused(tmp_path, "'gone'", args=["export", "./gone", "--to", "onnx"])
    args = ["export", source, "--to", "monai-vit", "--batch", "2"]
    refused(tmp_path, "leave --batch out", args=args)
