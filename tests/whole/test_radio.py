"""RADIO: a table of the largest images, tokens in one table, an input that it normalises itself."""

import json

import pytest
import timm
import torch
import transformers
from safetensors.torch import load_file, save_file
from timm.models._hub import save_for_hf
from typer.testing import CliRunner

from inflate_zoo import convert, load, segmenter, verify
from inflate_zoo.cli import app
from inflate_zoo.conversion.converting import plan_source
from inflate_zoo.conversion.originals.original import original_of
from inflate_zoo.conversion.sources import find_source
from inflate_zoo.errors import ConfigError, VerificationError
from tests.support.checkpoints import NO_HEAD, TIMM_BASE, randomize, save_transformers

pytestmark = [
    pytest.mark.filterwarnings("ignore:the source states no license:UserWarning"),
    pytest.mark.skipif(not hasattr(transformers, "RadioModel"), reason="a later release has RADIO"),
]
FLEXIBLE, FIXED = "naflexvit_large_patch16_radio_v3", "vit_base_patch16_radio_v3"
of_timm = pytest.mark.skipif(not timm.is_model(FIXED), reason="a later release has RADIO")
PREPROCESSOR = "preprocessor_config.json"


def record_of(folder):
    return json.loads((folder / "conversion.json").read_text())


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return save_transformers("radio", tmp_path_factory.mktemp("source") / "radio")


@pytest.mark.parametrize("grid", [(4, 4), (3, 5), (7, 2), (8, 8), (9, 10)])
def test_on_any_grid_equal_slices_give_transformers_tokens(source, grid, tmp_path):
    planned = plan_source(find_source(str(source), None), None, None, None)
    original = original_of(planned.understood, planned.checkpoint, grid)
    assert original.built_by.endswith(" RadioModel")
    folder = convert(source, tmp_path / "out", channels=3, patch_depth=2, verify=False)
    network = load(folder, volume=(6, 8 * grid[0], 8 * grid[1])).eval()
    image = torch.randn(2, 3, 8 * grid[0], 8 * grid[1])
    with torch.inference_mode():
        expected = original.tokens(image)
        got = network.forward_features(image.unsqueeze(2).repeat(1, 1, 6, 1, 1))
    assert network.num_prefix_tokens == 5
    layers, scale = got[:, 5:].unflatten(1, (3, -1)), expected.square().mean().sqrt()
    assert ((layers - expected[:, None, 5:]).abs().max() / scale).item() < 1e-5
    assert ((got[:, :5] - expected[:, :5]).abs().max() / scale).item() < 1e-5


def test_the_default_volume_is_of_the_images_it_was_trained_on(source, tmp_path):
    folder = convert(source, tmp_path / "out")
    config = json.loads((folder / "config.json").read_text())
    assert (config["volume"], config["position_grid"]) == ([8, 32, 32], [8, 8])
    network = load(folder)
    assert (network.grid_size, network.config.position_resizing) == ((1, 4, 4), "bilinear")
    again = load(network.save_pretrained(tmp_path / "saved"))
    assert torch.equal(again.pos_embed, network.pos_embed)


@pytest.mark.parametrize("stated", [{}, {"do_normalize": False}, {"image_mean": [0.4, 0.5, 0.6]}])
def test_its_own_normalisation_is_folded_after_its_processors(source, stated, tmp_path):
    copy = save_transformers("radio", tmp_path / "source")
    fields = json.loads((copy / PREPROCESSOR).read_text()) | stated
    (copy / PREPROCESSOR).write_text(json.dumps(fields))
    folder = convert(copy, tmp_path / "out", fold_normalization=True)
    record = record_of(folder)
    origin = record["recipe"]["normalization_from"]
    assert origin == f"{PREPROCESSOR}, then config.json: norm_mean and norm_std"
    assert record["verification"]["fed_by"].endswith(" ViTImageProcessor")
    config = json.loads((copy / "config.json").read_text())
    mean, std = (record["recipe"]["normalization"][name] for name in ("mean", "std"))
    outer = ([0.0] * 3, [1.0] * 3)
    if fields["do_normalize"]:
        outer = (fields["image_mean"], fields["image_std"])
    for channel in range(3):
        own = config["norm_mean"][channel], config["norm_std"][channel]
        assert std[channel] == pytest.approx(outer[1][channel] * own[1])
        assert mean[channel] == pytest.approx(outer[0][channel] + outer[1][channel] * own[0])
    assert verify(folder, copy).passed


def test_without_a_processor_pixels_are_rescaled_alone(source, tmp_path):
    copy = save_transformers("radio", tmp_path / "source")
    (copy / PREPROCESSOR).unlink()
    record = record_of(convert(copy, tmp_path / "out", fold_normalization=True))
    assert record["recipe"]["normalization_from"] == "config.json: norm_mean and norm_std"
    assert record["recipe"]["normalization_basis"] == "stated"
    assert record["verification"]["fed_by"].endswith(" CLIPImageProcessor")


def test_a_config_that_is_not_what_the_file_normalises_by_fails_the_proof(tmp_path):
    copy = save_transformers("radio", tmp_path / "source")
    config = json.loads((copy / "config.json").read_text()) | {"norm_mean": [0.1, 0.2, 0.3]}
    (copy / "config.json").write_text(json.dumps(config))
    convert(copy, tmp_path / "unfolded")
    with pytest.raises(VerificationError):
        convert(copy, tmp_path / "folded", fold_normalization=True)


@pytest.mark.parametrize("value", [["a", 0, 0], 0.5, [[0.1]]])
def test_a_normalisation_that_is_none_is_refused(value, tmp_path):
    copy = save_transformers("radio", tmp_path / "source")
    config = json.loads((copy / "config.json").read_text()) | {"norm_mean": value}
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="norm_mean must be a list"):
        convert(copy, tmp_path / "out", fold_normalization=True)


def test_where_transformers_has_no_radio_the_proof_says_so(source, tmp_path, monkeypatch):
    monkeypatch.setattr(transformers, "RadioModel", None)  # a lazy module finds it again
    proof = record_of(convert(source, tmp_path / "out", fold_normalization=True))["verification"]
    assert proof["passed"]
    assert "inflate-zoo's own 2D form" in proof["reference"]
    assert proof["fed_by"] is None


def test_it_is_inspected_and_its_summary_is_no_pooling_of_ours(source):
    result = CliRunner().invoke(app.app, ["inspect", str(source), "--format", "json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["family"], found["conversion"]["grid"]) == ("hf_radio", [1, 4, 4])
    assert "several class tokens side by side" in result.output


@pytest.mark.parametrize("decoder", ["linear", "unetr", "upernet"])
def test_each_decoder_reads_it_and_comes_back_from_files(source, tmp_path, decoder):
    depth = 2 if decoder == "upernet" else 4
    network = load(convert(source, tmp_path / "out", patch_depth=2), volume=(depth, 16, 24))
    model = segmenter(network, classes=3, decoder=decoder, features=8).eval()
    volume = torch.rand(2, 1, depth, 16, 24)
    with torch.inference_mode():
        logits = model(volume)
        model.save_pretrained(tmp_path / "saved")
        again = load(tmp_path / "saved").eval()
        assert torch.equal(again(volume), logits)


# --- the same weights from two libraries


def as_timm(state):
    """The tensors of transformers' RADIO under timm's names: its first class token is timm's."""
    found = {}
    for full, tensor in state.items():
        name = full.removeprefix("radio_model.model.")
        if name.startswith("blocks."):
            for part in ("1", "2"):
                name = name.replace(f"layer_scale{part}.lambda1", f"ls{part}.gamma")
            found[name] = tensor
    inside = "radio_model.model.patch_generator."
    matrix = state[inside + "embedder.weight"].view(-1, 3, 8, 8)
    found["embeds.proj.weight"] = matrix.permute(0, 2, 3, 1).flatten(1).contiguous()
    found["embeds.proj.bias"] = torch.zeros(len(matrix))
    found["embeds.pos_embed"] = state[inside + "pos_embed"].view(1, 8, 8, -1)
    tokens = state[inside + "cls_token.token"].unsqueeze(0)
    found["embeds.cls_token"] = tokens[:, :1].contiguous()
    found["embeds.reg_token"] = tokens[:, 1:].contiguous()
    return found


@of_timm
def test_the_same_weights_of_both_libraries_make_the_same_network(source, tmp_path):
    options = TIMM_BASE | NO_HEAD | {"pos_embed_grid_size": (8, 8), "reg_tokens": 4}
    model = randomize(timm.create_model(FLEXIBLE, **options))
    save_for_hf(model, str(tmp_path / "timm"), model_args=options, safe_serialization=True)
    state = as_timm(load_file(source / "model.safetensors"))
    assert state.keys() == model.state_dict().keys()
    save_file(state, tmp_path / "timm" / "model.safetensors", metadata={"format": "pt"})
    volume, networks = torch.randn(1, 1, 16, 24, 40), []
    for place in (source, tmp_path / "timm"):
        folder = convert(place, tmp_path / f"{place.name}-3d")
        assert record_of(folder)["verification"]["passed"]
        networks.append(load(folder, volume=(16, 24, 40)).eval())
    one, other = networks
    assert other.config.cls_token
    assert torch.equal(one.pos_embed, other.pos_embed)
    with torch.inference_mode():
        first, second = (network.forward_features(volume) for network in networks)
    torch.testing.assert_close(first, second, rtol=0, atol=1e-4)


@of_timm
def test_timms_radio_of_one_size_is_a_plain_one(tmp_path):
    options = TIMM_BASE | NO_HEAD | {"reg_tokens": 4}
    model = randomize(timm.create_model(FIXED, **options))
    save_for_hf(model, str(tmp_path / "timm"), model_args=options, safe_serialization=True)
    record = record_of(convert(tmp_path / "timm", tmp_path / "out", fold_normalization=True))
    assert record["source"]["family"] == "timm_vit"
    assert record["verification"]["passed"]
