"""What is read of a Video-Swin off its header."""

import pytest

from inflate_zoo.errors import AccountingError, ConfigError
from inflate_zoo.files.header import TensorInfo
from inflate_zoo.networks.swin.config import VideoSwinForm
from tests.support.recorded import case, plan_of

KINDS = ("swin3d", "video_swin")
INDEX = "features.0.0.attn.relative_position_index"
TABLE = "features.0.0.attn.relative_position_bias_table"


@pytest.mark.parametrize("kind", KINDS)
def test_the_form_is_read_off_the_header(kind):
    form = plan_of(case(kind)).architecture
    assert type(form) is VideoSwinForm
    assert form.model_dump() == {
        "embed_dim": 16, "depths": (2, 2, 2), "num_heads": (2, 4, 4), "mlp_dims": (32, 64, 128),
        "activation": "gelu", "norm_eps": 1e-5, "outer_eps": 1e-5, "in_channels": 3,
        "patch_size": (4, 4), "image_size": (64, 64), "windows": ((4, 4),) * 3,
        "clipping": "axis", "padding": "before_shift", "qkv_bias": True, "stem_norm": True,
        "stem_bias": True, "patch_depth": 2, "depth_window": 3,
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_tables_and_merges_have_their_places_and_nothing_is_repeated(kind):
    plan = plan_of(case(kind))
    kept = {each.name: each for each in plan.kept}
    table = kept["stages.2.blocks.1.attn.relative_position_bias_table"]
    assert (table.role, table.shape) == ("copy", (5 * 7 * 7, 4))
    assert {each.role for each in plan.kept} == {"copy", "stem_kernel", "stem_bias"}
    (merge,) = kept["merges.1.reduction.weight"].sources
    assert merge.endswith(
        {"swin3d": "features.3.reduction.weight"}.get(kind, "1.downsample.reduction.weight")
    )
    assert not [name for name in plan.dropped if "index" not in name and "head" not in name]


@pytest.mark.parametrize(
    "window, rows",
    [((8, 7, 7), 15 * 13 * 13), ((16, 7, 7), 31 * 13 * 13), ((14, 7, 7), 27 * 13 * 13),
     ((2, 20, 20), 3 * 39 * 39), ((1, 7, 7), 13 * 13)],
)  # fmt: skip
def test_windows_of_equal_tables_are_told_apart_by_the_index(window, rows):
    found = case("swin3d")
    tokens = window[0] * window[1] * window[2]
    for name, info in found.header.items():
        if name.endswith("bias_table"):
            found.header[name] = TensorInfo("F32", (rows, info.shape[1]))
        if name.endswith("position_index"):
            found.header[name] = TensorInfo("I64", (tokens, tokens))
    form = plan_of(found).architecture
    assert (form.depth_window, *form.windows[0]) == window
    assert form.image_size == (16 * window[1], 16 * window[2])


@pytest.mark.parametrize("shape", [None, (47, 47), ()], ids=str)
def test_without_an_index_that_fits_it_is_refused(shape):
    found = case("swin3d")
    del found.header[INDEX]
    if shape is not None:
        found.header[INDEX] = TensorInfo("I64", shape)
    with pytest.raises(
        AccountingError, match=f"'{TABLE}' has 245 rows, and nothing tells"
    ) as error:
        plan_of(found)
    assert INDEX in error.value.message
    assert "indices of positions" in error.value.hint


def test_a_2d_stem_is_refused():
    found = case("swin3d")
    found.header["patch_embed.proj.weight"] = TensorInfo("F32", (16, 3, 4, 4))
    with pytest.raises(AccountingError, match="unexpected shape") as error:
        plan_of(found)
    assert (
        error.value.hint
        == "a 3D stem has shape [out, in, depth, height, width]; is this a 2D model?"
    )


def test_heads_that_do_not_divide_the_width_are_refused():
    found = case("swin3d")
    for name, info in found.header.items():
        if name.endswith("bias_table"):
            found.header[name] = TensorInfo("F32", (info.shape[0], 3))
    with pytest.raises(ConfigError, match="describes no Video-Swin"):
        plan_of(found)
