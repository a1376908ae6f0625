"""SigLIP 2 NaFlex: a matrix for a stem, and a table that is resized for every image."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from inflate_zoo import convert, load, segmenter, verify
from inflate_zoo.cli import app
from inflate_zoo.conversion.converting import plan_source
from inflate_zoo.conversion.originals.original import original_of
from inflate_zoo.conversion.sources import find_source
from tests.support.checkpoints import TIMM, save_timm, save_transformers

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")
KINDS = ("siglip2", "siglip2_vision", "naflex_timm", "naflex_timm_gap", "naflex_timm_rectangular")


def save(kind, folder):
    return (save_timm if kind in TIMM else save_transformers)(kind, folder)


@pytest.mark.parametrize("grid", [(4, 4), (3, 5), (7, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_on_any_grid_equal_slices_give_the_librarys_own_tokens(kind, grid, tmp_path):
    source = save(kind, tmp_path / "source")
    planned = plan_source(find_source(str(source), None), None, None, None)
    original = original_of(planned.understood, planned.checkpoint, grid)
    assert original.built_by.startswith(("transformers ", "timm "))
    height, width = (
        n * side
        for n, side in zip(grid, planned.understood.plan.architecture.patch_size, strict=True)
    )
    folder = convert(source, tmp_path / "out", channels=3, patch_depth=2, verify=False)
    network = load(folder, volume=(6, height, width)).eval()
    image = torch.randn(2, 3, height, width)
    with torch.inference_mode():
        expected = original.tokens(image)
        got = network.forward_features(image.unsqueeze(2).repeat(1, 1, 6, 1, 1))
    prefix = network.num_prefix_tokens
    layers = got[:, prefix:].unflatten(1, (3, -1))
    scale = expected.square().mean().sqrt()
    assert ((layers - expected[:, None, prefix:]).abs().max() / scale).item() < 1e-5
    torch.testing.assert_close(got[:, :prefix], expected[:, :prefix], rtol=0, atol=1e-4)


def as_timm(state, own):
    """The tensors of transformers' NaFlex under timm's names, beside timm's pooling head."""
    found = {name: tensor for name, tensor in own.items() if name.startswith("attn_pool.")}
    for name, tensor in state.items():
        if name.startswith("head.") or "k_proj" in name or "v_proj" in name:
            continue
        if "q_proj" in name:
            tensor = torch.cat([state[name.replace("q_proj", f"{part}_proj")] for part in "qkv"])
        for theirs, timms in (
            ("embeddings.patch_embedding.", "embeds.proj."),
            ("embeddings.position_embedding.weight", "embeds.pos_embed"),
            ("encoder.layers.", "blocks."),
            ("self_attn.q_proj.", "attn.qkv."),
            ("self_attn.out_proj.", "attn.proj."),
            ("layer_norm", "norm"),
            ("post_layernorm.", "norm."),
        ):
            name = name.replace(theirs, timms)
        found[name] = tensor.view(1, 4, 4, -1) if name == "embeds.pos_embed" else tensor
    return found


def test_the_same_weights_of_both_libraries_give_the_same_3d_file(tmp_path):
    first = save_transformers("siglip2_vision", tmp_path / "transformers")
    second = save_timm("naflex_timm", tmp_path / "timm")
    own = load_file(second / "model.safetensors")
    state = as_timm(load_file(first / "model.safetensors"), own)
    assert {n: t.shape for n, t in state.items()} == {n: t.shape for n, t in own.items()}
    save_file(state, second / "model.safetensors", metadata={"format": "pt"})
    made = [convert(source, tmp_path / f"{source.name}-3d") for source in (first, second)]
    for file in ("model.safetensors", "config.json"):
        one, other = ((folder / file).read_bytes() for folder in made)
        assert one == other
    assert json.loads((made[0] / "config.json").read_text())["position_resizing"] == "bilinear"


def test_what_was_written_is_proved_again_fed_by_the_librarys_own_processor(tmp_path):
    source = save_transformers("siglip2_vision", tmp_path / "source")
    table = {"image_processor_type": "Siglip2ImageProcessor", "patch_size": 8}
    table |= {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.25, 0.5]}
    (source / "preprocessor_config.json").write_text(json.dumps(table))
    folder = convert(source, tmp_path / "out", fold_normalization=True)
    proof = json.loads((folder / "conversion.json").read_text())["verification"]
    assert proof["fed_by"].endswith(" Siglip2ImageProcessor")
    assert verify(folder, source).passed


def test_it_is_inspected(tmp_path):
    source = save_transformers("siglip2", tmp_path / "source")
    result = CliRunner().invoke(app.app, ["inspect", str(source), "--format", "json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["family"] == "hf_siglip2"
    assert found["conversion"]["grid"] == [1, 4, 4]


@pytest.mark.parametrize("decoder", ["linear", "unetr", "upernet"])
def test_each_decoder_reads_it_and_comes_back_from_files(tmp_path, decoder):
    source = save_transformers("siglip2_vision", tmp_path / "source")
    depth = 2 if decoder == "upernet" else 4
    network = load(convert(source, tmp_path / "out", patch_depth=2), volume=(depth, 16, 24))
    model = segmenter(network, classes=3, decoder=decoder, features=8).eval()
    volume = torch.rand(2, 1, depth, 16, 24)
    with torch.inference_mode():
        logits = model(volume)
        model.save_pretrained(tmp_path / "saved")
        again = load(tmp_path / "saved").eval()
        assert torch.equal(again(volume), logits)
    assert again.config.backbone == network.config
