"""Kin of the plain ViT: their own files, several class tokens, what their configs state."""

import json

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import nn

import inflate_zoo
from inflate_zoo.conversion.converting import convert, verify
from inflate_zoo.conversion.inspection import inspect_source
from inflate_zoo.conversion.originals import of_transformers
from inflate_zoo.errors import AmbiguousSourceError, UsageError, VerificationError
from tests.support.checkpoints import (
    build_timm,
    build_transformers,
    deit3_original,
    ijepa_original,
    save_timm,
    save_transformers,
)

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")
SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 4}


def small(options, **more):
    own = {k: v for k, v in options.items() if not k.startswith(("pretrained", "cache"))}
    return VisionTransformer(**{**SMALL, "mlp_ratio": 2.0, **more, **own})


def among(module):
    """Register an architecture in one of timm's modules, by which kinds are told apart."""

    def register(build):
        build.__module__ = f"timm.models.{module}"
        return register_model(build)

    return register


@among("deit")
def small_deit3(pretrained=False, **options):
    return small(options, no_embed_class=True, init_values=1e-6)


@among("vision_transformer")
def small_ijepa(pretrained=False, **options):
    return small(options, class_token=False, global_pool="avg", fc_norm=False)


def record_of(folder):
    return json.loads((folder / "conversion.json").read_text())


def digest_of(folder):
    record = record_of(folder)
    assert record["verification"]["passed"]
    return record["files"]["model.safetensors"]["sha256"]


# Originals


def test_deit_3s_own_file_needs_its_architecture_alone(tmp_path):
    torch.save(deit3_original(), tmp_path / "deit_3_small_224_1k.pth")
    source = tmp_path / "deit_3_small_224_1k.pth"
    with pytest.raises(UsageError, match="--arch"):
        convert(source, tmp_path / "none")
    out = convert(source, tmp_path / "out", arch="small_deit3")
    assert verify(out, source).passed
    config = json.loads((out / "config.json").read_text())
    assert (config["layer_scale"], config["position_prefix"]) == (True, 0)
    as_timm = convert(save_timm("deit3", tmp_path / "timm"), tmp_path / "timm-out")
    assert digest_of(out) == digest_of(as_timm)


def test_deit_3s_own_file_is_what_timm_reads_it_as(tmp_path):
    model = build_timm("deit3", seed=7)
    model.load_state_dict(
        checkpoint_filter_fn(deit3_original(), model, adapt_layer_scale=True), strict=True
    )
    for name, held in build_timm("deit3").state_dict().items():
        assert torch.equal(model.state_dict()[name], held)


@pytest.mark.parametrize("weights, seed", [("encoder", 0), ("target_encoder", 1)])
def test_i_jepas_own_file_holds_two_encoders_of_which_one_is_named(weights, seed, tmp_path):
    torch.save(ijepa_original(), tmp_path / "IN1K-vit.h.14-300e.pth.tar")
    source = tmp_path / "IN1K-vit.h.14-300e.pth.tar"
    with pytest.raises(AmbiguousSourceError) as caught:
        convert(source, tmp_path / "none", arch="small_ijepa")
    assert "--weights encoder or --weights target_encoder" in caught.value.hint
    out = convert(source, tmp_path / "out", arch="small_ijepa", weights=weights)
    assert verify(out, source).passed
    held = build_timm("ijepa_timm", seed).state_dict()["blocks.1.mlp.fc1.weight"]
    assert torch.equal(load_file(out / "model.safetensors")["blocks.1.mlp.fc1.weight"], held)


# Several class tokens


def test_pixio_pools_its_class_tokens_and_gives_its_originals_vector(tmp_path):
    source = save_transformers("pixio", tmp_path / "source")
    network = inflate_zoo.load(
        convert(source, tmp_path / "out", channels=3), volume=(16, 32, 32)
    ).eval()
    assert network.num_prefix_tokens == 8
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = build_transformers("pixio")(images)
        volume = images.unsqueeze(2).repeat(1, 1, 16, 1, 1)
        got, pooled = network.forward_features(volume), network(volume)
    last = expected.last_hidden_state
    torch.testing.assert_close(got[:, :8], last[:, :8], rtol=0, atol=1e-5)
    patches = got[:, 8:].unflatten(1, (2, 16))
    torch.testing.assert_close(patches, last[:, None, 8:].expand_as(patches), rtol=0, atol=1e-5)
    torch.testing.assert_close(pooled, expected.pooler_output, rtol=0, atol=1e-5)


def test_pixios_earlier_spelling_is_the_same(tmp_path):
    """Files of the first release name the feed-forward part as memory does now."""
    source = save_transformers("pixio", tmp_path / "source")
    early = save_transformers("pixio", tmp_path / "early")
    swaps = {".intermediate.dense.": ".mlp.fc1.", ".attention.output.": ".attention.OUTPUT."}
    swaps |= {".output.dense.": ".mlp.fc2.", ".OUTPUT.": ".output."}
    state = {}
    for name, held in load_file(source / "model.safetensors").items():
        for old, new in swaps.items():
            name = name.replace(old, new)
        state[name] = held
    assert "encoder.layer.0.mlp.fc2.bias" in state
    save_file(state, early / "model.safetensors", metadata={"format": "pt"})
    first, second = (convert(s, tmp_path / f"{s.name}-out") for s in (source, early))
    assert digest_of(first) == digest_of(second)


def test_pixio_of_no_square_is_proved_by_our_own_form(tmp_path):
    """transformers reads its table as that of a square image."""
    source = save_transformers("pixio", tmp_path / "source", image_size=(32, 48))
    proof = record_of(convert(source, tmp_path / "out"))["verification"]
    assert proof["passed"]
    assert "transformers cannot build this source" in proof["reference"]


@pytest.mark.parametrize("count", [1, 4])
def test_as_many_class_tokens_as_the_config_states(count, tmp_path):
    source = save_transformers("pixio", tmp_path / "source", n_cls_tokens=count)
    assert inspect_source(source)["architecture"]["reg_tokens"] == count
    assert record_of(convert(source, tmp_path / "out"))["verification"]["passed"]
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"n_cls_tokens": count + 1}))
    with pytest.raises(UsageError, match="disagree"):
        convert(source, tmp_path / "none")


def test_pooling_the_patches_is_noticed(tmp_path, monkeypatch):
    right = of_transformers.encoder

    def patches(asked, pooled):
        return right(asked, pooled=lambda tokens: tokens[:, 8:].mean(dim=1))

    monkeypatch.setattr(of_transformers, "encoder", patches)
    with pytest.raises(VerificationError):
        convert(save_transformers("pixio", tmp_path / "source"), tmp_path / "out")


# What configs state


@pytest.mark.parametrize(
    "kind, stated",
    [
        ("blip", {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-2}),
        ("blip_vision", {"hidden_act": "gelu_pytorch_tanh", "image_size": 160}),
        ("metaclip_2", {"hidden_act": "gelu", "layer_norm_eps": 1e-2}),
        ("metaclip_2_vision", {"hidden_act": "quick_gelu", "image_size": 160}),
        ("pixio", {"hidden_act": "relu", "layer_norm_eps": 1e-2, "image_size": 160}),
        ("pixio", {"mlp_ratio": 3, "qkv_bias": False, "patch_size": (8, 4)}),
    ],
)
def test_what_the_config_states_is_followed(kind, stated, tmp_path):
    source = save_transformers(kind, tmp_path / "source", **stated)
    proof = record_of(convert(source, tmp_path / "out"))["verification"]
    assert proof["max_error_over_rms"] < 2e-5
    assert proof["reference"].startswith("transformers ")
    assert verify(tmp_path / "out", source).passed
    assert inspect_source(source)["family"] == f"hf_{kind.removesuffix('_vision')}"


@pytest.mark.skipif(
    not timm.is_model("vit_base_patch14_reg1_tipsv2"), reason="timm before 1.0.27 has no TIPS v2"
)
def test_tips_v2_is_told_by_timms_name(tmp_path):
    size = {"img_size": 56, "embed_dim": 48, "num_heads": 4, "depth": 2}
    model = timm.create_model("vit_base_patch14_reg1_tipsv2", **size, init_values=0.5)
    folder = tmp_path / "source"
    folder.mkdir()
    with torch.no_grad():
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.2)
    save_file(model.state_dict(), folder / "model.safetensors")
    config = {"architecture": "vit_base_patch14_reg1_tipsv2", "model_args": size}
    config["pretrained_cfg"] = {"tag": "webli"}
    (folder / "config.json").write_text(json.dumps(config))
    out = convert(folder, tmp_path / "out", fold_normalization=True)
    record = record_of(out)
    assert record["verification"]["passed"]
    assert record["recipe"]["normalization"] == {"mean": [0.0] * 3, "std": [1.0] * 3}
    made = json.loads((out / "config.json").read_text())
    assert (made["reg_tokens"], made["position_prefix"], made["pool"]) == (1, 0, "cls")
