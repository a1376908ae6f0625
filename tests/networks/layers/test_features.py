"""Which maps are asked for, and how they lie: as timm says it."""

import pytest
import torch
from timm.models._features import feature_take_indices

from inflate_zoo.networks.layers.features import laid_out, require_layout, taken


@pytest.mark.parametrize("indices", [None, 1, 3, 5, [0], [4, 0], [-1, -5], (2, -3, 2)], ids=str)
def test_what_is_taken_is_what_timm_takes(indices):
    assert taken(indices, 5, "block") == sorted(feature_take_indices(5, indices, as_set=True)[0])


def test_nothing_asked_for_is_nothing_taken():
    assert taken([], 5, "block") == []


@pytest.mark.parametrize(
    "indices, message",
    [
        ([0, 3, -4], r"block indices \[3, -4\] are out of range for 3 blocks"),
        (4, "the last 4 blocks are out of range for 3 blocks"),
        (0, "the last 0 blocks are out of range for 3 blocks"),
    ],
)
def test_what_is_out_of_range_is_named(indices, message):
    with pytest.raises(ValueError, match=message):
        taken(indices, 3, "block")


def test_tokens_lie_in_depth_height_width_order():
    tokens = torch.arange(2 * 12 * 3.0).view(2, 12, 3)
    assert laid_out(tokens, (1, 3, 4), "NLC") is tokens
    assert torch.equal(laid_out(tokens, (1, 3, 4), "NCHW"), tokens.mT.reshape(2, 3, 1, 3, 4))


def test_another_layout_is_refused():
    require_layout("NCHW")
    require_layout("NLC")
    with pytest.raises(ValueError, match="output_fmt 'NHWC' is neither 'NCHW' nor 'NLC'"):
        require_layout("NHWC")
