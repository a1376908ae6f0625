"""Convert, end to end, on checkpoints that transformers and timm themselves saved."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import inflate_zoo
from inflate_zoo.conversion.converting import convert, verify
from inflate_zoo.conversion.record import FILES
from inflate_zoo.errors import AccountingError, CheckpointError, ConfigError, UsageError
from tests.support.checkpoints import (
    TIMM,
    TRANSFORMERS,
    dino_backbone,
    save_dino_pth,
    save_timm,
    save_transformers,
)
from tests.support.marks import takes_minutes

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")
RECIPES = (
    {"scheme": "center", "patch_depth": 5},
    {"scheme": "average", "patch_depth": 4, "channels": 2, "fold_normalization": True},
    {"scheme": "repeat", "patch_depth": 3, "channels": 3, "fold_normalization": True},
)


def record_of(folder: Path) -> dict:
    return json.loads((folder / "conversion.json").read_text(encoding="utf-8"))


def proof_of(folder: Path) -> dict:
    return record_of(folder)["verification"]


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return save_transformers("vit", tmp_path_factory.mktemp("sources") / "my-vit")


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_every_transformers_kind_equals_the_original(kind, tmp_path):
    source = save_transformers(kind, tmp_path / "source")
    for number, recipe in enumerate(RECIPES):
        proof = proof_of(convert(source, tmp_path / f"out{number}", **recipe))
        assert proof["max_error_over_rms"] < 2e-5
        assert proof["passed"]
        assert proof["tables_equal"]
        assert proof["reference"].startswith("transformers ")


@pytest.mark.parametrize("kind", TIMM)
def test_every_timm_kind_equals_the_original(kind, tmp_path):
    source = save_timm(kind, tmp_path / "source")
    for number, recipe in enumerate(RECIPES):
        proof = proof_of(convert(source, tmp_path / f"out{number}", **recipe))
        assert proof["max_error_over_rms"] < 2e-5
        assert proof["passed"]
        assert proof["reference"].startswith("timm ")


@pytest.mark.parametrize("full", [True, False])
def test_dino_pth_takes_the_teacher(full, tmp_path):
    source = save_dino_pth(tmp_path, full=full)
    folder = convert(source, tmp_path / "out", family=None if full else "dino")
    assert proof_of(folder)["max_error_over_rms"] < 2e-5
    teacher = dino_backbone(role="teacher").state_dict()
    tensors = load_file(folder / "model.safetensors")
    assert torch.equal(tensors["blocks.1.mlp.fc1.weight"], teacher["blocks.1.mlp.fc1.weight"])


def test_a_bare_timm_file_needs_its_architecture(tmp_path):
    source = save_timm("rectangular", tmp_path / "source", layout="file")
    with pytest.raises(UsageError, match="--arch"):
        convert(source, tmp_path / "out")
    with pytest.raises(ConfigError, match="embed_dim is 768"):
        convert(source, tmp_path / "out", arch="vit_base_patch16_224")
    assert not (tmp_path / "out").exists()


def test_a_bare_timm_file_of_a_stock_architecture(tmp_path):
    import timm

    from tests.support.checkpoints import randomize

    model = randomize(timm.create_model("test_vit", num_classes=10))
    save_file(model.state_dict(), tmp_path / "test_vit.safetensors")
    torch.save({"model": model.state_dict(), "epoch": 3}, tmp_path / "test_vit.pth")
    for name in ("test_vit.safetensors", "test_vit.pth"):
        folder = convert(tmp_path / name, tmp_path / f"out-{name}", arch="test_vit")
        assert proof_of(folder)["passed"]
        assert proof_of(folder)["reference"].startswith("timm ")


@pytest.mark.parametrize(
    "options",
    [
        {"safe": False},
        {"shards": "60KB"},
        {"safe": False, "shards": "60KB"},
        {"dtype": torch.float16},
        {"dtype": torch.bfloat16},
    ],
)
def test_containers_and_types_give_the_same_numbers(options, vit, tmp_path):
    source = save_transformers("vit", tmp_path / "source", **options)
    folder = convert(source, tmp_path / "out")
    assert proof_of(folder)["passed"]
    got = load_file(folder / "model.safetensors")
    expected = load_file(convert(vit, tmp_path / "plain") / "model.safetensors")
    assert got.keys() == expected.keys()
    dtype = options.get("dtype", torch.float32)
    for name, tensor in expected.items():
        kind = torch.float32 if name.startswith("patch_embed.") else dtype
        assert got[name].dtype == kind
        if dtype is torch.float32:
            assert torch.equal(got[name], tensor)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_dtype_rounds_and_the_rounding_is_measured(dtype, vit, tmp_path):
    folder = convert(vit, tmp_path / "out", dtype=dtype)
    proof = proof_of(folder)
    plain = load_file(convert(vit, tmp_path / "plain") / "model.safetensors")
    for name, tensor in load_file(folder / "model.safetensors").items():
        assert torch.equal(tensor, plain[name].to(getattr(torch, dtype)))
    assert proof["max_error_over_rms"] < 2e-5
    if dtype == "float32":
        assert proof["rounding_error_over_rms"] is None
    else:
        assert proof["rounded_exactly"] is True
        assert 1e-4 < proof["rounding_error_over_rms"] < 0.1


def test_the_stem_is_the_inflated_sum_of_the_source(vit, tmp_path):
    source = load_file(vit / "model.safetensors")
    kernel = source["embeddings.patch_embeddings.projection.weight"]
    folder = convert(vit, tmp_path / "out", patch_depth=5, channels=2)
    stem = load_file(folder / "model.safetensors")["patch_embed.weight"]
    assert stem.shape == (48, 2, 5, 8, 8)
    for channel in range(2):
        torch.testing.assert_close(stem[:, channel, 2], kernel.sum(1) / 2)
    assert stem[:, :, [0, 1, 3, 4]].abs().max() == 0


def test_same_recipe_same_bytes_and_no_foreign_metadata(vit, tmp_path):
    first = convert(vit, tmp_path / "a" / "same", fold_normalization=True)
    second = convert(vit, tmp_path / "b" / "same", fold_normalization=True)
    for name in FILES:
        assert (first / name).read_bytes() == (second / name).read_bytes()
    with safe_open(first / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
    assert record_of(first)["files"] == {
        name: {"sha256": hashlib.sha256((first / name).read_bytes()).hexdigest()}
        for name in FILES[:3]
    }


def test_the_default_folder_is_named_after_the_source(vit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert convert(vit, scheme="average", verify=False) == Path("my-vit-3d-average")
    text = (tmp_path / "my-vit-3d-average" / "conversion.json").read_text()
    assert str(vit.parent) not in text
    assert record_of(tmp_path / "my-vit-3d-average")["source"]["name"] == "my-vit"
    assert record_of(tmp_path / "my-vit-3d-average")["verification"] is None


@pytest.mark.parametrize("kind", ["siglip", "siglip_vision"])
def test_a_dropped_pooling_head_is_told(kind, tmp_path):
    folder = convert(save_transformers(kind, tmp_path / "source"), tmp_path / "out", verify=False)
    assert "mean of the patch tokens" in record_of(folder)["notes"][0]
    assert "mean of the patch tokens" in (folder / "README.md").read_text()
    backbone = inflate_zoo.load(folder).eval()
    volume = torch.randn(1, 1, *backbone.config.volume)
    tokens = backbone.forward_features(volume)
    torch.testing.assert_close(backbone(volume), tokens.mean(dim=1))


def edited(source: Path, target: Path, edit) -> Path:
    target.mkdir()
    tensors = load_file(source / "model.safetensors")
    config = json.loads((source / "config.json").read_text())
    edit(tensors, config)
    save_file(tensors, target / "model.safetensors")
    (target / "config.json").write_text(json.dumps(config))
    return target


def test_missing_pieces_are_architecture(vit, tmp_path):
    """What transformers cannot build is compared with our own 2D form, and that is said."""

    def no_cls(tensors, config):
        del tensors["embeddings.cls_token"]
        tensors["embeddings.position_embeddings"] = tensors["embeddings.position_embeddings"][
            :, 1:
        ].contiguous()

    def cls_without_position(tensors, config):
        tensors["embeddings.position_embeddings"] = tensors["embeddings.position_embeddings"][
            :, 1:
        ].contiguous()

    for name, edit, tokens in (("a", no_cls, 16), ("b", cls_without_position, 17)):
        folder = convert(edited(vit, tmp_path / name, edit), tmp_path / f"{name}-out")
        assert "own 2D form (transformers cannot" in proof_of(folder)["reference"]
        assert proof_of(folder)["passed"]
        backbone = inflate_zoo.load(folder)
        assert backbone.forward_features(torch.randn(1, 1, 8, 32, 32)).shape[1] == tokens


def test_a_missing_bias_and_a_surplus_tensor_are_errors(vit, tmp_path):
    def edit(tensors, config):
        del tensors["encoder.layer.1.attention.attention.key.bias"]
        tensors["encoder.layer.1.attention.attention.kay.bias"] = torch.zeros(48)

    with pytest.raises(AccountingError) as error:
        convert(edited(vit, tmp_path / "bad", edit), tmp_path / "out")
    assert "'encoder.layer.1.attention.attention.key.bias'" in str(error.value)
    assert "'encoder.layer.1.attention.attention.kay.bias'" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_nan_names_tensor_and_count(vit, tmp_path):
    def edit(tensors, config):
        tensors["layernorm.weight"][3:5] = float("nan")

    with pytest.raises(CheckpointError, match=r"'layernorm.weight' holds 2 values"):
        convert(edited(vit, tmp_path / "bad", edit), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad"]


def test_a_config_with_defaults_left_out_converts_alike(tmp_path):
    """At real size, since the defaults are those of the real models (two blocks are enough)."""
    import transformers

    from tests.support.checkpoints import randomize

    config = transformers.Dinov2Config(num_hidden_layers=1, image_size=42)
    model = randomize(transformers.Dinov2Model(config))
    model.save_pretrained(tmp_path / "full")
    full = json.loads((tmp_path / "full" / "config.json").read_text())
    bare = {k: full[k] for k in ("model_type", "num_hidden_layers", "image_size")}
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text(json.dumps(bare))
    (tmp_path / "bare" / "model.safetensors").hardlink_to(tmp_path / "full" / "model.safetensors")
    outs = [convert(tmp_path / name, tmp_path / f"{name}-out") for name in ("full", "bare")]
    for name in ("model.safetensors", "config.json"):
        assert (outs[0] / name).read_bytes() == (outs[1] / name).read_bytes()
    assert proof_of(outs[1])["passed"]


REAL = {
    "vit": "ViTConfig",
    "vit_mae_bare": "ViTMAEConfig",
    "clip_vision": "CLIPVisionConfig",
    "siglip_vision": "SiglipVisionConfig",
    "dinov2_with_registers": "Dinov2WithRegistersConfig",
}


@pytest.mark.parametrize(
    "kind", [next(iter(REAL)), *(pytest.param(kind, marks=takes_minutes) for kind in [*REAL][1:])]
)
def test_real_size(kind, tmp_path):
    """ViT-B, twelve blocks of width 768, random weights."""
    import transformers

    options = {
        key: value
        for key, value in getattr(transformers, REAL[kind])().to_dict().items()
        if key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
                   "patch_size", "image_size", "mlp_ratio")
    }  # fmt: skip
    source = save_transformers(kind, tmp_path / "source", **options)
    proof = proof_of(convert(source, tmp_path / "out", fold_normalization=True))
    assert proof["passed"]
    assert proof["max_error_over_rms"] < 1e-4


def test_timm_at_real_size(tmp_path):
    sizes = {"embed_dim": 768, "depth": 12, "num_heads": 12, "img_size": 224, "patch_size": 16}
    source = save_timm("augreg", tmp_path / "source", **sizes)
    proof = proof_of(convert(source, tmp_path / "out", fold_normalization=True))
    assert proof["passed"]
    assert proof["reference"].startswith("timm ")


def test_verify_again_and_refuse_what_changed(vit, tmp_path):
    folder = convert(vit, tmp_path / "out", scheme="average", fold_normalization=True)
    assert verify(folder, vit).passed
    with pytest.raises(UsageError, match="local source"):
        verify(folder)
    with pytest.raises(UsageError, match="a revision needs its repo"):
        verify(folder, revision="main")
    other = save_transformers("vit", tmp_path / "other", seed=7)
    with pytest.raises(UsageError, match="is not the source"):
        verify(folder, other)
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(UsageError, match="not the ones that were written"):
        verify(folder, vit)


def test_volume_and_patch_depth_are_recorded(vit, tmp_path):
    folder = convert(vit, tmp_path / "out", volume=(12, 64, 40), patch_depth=4)
    backbone = inflate_zoo.load(folder)
    assert backbone.grid_size == (3, 8, 5)
    assert backbone.forward_features(torch.randn(1, 1, 12, 64, 40)).shape == (1, 121, 48)
    assert load_file(folder / "model.safetensors")["pos_embed"].shape == (1, 17, 48)


def test_the_source_folder_is_never_the_output(tmp_path):
    source = save_transformers("vit", tmp_path / "vit", safe=False)
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    with pytest.raises(UsageError, match="source's own folder"):
        convert(source, source, force=True)
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before


@pytest.mark.parametrize("head", [False, True])
def test_what_is_3d_already_is_told_so(vit, tmp_path, head):
    folder = convert(vit, tmp_path / "out", verify=False)
    if head:
        network = inflate_zoo.segmenter(inflate_zoo.load(folder), classes=2, decoder="upernet")
        folder = network.save_pretrained(tmp_path / "head")
    with pytest.raises(ConfigError, match="these weights are 3D already") as caught:
        convert(folder, tmp_path / "again")
    assert "inflate_zoo.load" in caught.value.hint


@pytest.mark.parametrize(
    "kind, fields, own",
    [
        ("dinov2", {"image_size": [32, 48]}, True),
        ("dinov2_with_registers", {"image_size": [32, 48]}, True),
        ("radio", {"num_cls_tokens": 1, "num_registers": 2, "summary_idxs": [0]}, False),
    ],
)
def test_what_transformers_builds_but_cannot_run_is_no_bug(tmp_path, kind, fields, own):
    source = save_transformers(kind, tmp_path / "source", **fields)
    folder = convert(source, tmp_path / "out", patch_depth=2, volume=(2, 32, 32))
    proof = proof_of(folder)
    assert proof["passed"]
    assert ("own 2D form" in proof["reference"]) == own
