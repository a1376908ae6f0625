"""What is read of SAM's files and configs; the recorded headers are those of the libraries."""

import pytest

from inflate_zoo.errors import AccountingError, ConfigError
from inflate_zoo.files.header import TensorInfo
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.detection import choose_family
from inflate_zoo.naming.understanding import understand
from tests.support.recorded import case, refused, vision

FAMILIES = families_by_name()


def of(kind):
    recorded = case(kind)
    return understand(recorded.header, recorded.config, recorded.family, None).plan


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("sam", {"embed_dim": 48, "depth": 2, "num_heads": 4, "mlp_dim": 96, "norm_eps": 1e-6}),
        ("sam", {"window_size": 3, "global_blocks": (1,), "position_grid": (4, 4)}),
        ("sam_vision", {"neck_dim": 24, "neck_eps": 1e-6, "qkv_bias": True}),
        ("sam_no_qkv_bias", {"qkv_bias": False, "mlp_dim": 80}),
        ("sam_timm", {"norm_eps": 1e-5, "neck_eps": 1e-6, "window_size": 3, "num_heads": 4}),
        ("sam_timm_no_bias", {"qkv_bias": False, "global_blocks": (1,)}),
        ("sam_timm_rectangular", {"position_grid": (4, 12), "patch_size": (8, 4)}),
        ("sam_original", {"norm_eps": 1e-6, "window_size": 3, "global_blocks": (1,)}),
    ],
)
def test_the_form_is_what_names_shapes_and_config_say(kind, expected):
    form = of(kind).architecture.model_dump()
    assert {field: form[field] for field in expected} == expected


@pytest.mark.parametrize("kind, family", [("sam", "hf_sam"), ("sam_timm", "timm_sam")])
def test_its_family_is_chosen_by_config_and_names(kind, family):
    recorded = case(kind)
    assert choose_family(FAMILIES, recorded.header, recorded.config).name == family


def test_originals_are_known_by_their_names():
    assert choose_family(FAMILIES, case("sam_original").header, None).name == "sam"


def test_tables_have_their_roles_and_decoder_and_prompts_stay_behind():
    plan = of("sam")
    kept = {each.name: each for each in plan.kept}
    assert kept["pos_embed"].role == "position_table"
    assert kept["pos_embed"].shape == (1, 16, 48)
    for axis, rows in (("h", 7), ("w", 7)):
        table = kept[f"blocks.1.attn.rel_pos_{axis}"]
        assert (table.role, table.shape) == ("bias_table", (rows, 12))
    assert kept["blocks.0.attn.rel_pos_h"].shape == (5, 12)
    assert {kept[f"neck.conv{n}.weight"].role for n in (1, 2)} == {"neck_kernel"}
    heads = {name.split(".")[0] for name in plan.dropped}
    assert heads == {"mask_decoder", "prompt_encoder", "shared_image_embedding"}


def test_indices_beyond_the_last_block_are_nobodys_as_in_the_library():
    recorded = case("sam_vision")
    recorded.config["global_attn_indexes"] = [11, 1, 5]
    plan = understand(recorded.header, recorded.config, None, None).plan
    assert plan.architecture.global_blocks == (1,)


def test_what_config_says_of_the_feed_forward_part_may_be_its_ratio():
    recorded = case("sam_vision")
    recorded.config.update({"mlp_dim": None, "mlp_ratio": 2.0})
    assert understand(recorded.header, recorded.config, None, None).plan
    recorded.config["mlp_ratio"] = 3.0
    assert "mlp_dim is 144, 'vision_encoder.layers.0.mlp.lin1.weight' says 96" in refused(
        recorded, ConfigError
    )


@pytest.mark.parametrize(
    "field, value, told",
    [
        ("image_size", 64, "image_size is 64x64 with patch 8x8: 8x8 positions, "),
        ("window_size", 4, "block 0 is in windows of 4: tables of 7x7 rows, those in the file"),
        ("window_size", 0, "window_size must be a positive whole number"),
        ("global_attn_indexes", [0, 1], "block 0 is global: tables of 7x7 rows"),
        ("global_attn_indexes", [], "block 1 is in windows of 3: tables of 5x5 rows"),
        ("num_attention_heads", 6, "num_attention_heads is 6, "),
        ("num_attention_heads", 5, "hidden_size 48 is not divisible by"),
        ("output_channels", 32, "output_channels is 32"),
        ("use_rel_pos", False, "use_rel_pos is false, a SAM encoder without relative positions"),
        ("use_abs_pos", False, "use_abs_pos is false, a SAM encoder without absolute positions"),
        ("layer_norm_eps", 2, "must be a small positive number"),
        ("qkv_bias", False, "qkv_bias is false"),
    ],
)
@pytest.mark.parametrize("kind", ["sam", "sam_vision"])
def test_a_config_that_says_otherwise_is_refused(kind, field, value, told):
    recorded = case(kind)
    vision(recorded)[field] = value
    said = refused(recorded, ConfigError)
    assert told in said
    assert ("vision_config." in said) == (kind == "sam" and "block" not in told)


def test_a_list_of_no_indices_is_refused():
    recorded = case("sam_vision")
    for value in (1, ["1"], [-1], [True]):
        recorded.config["global_attn_indexes"] = value
        assert "global_attn_indexes must be" in refused(recorded, ConfigError)


def of_the_whole_grid(recorded, width):
    """A file whose blocks all have the tables of a grid of 4 x `width`."""
    for name, info in recorded.header.items():
        if name.endswith("pos_embed"):
            recorded.header[name] = TensorInfo("F32", (1, 4, width, info.shape[-1]))
        for axis, rows in (("h", 7), ("w", 2 * width - 1)):
            if name.endswith(f"rel_pos_{axis}"):
                recorded.header[name] = TensorInfo("F32", (rows, info.shape[-1]))
    return recorded


def test_tables_of_a_square_grid_alone_are_those_of_one_window():
    recorded = of_the_whole_grid(case("sam_original"), 4)
    form = understand(recorded.header, None, "sam", None).plan.architecture
    assert form.window_size == 4
    assert form.global_blocks == tuple(range(form.depth))


def test_tables_of_another_grid_alone_tell_of_no_windows():
    recorded = of_the_whole_grid(case("sam_original"), 6)
    assert "nothing says how large windows are" in refused(recorded, ConfigError)


@pytest.mark.parametrize("stated, free", [({}, (0, 1, 2)), ({"global_attn_indexes": [1]}, (1,))])
def test_timm_says_which_blocks_have_windows_as_large_as_the_grid(stated, free):
    recorded = of_the_whole_grid(case("sam_timm"), 4)
    recorded.config["model_args"].pop("global_attn_indexes")
    recorded.config["model_args"] |= {"window_size": 4, **stated}
    form = understand(recorded.header, recorded.config, None, None).plan.architecture
    assert form.window_size == 4
    assert form.global_blocks == free[: form.depth]


def test_windows_of_several_sizes_are_refused():
    recorded = case("sam_original")
    name = "image_encoder.blocks.0.attn.rel_pos_w"
    recorded.header[name] = TensorInfo("F32", (9, 12))
    said = refused(recorded, ConfigError)
    assert "tables of 5x5 rows, those in the file have 5x9" in said


@pytest.mark.parametrize("shape", [(5, 7), (5, 0), (5,)])
def test_a_table_that_fits_no_head_is_refused(shape):
    recorded = case("sam_original")
    recorded.header["image_encoder.blocks.0.attn.rel_pos_h"] = TensorInfo("F32", shape)
    assert "has an unexpected shape" in refused(recorded, AccountingError)


def test_a_table_that_is_missing_is_told():
    recorded = case("sam_original")
    del recorded.header["image_encoder.blocks.1.attn.rel_pos_w"]
    assert "those in the file have 7x0" in refused(recorded, ConfigError)


def test_a_bias_in_the_neck_is_left_over():
    recorded = case("sam_vision")
    recorded.header["vision_encoder.neck.conv1.bias"] = TensorInfo("F32", (24,))
    assert "left over: 'vision_encoder.neck.conv1.bias'" in refused(recorded, AccountingError)
