"""CLIP's image tower as OpenAI and OpenCLIP build it: their modules' names, torch's own attention.

It shares nothing with timm's or transformers' networks, and is saved as their files are.
"""

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.support.checkpoints import randomize

QUICK, EXACT = "quick_gelu", "gelu"
FILE = "open_clip_config.json"
SMALL: dict[str, Any] = {
    "image_size": 32, "layers": 3, "width": 48, "head_width": 12, "mlp_ratio": 2.0, "patch_size": 8,
}  # fmt: skip


class QuickGELU(nn.Module):
    """OpenAI's approximation of GELU."""

    def forward(self, x: Tensor) -> Tensor:
        """Element by element."""
        return x * torch.sigmoid(1.702 * x)


class LayerScale(nn.Module):
    """OpenCLIP's, which few of its towers have."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Each channel by its own factor."""
        return x * self.gamma


class ResidualAttentionBlock(nn.Module):
    """A block as OpenCLIP names its parts; torch's attention packs query, key and value."""

    def __init__(self, width: int, heads: int, hidden: int, activation: str, scaled: bool) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads)
        self.ls_1 = LayerScale(width) if scaled else nn.Identity()
        self.ln_2 = nn.LayerNorm(width)
        act = QuickGELU() if activation == QUICK else nn.GELU()
        parts = (("c_fc", nn.Linear(width, hidden)), ("gelu", act))
        self.mlp = nn.Sequential(OrderedDict([*parts, ("c_proj", nn.Linear(hidden, width))]))
        self.ls_2 = LayerScale(width) if scaled else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(length, batch, width) to the same."""
        y = self.ln_1(x)
        x = x + self.ls_1(self.attn(y, y, y, need_weights=False)[0])
        inner: Tensor = self.ls_2(self.mlp(self.ln_2(x)))
        return x + inner


class Resblocks(nn.Module):
    """The blocks, under the name that the file has for them."""

    def __init__(self, blocks: list[ResidualAttentionBlock]) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(blocks)


class VisionTower(nn.Module):
    """CLIP's `visual`; its fields are those of OpenCLIP's vision_cfg."""

    def __init__(self, activation: str = EXACT, **vision: Any) -> None:
        super().__init__()
        fields = SMALL | vision
        width, patch = fields["width"], fields["patch_size"]
        sides = [n if isinstance(n, list) else [n, n] for n in (fields["image_size"], patch)]
        places = (sides[0][0] // sides[1][0]) * (sides[0][1] // sides[1][1])
        heads, hidden = width // fields["head_width"], int(width * fields["mlp_ratio"])
        self.pool_type = fields.get("pool_type", "tok")
        self.conv1 = nn.Conv2d(3, width, tuple(sides[1]), tuple(sides[1]), bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.zeros(places + 1, width))
        self.ln_pre = nn.Identity() if fields.get("no_ln_pre") else nn.LayerNorm(width)
        block = (width, heads, hidden, activation, fields.get("ls_init_value") is not None)
        self.transformer = Resblocks(
            [ResidualAttentionBlock(*block) for _ in range(fields["layers"])]
        )
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.zeros(width, 24))

    def tokens(self, images: Tensor) -> Tensor:
        """All tokens, normed: shape (batch, 1 + patches, width)."""
        x = self.conv1(images).flatten(2).permute(0, 2, 1)
        front = self.class_embedding.expand(x.shape[0], 1, -1)
        x = self.ln_pre(torch.cat([front, x], dim=1) + self.positional_embedding)
        x = x.permute(1, 0, 2)
        for block in self.transformer.resblocks:
            x = block(x)
        normed: Tensor = self.ln_post(x.permute(1, 0, 2))
        return normed

    def forward(self, images: Tensor) -> Tensor:
        """The pooled vector before its projection."""
        tokens = self.tokens(images)
        return tokens[:, 1:].mean(dim=1) if self.pool_type == "avg" else tokens[:, 0]


def clip_tower(activation: str = EXACT, seed: int = 0, **vision: Any) -> VisionTower:
    """A small tower with random weights."""
    return randomize(VisionTower(activation, **vision), seed)


def clip_state(tower: VisionTower) -> dict[str, Tensor]:
    """The tensors of a whole CLIP around a tower, text first, as OpenAI's and OpenCLIP's are."""
    text = {
        "positional_embedding": torch.zeros(8, 24),
        "text_projection": torch.zeros(24, 24),
        "logit_scale": torch.tensor(4.6),
        "transformer.resblocks.0.attn.in_proj_weight": torch.zeros(72, 24),
        "transformer.resblocks.0.ln_1.weight": torch.zeros(24),
        "token_embedding.weight": torch.zeros(60, 24),
        "ln_final.weight": torch.zeros(24),
    }
    return text | {f"visual.{name}": held.clone() for name, held in tower.state_dict().items()}


def clip_config(activation: str = EXACT, **vision: Any) -> dict[str, Any]:
    """The open_clip_config.json of such a model, as OpenCLIP writes it."""
    text = {"context_length": 8, "vocab_size": 60, "width": 24, "heads": 2, "layers": 1}
    quick = {"quick_gelu": True} if activation == QUICK else {}
    return {
        "model_cfg": {"embed_dim": 24, "vision_cfg": SMALL | vision, "text_cfg": text, **quick},
        "preprocess_cfg": {
            "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.5],
            "interpolation": "bicubic", "resize_mode": "shortest",
        },
    }  # fmt: skip


def save_clip(
    folder: Path, activation: str = EXACT, *, suffix: str = ".safetensors", seed: int = 0,
    **vision: Any,
) -> Path:  # fmt: skip
    """Save a whole CLIP as OpenCLIP pushes it to the Hub, and return the folder."""
    state = clip_state(clip_tower(activation, seed, **vision))
    folder.mkdir(parents=True, exist_ok=True)
    if suffix == ".safetensors":
        save_file(state, folder / "open_clip_model.safetensors")
    else:
        torch.save(state, folder / "open_clip_pytorch_model.bin")
    (folder / FILE).write_text(json.dumps(clip_config(activation, **vision), indent=2))
    return folder


def clip_training(activation: str = QUICK, seed: int = 0, **vision: Any) -> dict[str, Any]:
    """OpenCLIP's training checkpoint, as its main.py writes epoch_latest.pt."""
    state = clip_state(clip_tower(activation, seed, **vision))
    return {
        "epoch": 3,
        "name": "run",
        "state_dict": {f"module.{name}": held for name, held in state.items()},
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(4)}}, "param_groups": [{"lr": 1.0}]},
    }
