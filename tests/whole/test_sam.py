"""SAM's encoder inspected from headers alone."""

import json

from typer.testing import CliRunner

from inflate_zoo.cli import app
from tests.support.checkpoints import save_transformers


def test_it_is_inspected(tmp_path):
    source = save_transformers("sam", tmp_path / "sam")
    words = ["inspect", str(source), "--volume", "32,64,96", "--patch-depth", "4"]
    result = CliRunner().invoke(app.app, [*words, "--depth-window", "2"])
    assert result.exit_code == 0, result.output
    assert "windows 3x3 (global: 1)" in result.output
    found = json.loads(CliRunner().invoke(app.app, [*words, "--format", "json"]).stdout)
    assert (found["family"], found["conversion"]["grid"]) == ("hf_sam", [8, 8, 12])
    assert found["conversion"]["prefix_tokens"] == 0
    assert found["conversion"]["estimated_training_bytes"] > found["conversion"]["weights_bytes"]
