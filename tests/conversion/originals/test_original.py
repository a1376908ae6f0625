"""The original of a source, at a grid."""

import pytest
import torch
from timm.layers import resample_abs_pos_embed

from inflate_zoo.conversion.originals import original


@pytest.mark.parametrize("shape", [(1, 17, 8), (17, 8), (1, 4, 4, 8)])
def test_a_table_is_resized_by_timm_in_the_shape_it_has(shape):
    table = torch.randn(shape)
    prefix = 1 if 17 in shape else 0
    assert original._resized_by_timm(table, (4, 4), (4, 4)) is table
    got = original._resized_by_timm(table, (4, 4), (2, 6))
    flat = table.reshape(1, -1, 8)
    expected = resample_abs_pos_embed(flat, [2, 6], [4, 4], num_prefix_tokens=prefix)
    assert got.shape[-2:] == (12 + prefix, 8) or got.shape == (1, 2, 6, 8)
    torch.testing.assert_close(got.reshape(1, -1, 8), expected, rtol=0, atol=0)
