"""Floating-point operations against those of the paper."""

import torch

from inflate_zoo.bench.scoring.flops import encoder_flops
from inflate_zoo.networks.backbone import Backbone
from inflate_zoo.segmentation.segmenter import segmenter
from tests.segmentation.test_segmenter import config


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
