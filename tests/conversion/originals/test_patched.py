"""`--patch-size`: proved against an original whose stem timm resized, recorded, verified."""

import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from typer.testing import CliRunner

from inflate_zoo import convert, load, verify
from inflate_zoo.cli import app
from inflate_zoo.conversion.inspection import inspect_source
from inflate_zoo.conversion.originals import patched
from inflate_zoo.errors import UsageError, VerificationError
from inflate_zoo.inflation import roles, tensors
from inflate_zoo.inflation.roles import ROLES
from tests.support.checkpoints import (
    beit_original,
    build_transformers,
    moco_v3,
    save_dino_pth,
    save_swin3d,
    save_timm,
    save_transformers,
)
from tests.support.clip_towers import save_clip

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")
BY = "its stem resized by timm"


def record_of(folder):
    return json.loads((folder / "conversion.json").read_text())


def proof_of(folder):
    return record_of(folder)["verification"]


@pytest.mark.parametrize("patch", [(6, 6), (14, 14), (6, 12)])
@pytest.mark.parametrize(
    "kind",
    ["vit", "deit", "vit_mae", "dinov2_with_registers", "dinov3", "ijepa", "vit_rectangular"],
)
def test_transformers_models_are_proved_behind_another_patch(kind, patch, tmp_path):
    source = save_transformers(kind, tmp_path / "source")
    options = {"channels": 2, "patch_depth": 3, "fold_normalization": True}
    found = proof_of(convert(source, tmp_path / "out", patch_size=patch, **options))
    assert found["passed"]
    assert found["reference"].startswith("transformers ")
    assert BY in found["reference"]


@pytest.mark.parametrize(
    "kind",
    [
        "clip",
        "siglip",
        "siglip2_vision",
        "pixio",
        "aimv2_native",
        "radio",
        "beit",
        "beit_rectangular",
        "data2vec",
    ],
)
def test_those_of_square_patches_are_proved_behind_another_square_one(kind, tmp_path):
    source = save_transformers(kind, tmp_path / "source")
    square = proof_of(convert(source, tmp_path / "square", patch_size=(6, 6), scheme="average"))
    assert square["passed"]
    assert square["reference"].startswith("transformers ")
    other = proof_of(convert(source, tmp_path / "other", patch_size=(6, 12)))
    assert other["passed"]
    assert other["reference"].startswith("inflate-zoo's own 2D form")
    assert BY in other["reference"]


@pytest.mark.parametrize("patch", [(6, 6), (6, 12)])
@pytest.mark.parametrize(
    "kind",
    [
        "augreg",
        "deit_distilled",
        "clip",
        "naflex_timm",
        "beit_timm",
        "dinov3_timm",
        "eva02_timm_split",
    ],
)
def test_timm_models_are_proved_behind_another_patch(kind, patch, tmp_path):
    source = save_timm(kind, tmp_path / "source")
    options = {"fold_normalization": True, "dtype": "float16"}
    found = proof_of(convert(source, tmp_path / "out", patch_size=patch, **options))
    assert found["passed"]
    assert found["rounded_exactly"]
    assert found["reference"].startswith("timm ")
    assert BY in found["reference"]


@pytest.mark.filterwarnings("ignore:the source states no normalisation:UserWarning")
def test_original_files_are_proved_behind_another_patch(tmp_path):
    torch.save(beit_original(), tmp_path / "beit_base_patch16_224_pt22k.pth")
    (tmp_path / "dino").mkdir()
    torch.save(moco_v3(), tmp_path / "vit-s-300ep.pth.tar")
    files = [tmp_path / "beit_base_patch16_224_pt22k.pth", tmp_path / "vit-s-300ep.pth.tar"]
    for source in [*files, save_dino_pth(tmp_path / "dino"), save_clip(tmp_path / "clip")]:
        out = tmp_path / f"{source.stem}-out"
        found = proof_of(convert(source, out, patch_size=(12, 12), fold_normalization=True))
        assert found["passed"]
        assert BY in found["reference"]


def as_an_image(kernel_oihw, patch):
    return F.interpolate(kernel_oihw, size=patch, mode="bicubic", antialias=True)


@pytest.mark.parametrize("patch", [(6, 6), (12, 12), (6, 12)])
@pytest.mark.parametrize("kind", ["vit", "clip"])
def test_a_kernel_that_is_resized_like_an_image_fails_the_proof(kind, patch, tmp_path, monkeypatch):
    """With CLIP and an oblong patch the original is the 2D form of our own network."""
    source = save_transformers(kind, tmp_path / "source")
    monkeypatch.setattr(roles, "resize_patch", as_an_image)
    with pytest.raises(VerificationError, match="does not reproduce"):
        convert(source, tmp_path / "out", patch_size=patch)
    assert not (tmp_path / "out").exists()


def test_the_shift_of_the_kernel_before_it_is_resized_fails_the_proof(tmp_path, monkeypatch):
    """A smaller kernel has another sum, and with it another shift by the mean."""
    source = save_transformers("vit", tmp_path / "source")
    options = {"patch_size": (6, 6), "fold_normalization": True}
    assert proof_of(convert(source, tmp_path / "right", **options))["passed"]
    bias = ROLES["stem_bias"]

    def of_the_old(parts, recipe):
        return bias.make(parts, replace(recipe, patch_size=None))

    wrong = dict(ROLES) | {"stem_bias": replace(bias, make=of_the_old)}
    monkeypatch.setattr(tensors, "ROLES", wrong)
    with pytest.raises(VerificationError):
        convert(source, tmp_path / "out", **options)


@pytest.mark.parametrize("kind", ["vit", "dinov3", "beit_bare"])
def test_an_image_whose_patches_are_enlarged_one_by_one_gives_the_2d_tokens(kind, tmp_path):
    """What FlexiViT's pseudo-inverse is for, with neither timm nor our own code at work."""
    source = save_transformers(kind, tmp_path / "source")
    made = load(convert(source, tmp_path / "out", patch_size=(14, 10), channels=3, verify=False))
    image = torch.randn(2, 3, 32, 32)
    patches = image.unfold(2, 8, 8).unfold(3, 8, 8)  # [2, 3, 4, 4, 8, 8]
    larger = F.interpolate(
        patches.reshape(2, 48, 8, 8), size=(14, 10), mode="bicubic", antialias=True
    )
    enlarged = larger.view(2, 3, 4, 4, 14, 10).transpose(3, 4).reshape(2, 3, 56, 40)
    depth, height, width = made.config.volume
    assert (depth, height, width) == (14, 56, 40)
    with torch.inference_mode():
        expected = build_transformers(kind).eval()(image).last_hidden_state
        got = made.eval().forward_features(enlarged.unsqueeze(2).repeat(1, 1, depth, 1, 1))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=2e-5)


def test_it_is_recorded_told_and_verified(tmp_path):
    source = save_transformers("vit", tmp_path / "source")
    words = ["convert", str(source), "--patch-size", "6,12", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app.app, words)
    assert result.exit_code == 0, result.output
    assert "patch 6x6x12" in result.stdout
    assert "resized from 8x8 to 6x12" in result.stdout
    folder = tmp_path / "out"
    record = record_of(folder)
    assert record["recipe"]["patch_size"] == [6, 12]
    assert record["recipe"]["volume"] == [6, 24, 48]
    assert any("resized from 8x8 to 6x12" in note for note in record["notes"])
    card = (folder / "README.md").read_text()
    assert "patch 6x6x12" in card
    assert "resized from 8x8 to 6x12" in card
    config = json.loads((folder / "config.json").read_text())
    assert (config["patch_size"], config["position_grid"]) == ([6, 12], [4, 4])
    assert verify(folder, source).passed
    again = CliRunner().invoke(app.app, ["verify", str(folder), "--source", str(source)])
    assert again.exit_code == 0, again.output
    assert BY in again.stdout
    larger = load(folder, volume=(12, 48, 48)).config
    assert larger.grid_size == (2, 8, 4)


def test_all_but_the_stem_is_what_it_is_without(tmp_path):
    source = save_transformers("dinov2", tmp_path / "source")
    without = load_file(convert(source, tmp_path / "a", verify=False) / "model.safetensors")
    folder = convert(source, tmp_path / "b", patch_size=(14, 14), verify=False)
    with_patch = load_file(folder / "model.safetensors")
    changed = {name for name in without if not torch.equal(without[name], with_patch[name])}
    assert changed == {"patch_embed.weight"}


def test_the_sources_own_patch_changes_not_a_byte(tmp_path):
    source = save_transformers("vit", tmp_path / "source")
    plain = convert(source, tmp_path / "a" / "x", verify=False)
    named = convert(source, tmp_path / "b" / "x", patch_size=(8, 8), verify=False)
    for file in sorted(plain.iterdir()):
        assert file.read_bytes() == (named / file.name).read_bytes(), file.name
    assert "patch_size" not in record_of(plain)["recipe"]


def test_a_source_that_is_3d_already_takes_no_other_patch(tmp_path):
    source = save_swin3d(tmp_path / "source")
    with pytest.raises(UsageError, match="nothing is inflated, --patch-size has no use"):
        convert(source, tmp_path / "out", patch_size=(8, 8))


def test_inspect_foretells_it(tmp_path):
    source = save_transformers("vit", tmp_path / "source")
    told = inspect_source(source, patch_size=(6, 12), spacing=(3.0, 1.0, 1.0))
    assert told["conversion"]["stem"] == [48, 1, 3, 6, 12]
    assert told["conversion"]["patch_size"] == [6, 12]
    assert told["proposed_patch_depth"] == 3
    assert told["architecture"]["patch_size"] == [8, 8]
    result = CliRunner().invoke(app.app, ["inspect", str(source), "--patch-size", "6,12"])
    assert result.exit_code == 0, result.output
    assert "48x1x6x6x12, center, its patch resized" in result.stdout
    plain = CliRunner().invoke(app.app, ["inspect", str(source)])
    assert "resized" not in plain.stdout


def test_the_original_is_built_of_a_stem_that_timm_resized(tmp_path, monkeypatch):
    """And of nothing else that is not the source's own."""
    seen = []
    real = patched.original_of

    def watched(understood, checkpoint, grid):
        seen.append((understood, checkpoint))
        return real(understood, checkpoint, grid)

    monkeypatch.setattr(patched, "original_of", watched)
    source = save_transformers("vit", tmp_path / "source")
    convert(source, tmp_path / "out", patch_size=(6, 6))
    ((understood, held),) = seen
    own = load_file(source / "model.safetensors")
    differing = {
        name
        for name, tensor in own.items()
        if held.read(name).shape != tensor.shape or not torch.equal(held.read(name), tensor)
    }
    assert differing == {"embeddings.patch_embeddings.projection.weight"}
    (stem,) = (kept for kept in understood.plan.kept if kept.role == "stem_kernel")
    assert stem.shape == held.header[stem.sources[0]].shape == (48, 3, 6, 6)
    assert (understood.raw["patch_size"], understood.raw["image_size"]) == (6, 24)
