"""`--depth-window` and `--merge-depth`: proved, recorded, verified, refused."""

import json

import pytest
import torch
from typer.testing import CliRunner

from inflate_zoo import convert, load, verify
from inflate_zoo.cli import app
from inflate_zoo.errors import UsageError
from inflate_zoo.inflation.recipe import Recipe
from inflate_zoo.inflation.roles import ROLES
from inflate_zoo.networks.base import Windows
from tests.support.checkpoints import build_transformers, save_transformers

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")


def record_of(folder):
    return json.loads((folder / "conversion.json").read_text())


@pytest.mark.parametrize("kind", ["swin", "swinv2"])
@pytest.mark.parametrize("window, merged", [(2, False), (3, True), (None, True)])
def test_both_are_proved_recorded_and_verified(kind, window, merged, tmp_path):
    source = save_transformers(kind, tmp_path / "source")
    out, options = tmp_path / "out", {"depth_window": window, "merge_depth": merged}
    folder = convert(source, out, patch_depth=2, fold_normalization=True, **options)
    record = record_of(folder)
    assert record["verification"]["passed"]
    assert "centre slice" in record["verification"]["errors"]
    assert record["recipe"]["depth_window"] == (window or 4)
    assert record["recipe"]["merge_depth"] == merged
    assert record["recipe"]["volume"] == [8 if merged else 2, 64, 64]
    assert verify(folder, source).passed
    config = load(folder).config
    assert (config.depth_window, config.merge_depth) == (window or 4, merged)
    assert config.levels[-1].stride == (8 if merged else 2, 16, 16)


@pytest.mark.parametrize("kind", ["swin", "swinv2"])
@pytest.mark.parametrize("tokens", [1, 2, 3])
def test_merging_over_depth_keeps_the_2d_tokens_at_any_number_of_them(kind, tokens, tmp_path):
    source = save_transformers(kind, tmp_path / "source")
    options = {"patch_depth": 1, "channels": 3, "merge_depth": True, "depth_window": 3}
    folder = convert(source, tmp_path / "out", verify=False, **options)
    made, original = load(folder, volume=(4 * tokens, 64, 64)).eval(), build_transformers(kind)
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = original.eval()(image).last_hidden_state
        got = made.forward_features(image.unsqueeze(2).repeat(1, 1, 4 * tokens, 1, 1))
        volume = torch.randn(1, 3, 4 * tokens, 64, 64)
        maps = made.forward_intermediates(volume, [0, 1, 2], intermediates_only=True)
    assert got.shape == (1, 16 * tokens, 64)
    torch.testing.assert_close(
        got.view(tokens, 16, 64), expected.expand(tokens, -1, -1), rtol=1e-4, atol=1e-5
    )
    assert [each.shape[2] for each in maps] == [4 * tokens, 2 * tokens, tokens]


def test_what_merges_over_depth_is_the_2d_part_twice():
    recipe = Recipe("center", 2, (2, 8, 8), windows=Windows(3, merge_depth=True))
    kernel, norm = torch.randn(6, 8), torch.randn(8)
    made = ROLES["merge_kernel"].make([kernel], recipe)
    assert torch.equal(made[:, :8] + made[:, 8:], kernel)
    assert torch.equal(ROLES["merge_norm"].make([norm], recipe), torch.cat([norm, norm]))
    flat = Recipe("center", 2, (2, 8, 8), windows=Windows(3, merge_depth=False))
    assert ROLES["merge_kernel"].make([kernel], flat) is kernel


def test_a_network_refuses_what_it_has_no_use_for(tmp_path):
    source = save_transformers("vit", tmp_path / "vit")
    with pytest.raises(UsageError, match="--depth-window and --merge-depth has no use for it"):
        convert(source, tmp_path / "out", depth_window=3, merge_depth=True)
    source = save_transformers("sam_vision", tmp_path / "sam")
    with pytest.raises(UsageError, match="merges no tokens: --merge-depth has no use for it"):
        convert(source, tmp_path / "out", depth_window=3, merge_depth=True)
    with pytest.raises(UsageError, match="depth window 0 is not in 1 to 128"):
        convert(source, tmp_path / "out", depth_window=0)


def test_records_of_networks_without_windows_say_nothing_of_them(tmp_path):
    source = save_transformers("vit", tmp_path / "vit")
    folder = convert(source, tmp_path / "out", verify=False)
    assert not {"depth_window", "merge_depth"} & record_of(folder)["recipe"].keys()


def test_a_volume_must_be_as_deep_as_merging_needs(tmp_path):
    source = save_transformers("swin", tmp_path / "swin")
    with pytest.raises(UsageError, match="volume depth 12 is not divisible by the patch's 8"):
        convert(source, tmp_path / "out", merge_depth=True, patch_depth=2, volume=(12, 64, 64))


def test_inspect_shows_what_they_change(tmp_path):
    source = save_transformers("swin", tmp_path / "swin")
    words = ["inspect", str(source), "--merge-depth", "--depth-window", "2", "--volume", "32,64,64"]
    result = CliRunner().invoke(app.app, [*words, "--format", "json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["conversion"]["grid"] == [2, 4, 4]
