"""Weights inside training files, end to end: the same bytes as from the bare file, and proven."""

import argparse
import json
import tarfile
from itertools import cycle

import pytest
import torch
from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from typer.testing import CliRunner

import inflate_zoo
from inflate_zoo.cli.app import app
from inflate_zoo.conversion.converting import convert, verify
from inflate_zoo.errors import CheckpointError, ConfigError, UsageError
from tests.support.checkpoints import (
    build_transformers,
    dino_backbone,
    dinov2_original,
    moco_v3,
    randomize,
    save_dino_pth,
    save_transformers,
)

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")
SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 128, "depth": 2, "num_heads": 2}


def _small(options, **more):
    return VisionTransformer(**{**SMALL, **more, **options})


def _own(options):
    return {k: v for k, v in options.items() if not k.startswith(("pretrained", "cache"))}


def plain(build):
    """Register an architecture among timm's plain vision transformers, as they are told apart."""
    build.__module__ = "timm.models.vision_transformer"
    return register_model(build)


@plain
def small_vit(pretrained=False, **options):
    return _small(_own(options))


@plain
def small_vit_48(pretrained=False, **options):
    return _small(_own(options), embed_dim=48)


@plain
def small_dinov2_reg4(pretrained=False, **options):
    return _small(_own(options), init_values=1.0, reg_tokens=4, no_embed_class=True)


def state(seed=0, **options):
    return randomize(small_vit(num_classes=0, **options), seed).state_dict()


def prefixed(prefix, tensors):
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def optimizer():
    moments = {"step": torch.tensor(1.0), "exp_avg": torch.ones(2, 2)}
    return {"state": {0: moments}, "param_groups": [{"params": [0], "lr": 1e-3}]}


SD, EMA = state(), state(seed=1)
SAVED = {"optimizer": optimizer(), "epoch": 3, "scaler": {"scale": 2.0}, "lr_scheduler": {"e": 1},
         "args": argparse.Namespace(lr=1)}  # fmt: skip
FILES = {
    "mae.pth": {"model": SD | {"mask_token": torch.ones(1), "decoder_norm.bias": torch.ones(2)}},
    "deit.pth": {"model": SD, "model_ema": EMA},
    "timm.pth.tar": {"state_dict_ema": EMA, "state_dict": SD, "arch": "small_vit"},
    "parallel.pt": {"state_dict": prefixed("module.", SD)},
    "compiled.bin": prefixed("_orig_mod.", SD),
    "both.pth": {"model": prefixed("module._orig_mod.", SD)},
    "lightning.ckpt": {
        "state_dict": prefixed("model.", SD) | prefixed("ema_model.module.", EMA),
        "optimizer_states": [optimizer()],
        "hyper_parameters": {"lr": 1e-3},
    },
    "lightning_task.ckpt": {
        "state_dict": prefixed("net.encoder.", SD) | {"net.head.weight": torch.ones(2, 2)}
    },
    "averaged.tar": prefixed("module.", SD) | {"n_averaged": torch.tensor(3)},
    "dinov2.pth": {
        "teacher": prefixed("backbone.", SD) | {"dino_head.mlp.0.weight": torch.ones(2)},
        "student": prefixed("backbone.", EMA),
    },
    "biomedclip.bin": prefixed("visual.trunk.", SD) | {
        "logit_scale": torch.tensor(4.6), "text.proj.0.weight": torch.ones(4, 4),
        "visual.head.proj.weight": torch.ones(2, 2)},
    "mixed.pth": {**SD, "optimizer": optimizer()},
}  # fmt: skip


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The bytes from the bare files: of the network, and of its average."""
    home = tmp_path_factory.mktemp("bare")

    def weights(name, tensors):
        torch.save(tensors, home / f"{name}.pth")
        folder = convert(home / f"{name}.pth", home / name, arch="small_vit", verify=False)
        return (folder / "model.safetensors").read_bytes()

    return {"plain": weights("plain", SD), "ema": weights("ema", EMA)}


@pytest.mark.parametrize("name", FILES)
def test_a_wrapped_network_gives_the_bytes_of_the_bare_one(name, expected, tmp_path):
    content = FILES[name] if name == "mixed.pth" else {**FILES[name], **SAVED}
    if name in ("compiled.bin", "averaged.tar", "biomedclip.bin"):
        content = FILES[name]
    torch.save(content, tmp_path / name)
    folder = convert(tmp_path / name, tmp_path / "out", arch="small_vit", verify=False)
    assert (folder / "model.safetensors").read_bytes() == expected["plain"]
    record = json.loads((folder / "conversion.json").read_text())
    taken = record["source"]["taken"]
    inside = {f"{taken}{key}" for key in SD}
    assert len(record["dropped"]) == len(set(record["dropped"]))
    assert not inside & set(record["dropped"])


@pytest.mark.parametrize(
    "name, weights, which",
    [("deit.pth", "ema", "ema"), ("deit.pth", "model", "plain"), ("timm.pth.tar", "ema", "ema"),
     ("lightning.ckpt", "ema", "ema"), ("dinov2.pth", "student", "ema")],
)  # fmt: skip
def test_weights_chooses_a_copy(name, weights, which, expected, tmp_path):
    torch.save(FILES[name], tmp_path / name)
    options = {"arch": "small_vit", "weights": weights, "verify": False}
    folder = convert(tmp_path / name, tmp_path / "out", **options)
    assert (folder / "model.safetensors").read_bytes() == expected[which]
    assert verify(folder, tmp_path / name).passed  # the copy that the record names


def test_what_was_taken_is_said(tmp_path):
    torch.save(FILES["deit.pth"] | SAVED, tmp_path / "deit.pth")
    words = [str(tmp_path / "deit.pth"), "--arch", "small_vit"]
    out = str(tmp_path / "out")
    done = CliRunner().invoke(app, ["convert", *words, "--no-verify", "--out", out])
    assert done.exit_code == 0, done.output
    told = "model.* of deit.pth; it also holds model_ema.*: --weights chooses"
    assert f"  weights  {told}" in done.stdout
    assert f"  dropped  model_ema.* ({len(SD)}), optimizer.* (2)" in done.stdout
    shown = CliRunner().invoke(app, ["inspect", *words]).stdout
    assert f"weights    {told}" in shown
    record = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert record["source"]["taken"] == "model."
    assert record["source"]["copies"] == ["model_ema."]
    assert "(a local file), its model." in (tmp_path / "out" / "README.md").read_text()


def test_of_networks_of_two_sizes_the_architecture_chooses(expected, tmp_path):
    large = small_vit(num_classes=0, embed_dim=192).state_dict()
    torch.save({"teacher": large, "student": SD}, tmp_path / "distilled.pth")
    folder = convert(tmp_path / "distilled.pth", tmp_path / "out", arch="small_vit", verify=False)
    assert (folder / "model.safetensors").read_bytes() == expected["plain"]
    assert json.loads((folder / "conversion.json").read_text())["source"]["taken"] == "student."


def test_two_equal_copies_are_named_with_the_flag(tmp_path):
    torch.save({"first": SD, "second": EMA}, tmp_path / "two.pth")
    words = ["convert", str(tmp_path / "two.pth"), "--arch", "small_vit"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert "2 complete copies of the network: 'first.*' and 'second.*'" in done.stderr
    assert "--weights first or --weights second" in done.stderr


def tokens_of(folder, images):
    network = inflate_zoo.load(folder, volume=(8, *images.shape[-2:])).eval()
    volume = images.unsqueeze(2).repeat(1, 1, 8, 1, 1)
    with torch.no_grad():
        return network.forward_features(volume), network(volume)


@pytest.mark.parametrize("registers", [True, False])
@pytest.mark.parametrize("options", [{"family": "dino"}, {"arch": "small_dinov2_reg4"}])
def test_dinov2s_originals_equal_timms_reading_of_them(registers, options, tmp_path):
    if not registers and "arch" in options:
        pytest.skip("that architecture has registers")
    tensors = dinov2_original(registers=registers)
    names = {name: name.replace("blocks.1.", "blocks.0.1.") for name in tensors}
    torch.save({names[name]: tensor for name, tensor in tensors.items()}, tmp_path / "d.pth")
    folder = convert(tmp_path / "d.pth", tmp_path / "out", channels=3, **options)
    proof = json.loads((folder / "conversion.json").read_text())["verification"]
    assert proof["reference"].startswith("timm ")
    extra = {"reg_tokens": 4, "no_embed_class": True} if registers else {}
    model = _small({"num_classes": 0, "init_values": 1.0, **extra}).eval()
    model.load_state_dict(checkpoint_filter_fn(dict(tensors), model))
    images = torch.randn(2, 3, 32, 32)
    tokens, pooled = tokens_of(folder, images)
    torch.testing.assert_close(tokens, model.forward_features(images), atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(pooled, model(images), atol=2e-4, rtol=1e-4)


def test_registers_of_another_architecture_are_told_without_a_config(tmp_path):
    torch.save(dinov2_original(), tmp_path / "d.pth")
    with pytest.raises(ConfigError) as caught:
        convert(tmp_path / "d.pth", tmp_path / "out", arch="small_vit")
    assert "config.json and the tensors" not in str(caught.value)
    assert "reg_tokens is 0, 'register_tokens' says 4" in str(caught.value)
    assert "name the architecture" in caught.value.hint


def test_a_finetuned_mae_norms_the_mean(tmp_path):
    model = randomize(small_vit(num_classes=5, global_pool="avg")).eval()
    torch.save({"model": model.state_dict()}, tmp_path / "ft.pth")
    folder = convert(tmp_path / "ft.pth", tmp_path / "out", arch="small_vit", channels=3)
    record = json.loads((folder / "conversion.json").read_text())
    assert record["verification"]["reference"].startswith("timm ")
    images = torch.randn(2, 3, 32, 32)
    pooled = model.forward_head(model.forward_features(images), pre_logits=True)
    torch.testing.assert_close(tokens_of(folder, images)[1], pooled, atol=2e-4, rtol=1e-4)


def test_moco_v3_takes_the_base_encoder_with_its_own_heads(tmp_path):
    content = moco_v3()
    torch.save(content, tmp_path / "vit-s-300ep.pth.tar")
    folder = convert(tmp_path / "vit-s-300ep.pth.tar", tmp_path / "out", channels=3)
    model = _small({"embed_dim": 48, "num_heads": 12, "num_classes": 0}).eval()
    start = "module.base_encoder."
    model.load_state_dict(
        {k.removeprefix(start): v for k, v in content["state_dict"].items()
         if k.startswith(start) and ".head." not in k}
    )  # fmt: skip
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(
        tokens_of(folder, images)[0], model.forward_features(images), atol=2e-4, rtol=1e-4
    )


def test_an_architecture_with_other_heads_than_its_kind_is_warned_of(tmp_path):
    torch.save(moco_v3(), tmp_path / "a.pth.tar")
    told = "moco_v3 have 12 heads at this width, small_vit_48 has 2; .* leave out --arch"
    with pytest.warns(UserWarning, match=told):
        convert(tmp_path / "a.pth.tar", tmp_path / "out", arch="small_vit_48", verify=False)


def test_an_architecture_for_dinos_own_file(tmp_path):
    source = save_dino_pth(tmp_path)
    folder = convert(source, tmp_path / "out", arch="small_vit", channels=3)
    images = torch.randn(1, 3, 32, 32)
    expected = dino_backbone("teacher").eval().forward_features(images)
    torch.testing.assert_close(tokens_of(folder, images)[0], expected, atol=2e-4, rtol=1e-4)


def test_transformers_weights_of_a_trainer(tmp_path):
    from safetensors.torch import load_file

    plain = save_transformers("vit", tmp_path / "plain", num_hidden_layers=1)
    wrapped = tmp_path / "wrapped"
    wrapped.mkdir()
    (wrapped / "config.json").write_bytes((plain / "config.json").read_bytes())
    tensors = load_file(plain / "model.safetensors")
    content = {"state_dict": prefixed("model.vit.", tensors), "optimizer_states": [optimizer()]}
    torch.save(content, wrapped / "last.ckpt")
    made = [convert(f, tmp_path / f"{f.name}-3d", verify=False) for f in (plain, wrapped)]
    weights = [(folder / "model.safetensors").read_bytes() for folder in made]
    assert weights[0] == weights[1]


# As a network of transformers names its tensors in memory; a file that it saves has other names.
RENAMED = (
    "vit_classifier", "vit_no_qkv_bias", "vit_rectangular", "vit_msn", "deit", "deit_teacher",
    "vit_mae", "dinov2", "dinov2_swiglu", "dinov2_with_registers", "dinov3", "dinov3_gated",
    "dinov3_no_bias", "pixio", "pixio_backbone", "radio", "radio_no_bias", "swin",
    "swin_classifier", "swin_no_qkv_bias", "ijepa", "beit", "beit_bare", "beit_pretrained",
    "beit_both_tables",
)  # fmt: skip


@pytest.mark.parametrize(("kind", "wrapper"), list(zip(RENAMED, cycle(("", "model.")))))
def test_names_in_memory_are_taken_like_those_in_files(kind, wrapper, tmp_path):
    plain, held = save_transformers(kind, tmp_path / "plain"), tmp_path / "held"
    held.mkdir()
    for name in ("config.json", "preprocessor_config.json"):
        (held / name).write_bytes((plain / name).read_bytes())
    tensors = prefixed(wrapper, build_transformers(kind, 0).state_dict())
    torch.save({"state_dict": tensors, "epoch": 3} if wrapper else tensors, held / "last.ckpt")
    saved = convert(plain, tmp_path / "plain-3d", verify=False)
    taken = convert(held, tmp_path / "held-3d")  # with its proof: transformers takes them as well
    weights = [(folder / "model.safetensors").read_bytes() for folder in (saved, taken)]
    assert weights[0] == weights[1]


def test_a_tar_archive_is_no_checkpoint(tmp_path):
    torch.save(SD, tmp_path / "a.pth")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "a.pth", "a.pth")
    with pytest.raises(CheckpointError, match="is a tar archive, not a checkpoint"):
        convert(tmp_path / "a.tar", tmp_path / "out", arch="small_vit")


def test_an_optimizer_is_mapped_and_never_read(tmp_path, monkeypatch):
    """Memory stays that of the network, however large what lies beside it."""
    from inflate_zoo.files.checkpoints import PickleCheckpoint

    torch.save({"model": SD, "optimizer": optimizer()}, tmp_path / "a.pth")
    read, plain = [], PickleCheckpoint.read
    monkeypatch.setattr(PickleCheckpoint, "read", lambda s, n: read.append(n) or plain(s, n))
    convert(tmp_path / "a.pth", tmp_path / "out", arch="small_vit")
    assert read
    assert not [name for name in read if name.startswith("optimizer")]


def test_weights_that_are_not_there_are_answered(tmp_path):
    torch.save({"model": SD}, tmp_path / "a.pth")
    with pytest.raises(UsageError, match="no weights called 'ema'"):
        convert(tmp_path / "a.pth", tmp_path / "out", arch="small_vit", weights="ema")
