"""The same weights, saved by transformers and by timm, become the same 3D files."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from inflate_zoo import convert, load
from inflate_zoo.naming.catalog import families_by_name
from tests.support.checkpoints import build_timm, save_timm, save_transformers

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")

Renamings = dict[str, str | Callable[[re.Match[str]], str]]

# Patterns in the names of transformers' files, tried in this order, to timm's.
VIT: Renamings = {
    r"^embeddings\.(patch_embeddings\.projection|patch_embedding)\.": "patch_embed.proj.",
    r"^embeddings\.(cls_token|class_embedding)$": "cls_token",
    r"^embeddings\.distillation_token$": "dist_token",
    r"^embeddings\.register_tokens$": "reg_token",
    r"^embeddings\.position_embeddings?(\.weight)?$": "pos_embed",
    r"^encoder\.layers?\.": "blocks.",
    r"\.attention\.attention\.(q|k|v)\w+\.": r".attn.\1.",
    r"\.attention\.output\.dense\.": ".attn.proj.",
    r"\.layernorm_before\.": ".norm1.",
    r"\.layernorm_after\.": ".norm2.",
    r"\.intermediate\.dense\.": ".mlp.fc1.",
    r"\.output\.dense\.": ".mlp.fc2.",
    r"^(post_)?layernorm\.": "norm.",
}
DINOV2: Renamings = {
    r"\.layer_scale(\d)\.lambda1$": r".ls\1.gamma",
    r"\.weights_in\.": ".fc1.",
    r"\.weights_out\.": ".fc2.",
}
CLIP: Renamings = {
    r"\.self_attn\.(q|k|v)_proj\.": r".attn.\1.",
    r"\.self_attn\.out_proj\.": ".attn.proj.",
    r"\.layer_norm(\d)\.": r".norm\1.",
    r"^pre_layrnorm\.": "norm_pre.",
}
BLIP: Renamings = {
    r"\.self_attn\.qkv\.": ".attn.qkv.",
    r"\.self_attn\.projection\.": ".attn.proj.",
}
PIXIO: Renamings = {r"^embeddings\.cls_token$": "reg_token"}  # eight of them
BEIT: Renamings = {
    r"\.attention\.attention\.relative_position_bias\.": ".attn.",
    r"\.lambda_(\d)$": r".gamma_\1",
    r"^pooler\.layernorm\.": "fc_norm.",
}
DINOV3: Renamings = {
    r"^embeddings\.patch_embeddings\.": "patch_embed.proj.",
    r"^layer\.": "blocks.",
    r"\.attention\.(q|k|v)_proj\.": r".attn.\1.",
    r"\.attention\.o_proj\.": ".attn.proj.",
    r"\.layer_scale(\d)\.lambda1$": r".gamma_\1",
    r"\.up_proj\.": ".fc1.",
    r"\.down_proj\.": ".fc2.",
}
GATED: Renamings = {r"\.gate_proj\.": ".fc1_g.", r"\.up_proj\.": ".fc1_x."}
AIMV2: Renamings = {
    r"^embeddings\.patch_embed\.": "patch_embed.proj.",
    r"^embeddings\.rms_norm\.": "patch_embed.norm.",
    r"\.rms_norm(\d)\.": r".norm\1.",
    r"^rms_norm\.": "norm.",
    r"\.attention\.(q|k|v)_proj\.": r".attn.\1.",
    r"\.attention\.out_proj\.": ".attn.proj.",
    r"\.ffn\.gate_proj\.": ".mlp.fc1_g.",
    r"\.ffn\.up_proj\.": ".mlp.fc1_x.",
    r"\.ffn\.down_proj\.": ".mlp.fc2.",
}
SWIN: Renamings = {
    r"^embeddings\.norm\.": "patch_embed.norm.",
    r"^encoder\.layers\.(\d)\.downsample\.": lambda m: f"layers.{int(m[1]) + 1}.downsample.",
    r"^encoder\.layers\.": "layers.",
    r"\.attention\.self\.(q|k|v)\w+\.": r".attn.\1.",
    r"\.attention\.self\.continuous_position_bias_mlp\.": ".attn.cpb_mlp.",
    r"\.attention\.self\.": ".attn.",
}
SAM: Renamings = {
    r"^vision_encoder\.": "",
    r"^patch_embed\.projection\.": "patch_embed.proj.",
    r"^layers\.": "blocks.",
    r"^neck\.conv1\.": "neck.0.",
    r"^neck\.layer_norm1\.": "neck.1.",
    r"^neck\.conv2\.": "neck.2.",
    r"^neck\.layer_norm2\.": "neck.3.",
    r"\.layer_norm(\d)\.": r".norm\1.",
    r"\.mlp\.lin(\d)\.": r".mlp.fc\1.",
}

SAM2: Renamings = {
    r"^patch_embed\.projection\.": "patch_embed.proj.",
    r"\.layer_norm(\d)\.": r".norm\1.",
    r"\.mlp\.proj_in\.": ".mlp.fc1.",
    r"\.mlp\.proj_out\.": ".mlp.fc2.",
}


@dataclass(frozen=True)
class Pair:
    """Two kinds of `tests.support.checkpoints` of one architecture.

    Attributes:
        transformers: Kind that transformers saves.
        timm: Kind that timm saves.
        renamings: Before those of `VIT`.
        stated: What transformers' config says beside the kind's own.
        arguments: What timm's config says beside the kind's own.
        left: Names that only transformers' file has.
        more: Names that only timm's file has.
        apart: Fields of our config in which the libraries themselves differ.
    """

    transformers: str
    timm: str
    renamings: Renamings = field(default_factory=dict)
    stated: dict[str, Any] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)
    left: str = ""
    more: str = ""
    apart: tuple[str, ...] = ()


EPS = {"layer_norm_eps": 1e-6}  # timm's default
WINDOWS = ("clipping", "padding")  # of grids that are no whole windows
PAIRS = {
    "hf_vit": Pair("vit", "augreg", stated=EPS, left="pooler", more="head"),
    "hf_vit_mae": Pair("vit_mae_bare", "mae", stated=EPS),
    "hf_deit": Pair(
        "deit", "deit_distilled", stated=EPS, left="pooler", more="head", apart=("pool",)
    ),
    "hf_dinov2": Pair("dinov2", "dinov2", DINOV2, left="embeddings.mask_token"),
    "hf_dinov2, gated": Pair(
        "dinov2_swiglu", "dinov2_swiglu", DINOV2,
        arguments={"mlp_ratio": 128 / 48}, left="embeddings.mask_token",
    ),
    "hf_clip": Pair("clip_vision", "clip_quickgelu", CLIP, more="head"),
    "hf_siglip": Pair(
        "siglip_vision", "siglip", CLIP,
        stated={"hidden_act": "gelu"}, left="head", more="attn_pool",
    ),
    "hf_metaclip_2": Pair("metaclip_2_vision", "clip", CLIP, more="head"),
    "hf_blip": Pair("blip_vision", "augreg", CLIP | BLIP, stated=EPS, more="head"),
    "hf_ijepa": Pair("ijepa", "ijepa_timm", stated=EPS, left="pooler"),
    "hf_pixio": Pair(
        "pixio", "ijepa_timm", PIXIO, arguments={"reg_tokens": 8}, apart=("pool",)
    ),
    "hf_beit": Pair(
        "beit_bare", "beit_timm", BEIT,
        stated=EPS, arguments={"num_classes": 0}, apart=("table_resizing",),
    ),
    "hf_dinov3": Pair(
        "dinov3", "dinov3_timm_qkvb", DINOV3,
        arguments={"global_pool": "token"}, left="embeddings.mask_token",
    ),
    "hf_dinov3, no biases": Pair(
        "dinov3_no_bias", "dinov3_timm", DINOV3,
        arguments={"global_pool": "token"}, left="embeddings.mask_token",
    ),
    "hf_dinov3, gated": Pair(
        "dinov3_gated", "dinov3_timm_gated", DINOV3 | GATED,
        arguments={"global_pool": "token"}, left="embeddings.mask_token",
    ),
    "hf_aimv2": Pair("aimv2_vision", "aimv2_timm", AIMV2, left="head"),
    "hf_sam": Pair("sam_vision", "sam_timm", SAM, apart=("norm_eps",)),
    "hf_sam2": Pair(
        "sam2_hiera", "sam2_timm", SAM2,
        stated={"mlp_ratio": 4.0, "image_size": [896, 896]}, more="head",
    ),
    "hf_swin": Pair("swin", "swin_timm", SWIN, more="head", apart=WINDOWS),
    "hf_swinv2": Pair("swinv2", "swinv2_timm", SWIN, more="head", apart=WINDOWS),
}  # fmt: skip
OTHERWISE = {
    "hf_dinov2_with_registers": "timm adds the cls token's position to the token: other tensors",
    "hf_vit_msn": "timm has no such architecture",
    "hf_data2vec_vision": "timm has no such architecture",
    "hf_hiera": "its blocks are counted anew in each stage: test_hiera.py has the pair",
    "hf_radio": "timm's first class token is one of its own: test_radio.py has the pair",
    "hf_siglip2": "its stem is a matrix in both files: test_naflex.py has the pair",
}


def as_timm(state, pair, expected):
    """The tensors of a file of transformers under timm's names; q, k and v packed where timm's are.

    Args:
        state: Of the file.
        pair: Which.
        expected: Those of timm's network.
    """
    found = {}
    for name, tensor in state.items():
        if pair.left and name.startswith(pair.left):
            continue
        for pattern, new in {**pair.renamings, **VIT}.items():
            name = re.sub(pattern, new, name)
        found[name] = tensor
    for name in expected:
        if name.endswith((".attn.qkv.weight", ".attn.qkv.bias")) and name not in found:
            parts = [found.pop(name.replace("qkv", part)) for part in "qkv"]
            found[name] = torch.cat(parts)
        if name.endswith((".attn.q_bias", ".attn.v_bias")):
            found[name] = found.pop(name.replace("_bias", ".bias"))
    more = {n: t for n, t in expected.items() if pair.more and n.startswith(pair.more)}
    assert found.keys() | more.keys() == expected.keys()
    return {n: found.get(n, tensor).reshape(tensor.shape) for n, tensor in expected.items()}


def saved(pair, folder):
    """The same weights by both libraries: two folders."""
    first = save_transformers(pair.transformers, folder / "transformers", **pair.stated)
    second = save_timm(pair.timm, folder / "timm", **pair.arguments)
    expected = build_timm(pair.timm, seed=1, **pair.arguments).state_dict()
    state = as_timm(load_file(first / "model.safetensors"), pair, expected)
    save_file(state, second / "model.safetensors", metadata={"format": "pt"})
    return first, second


@pytest.mark.parametrize("name", PAIRS)
def test_the_3d_files_are_the_same(name, tmp_path):
    made = [
        convert(source, tmp_path / f"{source.name}-3d", verify=False)
        for source in saved(PAIRS[name], tmp_path)
    ]
    one, other = (json.loads((folder / "config.json").read_text()) for folder in made)
    assert one.keys() == other.keys()
    assert {name for name in one if one[name] != other[name]} == set(PAIRS[name].apart)
    one, other = ((folder / "model.safetensors").read_bytes() for folder in made)
    assert one == other


def test_registers_with_the_cls_position_in_the_token_give_the_same_tokens(tmp_path):
    """Timm leaves the prefix out of the table, so that the cls token brings its position along."""
    pair = Pair("dinov2_with_registers", "dinov2_reg4", DINOV2, left="embeddings.mask_token")
    first = save_transformers(pair.transformers, tmp_path / "transformers")
    second = save_timm(pair.timm, tmp_path / "timm")
    state = load_file(first / "model.safetensors")
    table = state["embeddings.position_embeddings"]
    state["embeddings.cls_token"] = state["embeddings.cls_token"] + table[:, :1]
    state["embeddings.position_embeddings"] = table[:, 1:]
    expected = build_timm(pair.timm, seed=1).state_dict()
    save_file(as_timm(state, pair, expected), second / "model.safetensors")
    volume = torch.rand(1, 1, 16, 32, 32)
    tokens = []
    for source in (first, second):
        folder = convert(source, tmp_path / f"{source.name}-3d", verify=False, patch_depth=8)
        with torch.inference_mode():
            tokens.append(load(folder, volume=(16, 32, 32)).eval().forward_features(volume))
    torch.testing.assert_close(tokens[1], tokens[0])


def test_every_family_of_transformers_is_here_or_has_a_reason():
    families = {name for name, each in families_by_name().items() if each.library == "transformers"}
    here = {name.partition(",")[0] for name in PAIRS}
    assert not here & OTHERWISE.keys()
    assert families == here | OTHERWISE.keys()
