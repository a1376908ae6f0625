"""Patches in a segmenter's volume."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inflate_zoo.networks.backbone import Backbone
from inflate_zoo.nnunet.framing import Framed, padded
from inflate_zoo.segmentation.segmenter import segmenter
from tests.support.checkpoints import randomize
from tests.support.networks import SMALL

sides = st.tuples(*[st.integers(1, 300)] * 3)


@given(patch=sides, stride=sides)
def test_the_volume_is_the_least_that_holds_the_patch_and_that_the_stride_divides(patch, stride):
    volume = padded(patch, stride)
    for extent, full, step in zip(patch, volume, stride, strict=True):
        assert full % step == 0
        assert full - step < extent <= full


@pytest.fixture(scope="module")
def network():
    """Of volumes of 4 x 16 x 24 voxels, patches of 2 x 8 x 8."""
    config = SMALL["inflated_vit"].config
    backbone = Backbone(config)
    made = segmenter(backbone, classes=3, decoder="linear")
    return randomize(made).eval()


def test_a_patch_that_fills_the_volume_is_left_as_it_is(network):
    x = torch.randn(2, network.config.backbone.in_channels, *network.volume)
    with torch.inference_mode():
        assert torch.equal(Framed(network, network.volume)(x), network(x))


def test_a_smaller_patch_is_padded_with_zeros_behind_and_cut_back(network):
    missing = (1, 0, 3)
    patch = tuple(side - less for side, less in zip(network.volume, missing, strict=True))
    depth, height, width = patch
    x = torch.randn(2, network.config.backbone.in_channels, *patch)
    whole = torch.from_numpy(np.pad(x.numpy(), [(0, n) for n in (0, 0, *missing)]))
    with torch.inference_mode():
        found = Framed(network, patch)(x)
        expected = network(whole)[:, :, :depth, :height, :width]
    assert found.shape == (2, 3, *patch)
    assert torch.equal(found, expected)


def test_every_parameter_that_is_trained_gets_a_gradient(network):
    patch = tuple(side - 1 for side in network.volume)
    framed = Framed(network, patch)
    framed(torch.randn(1, network.config.backbone.in_channels, *patch)).square().mean().backward()
    assert [n for n, p in framed.named_parameters() if p.requires_grad == (p.grad is None)] == []
