"""The command `inspect`."""

import json

import pytest

from tests.support.commands import refused, run


def test_inspect_tells_what_convert_would_do(vit):
    result = run("inspect", vit, "--volume", "16,32,48", "--spacing", "4,1,1")
    assert result.exit_code == 0, result.output
    assert "grid 2x4x6" in result.stdout
    assert "49 tokens" in result.stdout
    assert "--patch-depth 2" in result.stdout
    value = json.loads(run("inspect", vit, "--format", "json").stdout)
    assert value["family"] == "hf_vit"
    assert value["conversion"]["stem"] == [48, 1, 8, 8, 8]
    assert value["architecture"]["num_heads"] == 4


@pytest.mark.parametrize("text", ["1,2", "a,b,c", "0,1,1", "-1,1,1", "nan,1,1", "inf,1,1", ""])
def test_nonsense_spacing_is_refused(vit, tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    refused(tmp_path, "three", args=["inspect", str(vit), f"--spacing={text}"])
