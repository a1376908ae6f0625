import json
from argparse import Namespace

import pytest
import timm
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file

from tests.support.checkpoints import (
    CLIP,
    TIMM,
    TIMM_BASE,
    TRANSFORMERS,
    build_timm,
    build_transformers,
    dino_backbone,
    save_dino_pth,
    save_timm,
    save_transformers,
)
from tests.support.record_keys import KEYS, definitions, record, render


def reload_hf(kind, folder):
    model, info = TRANSFORMERS[kind].model.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    return model.state_dict()


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert torch.equal(value, right[name]), name


def assert_random(tensors):
    for name, value in tensors.items():
        if value.numel() > 1 and "input_conditioner" not in name:  # mean and std of pictures
            assert value.float().std() > 0.01, name
        assert value.isfinite().all(), name


# A PixioBackbone has two last norms, which transformers 5.24 writes under one name.
@pytest.mark.parametrize("kind", [kind for kind in TRANSFORMERS if kind != "pixio_backbone"])
def test_transformers_reads_back_what_was_saved(kind, tmp_path):
    if kind == "sam2_video":
        read = transformers.Sam2VideoConfig(mask_decoder_config={}).mask_decoder_config
        if not isinstance(read, transformers.Sam2VideoMaskDecoderConfig):
            pytest.skip("this transformers reads the decoder's config as that of another part")
    folder = save_transformers(kind, tmp_path)
    assert_random(load_file(folder / "model.safetensors"))
    assert_same(reload_hf(kind, folder), build_transformers(kind).state_dict())


def image_size(model):
    """Of a NaFlexVit, which takes any, that of its table."""
    if hasattr(model, "patch_embed"):
        return model.patch_embed.img_size
    grid, patch = model.embeds.pos_embed.shape[1:3], model.embeds.patch_size
    return [count * side for count, side in zip(grid, patch, strict=True)]


@pytest.mark.parametrize("kind", TIMM)
def test_timm_reads_back_what_was_saved(kind, tmp_path):
    folder = save_timm(kind, tmp_path)
    assert_random(load_file(folder / "model.safetensors"))
    model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    reference = build_timm(kind)
    assert_same(model.state_dict(), reference.state_dict())
    height, width = image_size(reference)
    image = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        output = reference(image)
        assert torch.equal(model.eval()(image), output)
    assert 0.05 < output.std() < 20


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_timm_file_loads_into_the_architecture(suffix, tmp_path):
    file = save_timm("dinov2_reg4", tmp_path, layout="file", suffix=suffix)
    architecture, options = TIMM["dinov2_reg4"]
    model = timm.create_model(architecture, checkpoint_path=str(file), **(TIMM_BASE | options))
    assert_same(model.state_dict(), build_timm("dinov2_reg4").state_dict())


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("shards", [None, "60KB"])
def test_all_file_layouts_hold_the_same_weights(safe, shards, tmp_path):
    plain = save_transformers("dinov2", tmp_path / "plain")
    other = save_transformers("dinov2", tmp_path / "other", safe=safe, shards=shards)
    stem, suffix = ("model", "safetensors") if safe else ("pytorch_model", "bin")
    files = {file.name for file in other.iterdir()} - {"config.json", "preprocessor_config.json"}
    if shards:
        index = json.loads((other / f"{stem}.{suffix}.index.json").read_text())
        assert set(index["weight_map"]) == set(load_file(plain / "model.safetensors"))
        assert files == {*index["weight_map"].values(), f"{stem}.{suffix}.index.json"}
        assert len(files) > 3
    else:
        assert files == {f"{stem}.{suffix}"}
    assert_same(reload_hf("dinov2", other), reload_hf("dinov2", plain))


def test_dtype_and_overrides_reach_the_file(tmp_path):
    folder = save_transformers(
        "clip", tmp_path, dtype=torch.bfloat16, num_channels=1, num_hidden_layers=1
    )
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        stem = file.get_slice("vision_model.embeddings.patch_embedding.weight")
        assert (stem.get_dtype(), stem.get_shape()) == ("BF16", [48, 1, 8, 8])
    processor = json.loads((folder / "preprocessor_config.json").read_text())
    assert processor["image_mean"] == CLIP[0][:1]


def test_seed_changes_the_weights(tmp_path):
    first, second = (
        load_file(save_transformers("vit", tmp_path / str(seed), seed=seed) / "model.safetensors")
        for seed in (0, 1)
    )
    assert all(not torch.equal(first[name], second[name]) for name in first)


def test_dino_checkpoint_has_both_networks(tmp_path):
    file = save_dino_pth(tmp_path)
    with torch.serialization.safe_globals([Namespace]):
        content = torch.load(file, weights_only=True)
    assert content.keys() == {"student", "teacher", "optimizer", "epoch", "args", "dino_loss"}
    assert isinstance(content["args"], Namespace)
    student, teacher = (
        {
            name.removeprefix(prefix): value
            for name, value in content[role].items()
            if name.startswith(prefix)
        }
        for role, prefix in (("student", "module.backbone."), ("teacher", "backbone."))
    )
    assert_same(student, dino_backbone("student").state_dict())
    assert_same(teacher, dino_backbone("teacher").state_dict())
    assert all(not torch.equal(student[name], teacher[name]) for name in teacher)
    assert_same(torch.load(save_dino_pth(tmp_path, full=False), weights_only=True), teacher)


def named(cases):
    """The tensors of each kind; MAE's decoder, which we drop, has two names for its blocks."""
    renamed = ("decoder.decoder_layers.", "decoder.decoder_encoder.layer.")
    return {
        case["kind"]: {name.replace(*renamed): facts for name, facts in case["tensors"].items()}
        for case in cases
    }


@pytest.mark.parametrize("definition", definitions())
def test_recorded_keys_are_those_of_the_installed_libraries(definition):
    recorded = json.loads((KEYS / f"{definition}.json").read_text())
    fresh = record(definition)
    assert named(recorded["cases"]) == named(fresh["cases"])
    assert json.loads(render(fresh)) == fresh


def test_every_kind_is_recorded():
    kinds = {
        case["kind"]
        for definition in definitions()
        for case in json.loads((KEYS / f"{definition}.json").read_text())["cases"]
    }
    assert kinds >= {*TRANSFORMERS, *TIMM, "dino_full", "dino_backbone"}
