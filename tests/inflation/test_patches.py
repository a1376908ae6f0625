"""Another patch for a kernel, held against dense algebra, timm and resized images."""

import decimal

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import resample_patch_embed

from inflate_zoo.inflation.patches import pseudo_inverse, resize_patch

few = settings(max_examples=25, deadline=None)
sides = st.integers(2, 16)  # torch 2.14 resizes images that are one pixel wide wrongly


def random(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def resized(images, size):
    """What torch makes of images: bicubic, antialiased."""
    return F.interpolate(images, size=size, mode="bicubic", antialias=True)


def dense(kernel, size):
    """(B^T)^+ W by torch, B from the pictures of single pixels."""
    old = tuple(kernel.shape[2:])
    pixels = torch.eye(old[0] * old[1], dtype=torch.float64).view(-1, 1, *old)
    matrix = resized(pixels, size).flatten(1).t()
    return (kernel.flatten(2) @ torch.linalg.pinv(matrix)).view(*kernel.shape[:2], *size)


@few
@given(old=st.tuples(sides, sides), new=st.tuples(sides, sides))
def test_it_is_the_pseudo_inverse_of_resizing_images(old, new):
    kernel = random(1, 3, 2, *old)
    torch.testing.assert_close(resize_patch(kernel, new), dense(kernel, new), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "old, new", [((14, 14), (8, 8)), ((14, 14), (16, 16)), ((16, 16), (14, 14)), ((8, 4), (6, 12))]
)
def test_timm_resizes_a_stem_alike(old, new):
    kernel = random(2, 5, 3, *old)
    expected = resample_patch_embed(kernel, list(new))
    assert resize_patch(kernel, new).shape == (5, 3, *new)
    torch.testing.assert_close(resize_patch(kernel, new), expected, rtol=0, atol=1e-4)


@few
@given(old=st.tuples(sides, sides), more=st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_on_a_patch_that_is_made_larger_it_answers_what_the_kernel_did(old, more):
    new = (old[0] + more[0], old[1] + more[1])
    kernel, patches = random(3, 4, 2, *old), random(4, 3, 2, *old)
    got = F.conv2d(resized(patches, new), resize_patch(kernel, new))
    torch.testing.assert_close(got, F.conv2d(patches, kernel), rtol=0, atol=1e-10)


def test_on_a_smaller_patch_no_kernel_answers_more_alike():
    kernel, new = random(5, 1, 1, 14, 14), (8, 10)
    patches = random(6, 4000, 1, 14, 14)
    seen = resized(patches, new)

    def error(candidate):
        return (F.conv2d(seen, candidate) - F.conv2d(patches, kernel)).square().mean()

    best = resize_patch(kernel, new)
    # By least squares on the very patches: what is left is what resizing loses.
    fitted = torch.linalg.lstsq(seen.flatten(1), F.conv2d(patches, kernel).flatten(1)).solution
    assert error(best) < 1.1 * error(fitted.view(1, 1, *new))
    assert error(best) < error(resized(kernel, new))  # a kernel is no image


def test_the_size_it_has_gives_the_kernel_itself():
    kernel = random(7, 4, 2, 8, 6)
    assert resize_patch(kernel, (8, 6)) is kernel


def test_it_is_linear_and_leaves_its_input_alone():
    kernel, other = random(8, 4, 2, 8, 6), random(9, 4, 2, 8, 6)
    before = kernel.clone()
    both = resize_patch(kernel + 3 * other, (5, 9))
    torch.testing.assert_close(both, resize_patch(kernel, (5, 9)) + 3 * resize_patch(other, (5, 9)))
    assert torch.equal(kernel, before)


def test_its_bits_depend_on_neither_threads_nor_memory_layout_nor_the_decimal_context():
    kernel = random(10, 64, 3, 14, 14)
    expected = resize_patch(kernel, (16, 8))
    strided = torch.stack([kernel, kernel + 1], dim=-1)[..., 0]
    turned = kernel.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0)
    threads = torch.get_num_threads()
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            for layout in (kernel, strided, turned):
                assert torch.equal(resize_patch(layout, (16, 8)), expected)
    finally:
        torch.set_num_threads(threads)
    pseudo_inverse.cache_clear()
    with decimal.localcontext(decimal.Context(prec=3)):
        assert torch.equal(resize_patch(kernel, (16, 8)), expected)
    found = [value.hex() for value in pseudo_inverse(2, 3)[0]]
    assert found == ["0x1.8ce63398ce634p-1", "-0x1.bc86f21bc86f2p-4"]


@pytest.mark.parametrize("old, new", [(32, 8), (8, 32), (14, 56), (16, 64)])
def test_the_farthest_sizes_stay_well_behaved(old, new):
    found = torch.tensor(pseudo_inverse(old, new), dtype=torch.float64)
    assert found.shape == (new, old)
    assert found.abs().max() < 8
    assert found.isfinite().all()
