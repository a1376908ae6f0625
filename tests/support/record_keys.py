"""Record the names and shapes that transformers, timm and DINO write: `tests/keys/*.json`.

Run `python -m tests.support.record_keys` from the repository root after a library update; the
difference in version control then shows what changed on disk.
"""

import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import timm
import torch
import transformers
from safetensors import safe_open

from tests.support.checkpoints import (
    TIMM,
    TIMM_HIERA,
    TIMM_STAGED,
    TRANSFORMERS,
    beit_original,
    build_swin3d,
    build_timm,
    dinov2_original,
    dinov3_original,
    dinov3_training,
    hiera_original,
    moco_v3,
    sam2_original,
    sam_original,
    save_dino_pth,
    save_timm,
    save_transformers,
    swin_original,
    swinv2_original,
    video_swin_original,
)
from tests.support.clip_towers import clip_state, clip_tower, clip_training

KEYS = Path(__file__).parents[1] / "keys"

# Family -> kinds of `save_transformers` that show it.
SCHEMES: dict[str, list[str]] = {
    "hf_vit": [
        "vit",
        "vit_classifier",
        "vit_no_qkv_bias",
        "vit_rectangular",
        "vit_rectangular_patch",
        "vit_masked",
    ],
    "hf_vit_msn": ["vit_msn"],
    "hf_deit": ["deit", "deit_teacher"],
    "hf_vit_mae": ["vit_mae", "vit_mae_bare"],
    "hf_dinov2": ["dinov2", "dinov2_classifier", "dinov2_swiglu"],
    "hf_dinov2_with_registers": ["dinov2_with_registers", "dinov2_with_registers_swiglu"],
    "hf_dinov3": ["dinov3", "dinov3_gated", "dinov3_rectangular", "dinov3_no_bias"],
    "hf_clip": ["clip", "clip_vision", "clip_vision_projection", "clip_gelu"],
    "hf_siglip": ["siglip", "siglip_vision"],
    "hf_siglip2": ["siglip2", "siglip2_vision", "siglip2_no_head"],
    "hf_aimv2": ["aimv2", "aimv2_vision", "aimv2_native", "aimv2_no_head"],
    "hf_radio": ["radio", "radio_video", "radio_no_bias"],
    "hf_ijepa": ["ijepa", "ijepa_classifier"],
    "hf_metaclip_2": ["metaclip_2", "metaclip_2_vision"],
    "hf_blip": ["blip", "blip_retrieval", "blip_vision"],
    "hf_pixio": ["pixio", "pixio_backbone"],
    "hf_beit": [
        "beit",
        "beit_bare",
        "beit_pretrained",
        "beit_cls",
        "beit_both_tables",
        "beit_no_tables",
        "beit_rectangular",
        "beit_large_grid",
    ],
    "hf_data2vec_vision": ["data2vec", "data2vec_classifier"],
    "hf_swin": [
        "swin",
        "swin_classifier",
        "swin_masked",
        "swin_no_qkv_bias",
        "swin_rectangular",
    ],
    "hf_swinv2": [
        "swinv2",
        "swinv2_classifier",
        "swinv2_no_bias",
        "swinv2_pretrained",
        "swinv2_rectangular",
    ],
    "hf_sam": ["sam", "sam_vision", "sam_no_qkv_bias"],
    "hf_sam2": ["sam2", "sam2_video", "sam2_vision", "sam2_hiera"],
    "hf_hiera": [
        "hiera",
        "hiera_mae",
        "hiera_classifier",
        "hiera_backbone",
        "hiera_rectangular",
    ],
}
TIMM_KINDS = {
    "timm_vit": [
        kind
        for kind in TIMM
        if not any(part in kind for part in ("beit", "dinov3", "eva02", "naflex", "aimv2", "sam_"))
    ],
    "timm_dinov3": [kind for kind in TIMM if "dinov3" in kind],
    "timm_eva02": ["eva02_timm", "eva02_timm_rectangular"],
    "timm_eva02_split": ["eva02_timm_split", "eva02_timm_clip"],
    "timm_beit": [kind for kind in TIMM if "beit" in kind],
    "timm_aimv2": [kind for kind in TIMM if "aimv2" in kind],
    "timm_naflex": [kind for kind in TIMM if "naflex" in kind],
    "timm_sam": [kind for kind in TIMM if kind.startswith("sam_")],
    "timm_sam2": [kind for kind in TIMM_HIERA if kind.startswith("sam2")],
    "timm_hiera": [kind for kind in TIMM_HIERA if kind.startswith("hiera")],
    "timm_swin": [kind for kind in TIMM_STAGED if kind.startswith("swin_")],
    "timm_swinv2": [kind for kind in TIMM_STAGED if kind.startswith("swinv2_")],
}
DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}


def _published_sam2(size: str) -> dict[str, Any]:
    with torch.device("meta"):
        return sam2_original(timm.create_model(f"sam2_hiera_{size}", num_classes=0))


def _published_hiera(size: str, *, masked: bool) -> dict[str, Any]:
    with torch.device("meta"):
        return hiera_original(timm.create_model(f"hiera_{size}_224"), masked=masked)


# Files of the authors': kind, what makes its content, and who writes such.
ORIGINALS: dict[str, list[tuple[str, Callable[[], dict[str, Any]], str]]] = {
    "beit": [
        ("beit_original_pretrained", beit_original, "BEiT's modeling_pretrain"),
        ("beit_original_finetuned", partial(beit_original, finetuned=True),
         "BEiT's modeling_finetune"),
        ("beitv2_original", partial(beit_original, version=2), "BEiT v2's modeling_pretrain"),
    ],
    "dino": [
        ("dinov2_original", partial(dinov2_original, registers=False), "DINOv2's hub"),
        ("dinov2_original_reg", dinov2_original, "DINOv2's hub"),
    ],
    "dinov3": [
        ("dinov3_original", dinov3_original, "DINOv3's hub"),
        ("dinov3_original_gated", partial(dinov3_original, "dinov3_gated"), "DINOv3's hub"),
        ("dinov3_original_no_bias",
         lambda: dinov3_original("dinov3_no_bias") | {
             f"local_cls_norm.{part}": torch.ones(128) for part in ("weight", "bias")},
         "DINOv3's hub"),
        ("dinov3_original_no_registers", partial(dinov3_original, num_register_tokens=0),
         "DINOv3's train.py"),
        ("dinov3_training", dinov3_training, "DINOv3's train.py"),
    ],
    "moco_v3": [("moco_v3", moco_v3, "MoCo v3's main_moco.py")],
    "open_clip": [
        ("open_clip", lambda: clip_state(clip_tower(layers=2)), "OpenAI's clip"),
        ("open_clip_training", partial(clip_training, layers=2), "OpenCLIP's main.py"),
    ],
    "sam": [("sam_original", sam_original, "SAM's build_sam")],
    "hiera": [
        ("hiera_original_tiny", partial(_published_hiera, "tiny", masked=False), "Hiera's hub"),
        ("hiera_original_base", partial(_published_hiera, "base", masked=True), "Hiera's hub"),
        ("hiera_original_large", partial(_published_hiera, "large", masked=True), "Hiera's hub"),
    ],
    "sam2": [
        (f"sam2_original_{size}", partial(_published_sam2, size), "SAM 2's build_sam")
        for size in ("tiny", "small", "base_plus", "large")
    ],
    "swin": [("swin_original", swin_original, "Swin's main.py")],
    "swinv2": [("swinv2_original", swinv2_original, "SwinV2's main.py")],
    "torchvision_swin3d": [
        ("swin3d", lambda: dict(build_swin3d().state_dict()), "torchvision's swin3d_t")
    ],
    "video_swin": [("video_swin", video_swin_original, "Video-Swin's mmaction")],
}  # fmt: skip


def definitions() -> list[str]:
    """Return the names of all recorded families."""
    return [*SCHEMES, *TIMM_KINDS, *ORIGINALS]


def record(definition: str) -> dict[str, Any]:
    """Save every kind of one family afresh and list what its files hold."""
    if definition in SCHEMES:
        cases = [_transformers_case(kind) for kind in SCHEMES[definition]]
    elif definition in TIMM_KINDS:
        kinds = TIMM_KINDS[definition]
        cases = [_timm_case(kind) for kind in kinds]
        cases.append(_timm_case(kinds[0], layout="file"))
    else:
        cases = []
        if definition == "dino":
            cases += [_dino_case(full=True), _dino_case(full=False)]
        for kind, make, writer in ORIGINALS[definition]:
            cases.append(_pickled_case(kind, make(), writer))
    return {"definition": definition, "cases": cases}


def _transformers_case(kind: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = save_transformers(kind, Path(name), num_hidden_layers=2)
        return {
            "kind": kind,
            "written_by": f"transformers {transformers.__version__} "
            f"{TRANSFORMERS[kind].model.__name__}",
            "config": json.loads((folder / "config.json").read_text()),
            "tensors": _header(folder / "model.safetensors"),
        }


def _timm_case(kind: str, layout: Literal["hub", "file"] = "hub") -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        cut = {} if kind in TIMM_STAGED or kind in TIMM_HIERA else {"depth": 2}
        path = save_timm(kind, Path(name), layout=layout, **cut)
        is_hub = layout == "hub"
        return {
            "kind": kind if is_hub else f"{kind}_{layout}",
            "written_by": f"timm {timm.__version__} {type(build_timm(kind, **cut)).__name__}",
            "config": json.loads((path / "config.json").read_text()) if is_hub else None,
            "tensors": _header(path / "model.safetensors" if is_hub else path),
        }


def _dino_case(*, full: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        # Our own file of a moment ago, which holds an argparse.Namespace on purpose.
        content = torch.load(save_dino_pth(Path(name), full=full), weights_only=False)
    kind = "dino_full" if full else "dino_backbone"
    return _pickled_case(kind, content, "DINO's main_dino.py")


def _pickled_case(kind: str, content: dict[str, Any], layout: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "written_by": f"torch {torch.__version__} in the layout of {layout}",
        "config": None,
        "tensors": dict(sorted(_dotted(content, ""))),
    }


def _dotted(value: Any, path: str) -> list[tuple[str, dict[str, Any]]]:
    if isinstance(value, torch.Tensor):
        return [(path, {"dtype": DTYPES[value.dtype], "shape": list(value.shape)})]
    if not isinstance(value, dict):
        return []
    prefix = f"{path}." if path else ""
    return [entry for key, item in value.items() for entry in _dotted(item, f"{prefix}{key}")]


def _header(file: Path) -> dict[str, dict[str, Any]]:
    with safe_open(file, framework="pt") as opened:
        slices = {name: opened.get_slice(name) for name in sorted(opened.keys())}
        return {
            name: {"dtype": piece.get_dtype(), "shape": piece.get_shape()}
            for name, piece in slices.items()
        }


def _one_per_line(values: dict[str, Any]) -> str:
    lines = [f"      {json.dumps(key)}: {json.dumps(value)}" for key, value in values.items()]
    return "{\n" + ",\n".join(lines) + "\n    }"


def render(recording: dict[str, Any]) -> str:
    """Lay a recording out with one tensor and one configuration field per line."""
    cases = []
    for case in recording["cases"]:
        config = "null" if case["config"] is None else _one_per_line(case["config"])
        cases.append(
            "  {\n"
            f'    "kind": {json.dumps(case["kind"])},\n'
            f'    "written_by": {json.dumps(case["written_by"])},\n'
            f'    "config": {config},\n'
            f'    "tensors": {_one_per_line(case["tensors"])}\n'
            "  }"
        )
    body = ",\n".join(cases)
    return f'{{"definition": {json.dumps(recording["definition"])}, "cases": [\n{body}\n]}}\n'


def main() -> None:
    """Write every recording."""
    KEYS.mkdir(exist_ok=True)
    for definition in definitions():
        (KEYS / f"{definition}.json").write_text(render(record(definition)))


if __name__ == "__main__":
    main()
