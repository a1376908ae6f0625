"""What a checkpoint is when no family covers it, and the nearest one that does."""

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from inflate_zoo.errors import UnsupportedModelError

_VIT, _CLIP = "hf_vit", "hf_clip"

MODEL_TYPES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(
            ("mlcd", "mlcd_vision_model"),
            ("MLCD (rotary positions, one of them learned), not yet supported", _CLIP),
        ),
        "segformer": ("SegFormer (hierarchical), not yet supported", _VIT),
        "pvt": ("a pyramid vision transformer, not yet supported", _VIT),
        "resnet": ("a CNN (ResNet); only vision transformers are converted", _VIT),
        "convnext": ("a CNN (ConvNeXt); only vision transformers are converted", _VIT),
        "convnextv2": ("a CNN (ConvNeXt v2); only vision transformers are converted", _VIT),
        "dinov3_convnext": (
            "a CNN (DINOv3's ConvNeXt); DINOv3's vision transformers are converted",
            "hf_dinov3",
        ),
        "efficientnet": (
            "a CNN (EfficientNet); only vision transformers are converted",
            _VIT,
        ),
        "mobilenet_v2": ("a CNN (MobileNet); only vision transformers are converted", _VIT),
        "bert": ("a text model (BERT)", _CLIP),
        "roberta": ("a text model (RoBERTa)", _CLIP),
        "distilbert": ("a text model (DistilBERT)", _CLIP),
        "gpt2": ("a text model (GPT-2)", _CLIP),
        "llama": ("a text model (Llama)", _CLIP),
        "t5": ("a text model (T5)", _CLIP),
        "open_clip": ("a CLIP of OpenCLIP's without its plain image tower", "open_clip"),
    }
)

# What has a next step of its own: type to what it is, and what to do.
_STEPS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "peft": (
            "an adapter (peft: LoRA), or holds one that is not merged",
            "merge it into its base and convert the result: PeftModel.from_pretrained(base, "
            "'adapter').merge_and_unload().save_pretrained('merged')",
        ),
        **dict.fromkeys(
            ("tipsv2", "tipsv2_vision_model"),
            (
                "a TIPS v2 as transformers saves it",
                "take the same weights as timm holds them, e.g. "
                "timm/vit_base_patch14_reg1_tipsv2.webli",
            ),
        ),
        "eva02_original": (
            "an EVA-02 under its authors' own names",
            "take the same weights as timm holds them, e.g. timm/eva02_base_patch14_224.mim_in22k",
        ),
        "aimv2_original": (
            "an AIMv2 under Apple's own names",
            "take the same weights as transformers or timm hold them, e.g. "
            "timm/aimv2_large_patch14_224.apple_pt",
        ),
    }
)

_TENSOR_SIGNS = (
    (r"(^|\.)rope\.freqs_(cos|sin)$", "eva02_original"),
    (r"(^|\.)preprocessor\.patchifier\.", "aimv2_original"),
    (r"\.lora_(A|B|magnitude_vector|embedding_A|embedding_B)\b|\.base_layer\.", "peft"),
    (r"(^|\.)stages\.\d+\.layers\.\d+\.(layer|shortcut)\.", "resnet"),
    (r"(^|\.)(stages|convnext)\.", "convnext"),
    (r"(^|\.)layer\d\.\d+\.conv\d\.weight", "resnet"),
    (r"(^|\.)encoder\.layer\.\d+\.attention\.self\.(query|key|value)\.", "bert"),
    (r"(^|\.)h\.\d+\.attn\.c_attn\.", "gpt2"),
    (r"^(model\.)?layers\.\d+\.self_attn\.q_proj\.", "llama"),
    (r"(^|\.)transformer\.resblocks\.\d+\.attn\.in_proj_weight$", "open_clip"),
)


def _kind_of(names: Sequence[str]) -> str | None:
    signs = (kind for sign, kind in _TENSOR_SIGNS if any(re.search(sign, n) for n in names))
    return next(signs, None)


def is_known(names: Iterable[str]) -> bool:
    """Whether tensor names alone tell what a file is that no family covers."""
    return _kind_of(list(names)) is not None


def unfinished(leftover: Sequence[str]) -> UnsupportedModelError | None:
    """The error for names left over that say what has to be done first, if any do."""
    return unsupported(None, leftover) if _kind_of(leftover) in _STEPS else None


def unsupported(model_type: str | None, names: Iterable[str]) -> UnsupportedModelError:
    """The error for a source that no family covers.

    Args:
        model_type: From config.json, or `None`.
        names: The tensor names, read for signs of what it is.

    Returns:
        An error that names what it is, as far as known, and the nearest supported family.
    """
    names = list(names)
    kind = model_type or _kind_of(names)
    if kind is not None and kind in _STEPS:
        what, step = _STEPS[kind]
        return UnsupportedModelError(
            f"the source is {what}",
            details=[f"first tensors: {', '.join(sorted(names)[:4])}"],
            hint=step,
        )
    what, nearest = MODEL_TYPES.get(kind or "", (f"a model of type '{model_type}'", _VIT))
    if kind is None:
        what = "a model that no family knows"
    details = [f"first tensors: {', '.join(sorted(names)[:4])}"] if names and not model_type else []
    return UnsupportedModelError(
        f"the source is {what}",
        details=details,
        hint=f"nearest supported: {nearest}; 'inflate-zoo families' lists all with examples",
    )
