"""Where windows lie on a grid, and the grids of stages."""

import itertools
from math import prod

import pytest

from inflate_zoo.networks.layers.grids import place, stage_grids, stage_tokens, unshifted
from tests.networks.swin.test_config import config


def placed(grid, window, *, shifted=True, clipping="axis", padding="before_shift"):
    return place(grid, window, shifted=shifted, clipping=clipping, padding=padding)


def test_a_window_that_reaches_over_depth_is_clipped_and_not_shifted_there():
    where = placed((3, 8, 8), (4, 4, 4))
    assert (where.window, where.late) == ((3, 4, 4), (0, 2, 2))
    assert placed((4, 8, 8), (4, 4, 4)).late == (0, 2, 2)
    assert placed((5, 8, 8), (4, 4, 4)).late == (2, 2, 2)
    assert placed((9, 8, 8), (6, 4, 2)).window == (6, 4, 2)


def test_a_plane_is_clipped_by_side_or_as_a_whole():
    by_side = placed((5, 4, 9), (4, 4, 4), clipping="axis")
    assert (by_side.window, by_side.late) == ((4, 4, 4), (2, 0, 2))
    whole = placed((5, 3, 9), (4, 4, 4), clipping="plane")
    assert (whole.window, whole.late) == ((4, 3, 3), (2, 0, 0))


@pytest.mark.parametrize(
    "plane, window, shifts", [((3, 9), (3, 3), (0, 0)), ((9, 3), (4, 4), (2, 2))]
)
def test_a_plane_may_be_clipped_by_its_height_alone(plane, window, shifts):
    where = placed((5, *plane), (4, 4, 4), clipping="height")
    assert (where.window, where.late) == ((4, *window), (2, *shifts))


def test_a_plane_is_shifted_before_or_after_it_is_padded_and_depth_always_after():
    before = placed((9, 8, 8), (4, 4, 6), padding="before_shift")
    assert (before.early, before.late) == ((0, 0, 0), (2, 2, 3))
    after = placed((9, 8, 8), (4, 4, 6), padding="after_shift")
    assert (after.early, after.late) == ((0, 2, 3), (2, 0, 0))


@pytest.mark.parametrize("grid", list(itertools.product((1, 4, 5), (4, 7), (3, 8))))
def test_whole_windows_cover_the_grid_and_no_window_is_empty(grid):
    where = placed(grid, (4, 4, 4))
    for size, side, count, padded in zip(
        where.grid, where.window, where.counts, where.padded, strict=True
    ):
        assert padded == count * side
        assert padded - side < size <= padded


@pytest.mark.parametrize("depth, slabs", [(1, [1]), (3, [3]), (4, [4]), (7, [4, 3]), (9, [8, 1])])
def test_windows_without_shift_leave_nothing_of_depth_to_pad(depth, slabs):
    parts = unshifted((depth, 5, 8), (4, 3, 4))
    assert [part.grid for part in parts] == [(slab, 5, 8) for slab in slabs]
    assert [part.padded for part in parts] == [(slab, 6, 8) for slab in slabs]
    assert [part.window[0] for part in parts] == [min(4, slab) for slab in slabs]
    assert not any(part.is_masked for part in parts)


def test_a_plane_smaller_than_a_window_is_padded_to_it():
    (part,) = unshifted((2, 3, 9), (4, 4, 4))
    assert (part.window, part.padded) == ((2, 4, 4), (2, 4, 12))


def test_only_a_shift_or_padding_along_depth_needs_a_mask():
    assert not placed((4, 8, 8), (4, 4, 4), shifted=False).is_masked
    assert not placed(
        (4, 7, 7), (4, 4, 4), shifted=False
    ).is_masked  # the plane's is seen, as in 2D
    assert placed((5, 8, 8), (4, 4, 4), shifted=False).is_masked
    assert placed((4, 8, 8), (4, 4, 4), padding="before_shift").is_masked
    assert placed((4, 8, 8), (4, 4, 4), padding="after_shift").is_masked


@pytest.mark.parametrize("merge_depth", [False, True])
def test_each_stage_has_a_grid_and_as_many_tokens_as_its_place(merge_depth):
    made = config(merge_depth=merge_depth, volume=(8, 16, 24), image_size=(16, 24))
    grids = stage_grids(made, made.grid_size)
    assert grids == [(4, 8, 12), (2, 4, 6) if merge_depth else (4, 4, 6)]
    assert stage_tokens(made, prod(grids[-1])) == [prod(grid) for grid in grids]
