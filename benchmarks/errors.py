"""Measured errors of conversions: `python benchmarks/errors.py [--tiny] [--only FAMILY]`.

Each family's checkpoint is saved by its own library with the real dimensions and RANDOM
weights, converted with `center` and `average` (what is 3D already as it is), and proved against
that library; and again with the small dimensions that the tests have, where the greater of the
errors counts. Prints Markdown.
"""

import argparse
import json
import sys
import tempfile
import warnings
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from inflate_zoo import convert
from tests.support.checkpoints import (
    as_published,
    beit_original,
    dinov3_original,
    hiera_original,
    moco_v3,
    sam2_original,
    sam_original,
    save_dino_pth,
    save_swin3d,
    save_timm,
    save_transformers,
    swin_original,
    swinv2_original,
    video_swin_original,
)
from tests.support.clip_towers import QUICK, save_clip

_BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "image_size": 224}
_VIT = _BASE | {"intermediate_size": 3072, "patch_size": 16}
_VIT_384 = _VIT | {"image_size": 384}
_SMALL_PLUS = {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536}
_DINOV2 = _BASE | {"mlp_ratio": 4, "patch_size": 14}
_TIMM = {"embed_dim": 768, "depth": 12, "num_heads": 12, "img_size": 224, "patch_size": 16}
_NAFLEX = {name: size for name, size in _VIT.items() if name != "image_size"} | {"num_patches": 256}
_TIMM_NAFLEX = _TIMM | {"mlp_ratio": 4.0, "pos_embed_grid_size": (16, 16)}
_RADIO = _BASE | {
    "image_size": 512, "mlp_ratio": 4.0, "patch_size": 16, "max_img_size": 2048,
    "num_cls_tokens": 3, "num_registers": 5,
}  # fmt: skip
_AIMV2 = {
    "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 8,
    "intermediate_size": 2816, "patch_size": 14, "image_size": 224,
}  # fmt: skip
_TIMM_AIMV2 = {
    "embed_dim": 1024, "depth": 24, "num_heads": 8, "img_size": 224, "patch_size": 14,
    "mlp_ratio": 2.75,
}  # fmt: skip
_EVA02 = _TIMM | {"patch_size": 14, "mlp_ratio": 4 * 2 / 3}
_CLIP = {"width": 768, "layers": 12, "head_width": 64, "mlp_ratio": 4.0, "image_size": 224}
_PIXIO = _BASE | {"mlp_ratio": 4, "patch_size": 16, "image_size": 256}
_SWIN = {
    "embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32], "patch_size": 4,
    "mlp_ratio": 4.0,
}  # fmt: skip
_SAM = {
    "image_size": 1024,
    "window_size": 14,
    "global_attn_indexes": [2, 5, 8, 11],
    "mlp_ratio": 4.0,
}
_WINDOW_7, _WINDOW_8 = ({"window_size": n, "image_size": 32 * n} for n in (7, 8))
_TIMM_7, _TIMM_8 = ({"window_size": n, "img_size": 32 * n} for n in (7, 8))
_VIDEO_SWIN = {
    "embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32],
    "window_size": [8, 7, 7], "mlp_ratio": 4.0,
}  # fmt: skip
_SAM2 = {
    "hidden_size": 112, "embed_dim_per_stage": [112, 224, 448, 896],
    "blocks_per_stage": [2, 3, 16, 3], "num_attention_heads_per_stage": [2, 4, 8, 16],
    "window_size_per_stage": [8, 4, 14, 7], "global_attention_blocks": [12, 16, 20],
    "num_query_pool_stages": 3, "image_size": [1024, 1024], "mlp_ratio": 4.0,
    "window_positional_embedding_background_size": [14, 14],
}  # fmt: skip
_TIMM_SAM2 = {
    "embed_dim": 112, "num_heads": 2, "stages": (2, 3, 16, 3), "global_att_blocks": (12, 16, 20),
    "window_spec": (8, 4, 14, 7), "q_pool": 3, "global_pos_size": (14, 14),
}  # fmt: skip
_HIERA = {
    "embed_dim": 96, "depths": [2, 3, 16, 3], "num_heads": [1, 2, 4, 8], "image_size": [224, 224],
    "masked_unit_size": [8, 8], "masked_unit_attention": [True, True, False, False],
    "num_query_pool": 3, "mlp_ratio": 4.0,
}  # fmt: skip
_TIMM_HIERA = {
    "embed_dim": 96, "stages": (2, 3, 16, 3), "img_size": 224, "mask_unit_size": (8, 8),
    "mask_unit_attn": (True, True, False, False), "q_pool": 3,
}  # fmt: skip
_SCHEMES, _OWN_DEPTH = ("center", "average"), ("torchvision_swin3d", "video_swin")
_TIMM_SAM = {"img_size": 1024, "window_size": 14, "global_attn_indexes": [2, 5, 8, 11]}
_TIMM_SAM |= {"mlp_ratio": 4.0, "neck_chans": 256}
SOURCES = {
    "hf_vit": ("ViT-B/16", "vit", _VIT),
    "hf_vit_mae": ("ViT-MAE-B/16", "vit_mae", _VIT),
    "hf_vit_msn": ("ViT-MSN-B/16", "vit_msn", _VIT),
    "hf_deit": ("DeiT-B/16 distilled", "deit", _VIT),
    "hf_dinov2": ("DINOv2-B/14, 518 px", "dinov2", _DINOV2 | {"image_size": 518}),
    "hf_dinov2, SwiGLU": ("DINOv2-B/14 with giant's SwiGLU", "dinov2_swiglu", _DINOV2),
    "hf_dinov2_with_registers": ("DINOv2-B/14 + 4 registers", "dinov2_with_registers", _DINOV2),
    "hf_clip": ("CLIP-B/16 inside a full CLIP", "clip", _VIT),
    "hf_siglip": ("SigLIP-B/16", "siglip_vision", _VIT),
    "hf_siglip2": ("SigLIP 2 NaFlex B/16", "siglip2_vision", _NAFLEX),
    "hf_aimv2": ("AIMv2-L/14", "aimv2_vision", _AIMV2),
    "hf_aimv2, native": ("AIMv2-L/14, native resolution", "aimv2_native", _AIMV2),
    "hf_radio": ("RADIO B/16, 512 px", "radio", _RADIO),
    "hf_beit": ("BEiT-B/16, a table per block", "beit", _VIT),
    "hf_beit, shared": ("BEiT-B/16, a shared table", "beit_cls", _VIT),
    "hf_beit, larger": ("BEiT-B/16, 384 px, resized for the proof", "beit_large_grid", _VIT_384),
    "hf_data2vec_vision": ("data2vec-B/16", "data2vec_classifier", _VIT),
    "hf_dinov3": ("DINOv3-B/16", "dinov3", _VIT),
    "hf_dinov3, gated": ("DINOv3-B/16 with a gate", "dinov3_gated", _VIT),
    "hf_swin": ("Swin-B, windows 7", "swin", _SWIN | _WINDOW_7),
    "hf_swinv2": ("SwinV2-B, windows 8, 256 px", "swinv2", _SWIN | _WINDOW_8),
    "hf_sam": ("SAM-B, 1024 px", "sam_vision", _VIT | _SAM | {"output_channels": 256}),
    "hf_sam2": ("SAM 2 base plus, 1024 px", "sam2_hiera", _SAM2),
    "hf_hiera": ("Hiera-B", "hiera", _HIERA),
    "hf_ijepa": ("I-JEPA-B/16", "ijepa", _VIT),
    "hf_metaclip_2": ("MetaCLIP 2 B/16 inside a full one", "metaclip_2", _VIT),
    "hf_blip": ("BLIP-B/16, 384 px", "blip", _VIT_384),
    "hf_pixio": ("Pixio-B/16, 256 px, 8 class tokens", "pixio", _PIXIO),
    "open_clip": ("CLIP-B/16, quick GELU", QUICK, _CLIP | {"patch_size": 16}),
    "timm_vit, augreg": ("ViT-B/16", "augreg", _TIMM),
    "timm_vit, clip": ("CLIP-B/16, quick GELU", "clip_quickgelu", _TIMM),
    "timm_vit, dinov2": ("DINOv2-B/14 + 4 registers", "dinov2_reg4", _TIMM | {"patch_size": 14}),
    "timm_vit, siglip": ("SigLIP-B/16", "siglip", _TIMM),
    "timm_vit, deit3": ("DeiT III B/16", "deit3", _TIMM),
    "timm_vit, ijepa": ("I-JEPA-B/16", "ijepa_timm", _TIMM),
    "timm_vit, tips": ("TIPS v2 B/14, 1 register", "reg1", _TIMM | {"patch_size": 14}),
    "timm_aimv2": ("AIMv2-L/14", "aimv2_timm", _TIMM_AIMV2),
    "timm_naflex": ("SigLIP 2 NaFlex B/16", "naflex_timm", _TIMM_NAFLEX),
    "timm_beit": ("BEiT-B/16", "beit_timm", _TIMM | {"mlp_ratio": 4.0}),
    "timm_beit, v2": ("BEiT v2 B/16", "beitv2_timm", _TIMM | {"mlp_ratio": 4.0}),
    "timm_dinov3": ("DINOv3-B/16", "dinov3_timm", _TIMM | {"mlp_ratio": 4.0}),
    "timm_dinov3, qkvb": ("DINOv3-B/16, biases", "dinov3_timm_qkvb", _TIMM | {"mlp_ratio": 4.0}),
    "timm_eva02": ("EVA-02-S/14", "eva02_timm", _EVA02 | {"embed_dim": 384, "num_heads": 6}),
    "timm_eva02_split": ("EVA-02-B/14", "eva02_timm_split", _EVA02),
    "timm_eva02_split, clip": ("EVA-02-CLIP-B/16", "eva02_timm_clip", _EVA02 | {"patch_size": 16}),
    "timm_swin": ("Swin-B, windows 7", "swin_timm", _SWIN | _TIMM_7),
    "timm_swinv2": ("SwinV2-B, windows 8, 256 px", "swinv2_timm", _SWIN | _TIMM_8),
    "timm_sam": ("SAM-B, 1024 px", "sam_timm", _TIMM | _TIMM_SAM),
    "timm_sam2": ("SAM 2 base plus, 896 px", "sam2_timm", _TIMM_SAM2),
    "timm_hiera": ("Hiera-B", "hiera_timm", _TIMM_HIERA),
    "sam": ("SAM's .pth, width 48 (small)", "", {}),
    "sam2": ("SAM 2's .pt, width 16 (small)", "", {}),
    "hiera": ("Hiera's .pth, width 16 (small)", "", {}),
    "swin": ("Swin's .pth, width 16 (small)", "", {}),
    "swinv2": ("SwinV2's .pth, width 16 (small)", "", {}),
    "torchvision_swin3d": ("Video-Swin-B, windows 8x7x7", "", _VIDEO_SWIN),
    "video_swin": ("Video-Swin's .pth, width 16 (small)", "", {}),
    "beit": ("BEiT's .pth, width 128 (small)", "", {}),
    "dino": ("DINO's .pth, width 128 (small)", "", {}),
    "dinov3": ("DINOv3-B/16's .pth", "", _VIT),
    "dinov3, gated": ("DINOv3-S+/16's .pth", "", _VIT | _SMALL_PLUS),
    "moco_v3": ("MoCo v3's .pth.tar, width 48 (small)", "", {}),
}


# Families of bare files: what its authors called one, and what makes it.
_FILES = {
    "beit": ("beit_base_patch16_224_pt22k.pth", beit_original),
    "dinov3": ("dinov3_vitb16_pretrain_lvd1689m-73cec8be.pth", dinov3_original),
    "dinov3, gated": (
        "dinov3_vits16plus_pretrain_lvd1689m-4057cbaa.pth",
        partial(dinov3_original, "dinov3_gated"),
    ),
    "moco_v3": ("vit-s-300ep.pth.tar", moco_v3),
    "sam": ("sam_vit_b_01ec64.pth", sam_original),
    "sam2": ("sam2.1_hiera_tiny.pt", sam2_original),
    "hiera": ("hiera_tiny_224.pth", hiera_original),
    "swin": ("swin_base_patch4_window7_224.pth", swin_original),
    "swinv2": ("swinv2_tiny_patch4_window8_256.pth", swinv2_original),
    "video_swin": ("swin_tiny_patch244_window877.pth", video_swin_original),
}


def _save(name: str, kind: str, options: dict, folder: Path) -> Path:
    folder.mkdir()
    if name in _FILES:
        file, make = _FILES[name]
        torch.save(make(**options), folder / file)
        return folder / file
    if name == "dino":
        return save_dino_pth(folder)
    if name == "torchvision_swin3d":
        return save_swin3d(folder, **options)
    if name == "open_clip":
        return save_clip(folder, kind, **options)
    if name.startswith("timm"):
        return save_timm(kind, folder, **options)
    return save_transformers(kind, folder, **options)


def measured(name: str, kind: str, options: dict[str, object]) -> tuple[list[float], str]:
    """Errors over the root mean square of the original's tokens, by scheme, and what was asked."""
    errors, reference = [], ""
    with tempfile.TemporaryDirectory() as folder:
        source = _save(name, kind, options, Path(folder) / "source")
        for scheme in (None,) if name in _OWN_DEPTH else _SCHEMES:
            with as_published():
                made = convert(source, Path(folder) / (scheme or "out"), scheme=scheme)
            proof = json.loads((made / "conversion.json").read_text())["verification"]
            errors.append(proof["max_error_over_rms"])
            reference = proof["reference"]
    return errors, reference


def tiny(name: str) -> float:
    """The greatest error of the schemes, at the size of the tests."""
    return max(measured(name, SOURCES[name][1], {})[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="one family")
    parser.add_argument("--tiny", action="store_true", help="that column alone: a minute")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    large = [] if asked.tiny else ["center", "average"]
    head = ["family", "source (random weights)", *large, "tiny"]
    head += [] if asked.tiny else ["compared with"]
    print(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    for name, (label, kind, options) in SOURCES.items():
        if asked.only and asked.only != name.split(",")[0]:
            continue
        errors, reference = ([], "") if asked.tiny else measured(name, kind, options)
        told = [f"{error:.1e}" for error in errors]
        told += ["as it is"] * (len(errors) == 1)
        row = [name, label, *told, f"{tiny(name):.1e}"]
        print(f"| {' | '.join(row + [reference] * bool(reference))} |", flush=True)


if __name__ == "__main__":
    main()
