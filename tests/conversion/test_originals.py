"""The originals that the proof compares with."""

import pytest
import torch
from timm.layers import resample_abs_pos_embed

from inflate_zoo.conversion import originals
from inflate_zoo.conversion.originals import ORIGINALS
from inflate_zoo.naming.catalog import families_by_name

SCHEMES = families_by_name()


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=lambda scheme: scheme.name)
def test_transformers_models_and_references_exist(scheme):
    import timm.models
    import torchvision.models.video.swin_transformer
    import transformers

    home = transformers if scheme.library == "transformers" else timm.models
    if scheme.dimensions == 3:
        home = torchvision.models.video.swin_transformer
    assert hasattr(home, scheme.reference)
    assert scheme.reference in ORIGINALS


def test_the_cls_tokens_own_row_is_added_where_timms_table_has_none():
    table, token = torch.randn(1, 17, 8), torch.randn(1, 1, 8)
    state = {"pos_embed": table, "cls_token": token, "other": torch.ones(1)}
    folded = originals._folded(state, {"pos_embed": torch.empty(1, 16, 8)})
    torch.testing.assert_close(folded["cls_token"], token + table[:, :1], rtol=0, atol=0)
    torch.testing.assert_close(folded["pos_embed"], table[:, 1:], rtol=0, atol=0)
    assert folded["other"] is state["other"]
    assert originals._folded(state, {"pos_embed": torch.empty(1, 17, 8)}) is state
    bare = {"pos_embed": table}
    assert originals._folded(bare, {"pos_embed": torch.empty(1, 16, 8)}) is bare


@pytest.mark.parametrize("shape", [(1, 17, 8), (17, 8), (1, 4, 4, 8)])
def test_a_table_is_resized_by_timm_in_the_shape_it_has(shape):
    table = torch.randn(shape)
    prefix = 1 if 17 in shape else 0
    assert originals._resized_by_timm(table, (4, 4), (4, 4)) is table
    got = originals._resized_by_timm(table, (4, 4), (2, 6))
    flat = table.reshape(1, -1, 8)
    expected = resample_abs_pos_embed(flat, [2, 6], [4, 4], num_prefix_tokens=prefix)
    assert got.shape[-2:] == (12 + prefix, 8) or got.shape == (1, 2, 6, 8)
    torch.testing.assert_close(got.reshape(1, -1, 8), expected, rtol=0, atol=0)
