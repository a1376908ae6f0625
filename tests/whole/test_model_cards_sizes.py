"""The zoo's parameters and sizes, against counts of timm's and transformers' own networks."""

from functools import partial
from math import prod

import pytest
import timm
import torch
import transformers as hf
from safetensors.torch import save
from torch import nn

from inflate_zoo.registry.listing import find_card, zoo

HUGE = {"hidden_size": 1280, "num_hidden_layers": 32, "num_attention_heads": 16}
GIANT = {"hidden_size": 1536, "num_hidden_layers": 40, "num_attention_heads": 24}
LARGE = {
    "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
    "intermediate_size": 4096,
}  # fmt: skip
SMALL = {"hidden_size": 384, "num_attention_heads": 6}
DINO_V2 = {"patch_size": 14, "image_size": 518}
CLIP_B32 = hf.CLIPVisionConfig()
SIGLIP_SO400M = hf.SiglipVisionConfig(
    hidden_size=1152,
    intermediate_size=4304,
    num_hidden_layers=27,
    num_attention_heads=16,
    patch_size=14,
    image_size=384,
)
SWIN_B = {"embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32]}
# Entry -> the source's 2D encoder, as its library builds it. Configs default to ViT-B/16 or so.
NETWORKS = {
    "vit-base-patch16-224-3d-average": lambda: hf.ViTModel(hf.ViTConfig(), add_pooling_layer=False),
    "dino-vitb8-3d-center": lambda: hf.ViTModel(hf.ViTConfig(patch_size=8), False),
    "vit-mae-huge-3d-center": lambda: hf.ViTMAEModel(
        hf.ViTMAEConfig(**HUGE, intermediate_size=5120, patch_size=14)
    ),
    "vit-msn-small-3d-center": lambda: hf.ViTMSNModel(
        hf.ViTMSNConfig(**SMALL, intermediate_size=1536)
    ),
    "deit-base-distilled-patch16-224-3d-center": lambda: hf.DeiTModel(hf.DeiTConfig(), False),
    "rad-dino-3d-center": lambda: hf.Dinov2Model(hf.Dinov2Config(**DINO_V2)),
    "dinov2-giant-3d-center": lambda: hf.Dinov2Model(
        hf.Dinov2Config(**GIANT, **DINO_V2, use_swiglu_ffn=True)
    ),
    "dinov2-with-registers-small-3d-center": lambda: hf.Dinov2WithRegistersModel(
        hf.Dinov2WithRegistersConfig(**SMALL, **DINO_V2)
    ),
    "clip-vit-b-32-laion2b-s34b-b79k-3d-center": lambda: hf.CLIPVisionModel(CLIP_B32),
    "siglip2-so400m-patch14-384-3d-center": lambda: hf.SiglipVisionModel(SIGLIP_SO400M),
    "siglip2-base-patch16-naflex-3d-center": lambda: hf.Siglip2VisionModel(
        hf.Siglip2VisionConfig()
    ),
    "naflexvit-base-patch16-siglip.v2-webli-3d-center": lambda: timm.create_model(
        "naflexvit_base_patch16_siglip.v2_webli", num_classes=0
    ),
    "aimv2-large-patch14-native-3d-center": lambda: hf.Aimv2VisionModel(
        hf.Aimv2VisionConfig(is_native=True)
    ),
    "aimv2-large-patch14-336.apple-pt-dist-3d-center": lambda: timm.create_model(
        "aimv2_large_patch14_336.apple_pt_dist", num_classes=0
    ),
    "ijepa-vith16-1k-3d-center": lambda: hf.IJepaModel(
        hf.IJepaConfig(**HUGE, intermediate_size=5120, image_size=448), False
    ),
    "vit-base-patch14-reg4-dinov2.lvd142m-3d-center": lambda: timm.create_model(
        "vit_base_patch14_reg4_dinov2.lvd142m", num_classes=0
    ),
    "dinov3-vits16plus-pretrain-lvd1689m-3d-center": lambda: hf.DINOv3ViTModel(
        hf.DINOv3ViTConfig(num_register_tokens=4, use_gated_mlp=True)
    ),
    "vit-base-patch16-dinov3.lvd1689m-3d-center": lambda: timm.create_model(
        "vit_base_patch16_dinov3.lvd1689m", num_classes=0
    ),
    "eva02-base-patch16-clip-224.merged2b-3d-center": lambda: timm.create_model(
        "eva02_base_patch16_clip_224.merged2b", num_classes=0
    ),
    "beit-base-patch16-224-3d-average": lambda: hf.BeitModel(
        hf.BeitConfig(use_relative_position_bias=True)
    ),
    "beitv2-large-patch16-224.in1k-ft-in22k-3d-center": lambda: timm.create_model(
        "beitv2_large_patch16_224.in1k_ft_in22k", num_classes=0
    ),
    "swinv2-base-patch4-window12-192-22k-3d-center": lambda: hf.Swinv2Model(
        hf.Swinv2Config(**SWIN_B, image_size=192, window_size=12)
    ),
    "deit3-small-patch16-224.fb-in1k-3d-center": lambda: timm.create_model(
        "deit3_small_patch16_224.fb_in1k", num_classes=0
    ),
    "dfn2b-clip-vit-b-16-3d-center": lambda: timm.create_model(
        "vit_base_patch16_clip_quickgelu_224", num_classes=0
    ),
    "metaclip-2-worldwide-l14-3d-center": lambda: hf.MetaClip2VisionModel(
        hf.MetaClip2VisionConfig(**LARGE, patch_size=14)
    ),
    "blip-image-captioning-base-3d-center": lambda: hf.BlipVisionModel(hf.BlipVisionConfig()),
    "blip-image-captioning-large-3d-center": lambda: hf.BlipVisionModel(
        hf.BlipVisionConfig(**LARGE)
    ),
    "pixio-vitb16-3d-center": lambda: hf.PixioModel(
        hf.PixioConfig(hidden_size=768, num_hidden_layers=12, num_attention_heads=12)
    ),
    "pixio-vith16-3d-center": lambda: hf.PixioModel(hf.PixioConfig()),
    "deit3-base-patch16-224.fb-in1k-3d-center": lambda: timm.create_model(
        "deit3_base_patch16_224.fb_in1k", num_classes=0
    ),
}

for _name, _arch in (
    ("vit-base-patch16-radio-v3.c-radio-3d-center", "vit_base_patch16_radio_v3"),
    ("naflexvit-large-patch16-radio-v3.c-radio-3d-center", "naflexvit_large_patch16_radio_v3"),
):
    if timm.is_model(_arch):  # of later releases
        NETWORKS[_name] = partial(timm.create_model, _arch, num_classes=0)


def stem_of(network: nn.Module) -> tuple[int, int, bool]:
    """Width of a 2D encoder's stem, pixels of its patch, and whether it has a bias."""
    stems = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    if not stems:  # a matrix over patches of 3 channels
        names = ("patch_embedding", "proj")
        stem = next(m for n, m in network.named_modules() if n.split(".")[-1] in names)
        return stem.out_features, stem.in_features // 3, stem.bias is not None
    (stem,) = stems
    assert (stem.in_channels, stem.kernel_size[1]) == (3, stem.stride[1])
    return stem.out_channels, prod(stem.kernel_size), stem.bias is not None


def inflated_count(network: nn.Module, entry) -> int:
    """Parameters of a 2D encoder with another stem, without what the encoder has no use for."""
    kept = sum(
        parameter.numel()
        for name, parameter in network.named_parameters()
        if "mask_token" not in name and not name.startswith(("head.", "attn_pool."))
    )
    out, area, bias = stem_of(network)
    # The offsets of SwinV2 gain a third coordinate.
    kept += sum(
        p.shape[0] for _, p in network.named_parameters() if p.ndim == 2 and p.shape[1] == 2
    )
    kept += out * area * (entry.channels * entry.patch_depth - 3)
    return kept + (0 if bias else out)  # folding adds a bias


def test_tables_of_windows_are_counted_over_depth():
    entry, _ = find_card("swin-base-patch4-window12-384-3d-center")
    with torch.device("meta"):
        network = hf.SwinModel(hf.SwinConfig(**SWIN_B, image_size=384, window_size=12))
    tables = sum(p.numel() for name, p in network.named_parameters() if name.endswith("_table"))
    assert entry.parameters == inflated_count(network, entry) + (2 * 12 - 2) * tables


@pytest.mark.parametrize("name", ["sam-vit-base-3d-center", "medsam-vit-base-3d-center"])
def test_a_necks_kernel_is_counted_over_depth(name):
    entry, _ = find_card(name)
    with torch.device("meta"):
        network = hf.SamVisionModel(hf.SamVisionConfig()).vision_encoder
    stem, kernel = network.patch_embed.projection, network.neck.conv2.weight
    kept = sum(parameter.numel() for parameter in network.parameters()) + 2 * kernel.numel()
    depth = entry.channels * entry.patch_depth
    assert entry.parameters == kept + stem.weight[:, 0].numel() * (depth - 3)


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_are_those_of_the_librarys_network_with_a_3d_stem(name):
    entry, _ = find_card(name)
    with torch.device("meta"):
        network = NETWORKS[name]()
    assert entry.parameters == inflated_count(network, entry)


def test_the_size_is_that_of_a_file_which_safetensors_writes():
    entry, _ = find_card("deit-tiny-patch16-224-3d-center")
    with torch.device("meta"):
        network = timm.create_model("deit_tiny_patch16_224", num_classes=0)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    # timm's names are ours, but for the stem.
    tensors = {n.replace("embed.proj", "embed"): torch.zeros(shape) for n, shape in shapes.items()}
    tensors["patch_embed.weight"] = torch.zeros(192, entry.channels, entry.patch_depth, 16, 16)
    assert entry.size == len(save(tensors, {"format": "pt"}))
    assert entry.parameters == sum(tensor.numel() for tensor in tensors.values())


def test_a_size_is_that_of_float32_and_a_header():
    # The builtin ones are float16; their size is measured together with their digest.
    entries = [entry for entry in zoo() if not entry.source.startswith("builtin/")]
    sizes = {entry.name: entry.size - 4 * entry.parameters for entry in entries if entry.size}
    assert len(sizes) > 40
    assert all(0 < header < 100_000 and header % 8 == 0 for header in sizes.values())


def test_entries_that_differ_in_their_scheme_alone_agree_on_the_rest():
    seen: dict[tuple[object, ...], tuple[object, ...]] = {}
    for entry in zoo():
        recipe = (entry.source, entry.patch_depth, entry.channels, entry.fold_normalization)
        facts = (entry.parameters, entry.size, entry.revision, entry.license, entry.objective)
        assert seen.setdefault(recipe, facts) == facts, entry.name
