"""Floating-point operations against those of the paper."""

import pytest
import torch

from inflate_zoo.bench.scoring.flops import encoder_flops
from inflate_zoo.networks.backbone import Backbone
from inflate_zoo.networks.beit.config import BeitConfig
from inflate_zoo.segmentation.segmenter import segmenter
from tests.segmentation.test_segmenter import config

BEIT_B = {
    "embed_dim": 768, "depth": 12, "num_heads": 12, "mlp_dim": 3072, "activation": "gelu",
    "norm_eps": 1e-12, "in_channels": 1, "patch_size": (16, 16), "position_grid": (32, 32),
    "block_tables": True, "shared_table": False, "table_resizing": "bilinear", "qv_bias": True,
    "layer_scale": True, "stem_bias": True, "final_norm": "pooled", "pool": "mean",
}  # fmt: skip


def test_flops_of_a_vit_b_are_those_the_paper_counted():
    for depth, counted in ((5, 214_954_014_720), (1, 213_343_401_984)):
        with torch.device("meta"):
            inner = Backbone(
                config(
                    blocks=12, embed_dim=768, num_heads=12, mlp_dim=3072, in_channels=1,
                    patch_size=(16, 16), position_grid=(32, 32), patch_depth=depth,
                    volume=(depth, 512, 512),
                )
            )  # fmt: skip
            network = segmenter(inner, classes=14, decoder="upernet", features=8)
            assert encoder_flops(network, (1, depth, 512, 512)) == counted


@pytest.mark.parametrize("depth, counted", [(5, 214_954_014_720), (1, 213_343_401_984)])
def test_flops_of_beit_b_at_512_are_those_the_paper_counted(depth, counted):
    with torch.device("meta"):
        beit = BeitConfig(**BEIT_B, patch_depth=depth, volume=(depth, 512, 512))
        network = segmenter(Backbone(beit), classes=14, decoder="upernet", features=8)
        assert encoder_flops(network, (1, depth, 512, 512)) == counted
