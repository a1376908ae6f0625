"""Networks with rotary positions, converted: loaded, saved, inspected, proved again."""

import json

import pytest
import torch
from typer.testing import CliRunner

from inflate_zoo import Backbone, convert, load, param_groups, segmenter, verify
from inflate_zoo.cli import app
from inflate_zoo.errors import ConfigError, UsageError
from tests.support.checkpoints import TIMM, save_timm, save_transformers
from tests.support.trials import VIT

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")


KINDS = {"dinov3_gated": "inflated_dinov3", "eva02_timm_split": "inflated_eva02"}
SMALL_TIMM = {
    "embed_dim": 16, "depth": 3, "num_heads": 2, "mlp_ratio": 1.0, "patch_size": 4, "img_size": 8,
}  # fmt: skip


def save(kind, folder, *, small=False):
    """A source of that kind in a folder."""
    if kind in TIMM:
        return save_timm(kind, folder, **(SMALL_TIMM if small else {}))
    return save_transformers(kind, folder, **(VIT if small else {}))


@pytest.fixture(scope="module", params=KINDS)
def source(request, tmp_path_factory):
    return save(request.param, tmp_path_factory.mktemp("source") / request.param)


@pytest.fixture(scope="module")
def folder(source, tmp_path_factory):
    return convert(source, tmp_path_factory.mktemp("made") / source.name, patch_depth=2)


def test_it_is_loaded_for_any_volume_and_saved(source, folder, tmp_path):
    network = load(folder, volume=(6, 16, 24)).eval()
    assert network.config.model_type == KINDS[source.name]
    assert network.grid_size == (3, 2, 3)
    volume = torch.rand(1, 1, 6, 16, 24)
    again = Backbone.from_pretrained(network.save_pretrained(tmp_path / "saved")).eval()
    with torch.inference_mode():
        assert torch.equal(network(volume), again(volume))
    assert again.config == network.config
    with pytest.raises(UsageError, match="volume width 20 is not divisible by the patch's 8"):
        load(folder, volume=(6, 16, 20))


def test_a_depth_table_that_learned_is_kept_and_resized(folder, tmp_path):
    network = load(folder, volume=(8, 16, 16))
    with torch.no_grad():
        network.depth_embed.copy_(torch.arange(4.0).view(1, 4, 1))
    saved = network.save_pretrained(tmp_path / "saved")
    assert json.loads((saved / "config.json").read_text())["depth_positions"] == 4
    longer = load(saved, volume=(16, 16, 16)).depth_embed[0, :, 0]
    assert torch.equal(load(saved, volume=(8, 16, 16)).depth_embed, network.depth_embed)
    torch.testing.assert_close(longer[2:6], torch.tensor([0.75, 1.25, 1.75, 2.25]))


def test_what_was_written_is_proved_again(source, folder):
    assert verify(folder, source).passed


def test_converted_weights_are_not_converted_again(folder, tmp_path):
    with pytest.raises(ConfigError, match="3D already"):
        convert(folder, tmp_path / "out")


def test_it_is_inspected(source):
    words = ["inspect", str(source), "--volume", "16,16,24"]
    result = CliRunner().invoke(app.app, words)
    assert result.exit_code == 0, result.output
    assert "rotary positions" in result.output
    found = json.loads(CliRunner().invoke(app.app, [*words, "--format", "json"]).stdout)
    assert found["conversion"]["grid"] == [2, 2, 3]


def test_tokens_and_tables_do_not_decay(folder):
    model = segmenter(load(folder, volume=(4, 16, 16)), classes=2, decoder="linear")
    groups = param_groups(model, learning_rate=1.0, weight_decay=0.1, layer_decay=0.5)
    names = {id(p): name.removeprefix("backbone.") for name, p in model.named_parameters()}
    told = {group["name"]: {names[id(p)] for p in group["params"]} for group in groups}
    assert told["stem.decay"] == {"patch_embed.weight"}
    assert {"cls_token", "depth_embed", "patch_embed.bias"} <= told["stem.no_decay"]
    assert {"blocks.1.attn.q_bias", "blocks.1.norm1.weight"} <= told["block.1.no_decay"]
    assert [g["lr"] for g in groups if g["name"] == "block.2.decay"] == [0.5]
