"""SAM's encoder of ours, and timm's own blocks and neck on its tokens, for forward.py.

One token deep, since timm's takes planes: both then compute the same on the same tokens.
"""

import copy
from functools import partial

import torch
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import Tensor, nn

from inflate_zoo.networks.base import Triple
from inflate_zoo.networks.sam.config import SamConfig
from inflate_zoo.networks.sam.network import Sam

WINDOW, NECK = 14, 256


def build_sam(extent: int, patch: int, dim: int, mlp_dim: int, blocks: int, heads: int) -> Sam:
    """Our encoder on slabs one token deep, every third block global; random weights."""
    return Sam(
        SamConfig(
            embed_dim=dim,
            depth=blocks,
            num_heads=heads,
            mlp_dim=mlp_dim,
            activation="gelu",
            norm_eps=1e-6,
            neck_eps=1e-6,
            neck_dim=NECK,
            in_channels=1,
            patch_size=(patch, patch),
            position_grid=(extent // patch, extent // patch),
            window_size=WINDOW,
            global_blocks=tuple(range(2, blocks, 3)),
            qkv_bias=True,
            patch_depth=patch,
            volume=(patch, extent, extent),
            depth_window=WINDOW,
        )
    )


class NoNeck(nn.Module):
    """In the place of our neck: tokens as they are."""

    def forward(self, x: Tensor, _: Triple) -> Tensor:
        """Those of the blocks."""
        return x


class SamBlocks(nn.Module):
    """Timm's SAM encoder from the tokens of ours on, with its weights.

    Args:
        ours: The network whose tokens and weights it takes; one token deep.
    """

    def __init__(self, ours: Sam) -> None:
        super().__init__()
        config, (_, self.height, self.width) = ours.config, ours.grid_size
        theirs = VisionTransformerSAM(
            img_size=config.volume[1:], patch_size=config.patch_size, num_classes=0,
            embed_dim=config.embed_dim, depth=config.depth, num_heads=config.num_heads,
            mlp_ratio=config.mlp_dim / config.embed_dim, use_rel_pos=True,
            norm_layer=partial(nn.LayerNorm, eps=config.norm_eps), window_size=WINDOW,
            global_attn_indexes=config.global_blocks, neck_chans=config.neck_dim,
        )  # fmt: skip
        names = {"neck.conv1": "neck.0", "neck.norm1": "neck.1", "neck.conv2": "neck.2",
                 "neck.norm2": "neck.3"}  # fmt: skip
        weights = {}
        for name, tensor in ours.state_dict().items():
            for own, other in names.items():
                name = name.replace(own, other)
            if name.startswith("neck.") and tensor.ndim == 5:
                tensor = tensor[:, :, tensor.shape[2] // 2]
            if name.startswith(("blocks.", "neck.")) and not name.endswith("rel_pos_d"):
                weights[name] = tensor
        result = theirs.load_state_dict(weights, strict=False)
        left = [name for name in result.missing_keys if name.startswith(("blocks.", "neck."))]
        if left or result.unexpected_keys:
            raise SystemExit(f"weights not copied to timm: {left} {result.unexpected_keys}")
        self.blocks, self.neck = theirs.blocks, theirs.neck
        self.stem = copy.deepcopy(ours)  # makes the tokens alone
        self.stem.blocks, self.stem.neck = nn.ModuleList(), NoNeck()

    def forward(self, volume: Tensor) -> Tensor:
        """All tokens after the neck."""
        x = self.stem.forward_features(volume).unflatten(1, (self.height, self.width))
        x = self.neck(self.blocks(x).permute(0, 3, 1, 2))
        return torch.flatten(x, 2).mT
