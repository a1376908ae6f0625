import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from inflate_zoo.inflation.schemes import SCHEMES

EXACT = ["average", "center"]
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


def test_the_registry_cannot_be_changed():
    with pytest.raises(TypeError):
        SCHEMES["mine"] = SCHEMES["center"]
