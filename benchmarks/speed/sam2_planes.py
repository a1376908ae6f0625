"""SAM 2's encoder of ours, and timm's own of the same weights on its slices, for forward.py.

One voxel deep, since timm's takes planes: both then compute the same.
"""

from functools import partial

import torch
from timm.models.hieradet_sam2 import HieraDet
from torch import Tensor, nn

from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.patterns import sources_of
from inflate_zoo.networks.hiera.config import HieraConfig
from inflate_zoo.networks.hiera.network import Hiera

DEPTHS, HEADS = (1, 2, 7, 2), (1, 2, 4, 8)  # of the tiny one
WINDOWS, GLOBAL, TABLE, STRIDE = (8, 4, 14, 7), (5, 7, 9), (7, 7), 32


def build_sam2(extent: int, width: int) -> Hiera:
    """Our encoder of slices of whole tokens of the last stage; random weights."""
    side = max(STRIDE, extent // STRIDE * STRIDE)
    return Hiera(
        HieraConfig(
            embed_dim=width,
            depths=DEPTHS,
            num_heads=HEADS,
            mlp_dims=tuple(4 * width * 2**stage for stage in range(len(DEPTHS))),
            activation="gelu",
            norm_eps=1e-6,
            in_channels=1,
            patch_size=(4, 4),
            kernel=(7, 7),
            image_size=(side, side),
            position_grid=TABLE,
            window_positions=True,
            windows=WINDOWS,
            global_blocks=GLOBAL,
            patch_depth=1,
            volume=(1, side, side),
            depth_window=1,
        )
    )


class Sam2Planes(nn.Module):
    """Timm's SAM 2 encoder with the weights of ours, on the one slice of its volumes.

    Args:
        ours: The network whose weights it takes.
    """

    def __init__(self, ours: Hiera) -> None:
        super().__init__()
        config = ours.config
        self.net = HieraDet(
            in_chans=1, num_classes=0, embed_dim=config.embed_dim, num_heads=config.num_heads[0],
            stages=config.depths, window_spec=config.windows, global_pos_size=config.position_grid,
            global_att_blocks=config.global_blocks,
            norm_layer=partial(nn.LayerNorm, eps=config.norm_eps),
        )  # fmt: skip
        self.net.head = nn.Identity()
        family = families_by_name()["timm_sam2"]
        weights = {}
        with torch.no_grad():
            ours.depth_embed.zero_()
        for name, tensor in ours.state_dict().items():
            if name != "depth_embed":
                like = tensor.squeeze(2) if name == config.stem else tensor
                weights[sources_of(family, "", name)[0]] = like
        self.net.load_state_dict(weights)

    def forward(self, volume: Tensor) -> Tensor:
        """All tokens, [batch, height * width, width of the last stage]."""
        tokens: Tensor = self.net.forward_features(volume.squeeze(2)).flatten(1, 2)
        return tokens
