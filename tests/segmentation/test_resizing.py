"""Resizing of feature maps, against torch's interpolation."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from inflate_zoo.segmentation.resizing import pool_plane, resize, resize_plane

SIZES = st.tuples(*[st.integers(1, 9)] * 3)


@settings(max_examples=30)
@given(old=SIZES, new=SIZES)
def test_resizing_is_trilinear_interpolation(old, new):
    x = torch.randn(2, 3, *old, dtype=torch.float64)
    expected = F.interpolate(x, size=new, mode="trilinear", align_corners=False)
    torch.testing.assert_close(resize(x, new), expected)
    half = resize(x.bfloat16(), new)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.double(), expected, atol=0.1, rtol=0.05)


def test_what_prediction_made_first_can_be_trained_with():
    x = torch.randn(1, 2, 3, 4, 17)
    with torch.inference_mode():
        expected = resize(x, (6, 5, 2))
    x.requires_grad_()
    got = resize(x, (6, 5, 2))
    torch.testing.assert_close(got, expected.clone())
    slope = torch.randn_like(got)
    plain = F.interpolate(x, size=(6, 5, 2), mode="trilinear")
    torch.testing.assert_close(
        torch.autograd.grad(got, x, slope), torch.autograd.grad(plain, x, slope)
    )


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
@pytest.mark.parametrize("size", [(5, 8), (1, 3), (12, 6)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_pooling_and_resizing_are_torchs(parts, size, layout):
    x = torch.randn(2, 3, *size).contiguous(memory_format=layout)
    pooled = pool_plane(x, parts)
    torch.testing.assert_close(pooled, F.adaptive_avg_pool2d(x, parts))
    assert pooled.is_contiguous(memory_format=layout)
    for target in ((7, 7), (2, 30), size):
        expected = F.interpolate(x, target, mode="bilinear")
        resized = resize_plane(x, target)
        torch.testing.assert_close(resized, expected)
        assert resized.is_contiguous(memory_format=layout)
