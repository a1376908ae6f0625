"""A plain vision transformer under the names of `monai.networks.nets.ViT`, where that is exact.

Dimensions: P prefix tokens, L patch tokens, D depth tokens, E embed_dim.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from inflate_zoo.exporting.record import MonaiVit
from inflate_zoo.networks.base import BackboneConfig
from inflate_zoo.networks.vit.config import VitConfig

_BLOCK_PARTS: Mapping[str, str] = {  # ours to theirs; what a layer scale multiplies is apart
    "norm1": "norm1",
    "norm2": "norm2",
    "attn.qkv": "attn.qkv",
    "mlp.fc1": "mlp.linear1",
}
_SCALED_PARTS: Mapping[str, tuple[str, str]] = {
    "attn.proj": ("attn.out_proj", "ls1.gamma"),
    "mlp.fc2": ("mlp.linear2", "ls2.gamma"),
}
_ACTIVATIONS: Mapping[str, str] = {
    "gelu_tanh": "its activation is the tanh approximation of GELU, MONAI's the exact one",
    "quick_gelu": "its activation is CLIP's quick GELU, MONAI's the exact one",
    "silu": "its activation is SiLU, MONAI's is GELU",
    "relu": "its activation is ReLU, MONAI's is GELU",
}


def obstacles(config: BackboneConfig) -> list[str]:
    """Why a backbone cannot become MONAI's ViT exactly; nothing where it can."""
    if not isinstance(config, VitConfig):
        kind = config.kind().removeprefix("inflated_")
        return [f"it is no plain vision transformer ({kind}), and MONAI's ViT is nothing else"]
    found = []
    if config.mlp == "swiglu":
        found.append("its feed-forward part is gated (SwiGLU), MONAI's is not")
    elif config.activation != "gelu":
        found.append(_ACTIVATIONS[config.activation])
    if config.pre_norm:
        found.append("it has a norm before the blocks (as CLIP), MONAI's has none")
    if config.final_norm == "none":
        found.append("it has no final norm, MONAI's always has one")
    if config.final_norm == "pooled":
        found.append("its final norm is on the pooled vector, MONAI's on every token")
    return found


def layout(config: VitConfig) -> MonaiVit:
    """How MONAI's network is built for a backbone.

    Prefix tokens weigh D times as much as a patch token, since each slice brings its own copy of
    every patch. MONAI has no place for such a weight, so D copies of them stand in the sequence:
    equal tokens stay equal through all blocks, and D equal keys weigh D times as much as one.
    """
    prefix, copies = config.num_prefix_tokens, config.grid_size[0]
    return MonaiVit(
        arguments={
            "in_channels": config.in_channels,
            "img_size": config.volume,
            "patch_size": config.patch,
            "hidden_size": config.embed_dim,
            "mlp_dim": config.mlp_dim,
            "num_layers": config.depth,
            "num_heads": config.num_heads,
            "proj_type": "conv",
            "pos_embed_type": "learnable",
            "classification": False,
            "spatial_dims": 3,
            "qkv_bias": config.qkv_bias,
        },
        prefix_tokens=prefix * copies,
        prefix_copies=copies if prefix else 0,
        norm_eps=config.norm_eps,
    )


def monai_tensors(
    config: VitConfig, tensors: Mapping[str, Tensor], entering: Tensor
) -> dict[str, Tensor]:
    """A backbone's tensors under MONAI's names.

    Args:
        config: The backbone's, without obstacles.
        tensors: The backbone's, by name.
        entering: What enters its first block of a volume of zeros, shape (1, P + L, E): the prefix
            tokens with their positions, then bias and position of every patch.
    """
    dim, prefix = config.embed_dim, config.num_prefix_tokens
    bias = tensors.get("patch_embed.bias", torch.zeros(dim))
    found = {
        "patch_embedding.patch_embeddings.weight": tensors["patch_embed.weight"],
        "patch_embedding.patch_embeddings.bias": bias,
        "patch_embedding.position_embeddings": (entering[:, prefix:].double() - bias.double()),
        "norm.weight": tensors["norm.weight"],
        "norm.bias": tensors["norm.bias"],
    }
    if prefix:
        found["cls_token"] = entering[:, :prefix].repeat(1, config.grid_size[0], 1)
    for index in range(config.depth):
        found |= _block(tensors, f"blocks.{index}.", dim)
    return {name: tensor.detach().float().contiguous() for name, tensor in found.items()}


def _block(tensors: Mapping[str, Tensor], start: str, dim: int) -> dict[str, Tensor]:
    found = {
        f"{start}{theirs}.{part}": tensors[name]
        for ours, theirs in _BLOCK_PARTS.items()
        for part in ("weight", "bias")
        if (name := f"{start}{ours}.{part}") in tensors
    }
    for ours, (theirs, scale) in _SCALED_PARTS.items():
        for part in ("weight", "bias"):
            tensor = tensors[f"{start}{ours}.{part}"]
            if (gamma := tensors.get(f"{start}{scale}")) is not None:
                rows = gamma.double().view(-1, *[1] * (tensor.ndim - 1))
                tensor = rows * tensor.double()
            found[f"{start}{theirs}.{part}"] = tensor
    # MONAI's blocks hold this norm for an attention to something else, which a ViT has not.
    found[f"{start}norm_cross_attn.weight"] = torch.ones(dim)
    found[f"{start}norm_cross_attn.bias"] = torch.zeros(dim)
    return found
