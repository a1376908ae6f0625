"""DINOv3 of ours, and timm's own blocks on its tokens with its weights, for forward.py."""

import copy
import math

import torch
from timm.models.eva import Eva
from torch import Tensor, nn

from inflate_zoo.networks.dinov3.config import Dinov3Config
from inflate_zoo.networks.dinov3.network import Dinov3

THETA, REGISTERS = 100.0, 4


def build_dinov3(
    extent: int, patch: int, dim: int, mlp_dim: int, blocks: int, heads: int
) -> Dinov3:
    """Our DINOv3 on cubes, with biases of query and value; random weights."""
    return Dinov3(
        Dinov3Config(
            embed_dim=dim,
            depth=blocks,
            num_heads=heads,
            gated=False,
            mlp_dim=mlp_dim,
            activation="gelu",
            norm_eps=1e-5,
            rotary_theta=THETA,
            in_channels=1,
            patch_size=(patch, patch),
            image_grid=(extent // patch, extent // patch),
            reg_tokens=REGISTERS,
            qv_bias=True,
            pool="cls",
            patch_depth=patch,
            volume=(extent, extent, extent),
        )
    )


class EvaBlocks(nn.Module):
    """Timm's DINOv3 blocks: its rotary table tiled over depth, log D on the prefix keys as a mask.

    Args:
        ours: The network whose tokens and weights they take.
    """

    def __init__(self, ours: Dinov3) -> None:
        super().__init__()
        config, (depth, height, width) = ours.config, ours.grid_size
        eva = Eva(
            img_size=(height * config.patch_size[0], width * config.patch_size[1]),
            patch_size=config.patch_size, num_classes=0, embed_dim=config.embed_dim,
            depth=config.depth, num_heads=config.num_heads,
            mlp_ratio=config.mlp_dim / config.embed_dim, init_values=1.0, num_reg_tokens=REGISTERS,
            use_abs_pos_emb=False, use_rot_pos_emb=True, rope_type="dinov3",
            rope_temperature=config.rotary_theta, rope_rotate_half=True, use_fc_norm=False,
        )  # fmt: skip
        for module in eva.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = config.norm_eps
        weights = {
            name.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): tensor
            for name, tensor in ours.state_dict().items()
            if name.startswith(("blocks.", "norm."))
        }
        result = eva.load_state_dict(weights, strict=False)
        left = [name for name in result.missing_keys if name.startswith(("blocks.", "norm."))]
        if left or result.unexpected_keys:
            raise SystemExit(f"weights not copied to timm: {left} {result.unexpected_keys}")
        self.blocks, self.norm = eva.blocks, eva.norm
        self.stem = copy.deepcopy(ours)  # makes the tokens alone
        self.stem.blocks, self.stem.norm = nn.ModuleList(), nn.Identity()
        patches, prefix = depth * height * width, ours.num_prefix_tokens
        mask = torch.zeros(1, 1, 1, prefix + patches)
        mask[..., :prefix] = math.log(depth)
        self.register_buffer("mask", mask)
        self.register_buffer("rope", eva.rope.get_embed().repeat(depth, 1))

    def forward(self, volume: Tensor) -> Tensor:
        """All tokens after the final norm."""
        x = self.stem.forward_features(volume)
        for block in self.blocks:
            x = block(x, rope=self.rope, attn_mask=self.mask)
        return self.norm(x)
