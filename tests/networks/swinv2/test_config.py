"""SwinV2 as data: its fields, its tensors in the plane and in depth."""

import pytest

from inflate_zoo.networks.swinv2.config import SwinV2Config, SwinV2Form
from inflate_zoo.networks.swinv2.network import SwinTransformerV2

FORM = {
    "embed_dim": 12, "depths": (2, 2), "num_heads": (2, 4), "mlp_dims": (24, 48),
    "activation": "gelu", "norm_eps": 1e-5, "outer_eps": 1e-5, "in_channels": 1,
    "patch_size": (2, 2), "image_size": (16, 16), "windows": ((4, 4), (4, 4)),
    "clipping": "axis", "padding": "after_shift", "stem_bias": True, "patch_depth": 2,
    "pretrained_windows": ((0, 0), (3, 3)), "qv_bias": True, "volume": (10, 16, 16),
    "depth_window": 4,
}  # fmt: skip
PLANE = {
    name: value
    for name, value in FORM.items()
    if name not in ("patch_depth", "volume", "depth_window")
}
INFLATION = {"channels": 3, "patch_depth": 4, "volume": (8, 16, 16)}


def config(**changes):
    return SwinV2Config(**{**FORM, **changes})


@pytest.mark.parametrize(
    "changes",
    [{}, {"qv_bias": False, "stem_bias": False}, {"merge_depth": True, "volume": (8, 16, 16)}],
    ids=str,
)
def test_shapes_are_those_of_the_network(changes):
    made = SwinTransformerV2(config(**changes))
    shapes = {name: tuple(tensor.shape) for name, tensor in made.state_dict().items()}
    assert made.config.shapes() == shapes


def test_every_stage_says_by_which_windows_it_is_measured():
    with pytest.raises(ValueError, match="pretrained_windows are not those of 2 stages"):
        config(pretrained_windows=((0, 0),))


def test_a_form_lists_the_tensors_of_the_plane():
    plane, depth = SwinV2Form(**PLANE).shapes(), config().shapes()
    assert plane.keys() == depth.keys()
    kernels = {name for name in plane if name.endswith("bias_of_offset.fc1.weight")}
    changed = {name for name in plane if plane[name] != depth[name]}
    assert changed == {"patch_embed.weight"} | kernels
    assert {plane[name] for name in kernels} == {(512, 2)}
    assert {depth[name] for name in kernels} == {(512, 3)}
    assert plane["merges.0.reduction.weight"] == (24, 48)
    assert config(merge_depth=True, volume=(8, 16, 16)).shapes()["merges.0.reduction.weight"] == (
        24,
        96,
    )


def test_offsets_are_measured_by_the_windows_of_the_training_where_it_had_others():
    made = config(windows=((4, 5), (4, 1)), pretrained_windows=((0, 0), (3, 0)))
    assert (made.units(0), made.units(1)) == ((3, 4), (2, 1))  # of one token the offset is 0


def test_a_form_is_inflated_with_windows_as_deep_as_they_are_high():
    form = SwinV2Form(**{**PLANE, "stem_bias": False, "windows": ((3, 4), (4, 4))})
    made = form.inflated(**INFLATION, stem_bias=True)
    assert (made.in_channels, made.patch_depth, made.volume) == (3, 4, (8, 16, 16))
    assert (made.depth_window, made.merge_depth, made.stem_bias) == (3, False, True)
    assert made.pretrained_windows == ((0, 0), (3, 3))
    assert made.model_type == "inflated_swinv2"
    assert not form.inflated(**INFLATION, stem_bias=False).stem_bias
