"""A small network of every kind, and a 2D source that becomes one: a row each.

What every network must do is asked of these rows in `tests/whole/test_every_network.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from inflate_zoo.networks.aimv2.config import Aimv2Config
from inflate_zoo.networks.backbone import Backbone
from inflate_zoo.networks.base import BackboneConfig
from inflate_zoo.networks.beit.config import BeitConfig
from inflate_zoo.networks.dinov3.config import Dinov3Config
from inflate_zoo.networks.eva02.config import Eva02Config
from inflate_zoo.networks.hiera.config import HieraConfig
from inflate_zoo.networks.sam.config import SamConfig
from inflate_zoo.networks.swin.config import SwinConfig
from inflate_zoo.networks.swinv2.config import SwinV2Config
from inflate_zoo.networks.vit.config import VitConfig
from tests.networks.aimv2.test_network import PLAIN as AIMV2
from tests.networks.beit.test_network import PLAIN as BEIT
from tests.networks.dinov3.test_network import PLAIN as DINOV3
from tests.networks.eva02.test_network import PLAIN as EVA02
from tests.networks.hiera.test_config import FORM as SAM2
from tests.networks.sam.test_config import FORM as SAM
from tests.networks.swin.test_config import FORM as SWIN
from tests.networks.swinv2.test_config import FORM as SWINV2
from tests.networks.vit.test_network import CLS_REG
from tests.networks.vit.test_network import PLAIN as VIT
from tests.support.checkpoints import randomize, save_timm, save_transformers
from tests.support.trials import VIT as TINY_VIT

TINY_TIMM = {
    "embed_dim": 16, "depth": 3, "num_heads": 2, "mlp_ratio": 1.0, "patch_size": 4, "img_size": 8,
}  # fmt: skip
TINY_SAM = {
    "image_size": 8, "patch_size": 2, "num_hidden_layers": 2, "hidden_size": 16,
    "num_attention_heads": 2, "output_channels": 8, "mlp_dim": 24,
}  # fmt: skip
TINY_SAM2 = {
    "image_size": [8, 8], "patch_stride": 2, "patch_kernel_size": 3, "patch_padding": 1,
    "embed_dim_per_stage": [8, 16], "hidden_size": 8, "blocks_per_stage": [1, 2],
    "num_attention_heads_per_stage": [1, 2], "window_size_per_stage": [2, 2],
    "global_attention_blocks": [2], "num_query_pool_stages": 1,
}  # fmt: skip
TINY_SWIN = {
    "image_size": 8, "patch_size": 2, "depths": [1, 2], "num_heads": [2, 2], "window_size": 2,
    "embed_dim": 8,
}  # fmt: skip


@dataclass(frozen=True)
class Small:
    """A row.

    Attributes:
        config: Of volumes whose sides differ, several tokens deep.
        save: Writes the 2D source that `tests.support.trials` can train, into a folder.
    """

    config: BackboneConfig
    save: Callable[[Path], Path]

    def network(self, volume: tuple[int, int, int] | None = None) -> Backbone:
        """Random weights in every tensor; in evaluation."""
        return randomize(Backbone(self.config.for_volume(volume)))

    def volumes(self, batch: int = 2, depth: int | None = None) -> torch.Tensor:
        """Random volumes of the config's size, or of another depth in voxels."""
        own, *plane = self.config.volume
        generator = torch.Generator().manual_seed(1)
        shape = (batch, self.config.in_channels, own if depth is None else depth, *plane)
        return torch.rand(shape, generator=generator)


SMALL: dict[str, Small] = {
    "inflated_vit": Small(
        VitConfig(**VIT | CLS_REG), lambda folder: save_transformers("vit", folder, **TINY_VIT)
    ),
    "inflated_beit": Small(
        BeitConfig(**BEIT), lambda folder: save_transformers("beit", folder, **TINY_VIT)
    ),
    "inflated_dinov3": Small(
        Dinov3Config(**DINOV3), lambda folder: save_transformers("dinov3_gated", folder, **TINY_VIT)
    ),
    "inflated_eva02": Small(
        Eva02Config(**EVA02), lambda folder: save_timm("eva02_timm_split", folder, **TINY_TIMM)
    ),
    "inflated_swin": Small(
        SwinConfig(**SWIN | {"volume": (10, 16, 24)}),
        lambda folder: save_transformers("swin", folder, **TINY_SWIN),
    ),
    "inflated_swinv2": Small(
        SwinV2Config(**SWINV2 | {"volume": (10, 16, 24)}),
        lambda folder: save_transformers("swinv2", folder, **TINY_SWIN),
    ),
    "inflated_aimv2": Small(
        Aimv2Config(**AIMV2), lambda folder: save_transformers("aimv2_native", folder, **TINY_VIT)
    ),
    "inflated_sam": Small(
        SamConfig(**SAM), lambda folder: save_transformers("sam_vision", folder, **TINY_SAM)
    ),
    "inflated_hiera": Small(
        HieraConfig(**SAM2 | {"volume": (10, 12, 16)}),
        lambda folder: save_transformers("sam2_hiera", folder, **TINY_SAM2),
    ),
}
