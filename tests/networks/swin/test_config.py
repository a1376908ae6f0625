"""Swin as data: its fields, its tensors in the plane and in depth."""

import pytest

from inflate_zoo.networks.base import Depth, Windows
from inflate_zoo.networks.swin.config import SwinConfig, SwinForm, VideoSwinForm
from inflate_zoo.networks.swin.network import SwinTransformer

FORM = {
    "embed_dim": 12, "depths": (2, 2), "num_heads": (2, 4), "mlp_dims": (24, 48),
    "activation": "gelu", "norm_eps": 1e-5, "outer_eps": 1e-5, "in_channels": 3,
    "patch_size": (2, 2), "image_size": (16, 16), "windows": ((4, 4), (4, 4)),
    "clipping": "plane", "padding": "before_shift", "qkv_bias": True, "stem_norm": True,
    "stem_bias": True, "patch_depth": 2, "volume": (8, 16, 16), "depth_window": 4,
}  # fmt: skip
PLANE = {
    name: value
    for name, value in FORM.items()
    if name not in ("patch_depth", "volume", "depth_window")
}
INFLATION = {"channels": 1, "patch_depth": 4, "volume": (8, 16, 16)}


def config(**changes):
    return SwinConfig(**{**FORM, **changes})


@pytest.mark.parametrize(
    "changes",
    [{}, {"qkv_bias": False, "stem_norm": False, "stem_bias": False}, {"merge_depth": True}],
    ids=str,
)
def test_shapes_are_those_of_the_network(changes):
    made = SwinTransformer(config(**changes))
    shapes = {name: tuple(tensor.shape) for name, tensor in made.state_dict().items()}
    assert made.config.shapes() == shapes


def test_a_form_lists_the_tensors_of_the_plane():
    plane, depth = SwinForm(**PLANE).shapes(), config().shapes()
    assert plane.keys() == depth.keys()
    table = "stages.1.blocks.0.attn.relative_position_bias_table"
    changed = {name for name in plane if plane[name] != depth[name]}
    assert changed == {"patch_embed.weight", *(name for name in plane if name.endswith("_table"))}
    assert (plane[table], depth[table]) == ((49, 4), (343, 4))
    assert plane["patch_embed.weight"] == (12, 3, 2, 2)
    assert plane["merges.0.reduction.weight"] == (24, 48)
    assert config(merge_depth=True).shapes()["merges.0.reduction.weight"] == (24, 96)


def test_a_form_is_inflated_with_windows_as_deep_as_they_are_high():
    form = SwinForm(**{**PLANE, "stem_bias": False, "windows": ((3, 4), (4, 4))})
    made = form.inflated(**INFLATION, stem_bias=True)
    assert (made.in_channels, made.patch_depth, made.volume) == (1, 4, (8, 16, 16))
    assert (made.depth_window, made.merge_depth, made.stem_bias) == (3, False, True)
    assert made.model_type == "inflated_swin"
    assert not form.inflated(**INFLATION, stem_bias=False).stem_bias
    assert SwinForm(**PLANE).inflated(**INFLATION, stem_bias=False).stem_bias


def test_a_form_that_is_3d_already_lists_the_tensors_of_its_backbone():
    form = VideoSwinForm(**{**PLANE, "patch_depth": 2, "depth_window": 3})
    assert form.own_depth == Depth(2, 6, Windows(3, merge_depth=False))
    assert SwinForm(**PLANE).own_depth is None
    made = form.inflated(channels=3, patch_depth=2, volume=(6, 16, 16), stem_bias=False)
    assert form.shapes() == made.shapes()
    assert made == config(depth_window=3, volume=(6, 16, 16))
    assert "3D already" in form.described()
    assert "windows 3 tokens deep, patch 2x2x2" in form.described()
    bare = VideoSwinForm(**{**PLANE, "stem_bias": False, "patch_depth": 2, "depth_window": 3})
    assert bare.inflated(channels=1, patch_depth=2, volume=(6, 16, 16), stem_bias=True).stem_bias
