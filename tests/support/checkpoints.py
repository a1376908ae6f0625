"""Small random checkpoints, written by transformers, timm and in DINO's own layout.

The files must come from the libraries themselves: names on disk differ from the names in memory
(transformers 5 renames while saving), so a state dict made by hand would prove nothing.
"""

import argparse
import json
import math
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar
from unittest.mock import patch

import timm
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from timm.models._hub import save_for_hf
from timm.models.beit import Beit
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torchvision.models.video.swin_transformer import SwinTransformer3d
from transformers.utils import logging as hf_logging

from inflate_zoo.naming.readers import hiera as hiera_reader
from tests.support.once import made_once

hf_logging.disable_progress_bar()
hf_logging.set_verbosity_error()  # SigLIP's own default text configuration warns about itself

SCALES = ("gamma", "lambda1", "lambda_1", "lambda_2", "gamma_1", "gamma_2")  # LayerScale's names
Model = TypeVar("Model", bound=nn.Module)
Statistics = tuple[list[float], list[float]]
HALF: Statistics = ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])
IMAGENET: Statistics = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
CLIP: Statistics = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])


@torch.no_grad()
def randomize(model: Model, seed: int = 0) -> Model:
    """Give every parameter values that a wrong mapping cannot survive, at a scale near one.

    Initial zeros and ones (biases, norms, LayerScale, class tokens) would hide a tensor that was
    dropped, swapped or read with the wrong sign.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(parameter: Tensor, mean: float, std: float) -> None:
        parameter.copy_(mean + std * torch.randn(parameter.shape, generator=generator))

    for module in model.modules():
        is_norm = "norm" in type(module).__name__.lower()
        for name, parameter in module.named_parameters(recurse=False):
            if name in SCALES:
                parameter.copy_(0.2 + 0.6 * torch.rand(parameter.shape, generator=generator))
            elif name.endswith("bias"):
                normal(parameter, 0.0, 0.1)
            elif is_norm or parameter.ndim == 0:  # scalars: the logit scale of CLIP and SigLIP
                normal(parameter, 1.0, 0.2)
            elif name.startswith("rel_pos_"):  # rows that queries are multiplied with
                normal(parameter, 0.0, parameter.shape[-1] ** -0.5)
            elif isinstance(module, nn.Embedding) or not name.endswith(("weight", "weight_v")):
                normal(parameter, 0.0, 0.5)  # tokens, probes and position tables
            else:
                normal(parameter, 0.0, 1 / math.sqrt(parameter[0].numel()))
    return model.eval()


def _options(**values: Any) -> dict[str, Any]:
    return values


SIZES = _options(hidden_size=48, num_hidden_layers=3, num_attention_heads=4)
BASE = SIZES | {"patch_size": 8, "image_size": 32}
PLAIN = {**BASE, "intermediate_size": 96}
DINO_V2 = {**BASE, "mlp_ratio": 2}  # Dinov2 has no intermediate_size; 2 * 48 = 96 as elsewhere
LABELS = {"num_labels": 5}
PER_BLOCK = {"use_relative_position_bias": True}
SHARED = {"use_shared_relative_position_bias": True, "vocab_size": 16}
DECODER = _options(
    decoder_hidden_size=32, decoder_num_hidden_layers=1, decoder_num_attention_heads=4
)
WORDS = _options(vocab_size=60, max_position_embeddings=12, bos_token_id=57, eos_token_id=58)
# As wide as the vision tower: only the prefix tells the two apart.
TEXT = SIZES | WORDS | {"intermediate_size": 96, "num_hidden_layers": 1}
TOWERS = {"vision_config": PLAIN, "text_config": TEXT}
# Its images have no size: the table has rows for so many patches.
NAFLEX = {name: value for name, value in PLAIN.items() if name != "image_size"} | {
    "num_patches": 16
}
BLIP = TOWERS | {"text_config": TEXT | {"pad_token_id": 0, "sep_token_id": 59}}

# The last grid is one window: 4 x 4.
SWIN = _options(
    image_size=64, patch_size=4, embed_dim=16, depths=[2, 2, 2], num_heads=[2, 4, 4],
    window_size=4, mlp_ratio=2.0,
)  # fmt: skip

# A grid of 4 x 4, padded to windows of 3; the second block is global.
SAM = _options(
    **BASE, mlp_ratio=2.0, window_size=3, global_attn_indexes=[1], output_channels=24,
    num_pos_feats=8,
)  # fmt: skip
SAM_WHOLE = _options(
    vision_config=SAM,
    prompt_encoder_config={"hidden_size": 24, "image_size": 32, "patch_size": 8},
    mask_decoder_config=_options(
        hidden_size=24, mlp_dim=32, num_hidden_layers=1, num_attention_heads=4, iou_head_depth=1,
        iou_head_hidden_dim=24,
    ),
)  # fmt: skip

# Grids of 16, 8 and 4, the last padded to windows of 3; the last block is global. Tables and
# kernel are of other sides than the grids.
SAM2 = _options(
    hidden_size=16, embed_dim_per_stage=[16, 32, 64], blocks_per_stage=[1, 1, 2],
    num_attention_heads_per_stage=[1, 2, 4], window_size_per_stage=[4, 2, 3],
    global_attention_blocks=[3], num_query_pool_stages=2, image_size=[64, 64], mlp_ratio=2.0,
    window_positional_embedding_background_size=[3, 5],
)  # fmt: skip
SAM2_VISION = _options(
    backbone_config={**SAM2, "model_type": "sam2_hiera_det_model"}, fpn_hidden_size=32,
    backbone_channel_list=[64, 32, 16], fpn_top_down_levels=[1, 2],
    backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
)  # fmt: skip
SAM2_WHOLE = _options(
    vision_config=SAM2_VISION,
    prompt_encoder_config={"hidden_size": 32, "image_size": 64, "patch_size": 16},
    mask_decoder_config=_options(
        hidden_size=32, mlp_dim=32, num_hidden_layers=1, num_attention_heads=4, iou_head_depth=1,
        iou_head_hidden_dim=32,
    ),
)  # fmt: skip
SAM2_VIDEO = SAM2_WHOLE | _options(
    image_size=64, memory_attention_hidden_size=32, memory_attention_num_layers=1,
    memory_attention_feed_forward_hidden_size=16, memory_encoder_hidden_size=32,
    memory_attention_rope_feat_sizes=[4, 4], memory_encoder_output_channels=8,
    mask_downsampler_embed_dim=32, memory_fuser_embed_dim=32, memory_fuser_intermediate_dim=16,
)  # fmt: skip

# Grids of 16, 8 and 4; the first block of the last stage is global and pools.
HIERA = _options(
    embed_dim=16, depths=[1, 2, 2], num_heads=[1, 2, 4], masked_unit_size=[4, 4],
    masked_unit_attention=[True, False, False], num_query_pool=2, image_size=[64, 64],
    mlp_ratio=2.0,
)  # fmt: skip
HIERA_MAE = HIERA | _options(
    num_query_pool=1, decoder_hidden_size=32, decoder_depth=1, decoder_num_heads=4
)

# Windows of 8 in the first two stages, of 4 in the last, whose grid is no larger.
SWIN_V2 = _options(window_size=8, pretrained_window_sizes=[6, 6, 3])


@dataclass(frozen=True)
class Kind:
    """One transformers class with the configuration that makes it small.

    Attributes:
        model: The class.
        statistics: Mean and standard deviation of its image processor.
        options: Of its config.
        parts: Class of those that are configs themselves and are not to be left to the class.
    """

    model: type[hf.PreTrainedModel]
    statistics: Statistics = IMAGENET
    options: dict[str, Any] = field(default_factory=PLAIN.copy)
    parts: dict[str, type[hf.PreTrainedConfig]] = field(default_factory=dict)

    def __call__(self, **overrides: Any) -> hf.PreTrainedModel:
        """Build the model; for a two-tower model the overrides go to the vision tower."""
        options = dict(self.options)
        if "vision_config" in options:
            options["vision_config"] = {**options["vision_config"], **overrides}
        else:
            options.update(overrides)
        options |= {name: made(**options[name]) for name, made in self.parts.items()}
        config_class: Any = self.model.config_class
        return self.model(config_class(**options))


REGISTERS = {**DINO_V2, "num_register_tokens": 4}
# Every head of 12 channels is turned in 6 pairs, 3 of them along each axis.
DINO_V3 = PLAIN | {"num_register_tokens": 4}
# Its table is of larger images than it is trained on; early releases do not have it.
RADIO = DINO_V2 | {"max_img_size": 64, "num_cls_tokens": 2, "num_registers": 3, "mlp_ratio": 2.0}
RADIOS = (
    {
        "radio": Kind(hf.RadioModel, CLIP, RADIO),
        "radio_video": Kind(hf.RadioModel, CLIP, RADIO | {"video_temporal_patch_size": 2}),
        "radio_no_bias": Kind(
            hf.RadioModel, CLIP, RADIO | {"qkv_bias": False, "norm_mean": [0.1, 0.2, 0.3]}
        ),
    }
    if hasattr(hf, "RadioModel")
    else {}
)
TRANSFORMERS: dict[str, Kind] = {
    "vit": Kind(hf.ViTModel, HALF),
    "vit_classifier": Kind(hf.ViTForImageClassification, HALF, PLAIN | LABELS),
    "vit_no_qkv_bias": Kind(hf.ViTModel, HALF, PLAIN | {"qkv_bias": False}),
    "vit_rectangular": Kind(hf.ViTModel, HALF, PLAIN | {"image_size": (32, 48)}),
    "vit_rectangular_patch": Kind(hf.ViTModel, HALF, PLAIN | {"patch_size": (8, 4)}),
    "vit_masked": Kind(hf.ViTForMaskedImageModeling, HALF, PLAIN | {"encoder_stride": 8}),
    "vit_msn": Kind(hf.ViTMSNModel),
    "deit": Kind(hf.DeiTModel),
    "deit_teacher": Kind(hf.DeiTForImageClassificationWithTeacher, IMAGENET, PLAIN | LABELS),
    "vit_mae": Kind(hf.ViTMAEForPreTraining, IMAGENET, PLAIN | DECODER),
    "vit_mae_bare": Kind(hf.ViTMAEModel),
    "dinov2": Kind(hf.Dinov2Model, IMAGENET, DINO_V2),
    "dinov2_classifier": Kind(hf.Dinov2ForImageClassification, IMAGENET, DINO_V2 | LABELS),
    "dinov2_swiglu": Kind(hf.Dinov2Model, IMAGENET, DINO_V2 | {"use_swiglu_ffn": True}),
    "dinov2_with_registers": Kind(hf.Dinov2WithRegistersModel, IMAGENET, REGISTERS),
    "dinov2_with_registers_swiglu": Kind(
        hf.Dinov2WithRegistersModel, IMAGENET, REGISTERS | {"use_swiglu_ffn": True}
    ),
    "dinov3": Kind(hf.DINOv3ViTModel, IMAGENET, DINO_V3),
    "dinov3_gated": Kind(
        hf.DINOv3ViTModel, IMAGENET, DINO_V3 | {"use_gated_mlp": True, "hidden_act": "silu"}
    ),
    "dinov3_rectangular": Kind(
        hf.DINOv3ViTBackbone, IMAGENET, DINO_V3 | {"image_size": (32, 48), "patch_size": (8, 4)}
    ),
    "dinov3_no_bias": Kind(
        hf.DINOv3ViTModel, IMAGENET, DINO_V3 | {"query_bias": False, "value_bias": False}
    ),
    "clip": Kind(hf.CLIPModel, CLIP, TOWERS | {"projection_dim": 24}),
    "clip_vision": Kind(hf.CLIPVisionModel, CLIP),
    "clip_vision_projection": Kind(
        hf.CLIPVisionModelWithProjection, CLIP, PLAIN | {"projection_dim": 24}
    ),
    "clip_gelu": Kind(hf.CLIPVisionModel, CLIP, PLAIN | {"hidden_act": "gelu"}),
    "siglip": Kind(hf.SiglipModel, HALF, TOWERS),
    "siglip_vision": Kind(hf.SiglipVisionModel, HALF),
    "siglip2": Kind(hf.Siglip2Model, HALF, TOWERS | {"vision_config": NAFLEX}),
    "siglip2_vision": Kind(hf.Siglip2VisionModel, HALF, NAFLEX),
    "siglip2_no_head": Kind(hf.Siglip2VisionModel, HALF, NAFLEX | {"vision_use_head": False}),
    "metaclip_2": Kind(hf.MetaClip2Model, CLIP, TOWERS | {"projection_dim": 24}),
    "metaclip_2_vision": Kind(hf.MetaClip2VisionModel, CLIP, PLAIN | {"hidden_act": "gelu"}),
    "blip": Kind(hf.BlipForConditionalGeneration, CLIP, BLIP),
    "blip_retrieval": Kind(hf.BlipForImageTextRetrieval, CLIP, BLIP),
    "blip_vision": Kind(hf.BlipVisionModel, CLIP),
    "pixio": Kind(hf.PixioModel, IMAGENET, DINO_V2),
    "pixio_backbone": Kind(hf.PixioBackbone, IMAGENET, DINO_V2 | {"n_cls_tokens": 3}),
    "aimv2": Kind(hf.Aimv2Model, CLIP, TOWERS | {"projection_dim": 24}),
    "aimv2_vision": Kind(hf.Aimv2VisionModel, CLIP),
    "aimv2_native": Kind(hf.Aimv2VisionModel, CLIP, PLAIN | {"is_native": True}),
    "aimv2_no_head": Kind(hf.Aimv2VisionModel, CLIP, PLAIN | {"use_head": False}),
    **RADIOS,
    "swin": Kind(hf.SwinModel, IMAGENET, SWIN),
    "swin_classifier": Kind(hf.SwinForImageClassification, IMAGENET, SWIN | LABELS),
    "swin_masked": Kind(hf.SwinForMaskedImageModeling, IMAGENET, SWIN | {"encoder_stride": 16}),
    "swin_no_qkv_bias": Kind(hf.SwinModel, IMAGENET, SWIN | {"qkv_bias": False}),
    "swin_rectangular": Kind(hf.SwinModel, IMAGENET, SWIN | {"image_size": (64, 96)}),
    "swinv2": Kind(hf.Swinv2Model, IMAGENET, SWIN),
    "swinv2_classifier": Kind(hf.Swinv2ForImageClassification, IMAGENET, SWIN | LABELS),
    "swinv2_no_bias": Kind(hf.Swinv2Model, IMAGENET, SWIN | {"qkv_bias": False}),
    "swinv2_pretrained": Kind(hf.Swinv2Model, IMAGENET, SWIN | SWIN_V2),
    "swinv2_rectangular": Kind(hf.Swinv2Model, IMAGENET, SWIN | {"image_size": (96, 64)}),
    "sam": Kind(hf.SamModel, IMAGENET, SAM_WHOLE),
    "sam_vision": Kind(hf.SamVisionModel, IMAGENET, SAM),
    "sam_no_qkv_bias": Kind(hf.SamVisionModel, IMAGENET, SAM | {"qkv_bias": False, "mlp_dim": 80}),
    "sam2": Kind(hf.Sam2Model, IMAGENET, SAM2_WHOLE),
    "sam2_video": Kind(
        hf.Sam2VideoModel,
        IMAGENET,
        SAM2_VIDEO,
        {"mask_decoder_config": hf.Sam2VideoMaskDecoderConfig},  # early releases take another's
    ),
    "sam2_vision": Kind(hf.Sam2VisionModel, IMAGENET, SAM2_VISION),
    "sam2_hiera": Kind(hf.Sam2HieraDetModel, IMAGENET, SAM2),
    "hiera": Kind(hf.HieraModel, IMAGENET, HIERA),
    "hiera_mae": Kind(hf.HieraForPreTraining, IMAGENET, HIERA_MAE),
    "hiera_classifier": Kind(hf.HieraForImageClassification, IMAGENET, HIERA | LABELS),
    "hiera_backbone": Kind(hf.HieraBackbone, IMAGENET, HIERA),
    "hiera_rectangular": Kind(hf.HieraModel, IMAGENET, HIERA | {"image_size": [64, 96]}),
    "ijepa": Kind(hf.IJepaModel),
    "ijepa_classifier": Kind(hf.IJepaForImageClassification, IMAGENET, PLAIN | LABELS),
    "beit": Kind(hf.BeitForImageClassification, HALF, PLAIN | PER_BLOCK | LABELS),
    "beit_bare": Kind(hf.BeitModel, HALF, PLAIN | PER_BLOCK),
    "beit_pretrained": Kind(
        hf.BeitForMaskedImageModeling, HALF, PLAIN | SHARED | {"use_mask_token": True}
    ),
    "beit_cls": Kind(hf.BeitModel, HALF, PLAIN | SHARED | {"use_mean_pooling": False}),
    "beit_both_tables": Kind(hf.BeitModel, HALF, PLAIN | PER_BLOCK | SHARED),
    "beit_no_tables": Kind(hf.BeitModel, HALF, PLAIN | {"layer_scale_init_value": 0.0}),
    "beit_rectangular": Kind(hf.BeitModel, HALF, PLAIN | PER_BLOCK | {"image_size": (32, 48)}),
    "beit_large_grid": Kind(hf.BeitModel, HALF, PLAIN | PER_BLOCK | {"image_size": 160}),
    "data2vec": Kind(hf.Data2VecVisionModel, HALF, PLAIN | SHARED),
    "data2vec_classifier": Kind(
        hf.Data2VecVisionForImageClassification, HALF, PLAIN | PER_BLOCK | LABELS
    ),
}


def build_transformers(kind: str, seed: int = 0, **config_overrides: Any) -> hf.PreTrainedModel:
    """Build the random model that `save_transformers` writes: the reference network."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)  # of SAM 2's buffers, which stay as they were made
        return randomize(TRANSFORMERS[kind](**config_overrides), seed)


def save_transformers(
    kind: str,
    folder: Path,
    *,
    dtype: torch.dtype | None = None,
    shards: str | None = None,
    safe: bool = True,
    seed: int = 0,
    **config_overrides: Any,
) -> Path:
    """Save a random model of this kind the way `save_pretrained` does, and return the folder."""

    def write(folder: Path) -> None:
        model = build_transformers(kind, seed, **config_overrides).to(dtype or torch.float32)
        model.save_pretrained(folder, **({"max_shard_size": shards} if shards else {}))
        if not safe:
            _rewrite_as_bin(folder)
        config = json.loads((folder / "config.json").read_text())
        vision = config.get("vision_config", config)
        _write_preprocessor(folder, TRANSFORMERS[kind].statistics, vision)

    key = ("transformers", kind, dtype, shards, safe, seed, sorted(config_overrides.items()))
    return made_once(key, folder, write)


def _rewrite_as_bin(folder: Path) -> None:
    """Replace the safetensors files by pickles of the same tensors (version 5 writes none)."""

    def bin_name(name: str) -> str:
        return name.replace("model", "pytorch_model", 1).replace(".safetensors", ".bin")

    for file in sorted(folder.glob("*.safetensors")):
        torch.save(load_file(file), folder / bin_name(file.name))
        file.unlink()
    index = folder / "model.safetensors.index.json"
    if index.exists():
        content = json.loads(index.read_text())
        content["weight_map"] = {k: bin_name(v) for k, v in content["weight_map"].items()}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(content, indent=2) + "\n")
        index.unlink()


def _write_preprocessor(folder: Path, statistics: Statistics, vision: dict[str, Any]) -> None:
    size, channels = vision.get("image_size", 32), vision.get("num_channels", 3)  # BLIP has three
    height, width = size if isinstance(size, list) else (size, size)
    mean, std = [(values * channels)[:channels] for values in statistics]
    content = {
        "do_normalize": True,
        "do_rescale": True,
        "image_mean": mean,
        "image_processor_type": "ViTImageProcessor",
        "image_std": std,
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"height": height, "width": width},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(content, indent=2) + "\n")


TIMM_BASE = _options(embed_dim=48, depth=3, num_heads=4, img_size=32, patch_size=8, mlp_ratio=2.0)
NO_HEAD = {"num_classes": 0}
HEAD = {"num_classes": 5}
AUGREG = "vit_base_patch16_224.augreg_in21k"
AIMV2 = "aimv2_large_patch14_224.apple_pt"
NAFLEX_TIMM = {"pos_embed_grid_size": (4, 4)}
BEIT = "beit_base_patch16_224.in22k_ft_in22k_in1k"
SAM_ARCH = "samvit_base_patch16.sa1b"
SAM_TIMM = _options(window_size=3, global_attn_indexes=[1], neck_chans=24)
# Kind -> (architecture, arguments on top of TIMM_BASE).
TIMM: dict[str, tuple[str, dict[str, Any]]] = {
    "augreg": (AUGREG, HEAD),
    "mae": ("vit_base_patch16_224.mae", NO_HEAD),
    "dino": ("vit_small_patch16_224.dino", NO_HEAD),
    "dinov2": ("vit_small_patch14_dinov2.lvd142m", NO_HEAD),
    "dinov2_reg4": ("vit_small_patch14_reg4_dinov2.lvd142m", NO_HEAD),
    # The architecture's own ratio: packed gate and value, 2 * 2.66667 * 48 = 256 rows.
    "dinov2_swiglu": ("vit_giant_patch14_dinov2.lvd142m", NO_HEAD | {"mlp_ratio": 2.66667 * 2}),
    "clip_quickgelu": ("vit_base_patch16_clip_quickgelu_224.openai", {"num_classes": 24}),
    "clip": ("vit_base_patch16_clip_224.laion2b", {"num_classes": 24}),
    "siglip": ("vit_base_patch16_siglip_224.webli", NO_HEAD),
    # As published: no class token, no qkv bias, final norm on all tokens, then the mean.
    "gap": ("vit_medium_patch16_gap_256.sw_in12k_ft_in1k", HEAD),
    "ijepa_timm": ("vit_huge_patch14_gap_224.in1k_ijepa", NO_HEAD),
    "reg1": ("vit_small_patch14_reg4_dinov2.lvd142m", NO_HEAD | {"reg_tokens": 1}),  # as TIPS v2
    "gap_fc_norm": ("vit_medium_patch16_gap_256.sw_in12k_ft_in1k", HEAD | {"fc_norm": True}),
    "avg_with_class_token": (AUGREG, HEAD | {"global_pool": "avg"}),
    "deit3": ("deit3_small_patch16_224.fb_in1k", HEAD),
    "deit_distilled": ("deit_tiny_distilled_patch16_224.fb_in1k", HEAD),
    "reg_with_positions": (AUGREG, NO_HEAD | {"reg_tokens": 4, "no_embed_class": False}),
    "no_final_norm": (AUGREG, NO_HEAD | {"final_norm": False}),
    "no_qkv_bias": (AUGREG, NO_HEAD | {"qkv_bias": False}),
    "rectangular": (AUGREG, NO_HEAD | {"img_size": (32, 48)}),
    "rectangular_patch": (AUGREG, NO_HEAD | {"patch_size": (8, 4)}),
    "aimv2_timm": (AIMV2, NO_HEAD),
    "aimv2_timm_rectangular": (AIMV2, HEAD | {"img_size": (32, 48), "patch_size": (8, 4)}),
    "naflex_timm": ("naflexvit_base_patch16_siglip.v2_webli", NO_HEAD | NAFLEX_TIMM),
    "naflex_timm_gap": ("naflexvit_base_patch16_gap.e300_s576_in1k", HEAD | NAFLEX_TIMM),
    "naflex_timm_rectangular": (
        "naflexvit_base_patch16_siglip.v2_webli",
        NO_HEAD | {"pos_embed_grid_size": (4, 6), "patch_size": (8, 4)},
    ),
    "dinov3_timm": ("vit_small_patch16_dinov3.lvd1689m", NO_HEAD),
    "dinov3_timm_qkvb": ("vit_small_patch16_dinov3_qkvb.lvd1689m", NO_HEAD),
    "dinov3_timm_gated": ("vit_small_plus_patch16_dinov3_qkvb.lvd1689m", NO_HEAD),
    "dinov3_timm_rectangular": (
        "vit_small_patch16_dinov3_qkvb.lvd1689m",
        NO_HEAD | {"img_size": (32, 48), "patch_size": (8, 4), "global_pool": "token"},
    ),
    "eva02_timm": ("eva02_tiny_patch14_224.mim_in22k", HEAD),
    "eva02_timm_split": ("eva02_base_patch14_224.mim_in22k", NO_HEAD),
    "eva02_timm_clip": ("eva02_base_patch16_clip_224.merged2b", HEAD),
    "eva02_timm_rectangular": (
        "eva02_small_patch14_224.mim_in22k",
        NO_HEAD | {"img_size": (32, 48), "patch_size": (8, 4)},
    ),
    "beit_timm": (BEIT, HEAD),
    "beitv2_timm": ("beitv2_base_patch16_224.in1k_ft_in22k", HEAD),
    "beit_timm_shared": (BEIT, HEAD | {"use_rel_pos_bias": False, "use_shared_rel_pos_bias": True}),
    "beit_timm_both": (BEIT, NO_HEAD | {"use_shared_rel_pos_bias": True, "global_pool": "token"}),
    "beit_timm_none": (BEIT, NO_HEAD | {"use_rel_pos_bias": False, "init_values": 0.0}),
    "beit_timm_token_fc": (BEIT, NO_HEAD | {"global_pool": "token", "use_fc_norm": True}),
    "beit_timm_no_bias": (BEIT, NO_HEAD | {"qkv_bias": False}),
    "beit_timm_rectangular": (BEIT, NO_HEAD | {"img_size": (32, 48), "patch_size": (8, 4)}),
    "beit_timm_large_grid": (BEIT, NO_HEAD | {"img_size": 160}),
    "sam_timm": (SAM_ARCH, NO_HEAD | SAM_TIMM),
    "sam_timm_classifier": (SAM_ARCH, HEAD | SAM_TIMM | {"global_pool": "max"}),
    "sam_timm_no_bias": (SAM_ARCH, NO_HEAD | SAM_TIMM | {"qkv_bias": False}),
    "sam_timm_rectangular": (
        SAM_ARCH,
        NO_HEAD | SAM_TIMM | {"img_size": (32, 48), "patch_size": (8, 4)},
    ),
}


SWIN_TIMM = _options(
    img_size=64, patch_size=4, embed_dim=16, depths=(2, 2, 2), num_heads=(2, 4, 4), window_size=4,
    mlp_ratio=2.0,
)  # fmt: skip
SWIN_V2_ARCH = "swinv2_tiny_window8_256.ms_in1k"
SWIN_ARCH = "swin_tiny_patch4_window7_224.ms_in1k"
TIMM_STAGED: dict[str, tuple[str, dict[str, Any]]] = {
    "swin_timm": (SWIN_ARCH, HEAD),
    "swin_timm_no_bias": (SWIN_ARCH, NO_HEAD | {"qkv_bias": False}),
    "swin_timm_windows": (SWIN_ARCH, NO_HEAD | {"window_size": (8, 2, 4)}),
    "swinv2_timm": (SWIN_V2_ARCH, HEAD),
    "swinv2_timm_no_bias": (SWIN_V2_ARCH, NO_HEAD | {"qkv_bias": False}),
    "swinv2_timm_pretrained": (SWIN_V2_ARCH, NO_HEAD | SWIN_V2),
    "swinv2_timm_padded": (SWIN_V2_ARCH, NO_HEAD | {"img_size": (80, 112)}),
    "swin_timm_max": (SWIN_ARCH, HEAD | {"global_pool": "max"}),
    # Windows clipped along one side; grids of no whole windows, which timm shifts before it pads.
    "swin_timm_clipped": (SWIN_ARCH, NO_HEAD | {"img_size": (48, 96)}),
    "swin_timm_padded": (SWIN_ARCH, NO_HEAD | {"img_size": (80, 112)}),
}


SAM2_ARCH = "sam2_hiera_tiny.fb_r896"
SAM2_TIMM = _options(
    embed_dim=16, stages=(1, 1, 2), window_spec=(4, 2, 3), global_att_blocks=(3,), q_pool=2,
    global_pos_size=(3, 5),
)  # fmt: skip
HIERA_ARCH = "hiera_tiny_224.mae"
HIERA_TIMM = _options(
    embed_dim=16,
    stages=(1, 2, 2),
    mask_unit_size=(4, 4),
    mask_unit_attn=(True, False, False),
    q_pool=2,
    img_size=(64, 64),
)
TIMM_HIERA: dict[str, tuple[str, dict[str, Any]]] = {
    "sam2_timm": (SAM2_ARCH, SAM2_TIMM | NO_HEAD),
    "sam2_timm_classifier": (SAM2_ARCH, SAM2_TIMM | HEAD),
    "sam2_timm_heads": (
        SAM2_ARCH, SAM2_TIMM | NO_HEAD | {"num_heads": 2, "global_att_blocks": ()}
    ),
    "hiera_timm": (HIERA_ARCH, HIERA_TIMM | NO_HEAD),
    "hiera_timm_classifier": (HIERA_ARCH, HIERA_TIMM | HEAD),
    "hiera_timm_units": (
        HIERA_ARCH,
        HIERA_TIMM | NO_HEAD | {"num_heads": 2, "mask_unit_attn": (True, True, True)},
    ),
    "hiera_timm_rectangular": (HIERA_ARCH, HIERA_TIMM | NO_HEAD | {"img_size": (96, 64)}),
}  # fmt: skip


# The last grid is one window of 4 x 4 in the plane; windows are less deep than they are high.
VIDEO_SWIN = _options(
    patch_size=[2, 4, 4], embed_dim=16, depths=[2, 2, 2], num_heads=[2, 4, 4],
    window_size=[3, 4, 4], mlp_ratio=2.0, num_classes=5,
)  # fmt: skip


def build_timm(kind: str, seed: int = 0, **overrides: Any) -> nn.Module:
    """Build the random timm model that `save_timm` writes: the reference network."""
    architecture, options = _timm_options(kind)
    model: nn.Module = timm.create_model(architecture, **(options | overrides))
    return randomize(model, seed)


def _timm_options(kind: str) -> tuple[str, dict[str, Any]]:
    """Architecture and all its arguments."""
    if kind in TIMM_STAGED:
        architecture, options = TIMM_STAGED[kind]
        return architecture, SWIN_TIMM | options
    if kind in TIMM_HIERA:
        return TIMM_HIERA[kind]
    return TIMM[kind][0], TIMM_BASE | TIMM[kind][1]


def save_timm(
    kind: str,
    folder: Path,
    *,
    layout: Literal["hub", "file"] = "hub",
    suffix: str = ".safetensors",
    dtype: torch.dtype | None = None,
    seed: int = 0,
    **overrides: Any,
) -> Path:
    """Save a timm model; `hub` returns a folder as on the Hub, `file` one bare weights file."""
    name = f"{kind}{suffix}"

    def write(folder: Path) -> None:
        model = build_timm(kind, seed, **overrides).to(dtype or torch.float32)
        if layout == "hub":
            known = _timm_options(kind)[1] | overrides  # older releases do not write them alone
            save_for_hf(model, str(folder), model_args=known, safe_serialization=True)
        else:
            save = save_file if suffix == ".safetensors" else torch.save
            save(model.state_dict(), folder / name)

    key = ("timm", kind, layout, suffix, dtype, seed, sorted(overrides.items()))
    made_once(key, folder, write)
    return folder if layout == "hub" else folder / name


def open_clip_trunk(
    arch: str = "test_vit", pool: str | None = "", proj: str | None = "linear", seed: int = 0
) -> nn.Module:
    """A timm image tower as OpenCLIP's adapter builds it: by its name, and pooled afterwards.

    Without a projection of OpenCLIP's own the pooling is an argument, which moves timm's norms.
    """
    if proj in ("linear", "mlp"):
        model: Any = timm.create_model(arch)
        model.reset_classifier(0, **({"global_pool": pool} if pool else {}))
    else:
        model = timm.create_model(arch, num_classes=0 if proj == "none" else 8, global_pool=pool)
    return randomize(model, seed)


def open_clip_config(arch: str = "test_vit", side: int = 160, **vision: Any) -> dict[str, Any]:
    """An open_clip_config.json as OpenCLIP writes it; of a timm tower for pictures of that side."""
    tower = {"timm_model_name": arch, "timm_model_pretrained": False, "timm_pool": ""}
    tower |= {"timm_proj": "linear", "image_size": side}
    text = {"context_length": 8, "vocab_size": 60, "width": 24, "heads": 2, "layers": 1}
    return {
        "model_cfg": {"embed_dim": 24, "vision_cfg": tower | vision, "text_cfg": text},
        "preprocess_cfg": {
            "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.5],
            "interpolation": "bicubic", "resize_mode": "squash",
        },
    }  # fmt: skip


def save_open_clip(
    folder: Path, config: dict[str, Any] | None = None, *, suffix: str = ".safetensors"
) -> Path:
    """Save an OpenCLIP model whose image tower timm made, under the names OpenCLIP uses."""
    config = open_clip_config() if config is None else config
    vision = config["model_cfg"]["vision_cfg"]
    trunk = open_clip_trunk(
        vision["timm_model_name"], vision.get("timm_pool", "avg"), vision.get("timm_proj", "linear")
    )
    state = {f"visual.trunk.{name}": tensor for name, tensor in trunk.state_dict().items()}
    state |= {
        "visual.head.proj.weight": torch.zeros(24, 64),
        "text.transformer.resblocks.0.attn.in_proj_weight": torch.zeros(72, 24),
        "text.token_embedding.weight": torch.zeros(60, 24),
        "logit_scale": torch.tensor(4.6),
    }
    folder.mkdir(parents=True, exist_ok=True)
    if suffix == ".safetensors":
        save_file(state, folder / "open_clip_model.safetensors")
    else:
        torch.save(state, folder / "open_clip_pytorch_model.bin")
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2))
    return folder


def dino_backbone(role: str = "teacher", seed: int = 0) -> VisionTransformer:
    """Return the backbone that `save_dino_pth` writes for `teacher` or `student`."""
    backbone = _dino_network(role, seed)["backbone"]
    assert isinstance(backbone, VisionTransformer)
    return backbone


def _dino_network(role: str, seed: int) -> nn.ModuleDict:
    # DINO's classes are not installable; timm's network has the same names and eps 1e-6.
    backbone = VisionTransformer(
        img_size=32, patch_size=8, embed_dim=128, depth=2, num_heads=2, num_classes=0
    )
    sizes = [nn.Linear(128, 32), nn.GELU(), nn.Linear(32, 32), nn.GELU(), nn.Linear(32, 16)]
    # The names of torch's old weight_norm, which is deprecated and would warn.
    last_layer = nn.Module()
    last_layer.weight_g = nn.Parameter(torch.ones(24, 1))
    last_layer.weight_v = nn.Parameter(torch.ones(24, 16))
    head = nn.Module()
    head.mlp, head.last_layer = nn.Sequential(*sizes), last_layer
    network = nn.ModuleDict({"backbone": backbone, "head": head})
    return randomize(network, seed + {"teacher": 0, "student": 1000}[role])


def save_dino_pth(folder: Path, *, full: bool = True, seed: int = 0) -> Path:
    """Write DINO's training checkpoint, or with `full=False` the teacher's bare backbone."""
    name = "checkpoint.pth" if full else "dino_deitsmall8_pretrain.pth"

    def write(folder: Path) -> None:
        content = _dino_training(seed) if full else dino_backbone(seed=seed).state_dict()
        torch.save(content, folder / name)

    return made_once(("dino", full, seed), folder, write) / name


def _dino_training(seed: int) -> dict[str, Any]:
    student, teacher = _dino_network("student", seed), _dino_network("teacher", seed)
    state = {f"module.{name}": value.clone() for name, value in student.state_dict().items()}
    groups: list[dict[str, Any]] = [
        {"params": [p for p in student.parameters() if p.ndim > 1]},
        {"params": [p for p in student.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups)
    for parameter in student.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)
    optimizer.step()
    return {
        "student": state,
        "teacher": teacher.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 100,
        "args": argparse.Namespace(arch="vit_small", patch_size=8, out_dim=24),
        "dino_loss": {"center": torch.zeros(1, 24)},
    }


def dinov2_original(*, registers: bool = True, seed: int = 0) -> dict[str, torch.Tensor]:
    """The tensors of DINOv2's own small network, under its own names, its 12 blocks cut to 2.

    With registers its table still has the cls token's row, which timm's has not.
    """
    backbone = VisionTransformer(
        img_size=32, patch_size=8, embed_dim=128, depth=2, num_heads=2, num_classes=0,
        init_values=1.0, reg_tokens=4 if registers else 0, no_embed_class=registers,
    )  # fmt: skip
    state = randomize(backbone, seed).state_dict()
    if registers:
        generator = torch.Generator().manual_seed(seed)
        row = torch.randn(1, 1, 128, generator=generator)
        state["pos_embed"] = torch.cat([row, state["pos_embed"]], dim=1)
        state["register_tokens"] = state.pop("reg_token")
    return state | {"mask_token": torch.zeros(1, 128)}


# transformers' names on disk to those of Meta's repository, in the order they are replaced.
DINOV3_NAMES = {
    "embeddings.cls_token": "cls_token", "embeddings.mask_token": "mask_token",
    "embeddings.register_tokens": "storage_tokens",
    "embeddings.patch_embeddings.": "patch_embed.proj.", "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma", "layer.": "blocks.", "attention.o_proj": "attn.proj",
    "gate_proj": "w1", "{up}": "w2", "{down}": "w3",
}  # fmt: skip


def save_dinov3_twin(folder: Path, kind: str = "dinov3", seed: int = 0, **overrides: Any) -> Path:
    """Save the model whose weights `dinov3_original` has, as transformers does."""
    wide = {"hidden_size": 128, "num_attention_heads": 2, "num_hidden_layers": 2}
    return save_transformers(kind, folder, seed=seed, **(wide | overrides))


def dinov3_original(kind: str = "dinov3", seed: int = 0, **overrides: Any) -> dict[str, Tensor]:
    """The tensors of a DINOv3 as Meta's own repository saves them, with heads of 64 channels.

    Query, key and value are packed; the key's share of the bias is no zero, but masked. Periods are
    those of a head of 64 for base 100, which training computes in bfloat16.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = save_dinov3_twin(Path(name), kind, seed, **overrides)
        saved = load_file(folder / "model.safetensors")
    gated = any("gate_proj" in name for name in saved)
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for name, tensor in saved.items():
        name = name.replace("up_proj", "{up}" if gated else "fc1")
        name = name.replace("down_proj", "{down}" if gated else "fc2")
        for theirs, metas in DINOV3_NAMES.items():
            name = name.replace(theirs, metas)
        if "attention." not in name:
            state[name] = tensor[0] if name == "mask_token" else tensor
        elif "q_proj" in name:
            block, end = name.split("attention.q_proj")
            parts = [
                saved.get(f"{block.replace('blocks', 'layer')}attention.{part}_proj{end}")
                for part in "qkv"
            ]
            noise = torch.randn(len(tensor), generator=generator)
            state[f"{block}attn.qkv{end}"] = torch.cat([noise if p is None else p for p in parts])
            if end == ".bias":
                mask = [torch.full_like(tensor, value) for value in (1.0, 0.0, 1.0)]
                state[f"{block}attn.qkv.bias_mask"] = torch.cat(mask)
    if state["storage_tokens"].shape[1] == 0:
        del state["storage_tokens"]
    exponents = 2 * torch.arange(16, dtype=torch.bfloat16) / 32
    return state | {"rope_embed.periods": 100.0**exponents}


def dinov3_training(seed: int = 0) -> dict[str, Any]:
    """A training of DINOv3's: student, teacher and an earlier teacher, beside their heads."""

    def network(seed: int) -> dict[str, Tensor]:
        state = dinov3_original(seed=seed)
        heads = {f"{name}_head.last_layer.weight": torch.ones(8, 4) for name in ("dino", "ibot")}
        return {f"backbone.{name}": tensor for name, tensor in state.items()} | heads

    towers = {"student": seed + 1000, "teacher": seed, "gram_teacher": seed + 2000}
    return {name: network(own) for name, own in towers.items()} | {"iteration": 12499}


def deit3_original(seed: int = 0) -> dict[str, Any]:
    """DeiT III's own .pth: timm's names but for its layer scale, a table without a cls row."""
    state = build_timm("deit3", seed).state_dict()
    scales = {f"ls{number}.gamma": f"gamma_{number}" for number in (1, 2)}
    for old, new in scales.items():
        state = {name.replace(old, new): held for name, held in state.items()}
    return {"model": state}


def ijepa_original(seed: int = 0) -> dict[str, Any]:
    """I-JEPA's own .pth.tar: the encoder beside its average, and the predictor's own blocks."""

    def encoder(seed: int) -> dict[str, Any]:
        model = build_timm("ijepa_timm", seed)
        return {f"module.{name}": held for name, held in model.state_dict().items()}

    predictor = {"module.predictor_blocks.0.norm1.weight": torch.ones(24)}
    predictor["module.mask_token"] = torch.zeros(1, 1, 24)
    return {
        "encoder": encoder(seed), "target_encoder": encoder(seed + 1), "predictor": predictor,
        "opt": {"state": {0: {"exp_avg": torch.zeros(4)}}, "param_groups": [{"params": [0]}]},
        "epoch": 300, "loss": 0.1, "batch_size": 128, "world_size": 16, "lr": 1e-6,
    }  # fmt: skip


def beit_original(*, finetuned: bool = False, version: int = 1, seed: int = 0) -> dict[str, Any]:
    """BEiT's own .pth: pre-trained, with a table for all blocks, or fine-tuned, with one in each.

    Its code has timm's names and eps 1e-6, keeps the index of the tables in the file, and masks
    patches; version 2 trains two more blocks on its cls token.
    """
    backbone = Beit(
        img_size=32, patch_size=8, embed_dim=128, depth=2, num_heads=2, num_classes=0,
        use_abs_pos_emb=False, use_rel_pos_bias=finetuned, use_shared_rel_pos_bias=not finetuned,
        init_values=0.1, global_pool="avg" if finetuned else "token",
    )  # fmt: skip
    state = dict(randomize(backbone, seed).state_dict())
    for name in [name for name in state if name.endswith("bias_table")]:
        index = name.replace("bias_table", "index")
        state[index] = torch.zeros(17, 17, dtype=torch.int64)
    if finetuned:
        state |= {"head.weight": torch.zeros(5, 128), "head.bias": torch.zeros(5)}
    else:
        state |= {"mask_token": torch.zeros(1, 1, 128), "lm_head.weight": torch.zeros(16, 128)}
    if version == 2:
        extra = {name: tensor for name, tensor in state.items() if name.startswith("blocks.")}
        state |= {name.replace("blocks", "cls_pt_layers"): extra[name] for name in extra}
    return {"model": state}


def _own_swin_names(model: nn.Module) -> dict[str, Tensor]:
    """A state of timm's as Swin's main.py writes it: merging at the end of a stage."""
    return {
        re.sub(
            r"^layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", name
        ).replace("head.fc.", "head."): tensor
        for name, tensor in model.state_dict().items()
    }


def swinv2_original(kind: str = "swinv2_timm", seed: int = 0) -> dict[str, Any]:
    """SwinV2's own .pth: Swin's names, masks, indices and coordinates of positions in the file."""
    model = build_timm(kind, seed)
    state = _own_swin_names(model)
    held = ("relative_position_index", "relative_coords_table", "attn_mask")
    state |= {name: each for name, each in model.named_buffers() if name.endswith(held)}
    return {"model": state}


def swin_original(seed: int = 0) -> dict[str, Any]:
    """Swin's own .pth: masks and indices of positions stand in the file too."""
    state = _own_swin_names(build_timm("swin_timm", seed))
    state["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(16, 16, dtype=torch.int64)
    state["layers.0.blocks.1.attn_mask"] = torch.zeros(16, 16, 16)
    return {"model": state}


def build_swin3d(seed: int = 0, **overrides: Any) -> nn.Module:
    """The random torchvision model that `save_swin3d` writes: the reference network."""
    options = VIDEO_SWIN | overrides
    with torch.random.fork_rng():
        return randomize(SwinTransformer3d(**options), seed)


def save_swin3d(
    folder: Path, *, dtype: torch.dtype | None = None, seed: int = 0, **overrides: Any
) -> Path:
    """Save a small Video-Swin of torchvision's as it publishes them: one bare .pth file."""
    folder.mkdir(parents=True, exist_ok=True)
    model = build_swin3d(seed, **overrides).to(dtype or torch.float32)
    torch.save(model.state_dict(), folder / "swin3d_t-7615ae03.pth")
    return folder / "swin3d_t-7615ae03.pth"


def video_swin_original(seed: int = 0) -> dict[str, Any]:
    """Video-Swin's own .pth, as mmaction writes it, of the same weights as torchvision's.

    Its names are those of Swin's own file under `backbone.`, a head and words on the training
    beside it.
    """
    state = {}
    for name, tensor in build_swin3d(seed).state_dict().items():
        parts = name.replace("mlp.0.", "mlp.fc1.").replace("mlp.3.", "mlp.fc2.").split(".")
        if parts[0] == "features":
            stage, merges = divmod(int(parts[1]), 2)
            inner = ["downsample"] if merges else ["blocks"]
            parts = ["layers", str(stage), *inner, *parts[2:]]
        prefix = "cls_head.fc_cls." if parts[0] == "head" else "backbone."
        state[prefix + ".".join(parts).removeprefix("head.")] = tensor
    return {"meta": {"epoch": 30, "mmaction_version": "0.15.0"}, "state_dict": state}


def sam_original(seed: int = 0) -> dict[str, Any]:
    """SAM's own .pth: timm's names, but for the feed-forward part, beside decoder and prompts."""
    state = {
        f"image_encoder.{name.replace('mlp.fc', 'mlp.lin')}": tensor
        for name, tensor in build_timm("sam_timm", seed).state_dict().items()
    }
    state["prompt_encoder.not_a_point_embed.weight"] = torch.zeros(1, 24)
    return state | {"mask_decoder.iou_token.weight": torch.zeros(1, 24)}


def sam2_original(network: nn.Module | None = None) -> dict[str, Any]:
    """SAM 2's own .pt: timm's names, but for the feed-forward part, beside neck and memory.

    Args:
        network: Of timm's; by default a small one, whose heads and windows nobody published.
    """
    renamed = {"mlp.fc1": "mlp.layers.0", "mlp.fc2": "mlp.layers.1"}
    state = {}
    for name, tensor in (network or build_timm("sam2_timm")).state_dict().items():
        for ours, theirs in renamed.items():
            name = name.replace(ours, theirs)
        if not name.startswith("head."):
            state[f"image_encoder.trunk.{name}"] = tensor
    state["image_encoder.neck.convs.0.conv.weight"] = torch.zeros(16, 64, 1, 1)
    return {"model": state | {"memory_attention.norm.weight": torch.zeros(16)}}


def hiera_original(network: nn.Module | None = None, *, masked: bool = False) -> dict[str, Any]:
    """Hiera's own .pth: timm's names, but for what stands behind the blocks.

    Args:
        network: Of timm's; by default a small one, whose heads and mask units nobody published.
        masked: Whether it is that of the masked pre-training, with a decoder.
    """
    state = {}
    for name, tensor in (network or build_timm("hiera_timm_classifier")).state_dict().items():
        name = name.replace("head.norm.", "encoder_norm." if masked else "norm.")
        if not masked:
            name = name.replace("head.fc.", "head.projection.")
        if not name.startswith("head.fc."):
            state[name] = tensor
    if masked:
        state |= {"mask_token": torch.zeros(1, 1, 8), "decoder_norm.weight": torch.ones(8)}
        state["multi_scale_fusion_heads.0.bias"] = torch.zeros(64)
        state["decoder_blocks.0.norm1.weight"] = torch.ones(8)
    return {"model_state": state}


@contextmanager
def as_published() -> Iterator[None]:
    """Let the small networks of those two be ones whose heads and windows are known."""
    small = hiera_reader._Published((1, 2, 4), (4, 2, 3), (3,))
    plain = hiera_reader._Published((1, 2, 4), (4, 2, 1), (2, 3, 4))
    with (
        patch.object(hiera_reader, "_OF_SAM2", {(16, (1, 1, 2)): small}),
        patch.object(hiera_reader, "_PLAIN", {(16, (1, 2, 2)): plain}),
    ):
        yield


def moco_v3(seed: int = 0) -> dict[str, Any]:
    """MoCo v3's training checkpoint, as its main_moco.py writes it."""
    names: dict[str, torch.Tensor] = {}
    for number, role in enumerate(("base_encoder", "momentum_encoder")):
        network = VisionTransformer(
            img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=12, num_classes=0
        )
        state = randomize(network, seed + 1000 * number).state_dict()
        state["head.0.weight"] = torch.zeros(8, 48)
        names |= {f"module.{role}.{name}": tensor for name, tensor in state.items()}
    names["module.predictor.0.weight"] = torch.zeros(8, 8)
    optimizer = {"state": {0: {"exp_avg": torch.zeros(4)}}, "param_groups": [{"params": [0]}]}
    return {"epoch": 3, "arch": "vit_small", "state_dict": names, "optimizer": optimizer}
