"""A second network, which the package does not ship: a folder's worth, and its three lines.

Two levels of blocks, the second of twice the width on half the grid in the plane; no prefix token,
no position table. `Pyramid2D` is the original, with names of its own, and shares no code with ours.
"""

import json
import shutil
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from inflate_zoo.conversion.originals import known as originals
from inflate_zoo.conversion.originals.references import Asked, Reference
from inflate_zoo.files.locations import data_folder
from inflate_zoo.naming import catalog
from inflate_zoo.naming.configs.from_config import pair, small, whole
from inflate_zoo.naming.from_header import FromHeader
from inflate_zoo.naming.readers import known as readers
from inflate_zoo.naming.readers.reader import Reader
from inflate_zoo.networks import backbone, known
from inflate_zoo.networks.backbone import Backbone
from inflate_zoo.networks.base import BackboneConfig, Form2D, Level, Pair, Side, Width
from inflate_zoo.networks.layers.attention import Attention
from inflate_zoo.networks.layers.parts import PatchEmbed
from inflate_zoo.networks.network import Network3D
from tests.support.checkpoints import randomize

HEADS = 2


# networks/pyramid/config.py


class PyramidForm(Form2D):
    in_channels: Width
    patch_size: Pair = Field(strict=False)
    width: Width
    blocks: Side  # of each level
    norm_eps: float
    image_size: Pair = Field(strict=False)

    @property
    def stride(self) -> tuple[int, int]:
        return 2 * self.patch_size[0], 2 * self.patch_size[1]

    @property
    def native_grid(self) -> tuple[int, int]:
        return self.image_size[0] // self.stride[0], self.image_size[1] // self.stride[1]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return shapes_of(self, self.patch_size)

    def inflated(self, *, channels, patch_depth, volume, stem_bias) -> "PyramidConfig":
        form = self.model_dump() | {"in_channels": channels}
        return PyramidConfig(**form, patch_depth=patch_depth, volume=volume)

    def described(self) -> str:
        return f"a pyramid of 2 x {self.blocks} blocks"


class PyramidConfig(BackboneConfig, PyramidForm):
    stem: ClassVar[str] = "stem.weight"

    model_type: Literal["inflated_pyramid"] = "inflated_pyramid"

    @property
    def levels(self) -> tuple[Level, ...]:
        depth, height, width = self.patch
        fine = Level(self.width, self.patch)
        coarse = Level(2 * self.width, (depth, 2 * height, 2 * width))
        return (fine,) * self.blocks + (coarse,) * self.blocks

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return shapes_of(self, self.patch)

    def summary(self) -> str:
        return f"a 3D pyramid of width {self.width}"

    def memory(self, tokens: int) -> tuple[int, int]:
        return 4 * tokens, 8 * tokens

    def without_weights(self) -> "PyramidConfig":
        return self.model_copy(update={"volume": self.levels[-1].stride, "image_size": (1, 1)})


def shapes_of(form: PyramidForm, kernel: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    width = form.width
    shapes = {"stem.weight": (width, form.in_channels, *kernel), "stem.bias": (width,)}
    for index in range(2 * form.blocks):
        dim = width * (1 + index // form.blocks)
        block = {
            "norm.weight": (dim,), "norm.bias": (dim,), "attn.qkv.weight": (3 * dim, dim),
            "attn.qkv.bias": (3 * dim,), "attn.proj.weight": (dim, dim), "attn.proj.bias": (dim,),
        }  # fmt: skip
        shapes |= {f"blocks.{index}.{name}": shape for name, shape in block.items()}
    shapes |= {"merge.weight": (2 * width, 4 * width), "merge.bias": (2 * width,)}
    return shapes | {"norm.weight": (2 * width,), "norm.bias": (2 * width,)}


# networks/pyramid/network.py


class Block(nn.Module):
    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=eps)
        self.attn = Attention(dim, HEADS, qkv_bias=True)
        self.rate, self.draws = 0.0, None

    def forward(self, x: Tensor) -> Tensor:
        branch = self.attn(self.norm(x), 0, 1)
        if self.training and self.rate:
            draws = torch.rand(len(x)) if self.draws is None else self.draws
            branch = branch * ((draws >= self.rate).to(x) / (1 - self.rate))[:, None, None]
        return x + branch


class Pyramid(Network3D):
    def __init__(self, config: PyramidConfig) -> None:
        super().__init__(config)
        width = config.width
        self.stem = PatchEmbed(config.in_channels, width, config.patch, bias=True)
        self.blocks = nn.ModuleList(Block(level.width, config.norm_eps) for level in config.levels)
        self.merge = nn.Linear(4 * width, 2 * width)
        self.norm = nn.LayerNorm(2 * width, eps=config.norm_eps)
        self.recomputed = False

    def _maps(self, x: Tensor) -> list[Tensor]:
        """After each block, tokens (B, d, h, w, E)."""
        if tuple(x.shape[1:]) != (self.config.in_channels, *self.config.volume):
            raise ValueError(f"expected {self.config.volume}, got {tuple(x.shape)}")
        grid = [n // step for n, step in zip(x.shape[2:], self.config.patch, strict=True)]
        x, maps = self.stem(x).unflatten(1, grid), []
        for index, block in enumerate(self.blocks):
            if index == self.config.blocks:
                batch, depth, height, width, dim = x.shape
                x = x.reshape(batch, depth, height // 2, 2, width // 2, 2, dim)
                x = self.merge(x.permute(0, 1, 2, 4, 3, 5, 6).flatten(4))
            tokens = x.flatten(1, 3)
            redo = self.recomputed and self.training
            done = checkpoint(block, tokens, use_reentrant=False) if redo else block(tokens)
            x = done.view(x.shape)
            maps.append(x)
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        return self.norm(self._maps(x)[-1].flatten(1, 3))

    def forward_intermediates(
        self, x, indices=None, *, return_prefix_tokens=False, norm=False, stop_early=False,
        output_fmt="NCHW", intermediates_only=False,
    ):  # fmt: skip
        maps = self._maps(x)
        chosen = range(len(maps)) if indices is None else sorted({i % len(maps) for i in indices})
        given = [maps[index].movedim(-1, 1) for index in chosen]
        return given if intermediates_only else (self.norm(maps[-1].flatten(1, 3)), given)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return x.mean(dim=1) if pre_logits else self.head(x.mean(dim=1))

    def level_modules(self) -> list[str]:
        return [f"blocks.{index}" for index in range(len(self.blocks))]

    def group_matcher(self, coarse: bool = False):
        return {"stem": "^stem", "blocks": r"^blocks\.(\d+)"}

    def layer_of(self, name: str) -> int:
        if name.startswith("blocks."):
            return int(name.split(".")[1]) + 1
        later = {"merge": self.config.blocks + 1, "norm": len(self.blocks) + 1}
        return later.get(name.split(".")[0], 0)

    def unread(self, *, maps: bool) -> Sequence[nn.Module]:
        return (self.norm,) if maps else ()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        self.recomputed = enable

    def set_drop_path(self, rate: float) -> None:
        for block in self.blocks:
            block.rate = rate

    @property
    def drop_shape(self) -> tuple[int, ...]:
        return (len(self.blocks),) if self.blocks[0].rate else ()

    def fix_drops(self, draws: Tensor) -> None:
        for block, rows in zip(self.blocks, draws, strict=True):
            block.draws = rows


class PyramidBackbone(Backbone, Pyramid):
    pass


# naming/readers/pyramid.py


def gather(scheme, matching, header) -> FromHeader:
    width, channels, *patch = header[matching.kept["stem.weight"][0]].shape
    blocks = next(n for n in count() if f"blocks.{n}.norm.weight" not in matching.kept)
    values = {"width": width, "in_channels": channels, "patch_size": tuple(patch)}
    return FromHeader(values | {"blocks": blocks // 2}, {"width": "the stem says"})


def make_form(facts, claims, statement) -> PyramidForm:
    own = {name: claims.values[name] for name in ("image_size", "norm_eps")}
    return PyramidForm(**facts.values, **own)


READER = Reader(
    fields={
        "width": whole, "blocks": whole, "in_channels": whole, "patch_size": pair,
        "image_size": pair, "norm_eps": small,
    },
    required=("image_size", "norm_eps"),
    rules={},
    width="width",
    gather=gather,
    settled=lambda facts, claims: facts.values,
    check=lambda claims, width, statement: None,
    make_form=make_form,
    note=lambda scheme, form: "",
)  # fmt: skip


# converters/pyramid.toml

DEFINITION = """
network = "pyramid"
summary = "a pyramid of two levels"
library = "original"
reference = "Pyramid2D"
model_types = ["pyramid"]
drop = ["classifier.*"]

[rename]
"embed.{wb}" = "stem.{wb}"
"layer.{}.ln.{wb}" = "blocks.{}.norm.{wb}"
"layer.{}.out.{wb}" = "blocks.{}.attn.proj.{wb}"
"reduce.{wb}" = "merge.{wb}"
"ln_f.{wb}" = "norm.{wb}"

[join]
"blocks.{}.attn.qkv.{wb}" = "layer.{}.{query,key,value}.{wb}"

[roles]
"stem.weight" = "stem_kernel"
"stem.bias" = "stem_bias"

[config]
width = { path = "hidden" }
image_size = { path = "image" }
norm_eps = { path = "eps", default = 1e-5 }

[normalization]
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
"""


# The original, and how the proof builds it.


class Layer2D(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(dim)
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln(x)
        heads = (part(y).unflatten(-1, (HEADS, -1)) for part in (self.query, self.key, self.value))
        query, key, value = heads
        logits = torch.einsum("bqhe,bkhe->bhqk", query, key) / query.shape[-1] ** 0.5
        return x + self.out(torch.einsum("bhqk,bkhe->bqhe", logits.softmax(-1), value).flatten(2))


class Pyramid2D(nn.Module):
    def __init__(self, width: int = 8, blocks: int = 2, patch: int = 2) -> None:
        super().__init__()
        self.blocks = blocks
        self.embed = nn.Conv2d(3, width, patch, stride=patch)
        self.layer = nn.ModuleList(Layer2D(width * (1 + i // blocks)) for i in range(2 * blocks))
        self.reduce = nn.Linear(4 * width, 2 * width)
        self.ln_f = nn.LayerNorm(2 * width)

    def forward(self, images: Tensor) -> Tensor:
        x = self.embed(images)
        for index, layer in enumerate(self.layer):
            if index == self.blocks:
                corners = [x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]
                x = self.reduce(torch.cat(corners, dim=1).movedim(1, -1)).movedim(-1, 1)
            x = layer(x.flatten(2).mT).mT.reshape(x.shape)
        return self.ln_f(x.flatten(2).mT)


def build(asked: Asked) -> Reference:
    original = Pyramid2D()
    original.load_state_dict({name: asked.state[name] for name in original.state_dict()})
    return Reference("Pyramid2D", original.eval(), lambda tokens: tokens.mean(dim=1))


def save_pyramid(folder: Path, **config: Any) -> Path:
    """A random original with its config, and a head that is no part of it."""
    folder.mkdir(parents=True)
    state = {**randomize(Pyramid2D()).state_dict(), "classifier.weight": torch.zeros(5, 16)}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    fields = {"model_type": "pyramid", "hidden": 8, "image": [16, 24], **config}
    fed = {
        "image_processor_type": "ViTImageProcessor", "do_rescale": True, "do_normalize": True,
        "rescale_factor": 1 / 255, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4],
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(fields))
    (folder / "preprocessor_config.json").write_text(json.dumps(fed))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    return folder


def register(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """The three lines, the class that the proof builds, and the definition."""
    patch.setitem(known.CONFIGS, PyramidConfig.kind(), PyramidConfig)
    patch.setitem(backbone.KINDS, PyramidConfig.kind(), PyramidBackbone)
    patch.setitem(readers.READERS, "pyramid", READER)
    patch.setitem(originals.ORIGINALS, "Pyramid2D", build)
    definitions = shutil.copytree(data_folder("converters"), folder / "converters")
    (definitions / "pyramid.toml").write_text(DEFINITION)
    patch.setattr(catalog, "data_folder", lambda _: definitions)
    catalog.families_by_name.cache_clear()
