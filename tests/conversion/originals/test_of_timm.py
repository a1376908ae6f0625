"""Originals that timm builds."""

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from inflate_zoo.conversion.originals import of_timm
from tests.support.clip_towers import clip_tower


@pytest.mark.parametrize("sides", [(2, 8), (8, 2), (4, 4)])
def test_openclips_names_are_read_as_timm_does_and_their_table_is_left_alone(sides):
    """Timm goes by the grid of published weights, here 4 x 4 or turned: it would resize."""
    patch = 8
    size = {"image_size": [sides[0] * patch, sides[1] * patch], "patch_size": patch}
    tower = clip_tower(**size)
    with torch.device("meta"):
        model = VisionTransformer(
            img_size=tuple(size["image_size"]), patch_size=patch, embed_dim=48, depth=3,
            num_heads=4, mlp_ratio=2.0, pre_norm=True, num_classes=0,
        )  # fmt: skip
    model.pretrained_cfg = {"input_size": (3, size["image_size"][1], size["image_size"][0])}
    read = of_timm._as_timm_reads(tower.state_dict(), model)
    assert model.state_dict().keys() <= read.keys()
    assert torch.equal(read["pos_embed"][0], tower.positional_embedding)
    assert torch.equal(read["cls_token"][0, 0], tower.class_embedding)
    block = tower.transformer.resblocks[2]
    assert torch.equal(read["blocks.2.attn.qkv.weight"], block.attn.in_proj_weight)
    assert torch.equal(read["blocks.2.mlp.fc2.bias"], block.mlp.c_proj.bias)


def test_other_names_are_left_as_they_are():
    state = {"pos_embed": torch.zeros(1, 17, 8), "cls_token": torch.zeros(1, 1, 8)}
    assert of_timm._as_timm_reads(state, None) is state


def test_the_cls_tokens_own_row_is_added_where_timms_table_has_none():
    table, token = torch.randn(1, 17, 8), torch.randn(1, 1, 8)
    state = {"pos_embed": table, "cls_token": token, "other": torch.ones(1)}
    folded = of_timm._folded(state, {"pos_embed": torch.empty(1, 16, 8)})
    torch.testing.assert_close(folded["cls_token"], token + table[:, :1], rtol=0, atol=0)
    torch.testing.assert_close(folded["pos_embed"], table[:, 1:], rtol=0, atol=0)
    assert folded["other"] is state["other"]
    assert of_timm._folded(state, {"pos_embed": torch.empty(1, 17, 8)}) is state
    bare = {"pos_embed": table}
    assert of_timm._folded(bare, {"pos_embed": torch.empty(1, 16, 8)}) is bare
