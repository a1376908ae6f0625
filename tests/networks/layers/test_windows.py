"""Windows against arithmetic written out, place by place."""

import itertools

import pytest
import torch

from inflate_zoo.networks.layers.windows import (
    attend_in_windows,
    from_windows,
    table_rows,
    to_windows,
    window_mask,
)
from tests.networks.layers.test_grids import placed

RULES = list(itertools.product(("plane", "axis"), ("before_shift", "after_shift")))
CPU = torch.device("cpu")


@pytest.mark.parametrize("clipping, padding", RULES)
@pytest.mark.parametrize("grid", [(5, 6, 8), (3, 4, 4), (8, 3, 9), (1, 7, 5)])
@pytest.mark.parametrize("shifted", [False, True])
def test_windows_are_undone(grid, shifted, clipping, padding):
    where = placed(grid, (4, 4, 4), shifted=shifted, clipping=clipping, padding=padding)
    tokens = torch.randn(2, *grid, 3)
    windows = to_windows(tokens, where)
    per_window = where.window[0] * where.window[1] * where.window[2]
    count = where.counts[0] * where.counts[1] * where.counts[2]
    assert windows.shape == (2 * count, per_window, 3)
    assert torch.equal(from_windows(windows, where), tokens)


def seen_pairs(where):
    """Who may see whom, as pairs of places of the unpadded grid, written out from the rule."""
    axes = []
    for axis in range(3):
        size, window = where.grid[axis], where.window[axis]
        padded, shift = where.padded[axis], where.late[axis]
        # Where each original place stands after the shift: in which window, and which region.
        stands = {(p + shift) % padded: p for p in range(padded)}
        region = {
            stands_at: (p // window, (p >= padded - window) + (p >= padded - shift) if shift else 0)
            for stands_at, p in stands.items()
        }
        axes.append({p: region[p] for p in range(size)})
    places = list(itertools.product(*(range(size) for size in where.grid)))
    of = {p: tuple(axes[axis][p[axis]] for axis in range(3)) for p in places}
    return {(q, k) for q in places for k in places if of[q] == of[k]}


@pytest.mark.parametrize("grid", [(5, 4, 8), (6, 8, 4), (3, 8, 8), (7, 8, 8)])
def test_tokens_see_those_of_their_window_and_region_alone(grid):
    where = placed(grid, (4, 4, 4))
    total = grid[0] * grid[1] * grid[2]
    names = torch.arange(1, total + 1).reshape(1, *grid, 1)  # 0 is padding
    windows = to_windows(names, where)[..., 0]
    mask = window_mask(where, torch.float32, CPU)
    seen = set()
    for window, members in enumerate(windows.tolist()):
        for (i, query), (j, key) in itertools.product(enumerate(members), repeat=2):
            if query and key and (mask is None or mask[window, i, j] == 0):
                seen.add((query, key))
    number = {p: names[0][p].item() for p in itertools.product(*(range(n) for n in grid))}
    assert seen == {(number[q], number[k]) for q, k in seen_pairs(where)}


@pytest.mark.parametrize("depth", range(1, 10))
def test_nothing_attends_to_padding_along_depth(depth):
    where = placed((depth, 4, 4), (4, 4, 4))
    there = to_windows(torch.ones(1, depth, 4, 4, 1), where)[..., 0].bool()
    mask = window_mask(where, torch.float32, CPU)
    if mask is None:
        assert there.all()
        return
    rows = mask.softmax(dim=-1)
    assert not rows.isnan().any()
    leaked = rows.masked_fill(there.unsqueeze(1), 0).sum(dim=-1)
    assert (leaked[there] == 0).all()


def test_rows_of_a_table_are_differences_of_places():
    window, table = (2, 3, 2), (4, 3, 5)
    rows = table_rows(window, table, CPU)
    places = list(itertools.product(*(range(side) for side in window)))
    listed = list(itertools.product(*(range(1 - side, side) for side in table)))
    for (i, query), (j, key) in itertools.product(enumerate(places), repeat=2):
        apart = tuple(q - k for q, k in zip(query, key, strict=True))
        assert listed[rows[i, j]] == apart


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_equals_softmax_of_logits_bias_and_mask(masked, learns, scale):
    query, key, value = torch.randn(3, 2 * 3, 2, 5, 4)
    bias = torch.randn(2, 5, 5, requires_grad=learns)
    mask = torch.randn(3, 5, 5) if masked else None
    got = attend_in_windows(query, key, value, bias, mask, scale=scale)
    logits = torch.einsum("whqe,whke->whqk", query, key) * (scale or 0.5) + bias
    if mask is not None:
        logits = logits + mask.repeat(2, 1, 1).unsqueeze(1)
    expected = torch.einsum("whqk,whke->whqe", logits.softmax(-1), value)
    torch.testing.assert_close(got, expected)
    if learns:
        weight = torch.randn_like(got)
        grads = [torch.autograd.grad((each * weight).sum(), bias) for each in (got, expected)]
        torch.testing.assert_close(*grads)
