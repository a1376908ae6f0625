"""`bench --data DIR` alone: the default suite, from a Hub, small and with random weights."""

import json

from typer.testing import CliRunner

from inflate_zoo.cli import app
from tests.support.checkpoints import save_transformers
from tests.support.datasets import write_decathlon
from tests.support.hub_standin import HubStandIn, use_hub
from tests.support.trials import SHAPE, TINY, VIT, one_thread

SOURCES = {
    "google/vit-base-patch16-224": "vit",
    "facebook/vit-mae-base": "vit_mae",
    "facebook/dino-vitb16": "vit",
    "openai/clip-vit-base-patch16": "clip",
}


def test_the_default_suite_runs_to_its_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_decathlon(tmp_path / "data", 10, SHAPE)
    words = ["bench", "--data", "data", "--protocol", "quick", "--cache", "cache", "--seeds", "1"]
    words += ["--device", "cpu", "--workers", "0", "--out", "run", "--format", "json"]
    for change in (*TINY, "train.steps=1", "train.validate_every=0"):
        words += ["--set", change]
    with HubStandIn() as hub, use_hub(monkeypatch, hub, tmp_path / "hub"), one_thread():
        for seed, (repo, kind) in enumerate(SOURCES.items()):
            folder = tmp_path / "made" / repo
            save_transformers(kind, folder, seed=seed, **VIT)
            hub.add_repo(repo, folder)
        result = CliRunner().invoke(app.app, words)
    assert result.exit_code == 0, result.output
    short = [repo.partition("/")[2] for repo in SOURCES]
    expected = {f"{name} {scheme}" for name in short for scheme in ("center", "2d")}
    records = [json.loads(path.read_text()) for path in tmp_path.glob("run/trials/*/record.json")]
    arms = [record["trial"]["arm"] for record in records]
    told = {arm["label"] for arm in arms if arm["kind"] != "random"}
    assert told == expected
    networks = [arm["config"]["activation"] for arm in arms if arm["kind"] == "random"]
    assert sorted(networks) == ["gelu", "quick_gelu"]
    report = (tmp_path / "run" / "report.md").read_text().replace("\\", "")
    assert all(arm["label"] in report for arm in arms)
    assert "not a ranking" in report
