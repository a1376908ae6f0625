"""Resizing of feature maps, against torch's interpolation."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from inflate_zoo.segmentation.resizing import convolve_planes, pool_plane, resize, resize_plane

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


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_batch_without_planes_is_resized_and_pooled_to_none(layout):
    # Of one position in the plane: any layout is both, so that channels are last.
    x = torch.zeros(0, 3, 1, 1).contiguous(memory_format=layout)
    assert pool_plane(x, 2).shape == (0, 3, 2, 2)
    assert resize_plane(x, (4, 5)).shape == (0, 3, 4, 5)
    assert resize(x.unsqueeze(2), (2, 3, 4)).shape == (0, 3, 2, 3, 4)
    kernel = torch.ones(2, 3, 3, 3)
    assert convolve_planes([x], kernel, (4, 5)).shape == (0, 2, 4, 5)


PLANES = st.tuples(*[st.integers(1, 7)] * 2)


@settings(max_examples=40)
@given(
    sizes=st.lists(PLANES, min_size=1, max_size=4),
    target=PLANES,
    kernel=st.sampled_from([(1, 1), (3, 3), (1, 3), (5, 3)]),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
def test_maps_are_convolved_as_if_resized_and_joined_first(sizes, target, kernel, layout):
    maps = [
        torch.randn(2, width, *size, dtype=torch.float64).contiguous(memory_format=layout)
        for width, size in enumerate(sizes, 2)
    ]
    inner = sum(x.shape[1] for x in maps)
    weight = torch.randn(3, inner, *kernel, dtype=torch.float64)
    known = [weight, *maps]
    for tensor in known:
        tensor.requires_grad_()
    got = convolve_planes(maps, weight, target)
    joined = torch.cat([F.interpolate(x, target, mode="bilinear") for x in maps], dim=1)
    expected = F.conv2d(joined, weight, padding=[extent // 2 for extent in kernel])
    torch.testing.assert_close(got, expected)
    slope = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad(got, known, slope), torch.autograd.grad(expected, known, slope)
    )


@pytest.mark.parametrize("grid", [(8, 8), (6, 10)])
def test_channels_of_what_is_convolved_are_last(grid):
    maps = [
        torch.randn(2, 4, *size).to(memory_format=torch.channels_last) for size in (grid, (3, 4))
    ]
    weight = torch.randn(5, 8, 3, 3)
    for given_maps in (maps, maps[::-1]):
        found = convolve_planes(given_maps, weight, grid)
        assert found.is_contiguous(memory_format=torch.channels_last)


def test_half_precision_convolves_what_was_resized():
    maps = [torch.randn(2, 16, n, n) for n in (12, 6, 3)]
    weight = torch.randn(8, 48, 3, 3) / 20
    exact = convolve_planes(maps, weight, (12, 12))
    half = convolve_planes([x.bfloat16() for x in maps], weight.bfloat16(), (12, 12))
    with torch.autocast("cpu", torch.bfloat16):
        cast = convolve_planes(maps, weight, (12, 12))
    for found in (half, cast):
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found.float(), exact, atol=0.1, rtol=0.05)
