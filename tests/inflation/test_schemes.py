import decimal
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from inflate_zoo.inflation.schemes import SCHEMES

EXACT = ["average", "center", "taper"]
few = settings(max_examples=15)


def random(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@st.composite
def kernels(draw):
    """Float64 kernels (out, in, height, width) whose extents all differ, and from the depth too."""
    height, width, depth = draw(st.permutations([2, 3, 4, 5]).map(lambda sizes: sizes[:3]))
    out, channels = draw(st.sampled_from([(6, 3), (7, 1), (1, 2)]))
    return random(draw(st.integers(0, 99)), out, channels, height, width), depth


def image_for(kernel, *depth):
    height, width = kernel.shape[2:]
    return random(5, 2, kernel.shape[1], *depth, 2 * height + 1, 3 * width + 2)


def gaussian(depth):
    """Plain arithmetic: the Gaussian's heights at the slices' middles, over their sum."""
    heights = [math.exp(-(((d - (depth - 1) / 2) / (depth / 4)) ** 2) / 2) for d in range(depth)]
    return [height / math.fsum(heights) for height in heights]


def strides(kernel):
    return tuple(kernel.shape[2:])


@pytest.mark.parametrize("name", EXACT)
@few
@given(drawn=kernels())
def test_a_stack_of_equal_slices_gives_the_2d_response(name, drawn):
    kernel, depth = drawn
    image = image_for(kernel)
    volume = image.unsqueeze(2).repeat(1, 1, depth, 1, 1)
    got = F.conv3d(volume, SCHEMES[name](kernel, depth), stride=(depth, *strides(kernel)))
    torch.testing.assert_close(got.squeeze(2), F.conv2d(image, kernel, stride=strides(kernel)))


@few
@given(drawn=kernels())
def test_repeat_gives_depth_times_the_2d_response_bias_aside(drawn):
    kernel, depth = drawn
    image, bias = image_for(kernel), random(8, kernel.shape[0])
    volume = image.unsqueeze(2).repeat(1, 1, depth, 1, 1)
    got = F.conv3d(volume, SCHEMES["repeat"](kernel, depth), bias).squeeze(2)
    expected = depth * F.conv2d(image, kernel) + bias.view(1, -1, 1, 1)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("name", sorted(SCHEMES))
@few
@given(drawn=kernels())
def test_on_any_volume_the_response_is_that_to_one_slice(name, drawn):
    kernel, depth = drawn
    volume = image_for(kernel, depth)
    slice_2d = {
        "center": volume[:, :, depth // 2],
        "average": volume.mean(2),
        "repeat": depth * volume.mean(2),
        "taper": sum(w * volume[:, :, d] for d, w in enumerate(gaussian(depth))),
    }[name]
    weights = volume.new_tensor(SCHEMES[name].weights(depth)).view(-1, 1, 1)
    torch.testing.assert_close((weights * volume).sum(2), slice_2d)
    got = F.conv3d(volume, SCHEMES[name](kernel, depth)).squeeze(2)
    torch.testing.assert_close(got, F.conv2d(slice_2d, kernel))


@pytest.mark.parametrize("name", sorted(SCHEMES))
@few
@given(drawn=kernels(), factor=st.floats(-3, 3))
def test_linear_in_the_kernel(name, drawn, factor):
    kernel, depth = drawn
    other, scheme = random(77, *kernel.shape), SCHEMES[name]
    torch.testing.assert_close(
        scheme(kernel + factor * other, depth),
        scheme(kernel, depth) + factor * scheme(other, depth),
    )


@pytest.mark.parametrize("name", sorted(SCHEMES))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("depth", [1, 2, 3, 7])
def test_shape_type_and_an_untouched_input(name, dtype, depth):
    kernel = random(1, 6, 3, 4, 5).to(dtype)
    before = kernel.clone()
    inflated = SCHEMES[name](kernel, depth)
    assert inflated.shape == (6, 3, depth, 4, 5)
    assert inflated.dtype == dtype
    inflated.zero_()
    assert torch.equal(kernel, before)


@pytest.mark.parametrize("name", sorted(SCHEMES))
def test_one_slice_is_the_kernel_itself(name):
    kernel = random(2, 6, 3, 4, 5)
    assert torch.equal(SCHEMES[name](kernel, 1).squeeze(2), kernel)


@pytest.mark.parametrize("depth, middle", [(2, 1), (3, 1), (4, 2), (5, 2)])
def test_center_fills_one_slice_the_one_after_the_midpoint_if_even(depth, middle):
    kernel = random(3, 6, 3, 4, 5)
    inflated = SCHEMES["center"](kernel, depth)
    assert inflated.abs().sum((0, 1, 3, 4)).nonzero().flatten().tolist() == [middle]
    assert torch.equal(inflated[:, :, middle], kernel)


@few
@given(depth=st.integers(1, 1024))
def test_a_taper_is_a_gaussian_a_quarter_of_the_depth_wide(depth):
    weights = SCHEMES["taper"].weights(depth)
    assert weights == pytest.approx(gaussian(depth), rel=1e-12)
    assert math.fsum(weights) == pytest.approx(1, abs=1e-15)


@few
@given(depth=st.integers(1, 1024))
def test_a_taper_is_symmetric_and_falls_from_the_middle(depth):
    weights = SCHEMES["taper"].weights(depth)
    assert weights == weights[::-1]
    half = weights[depth // 2 :]
    assert all(near > far > 0 for near, far in itertools.pairwise(half))
    assert max(weights) < 1 or depth == 1  # neighbours are seen


@few
@given(drawn=kernels())
def test_the_slices_of_a_tapered_kernel_add_up_to_the_kernel(drawn):
    kernel, depth = drawn
    tapered = SCHEMES["taper"](kernel, depth)
    torch.testing.assert_close(tapered.sum(2), kernel, rtol=0, atol=1e-14)
    law = kernel.new_tensor(SCHEMES["taper"].weights(depth)).view(-1, 1, 1)
    assert torch.equal(tapered, kernel[:, :, None] * law)


def test_a_taper_has_the_same_bits_on_every_machine_and_in_every_context():
    expected = ["0x1.136561454ba86p-3", "0x1.764d4f5d5a2bdp-2"]
    with decimal.localcontext(decimal.Context(prec=3)):
        found = SCHEMES["taper"].weights(4)
    assert [value.hex() for value in found[:2]] == expected


def test_the_registry_cannot_be_changed():
    with pytest.raises(TypeError):
        SCHEMES["mine"] = SCHEMES["center"]
