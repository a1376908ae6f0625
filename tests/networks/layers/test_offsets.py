"""Offsets between tokens of a grid against places written out, and rows of tables against timm."""

import itertools

import pytest
from timm.layers import gen_relative_position_index

from inflate_zoo.networks.layers.offsets import offsets, table_rows

GRIDS = [(1, 1), (1, 4), (3, 5), (5, 3), (7, 7)]


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_offsets_are_all_differences_of_places(grid):
    for side, count in zip(grid, offsets(grid), strict=True):
        assert count == len({q - k for q, k in itertools.product(range(side), repeat=2)})


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_rows_are_those_that_timm_looks_up(grid):
    assert table_rows(grid) == gen_relative_position_index(grid, class_token=True).max() + 1
