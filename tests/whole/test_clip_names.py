"""CLIP under OpenCLIP's and OpenAI's own names: proved, and the same file as from the libraries."""

import json
import shutil
from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file
from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import nn
from typer.testing import CliRunner

import inflate_zoo
from inflate_zoo.cli import app
from inflate_zoo.conversion.converting import convert, verify
from inflate_zoo.conversion.inspection import inspect_source
from inflate_zoo.conversion.originals import of_timm
from inflate_zoo.errors import AccountingError, ConfigError, UsageError, VerificationError
from tests.support.checkpoints import build_timm, save_timm, save_transformers
from tests.support.clip_towers import (
    EXACT,
    FILE,
    QUICK,
    clip_state,
    clip_tower,
    clip_training,
    save_clip,
)

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")
close = partial(torch.testing.assert_close, rtol=0, atol=1e-5)
WEIGHTS = "open_clip_model.safetensors"


def plain(build):
    """Register an architecture among timm's plain vision transformers."""
    build.__module__ = "timm.models.vision_transformer"
    return register_model(build)


def small(activation, options):
    """timm's network of the size of these files."""
    own = {k: v for k, v in options.items() if not k.startswith(("pretrained", "cache"))}
    size = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 4}
    return VisionTransformer(
        **{
            **size, "mlp_ratio": 2.0, "pre_norm": True, "act_layer": activation,
            "norm_layer": partial(nn.LayerNorm, eps=1e-5), **own,
        }
    )  # fmt: skip


@plain
def small_clip(pretrained=False, **options):
    return small(EXACT, options)


@plain
def small_clip_quickgelu(pretrained=False, **options):
    return small(QUICK, options)


def record_of(folder):
    return json.loads((folder / "conversion.json").read_text())


@pytest.mark.parametrize(
    "activation, vision",
    [
        (EXACT, {}),
        (QUICK, {}),
        (EXACT, {"pool_type": "avg"}),
        (QUICK, {"head_width": 16, "mlp_ratio": 4.3637}),
        (EXACT, {"image_size": [32, 48], "patch_size": [8, 4]}),
        (EXACT, {"ls_init_value": 1e-4}),
        (EXACT, {"image_size": 160}),  # of too many tokens: proved at a smaller grid
    ],
)
def test_the_proof_follows_what_the_config_states(activation, vision, tmp_path):
    source = save_clip(tmp_path / "source", activation, **vision)
    for scheme in ("center", "average"):
        out = convert(source, tmp_path / scheme, scheme=scheme, fold_normalization=True)
        proof = record_of(out)["verification"]
        assert proof["max_error_over_rms"] < 2e-5
        assert proof["reference"].startswith("timm ")
        assert "equal slices, pooled" in proof["errors"]
        assert verify(out, source).passed


@pytest.mark.parametrize("activation", [EXACT, QUICK])
@pytest.mark.parametrize(
    "vision", [{"pool_type": "tok"}, {"pool_type": "avg"}, {"ls_init_value": 1e-4}]
)
def test_equal_slices_give_what_torchs_own_attention_gives(activation, vision, tmp_path):
    """Against a tower built of torch's parts: neither timm nor transformers has a say."""
    source = save_clip(tmp_path / "source", activation, **vision)
    out = convert(source, tmp_path / "out", channels=3, patch_depth=4)
    network = inflate_zoo.load(out, volume=(12, 32, 32)).eval()
    tower, images = clip_tower(activation, **vision), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = tower.tokens(images)
        volume = images.unsqueeze(2).repeat(1, 1, 12, 1, 1)
        got = network.forward_features(volume)
        layers = got[:, 1:].unflatten(1, (3, 16))
        torch.testing.assert_close(
            layers, expected[:, None, 1:].expand_as(layers), rtol=0, atol=1e-5
        )
        torch.testing.assert_close(got[:, 0], expected[:, 0], rtol=0, atol=1e-5)
        torch.testing.assert_close(network(volume), tower(images), rtol=0, atol=1e-5)


def in_openclips_words(folder, source):
    """The tower of transformers' CLIP, saved again under OpenCLIP's names."""
    held = load_file(source / "model.safetensors")
    ours = {
        "visual.class_embedding": held["embeddings.class_embedding"],
        "visual.positional_embedding": held["embeddings.position_embedding.weight"],
        "visual.conv1.weight": held["embeddings.patch_embedding.weight"],
        "visual.proj": torch.zeros(48, 24),
    }
    parts = {
        "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj", "self_attn.out_proj": "attn.out_proj",
    }  # fmt: skip
    for kind in ("weight", "bias"):
        for old, new in (("pre_layrnorm", "ln_pre"), ("post_layernorm", "ln_post")):
            ours[f"visual.{new}.{kind}"] = held[f"{old}.{kind}"]
        for i in range(3):
            start, block = f"encoder.layers.{i}.", f"visual.transformer.resblocks.{i}."
            for old, new in parts.items():
                ours[f"{block}{new}.{kind}"] = held[f"{start}{old}.{kind}"]
            ours[f"{block}attn.in_proj_{kind}"] = torch.cat(
                [held[f"{start}self_attn.{part}_proj.{kind}"] for part in "qkv"]
            )
    folder.mkdir()
    save_file(ours, folder / WEIGHTS)
    config = {"vision_cfg": {"layers": 3, "width": 48, "head_width": 12, "mlp_ratio": 2,
                             "patch_size": 8, "image_size": 32}, "quick_gelu": True}  # fmt: skip
    (folder / FILE).write_text(json.dumps({"model_cfg": config}))
    return folder


def test_the_same_weights_of_three_libraries_give_the_same_3d_file(tmp_path):
    theirs = save_transformers("clip_vision", tmp_path / "transformers")
    own = in_openclips_words(tmp_path / "open_clip", theirs)
    timm_folder = save_timm("clip_quickgelu", tmp_path / "timm", num_classes=0)
    read = checkpoint_filter_fn(load_file(own / WEIGHTS), build_timm("clip_quickgelu"))
    kept = {name: read[name] for name in load_file(timm_folder / "model.safetensors")}
    save_file(kept, timm_folder / "model.safetensors", metadata={"format": "pt"})
    made = [
        convert(source, tmp_path / f"{source.name}-out", channels=3)
        for source in (theirs, own, timm_folder)
    ]
    assert all(record_of(folder)["verification"]["passed"] for folder in made)
    digests = {record_of(f)["files"]["model.safetensors"]["sha256"] for f in made}
    assert len(digests) == 1


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_both_forms_and_their_config_are_taken(suffix, tmp_path):
    source = save_clip(tmp_path / "source", QUICK, suffix=suffix)
    record = record_of(convert(source, tmp_path / "out", fold_normalization=True))
    assert (record["source"]["family"], record["source"]["arch"]) == ("open_clip", None)
    assert (record["source"]["taken"], FILE in record["source"]["sha256"]) == ("visual.", True)
    assert record["recipe"]["normalization"]["mean"] == [0.4, 0.5, 0.6]
    assert record["recipe"]["normalization_from"] == f"{FILE}: preprocess_cfg"
    assert {"visual.proj", "positional_embedding", "logit_scale"} <= set(record["dropped"])
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["activation"], config["num_heads"]) == ("quick_gelu", 4)
    assert "its activation too: quick_gelu" in (tmp_path / "out" / "README.md").read_text().replace(
        "\\", ""
    )


def test_inspect_says_what_it_is(tmp_path):
    source = save_clip(tmp_path / "source", QUICK)
    found = inspect_source(source)
    assert (found["family"], found["arch"], found["taken"]) == ("open_clip", None, "visual.")
    assert "quick_gelu" in found["described"]
    result = CliRunner().invoke(app.app, ["inspect", str(source)])
    assert result.exit_code == 0, result.output
    assert FILE in result.output


def test_a_bare_file_needs_its_activation_by_the_architectures_name(tmp_path):
    torch.save(clip_training(QUICK), tmp_path / "epoch_latest.pt")
    source = tmp_path / "epoch_latest.pt"
    with pytest.raises(ConfigError) as caught:
        convert(source, tmp_path / "none")
    assert FILE in caught.value.hint
    assert "--arch vit_base_patch16_clip_quickgelu_224" in caught.value.hint
    networks = {}
    for name in ("small_clip", "small_clip_quickgelu"):
        out = convert(source, tmp_path / name, arch=name)
        record = record_of(out)
        assert (record["source"]["family"], record["source"]["arch"]) == ("open_clip", name)
        assert record["source"]["taken"] == "module.visual." or record["source"]["taken"].endswith(
            "module.visual."
        )
        assert record["verification"]["passed"]
        assert verify(out, source).passed
        networks[name] = json.loads((out / "config.json").read_text())["activation"]
    assert networks == {"small_clip": "gelu", "small_clip_quickgelu": "quick_gelu"}


def test_an_architecture_of_another_form_is_told(tmp_path):
    torch.save(clip_state(clip_tower()), tmp_path / "clip.pt")
    with pytest.raises(ConfigError, match="disagree") as caught:
        convert(tmp_path / "clip.pt", tmp_path / "out", arch="vit_base_patch16_clip_224")
    assert any("embed_dim is 768" in line for line in caught.value.details)


def test_a_config_of_another_model_is_told(tmp_path):
    source = save_clip(tmp_path / "source")
    config = json.loads((source / FILE).read_text())
    config["model_cfg"]["vision_cfg"] |= {"width": 96, "image_size": 48}
    (source / FILE).write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=f"{FILE} and the tensors disagree") as caught:
        convert(source, tmp_path / "out")
    assert "model_cfg.vision_cfg: embed_dim is 96, 'visual.conv1.weight' says 48" in " ".join(
        caught.value.details
    )


def test_config_json_goes_first(tmp_path):
    folder = save_transformers("clip", tmp_path / "clip")
    alone = inspect_source(folder)
    shutil.copy(save_clip(tmp_path / "own") / FILE, folder)
    shutil.copy(tmp_path / "own" / WEIGHTS, folder)
    assert inspect_source(folder) == alone


def test_what_is_no_plain_tower_is_left_over(tmp_path):
    source = save_clip(tmp_path / "source")
    state = clip_state(clip_tower()) | {"visual.attn_pool.query": torch.zeros(4, 24)}
    save_file(state, source / WEIGHTS)
    with pytest.raises(AccountingError) as caught:
        convert(source, tmp_path / "out")
    assert caught.value.details[0].startswith("left over: 'visual.attn_pool.query' F32 [4, 24]")


def test_the_other_activation_is_noticed(tmp_path, monkeypatch):
    """With the wrong one nothing is missing; the proof builds the original by the same word, so
    the tower of torch's own parts has to tell.
    """
    source = save_clip(tmp_path / "source", QUICK)
    config = json.loads((source / FILE).read_text())
    del config["model_cfg"]["quick_gelu"]
    (source / FILE).write_text(json.dumps(config))
    network = inflate_zoo.load(
        convert(source, tmp_path / "out", channels=3), volume=(8, 32, 32)
    ).eval()
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        got = network(images.unsqueeze(2).repeat(1, 1, 8, 1, 1))
        assert (got - clip_tower(QUICK)(images)).abs().max() > 1e-3
        assert (got - clip_tower(EXACT)(images)).abs().max() < 1e-5


def test_another_order_of_the_packed_parts_is_noticed(tmp_path, monkeypatch):
    right = of_timm._as_timm_reads

    def swapped(state, model):
        read = right(state, model)
        packed = [n for n in read if ".qkv." in n]
        return read | {n: torch.cat(read[n].chunk(3)[::-1]) for n in packed}

    monkeypatch.setattr(of_timm, "_as_timm_reads", swapped)
    with pytest.raises(VerificationError):
        convert(save_clip(tmp_path / "source"), tmp_path / "out")


def test_a_tower_that_timm_cannot_build_is_proved_by_our_own_form(tmp_path):
    """Without a norm before the blocks timm's stem has a bias."""
    source = save_clip(tmp_path / "source", no_ln_pre=True)
    proof = record_of(convert(source, tmp_path / "out", channels=3))["verification"]
    assert proof["passed"]
    assert "timm cannot build this source" in proof["reference"]
    network = inflate_zoo.load(tmp_path / "out", volume=(8, 32, 32)).eval()
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        got = network(images.unsqueeze(2).repeat(1, 1, 8, 1, 1))
        expected = clip_tower(no_ln_pre=True)(images)
    close(got, expected)


def test_a_text_tower_alone_is_told(tmp_path):
    state = {n: t for n, t in clip_state(clip_tower()).items() if not n.startswith("visual.")}
    save_file(state, tmp_path / "text.safetensors")
    with pytest.raises(UsageError, match="without its plain image tower"):
        convert(tmp_path / "text.safetensors", tmp_path / "out")
