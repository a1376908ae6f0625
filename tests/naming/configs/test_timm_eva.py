"""What timm says of its Eva: only DINOv3 and EVA-02 pass."""

import pytest

from inflate_zoo.errors import UnsupportedModelError
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.configs.timm_models import describe_timm, finetuned
from inflate_zoo.naming.towers import best_matching
from tests.support.recorded import case

FAMILIES = families_by_name()
DINOV3, EVA02 = FAMILIES["timm_dinov3"], FAMILIES["timm_eva02"]


@pytest.mark.parametrize(
    "arch, expected",
    [
        ("vit_small_patch16_dinov3", {"qv_bias": False, "gated": False, "rotary_theta": 100.0}),
        ("vit_base_patch16_dinov3_qkvb", {"qv_bias": True, "num_heads": 12, "reg_tokens": 4}),
        ("vit_small_plus_patch16_dinov3", {"gated": True, "mlp_dim": 1536, "activation": "silu"}),
        ("vit_huge_plus_patch16_dinov3", {"gated": True, "mlp_dim": 5120, "depth": 32}),
        ("vit_7b_patch16_dinov3", {"gated": True, "mlp_dim": 8192, "embed_dim": 4096}),
        ("eva02_tiny_patch14_224", {"mlp_norm": False, "rotary_grid": [16, 16], "pool": "mean"}),
        ("eva02_base_patch14_448", {"mlp_norm": True, "img_size": [448, 448], "qv_bias": True}),
        ("eva02_large_patch14_clip_336", {"attn_norm": True, "mlp_norm": True, "pool": "cls"}),
    ],
)
def test_published_architectures_are_described(arch, expected):
    said = describe_timm(DINOV3, arch, {})
    assert {field: said[field] for field in expected} == expected


@pytest.mark.parametrize(
    "arch, arguments, told",
    [
        ("eva_giant_patch14_224", {}, "special rotary positions"),
        ("eva02_enormous_patch14_clip_224", {}, "blocks"),
        ("vit_small_patch16_rope_224", {}, "rotary positions"),
        ("vit_base_patch16_rope_mixed_224", {}, "rotary positions"),
        ("vit_pe_core_tiny_patch16_384", {}, "rotary positions"),
        ("vit_medium_patch16_rope_reg1_gap_256", {}, "rotary positions, tokens"),
        ("vit_small_patch16_dinov3", {"rope_rotate_half": False}, "rotary positions"),
        ("vit_small_patch16_dinov3", {"use_abs_pos_emb": True}, "rotary positions"),
        ("vit_small_patch16_dinov3", {"scale_mlp": True}, "rotary positions"),
        ("vit_small_patch16_dinov3", {"class_token": False}, "tokens"),
        ("eva02_tiny_patch14_224", {"rope_rotate_half": True}, "rotary positions"),
        ("eva02_tiny_patch14_224", {"swiglu_mlp": False}, "rotary positions"),
        ("eva02_tiny_patch14_224", {"init_values": 0.1}, "rotary positions"),
        ("eva02_tiny_patch14_224", {"num_reg_tokens": 2}, "rotary positions"),
        ("eva02_tiny_patch14_224", {"use_rot_pos_emb": False}, "rotary positions"),
    ],
)
def test_what_has_their_names_but_other_arithmetic_is_refused(arch, arguments, told):
    with pytest.raises(UnsupportedModelError, match="no DINOv3 or EVA-02") as caught:
        describe_timm(EVA02, arch, {"depth": 1, **arguments})
    assert told in caught.value.message
    assert "timm_eva02" in str(caught.value.hint)


def test_another_class_is_named():
    with pytest.raises(UnsupportedModelError, match="VisionTransformer, not an Eva"):
        describe_timm(DINOV3, "vit_tiny_patch16_224", {"depth": 1})


def test_names_tell_which_norm_a_bare_file_has():
    packed = case("eva02_timm").header
    changed = {"global_pool": "avg", "use_fc_norm": True}
    assert finetuned(EVA02, best_matching(EVA02, packed)) == changed
    renamed = {name.replace("fc_norm", "norm"): info for name, info in packed.items()}
    assert finetuned(EVA02, best_matching(EVA02, renamed)) == {"use_fc_norm": False}
