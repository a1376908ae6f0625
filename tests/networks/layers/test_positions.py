import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from timm.layers import resample_abs_pos_embed
from transformers.models.aimv2.modeling_aimv2 import Aimv2VisionConfig, Aimv2VisionEmbeddings
from transformers.models.siglip2.modeling_siglip2 import Siglip2VisionEmbeddings

from inflate_zoo.networks.layers.positions import (
    RESIZINGS,
    resize_depth,
    resize_in_plane,
    sincos_plane,
)

few = settings(max_examples=20)
sides = st.integers(1, 9)


def random(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("prefix", [0, 1, 5])
@few
@given(grid=st.tuples(sides, sides), target=st.tuples(sides, sides), seed=st.integers(0, 99))
def test_resizing_is_timms(dtype, prefix, grid, target, seed):
    table = random(seed, 1, prefix + grid[0] * grid[1], 6).to(dtype)
    before = table.clone()
    got = resize_in_plane(table, prefix, grid, target)
    expected = resample_abs_pos_embed(
        table, new_size=list(target), old_size=list(grid), num_prefix_tokens=prefix
    )
    assert got.dtype == dtype
    assert torch.equal(got, expected)
    assert torch.equal(got[:, :prefix], before[:, :prefix])
    assert torch.equal(table, before)


@few
@given(side=sides, target=st.tuples(sides, sides), seed=st.integers(0, 99))
def test_bilinear_resizing_is_that_of_siglip_2_naflex(side, target, seed):
    assume(target[1] > 1 or target[0] == 1)  # torch gets that wrong, the way it is asked there
    table = random(seed, 1, side * side, 6)
    got = resize_in_plane(table, 0, (side, side), target, "bilinear")
    plane, rows = table.view(side, side, 6), target[0] * target[1]
    expected = Siglip2VisionEmbeddings.resize_positional_embeddings(
        plane, torch.tensor([target]), max_length=rows
    )
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("resizing", RESIZINGS)
@pytest.mark.parametrize("rows", [1, 2, 3, 9])
@pytest.mark.parametrize("grid", [(2, 2), (3, 5), (7, 1), (8, 8)])
def test_what_becomes_one_token_wide_is_what_becomes_one_token_high(grid, rows, resizing):
    table = random(0, 1, grid[0] * grid[1], 6)
    turned = table.view(1, *grid, 6).transpose(1, 2).reshape(1, -1, 6)
    wide = resize_in_plane(table, 0, grid, (rows, 1), resizing)
    high = resize_in_plane(turned, 0, grid[::-1], (1, rows), resizing)
    torch.testing.assert_close(wide, high, rtol=0, atol=1e-5)


@pytest.mark.parametrize("target", [(3, 5), (7, 2), (4, 4), (12, 9), (8, 8), (8, 5)])
def test_cropped_resizing_is_that_of_radio(target):
    radio = pytest.importorskip("transformers.models.radio.modeling_radio")
    config = radio.RadioConfig(hidden_size=6, patch_size=2, max_img_size=16)
    theirs = radio.RadioPatchEmbeddings(config)
    table = random(1, 1, 64, 6)
    with torch.no_grad():
        theirs.position_embedding.copy_(table)
        expected = theirs._interpolate_position_embedding(target, torch.float32)
    got = resize_in_plane(table, 0, (8, 8), target, "cropped")
    torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_height_comes_before_width():
    table = torch.arange(2.0).repeat_interleave(7).view(1, 14, 1)  # (2, 7): two rows, 0 and 1
    plane = resize_in_plane(table, 0, (2, 7), (2, 3)).view(2, 3)
    torch.testing.assert_close(plane, torch.tensor([[0.0] * 3, [1.0] * 3]))


@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_the_same_grid_is_the_table_itself(prefix):
    table = random(1, 1, prefix + 4 * 7, 6)
    assert resize_in_plane(table, prefix, (4, 7), (4, 7)) is table


def test_equal_counts_are_not_an_equal_grid():
    table = random(1, 1, 12, 6)
    assert not torch.equal(resize_in_plane(table, 0, (3, 4), (4, 3)), table)


@few
@given(rows=sides, depth=sides, seed=st.integers(0, 99))
def test_a_depth_table_is_resized_linearly(rows, depth, seed):
    table = random(seed, 1, rows, 5)
    got = resize_depth(table, depth)
    assert got.shape == (1, depth, 5)
    if depth == rows:
        assert got is table
    for row in range(depth):  # centres of the new rows on the old axis, clamped at the ends
        at = min(max((row + 0.5) * rows / depth - 0.5, 0.0), rows - 1.0)
        low = int(at)
        high = min(low + 1, rows - 1)
        expected = table[0, low] + (at - low) * (table[0, high] - table[0, low])
        torch.testing.assert_close(got[0, row], expected, atol=1e-5, rtol=1e-5)


def test_a_zero_depth_table_stays_zero_and_its_type():
    got = resize_depth(torch.zeros(1, 3, 5, dtype=torch.float16), 7)
    assert got.dtype == torch.float16
    assert torch.equal(got, torch.zeros(1, 7, 5, dtype=torch.float16))


@pytest.mark.parametrize("grid", [(3, 5), (5, 3), (1, 1)])
def test_computed_positions_are_those_of_aimv2(grid):
    """Transformers adds them to what the stem gives: with a stem of zeros they are all there is."""
    config = Aimv2VisionConfig(hidden_size=24, num_channels=1, patch_size=2, is_native=True)
    theirs = Aimv2VisionEmbeddings(config)
    with torch.no_grad():
        theirs.patch_embed.weight.zero_()
        theirs.patch_embed.bias.zero_()
        expected = theirs(torch.zeros(1, 1, 2 * grid[0], 2 * grid[1]))
    got = sincos_plane(*grid, 24, torch.device("cpu"))
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
