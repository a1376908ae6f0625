"""Decomposed relative positions against SAM's own code, and against logits written out."""

from itertools import product

import pytest
import torch
import transformers as hf
from transformers.models.sam.modeling_sam import SamVisionAttention

from inflate_zoo.networks.layers import decomposed
from inflate_zoo.networks.layers.decomposed import (
    DecomposedAttention,
    attend_decomposed,
    products_by_axis,
)

GRIDS = [(1, 3, 4), (2, 3, 4), (3, 1, 2), (1, 1, 1), (4, 2, 2)]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def tables_of(sides, channels=8, dtype=torch.float32):
    return [torch.randn(2 * side - 1, channels, dtype=dtype) for side in sides]


def parts(grid, channels=8, dtype=torch.float32):
    tokens = grid[0] * grid[1] * grid[2]
    return [torch.randn(2, 3, tokens, channels, dtype=dtype) for _ in range(3)]


def one_by_one(query, key, value, tables, sides, grid):
    """Each logit by itself, in float64."""
    places = list(product(*(range(side) for side in grid)))
    query, key, value = (part.double() for part in (query, key, value))
    logits = torch.empty(*query.shape[:2], len(places), len(places), dtype=torch.float64)
    for i, ours in enumerate(places):
        for j, theirs in enumerate(places):
            logits[..., i, j] = (query[..., i, :] * key[..., j, :]).sum(-1) / 8**0.5
            for table, side, one, other in zip(tables, sides, ours, theirs, strict=True):
                row = table[one - other + side - 1].double()
                logits[..., i, j] += (query[..., i, :] * row).sum(-1)
    return logits.softmax(-1) @ value


@pytest.mark.parametrize("larger", [0, 2])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_a_logit_is_the_scaled_product_and_three_of_the_unscaled_query(grid, larger):
    sides = tuple(side + larger for side in grid)
    given, tables = parts(grid), tables_of(sides)
    got = attend_decomposed(*given, tables, grid)
    expected = one_by_one(*given, tables, sides, grid)
    torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_each_query_meets_every_place_of_an_axis(grid):
    (query, _, _), tables = parts(grid), tables_of(grid)
    got = products_by_axis(query, tables, grid)
    assert got.shape == (2, 3, query.shape[2], sum(grid))
    start = [0, grid[0], grid[0] + grid[1]]
    for number, place in enumerate(product(*(range(side) for side in grid))):
        for axis, side in enumerate(grid):
            for other in range(side):
                row = tables[axis][place[axis] - other + side - 1]
                expected = (query[:, :, number] * row).sum(-1)
                torch.testing.assert_close(got[:, :, number, start[axis] + other], expected)


@pytest.mark.parametrize("window", [0, 3], ids=["global", "in a window"])
def test_one_token_deep_it_is_sams_own_attention(window):
    fields = {"hidden_size": 32, "num_attention_heads": 4, "image_size": 40, "patch_size": 8}
    config = hf.SamVisionConfig(**fields, window_size=3)
    theirs = SamVisionAttention(config, window)
    side = window or 5
    made = DecomposedAttention(32, 4, (1, side, side), qkv_bias=True)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    made.load_state_dict({**theirs.state_dict(), "rel_pos_d": torch.randn(1, 8)})
    x = torch.randn(2, side, side, 32)
    with torch.inference_mode():
        expected = theirs(x)[0]
        got = made(x.flatten(1, 2), (1, side, side), whole=True)
    torch.testing.assert_close(got, expected.flatten(1, 2), rtol=1e-4, atol=1e-5)


def test_equal_slices_give_equal_copies_whatever_depth_says():
    grid = (3, 2, 4)
    slices, tables = parts((1, 2, 4)), tables_of(grid)
    flat = attend_decomposed(*slices, [torch.zeros(1, 8), *tables[1:]], (1, 2, 4))
    stack = [part.repeat(1, 1, 3, 1) for part in slices]
    none = [torch.zeros(5, 8), *tables[1:]]
    for each in (none, tables):  # a sum of a plane's and a depth's logit: softmax by softmax
        got = attend_decomposed(*stack, each, grid)
        torch.testing.assert_close(got, flat.repeat(1, 1, 3, 1), rtol=1e-4, atol=1e-5)
    other = parts(grid)
    apart = attend_decomposed(*other, tables, grid) - attend_decomposed(*other, none, grid)
    assert apart.abs().max() > 0.1


def test_every_table_learns():
    made = DecomposedAttention(16, 2, (2, 3, 2), qkv_bias=False)
    made(torch.randn(1, 12, 16), (2, 3, 2), whole=True).square().sum().backward()
    for axis in "dhw":
        assert made.get_parameter(f"rel_pos_{axis}").grad.abs().sum() > 0
    assert made.qkv.bias is None


def test_bfloat16_on_a_processor_gives_the_same_by_plain_products(monkeypatch):
    grid = (2, 3, 4)
    given, tables = parts(grid, dtype=torch.bfloat16), tables_of(grid, dtype=torch.bfloat16)
    plain = attend_decomposed(*given, tables, grid)
    monkeypatch.setattr(decomposed, "PLAIN_TOKENS", 0)
    fused = attend_decomposed(*given, tables, grid)
    expected = attend_decomposed(
        *(part.float() for part in given), [table.float() for table in tables], grid
    )
    assert plain.dtype == fused.dtype == torch.bfloat16
    for got in (plain, fused):
        assert (got.float() - expected).abs().max() < 0.1 * expected.abs().max()
