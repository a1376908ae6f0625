"""What benchmarks/speed times: others' networks that give what ours give, and what goes on."""

import importlib
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parents[2] / "benchmarks" / "speed"


@pytest.fixture(scope="module")
def script():
    """Imports a script as it is where it runs: its neighbours are found by their names."""
    before = list(sys.path)
    sys.path.insert(0, str(HERE))
    try:
        yield importlib.import_module
    finally:
        sys.path[:] = before


# Swin's sizes are fixed in the script: it takes minutes.
@pytest.mark.parametrize("network", ["vit", "beit", "dinov3", "sam", "sam2"])
def test_both_sides_compute_the_same(script, network):
    forward = script("forward")
    size = forward.Size(extent=48, dim=48, mlp_dim=96, blocks=3, heads=2)
    nets, theirs = forward.build_networks(network, size)
    ours = nets[forward.OURS]
    volume = torch.rand(2, 1, *ours.config.volume)
    forward.check(ours, nets[theirs], volume)
    with torch.no_grad():
        for parameter in nets[theirs].parameters():
            parameter.add_(0.01)
    with pytest.raises(SystemExit, match="outputs differ"):
        forward.check(ours, nets[theirs], volume)


def test_made_up_records_of_several_folds_are_reported(script, monkeypatch, capsys):
    report = script("report")
    monkeypatch.setattr(report, "TASKS", 1)
    monkeypatch.setattr(report, "FOLDS", 2)
    monkeypatch.setattr(sys, "argv", ["report.py", "--seeds", "2"])
    report.main()
    assert capsys.readouterr().out.startswith(f"{8 * 2 * 2} records: ")
