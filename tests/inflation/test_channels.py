import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from inflate_zoo.inflation.channels import (
    fold_scale,
    fold_shift,
    fold_shift_by_place,
    to_channels,
    tree_sum,
)
from inflate_zoo.inflation.schemes import SCHEMES

MEAN, STD = [0.48, 0.45, 0.40], [0.26, 0.25, 0.31]
DEPTH, HEIGHT, WIDTH = 4, 3, 5
few = settings(max_examples=20)


def random(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def intensities(seed, *shape):
    return random(seed, *shape).sigmoid()


@few
@given(count=st.integers(1, 40), seed=st.integers(0, 99))
def test_tree_sum_is_the_sum(count, seed):
    values = random(seed, 2, 3, count)
    before = values.clone()
    torch.testing.assert_close(tree_sum(values), values.sum(-1))
    assert torch.equal(values, before)


@pytest.mark.parametrize("count", [1, 3, 8, 255, 768])
def test_tree_sum_has_the_same_bits_for_any_thread_count_and_memory_layout(count):
    values = random(4, 64, 9, count)
    expected = tree_sum(values)
    layouts = {
        "transposed": values.permute(2, 0, 1).contiguous().permute(1, 2, 0),
        "strided": torch.stack([values, values + 1], dim=-1)[..., 0],
    }
    threads = torch.get_num_threads()
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            assert torch.equal(tree_sum(values), expected)
            for name, layout in layouts.items():
                assert torch.equal(tree_sum(layout), expected), name
    finally:
        torch.set_num_threads(threads)


def test_tree_sum_adds_in_a_fixed_order():
    values = torch.tensor([1e16, 1.0, -1e16, 1.0, 3.0], dtype=torch.float64)
    # Halves: (1e16 + -1e16 + 3) + (1 + 1); from left to right it would be 4.
    assert tree_sum(values).item() == 5.0


@few
@given(seed=st.integers(0, 99), channels=st.integers(1, 6))
def test_other_channel_counts_are_exact_where_all_channels_are_equal(seed, channels):
    kernel, grey = random(seed, 7, 3, DEPTH, HEIGHT, WIDTH), random(9, 2, 1, DEPTH, 8, 11)
    adapted = to_channels(kernel, channels)
    assert adapted.shape == (7, channels, DEPTH, HEIGHT, WIDTH)
    expected = F.conv3d(grey.repeat(1, 3, 1, 1, 1), kernel)
    got = F.conv3d(grey.repeat(1, channels, 1, 1, 1), adapted)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("old, new", [(1, 4), (3, 1), (3, 2), (4, 3)])
def test_new_channels_get_equal_shares_of_the_sum(old, new):
    kernel = random(3, 7, old, HEIGHT, WIDTH)
    before = kernel.clone()
    adapted = to_channels(kernel, new)
    for channel in range(new):
        torch.testing.assert_close(adapted[:, channel], kernel.sum(1) / new)
    adapted.zero_()
    assert torch.equal(kernel, before)


def test_the_same_number_of_channels_is_returned_as_it_is():
    kernel = random(3, 7, 3, DEPTH, HEIGHT, WIDTH)
    assert to_channels(kernel, 3) is kernel


@pytest.mark.parametrize("name", sorted(SCHEMES))
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_folding_equals_normalising_before_the_unfolded_convolution(name, with_bias, channels):
    kernel, bias = random(1, 7, 3, HEIGHT, WIDTH), random(2, 7) if with_bias else None
    inflated = SCHEMES[name](kernel, DEPTH)
    if channels == 3:  # colour; other counts are defined by equal channels
        volume = rgb = intensities(5, 2, 3, DEPTH, 8, 11)
    else:
        grey = intensities(5, 2, 1, DEPTH, 8, 11)
        volume, rgb = grey.repeat(1, channels, 1, 1, 1), grey.repeat(1, 3, 1, 1, 1)
    mean, std = rgb.new_tensor(MEAN).view(1, 3, 1, 1, 1), rgb.new_tensor(STD).view(1, 3, 1, 1, 1)

    folded = fold_scale(inflated, STD)
    shifted = fold_shift(folded, bias, MEAN)
    got = F.conv3d(volume, to_channels(folded, channels), shifted)

    torch.testing.assert_close(got, F.conv3d((rgb - mean) / std, inflated, bias))


@pytest.mark.parametrize(
    "name, times", [("average", 1), ("center", 1), ("repeat", DEPTH), ("taper", 1)]
)
def test_a_folded_stem_gives_equal_slices_the_2d_response_on_the_normalised_image(name, times):
    kernel, bias, image = random(1, 7, 3, HEIGHT, WIDTH), random(2, 7), intensities(5, 2, 3, 8, 11)
    mean, std = image.new_tensor(MEAN).view(3, 1, 1), image.new_tensor(STD).view(3, 1, 1)
    folded = fold_scale(SCHEMES[name](kernel, DEPTH), STD)
    volume = image.unsqueeze(2).repeat(1, 1, DEPTH, 1, 1)
    got = F.conv3d(volume, folded, fold_shift(folded, bias, MEAN)).squeeze(2)
    expected = times * F.conv2d((image - mean) / std, kernel) + bias.view(1, -1, 1, 1)
    torch.testing.assert_close(got, expected)


def test_a_float16_bias_is_folded_in_float64():
    folded = fold_scale(random(1, 7, 3, DEPTH, HEIGHT, WIDTH), STD)
    bias = random(2, 7).half()
    assert fold_shift(folded, bias, MEAN).dtype == torch.float64
    torch.testing.assert_close(
        fold_shift(folded, bias, MEAN), bias.double() + fold_shift(folded, None, MEAN)
    )


@pytest.mark.parametrize("channels", [1, 4])
def test_statistics_of_another_number_of_channels_are_refused(channels):
    kernel = random(1, 7, channels, DEPTH, HEIGHT, WIDTH)
    with pytest.raises(RuntimeError):
        fold_scale(kernel, STD)
    with pytest.raises(RuntimeError):
        fold_shift(kernel, None, MEAN)


@pytest.mark.parametrize("depth", [1, 3])
def test_a_shift_by_place_takes_the_mean_of_what_a_kernel_sees(depth):
    kernel, image = random(3, 7, 3, depth, 3, 5), random(4, 2, 3, depth, 9, 8)
    mean, std = (0.5, 0.4, 0.2), (0.25, 0.5, 0.75)
    folded = fold_scale(kernel, std)
    shift = fold_shift_by_place(folded, mean)
    assert (shift.shape, shift.dtype) == ((7, 3, 5), torch.float64)
    centre, spread = (image.new_tensor(v).view(3, 1, 1, 1) for v in (mean, std))
    expected = F.conv3d((image - centre) / spread, kernel, padding=(0, 1, 2))
    seen = F.conv2d(image.new_ones(1, 1, 9, 8), shift.unsqueeze(1), padding=(1, 2))
    got = F.conv3d(image, folded, padding=(0, 1, 2)) - seen.unsqueeze(2)
    torch.testing.assert_close(got, expected)
