"""Suite `paper`: its five encoders, small and with random weights, found and trained on."""

import json

import pytest
from typer.testing import CliRunner

from inflate_zoo.bench.arms.making import ArmRequest, resolve_arms
from inflate_zoo.bench.definitions.catalog import load_protocol, load_suite
from inflate_zoo.cli import app
from tests.same_bytes import FEW, TASK
from tests.support.checkpoints import SWIN, save_swin3d, save_transformers
from tests.support.hub_standin import HubStandIn, use_hub
from tests.support.same_sources import volumes
from tests.support.trials import VIT, one_thread

pytestmark = [
    pytest.mark.filterwarnings("ignore:the source states no license:UserWarning"),
    pytest.mark.filterwarnings("ignore:the source states no normalisation:UserWarning"),
]
REPOS = {
    "microsoft/beit-base-patch16-224": ("beit", VIT),
    "microsoft/swin-base-patch4-window7-224-in22k": ("swin", SWIN),
    "facebook/dino-vitb16": ("vit", VIT),
    "google/vit-base-patch16-224": ("vit", VIT),
}
FILE = "swin3d_b_22k-7c6ae6fa.pth"


def video(folder):
    """Video-Swin under the name it is published by, two stages, its strides 2, 4, 4."""
    made = save_swin3d(
        folder, patch_size=[2, 2, 2], embed_dim=8, depths=[1, 2], num_heads=[2, 2],
        window_size=[2, 2, 2],
    )  # fmt: skip
    return made.rename(folder / FILE)


def test_it_names_the_backbone_of_the_protocol_and_resolves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    video(tmp_path)
    suite, protocol = load_suite("paper"), load_protocol("paper")
    assert protocol.backbone in suite.sources
    assert set(suite.sources) == {*REPOS, f"./{FILE}"}
    with HubStandIn() as hub, use_hub(monkeypatch, hub, tmp_path / "hub"):
        for seed, (repo, (kind, options)) in enumerate(REPOS.items()):
            save_transformers(kind, tmp_path / "made" / repo, seed=seed, **options)
            hub.add_repo(repo, tmp_path / "made" / repo)
        wanted = ArmRequest(
            suite.sources, suite.schemes, random="random" in suite.baselines,
            slices="2d" in suite.baselines,
        )  # fmt: skip
        found = resolve_arms(wanted, protocol, "sum", tmp_path / "cache")
    networks = [config.model_type for config in found.backbones]
    assert networks == [
        "inflated_beit", "inflated_swin", "inflated_vit", "inflated_vit", "inflated_swin",
    ]  # fmt: skip
    # Four with `2d` each, Video-Swin alone, and random weights of four architectures.
    assert found.count == 4 * 2 + 1 + 4


def test_video_swin_is_trained_by_the_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    video(tmp_path)
    (tmp_path / "squares.toml").write_text(TASK)
    volumes(tmp_path / "boxes")
    words = ["bench", "--protocol", "paper", "--data", "boxes", "--dataset", "squares.toml"]
    words += ["--source", f"./{FILE}", "--seeds", "1", "--device", "cpu", "--workers", "0"]
    words += ["--cache", "cache", "--out", "run"]
    for change in (*FEW, "network.features=32"):
        words += ["--set", change]
    with one_thread():
        result = CliRunner().invoke(app.app, words)
    assert result.exit_code == 0, result.output
    (record,) = (json.loads(path.read_text()) for path in tmp_path.glob("run/trials/*/record.json"))
    assert record["trial"]["arm"]["scheme"] == "as it is"
    assert record["result"]["window"] == [6, 16, 16]
