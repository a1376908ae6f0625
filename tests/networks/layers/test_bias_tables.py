"""Bias tables against the libraries' own resizing, and against biases written out one by one."""

import math

import pytest
import torch
import transformers
from timm.layers import resize_rel_pos_bias_table
from transformers.models.data2vec.modeling_data2vec_vision import (
    Data2VecVisionRelativePositionBias,
)

from inflate_zoo.networks.layers.bias_tables import PositionBias, assemble_bias, resize_table
from inflate_zoo.networks.layers.offsets import table_rows

GRIDS = [(4, 4), (3, 5), (7, 7), (2, 2), (1, 1), (9, 4), (14, 14)]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def table_of(grid, heads=3):
    return torch.randn(table_rows(grid), heads)


def of_transformers(table, grid, target):
    """Its bias at a target grid, of a table for a grid; shape (1, heads, L, L)."""
    config = transformers.Data2VecVisionConfig(num_attention_heads=table.shape[1])
    module = Data2VecVisionRelativePositionBias(config, window_size=grid)  # BEiT's is the same
    module.load_state_dict({"relative_position_bias_table": table})
    with torch.no_grad():
        return module(target)


def assembled(table, grid, depth=1, line=None, copies=1):
    line = torch.zeros(2 * depth - 1, table.shape[1]) if line is None else line
    return assemble_bias(table, line, (depth, *grid), copies)


@pytest.mark.parametrize("target", GRIDS, ids=str)
@pytest.mark.parametrize("grid", [(4, 4), (7, 7), (1, 1)], ids=str)
def test_bilinear_is_what_transformers_does_at_any_grid(grid, target):
    table = table_of(grid)
    got = assembled(resize_table(table, grid, target, "bilinear"), target)
    torch.testing.assert_close(got, of_transformers(table, grid, target))


@pytest.mark.parametrize("target", GRIDS, ids=str)
@pytest.mark.parametrize("grid", [(3, 5), (9, 4)], ids=str)
def test_width_first_is_what_transformers_does_of_a_grid_that_is_not_square(grid, target):
    table = table_of(grid)
    got = assembled(resize_table(table, grid, target, "width_first"), target)
    torch.testing.assert_close(got, of_transformers(table, grid, target))
    if grid == target:  # even at its own grid
        assert not torch.equal(resize_table(table, grid, target, "width_first"), table)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of how timm calls torch
@pytest.mark.parametrize("target", GRIDS, ids=str)
@pytest.mark.parametrize("grid", [(4, 4), (7, 7), (14, 14)], ids=str)
def test_geometric_is_what_timm_does(grid, target):
    table = table_of(grid)
    got = resize_table(table, grid, target, "geometric")
    shape = (table_rows(target), table.shape[1])
    expected = resize_rel_pos_bias_table(table, new_window_size=target, new_bias_shape=shape)
    torch.testing.assert_close(got, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("resizing", ["bilinear", "geometric"])
def test_a_table_of_the_same_grid_and_the_rows_of_the_cls_token_stay_bit_by_bit(resizing):
    table = table_of((3, 5)).half()
    assert torch.equal(resize_table(table, (3, 5), (3, 5), resizing), table)
    resized = resize_table(table, (3, 5), (4, 6), resizing)
    assert resized.dtype == torch.float16
    assert torch.equal(resized[-3:], table[-3:])


def one_by_one(table, line, grid, copies):
    """The bias of each query and key, looked up."""
    depth, height, width = grid
    places = [(d, y, x) for d in range(depth) for y in range(height) for x in range(width)]
    size = 1 + len(places)
    bias = torch.empty(table.shape[1], size, size)
    bias[:, 0, 0] = table[-1] + math.log(copies)
    for q, (qd, qy, qx) in enumerate(places, start=1):
        bias[:, 0, q] = table[-3]
        bias[:, q, 0] = table[-2] + math.log(copies)
        for k, (kd, ky, kx) in enumerate(places, start=1):
            row = (qy - ky + height - 1) * (2 * width - 1) + qx - kx + width - 1
            bias[:, q, k] = table[row] + line[qd - kd + depth - 1]
    return bias


@pytest.mark.parametrize("copies", [1, 4])
@pytest.mark.parametrize("grid", [(1, 2, 3), (4, 2, 3), (3, 3, 2), (2, 1, 1)], ids=str)
def test_every_query_and_key_gets_its_rows(grid, copies):
    table, line = table_of(grid[1:]), torch.randn(2 * grid[0] - 1, 3)
    got = assemble_bias(table, line, grid, copies)
    torch.testing.assert_close(got[0], one_by_one(table, line, grid, copies))


@pytest.mark.parametrize("grid", [(1, 2, 3), (3, 2, 3)], ids=str)
def test_every_row_of_the_tables_learns_as_if_looked_up(grid):
    bias = PositionBias(grid, 2, "bilinear", counts=True)
    assert not any(table.any() for table in bias.parameters())
    weight = torch.randn(1, 2, *[1 + math.prod(grid)] * 2)
    (bias(grid) * weight).sum().backward()
    tables = [torch.zeros_like(table, requires_grad=True) for table in bias.parameters()]
    (one_by_one(*tables, grid, grid[0]) * weight[0]).sum().backward()
    for ours, expected in zip(bias.parameters(), tables, strict=True):
        torch.testing.assert_close(ours.grad, expected.grad)
