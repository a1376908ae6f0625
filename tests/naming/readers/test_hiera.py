"""What is read of Hiera's and SAM 2's files and configs; recorded headers are the libraries'."""

import pytest
import timm
import torch

from inflate_zoo.errors import AccountingError, ConfigError
from inflate_zoo.files.header import TensorInfo
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.detection import choose_family
from inflate_zoo.naming.readers.hiera import unmasked
from inflate_zoo.naming.understanding import understand
from tests.support.recorded import case, refused

FAMILIES = families_by_name()
WHOLE = {"sam2": "vision_config.backbone_config.", "sam2_vision": "backbone_config."}


def of(kind):
    recorded = case(kind)
    return understand(recorded.header, recorded.config, recorded.family, None).plan


def encoder(recorded):
    """The part of a config that describes the encoder."""
    part = recorded.config
    for field in ("vision_config", "backbone_config"):
        part = part.get(field, part)
    return part


@pytest.mark.parametrize("kind", ["sam2", "sam2_video", "sam2_vision", "sam2_hiera"])
def test_each_class_has_the_same_encoder(kind):
    assert of(kind).architecture == of("sam2_hiera").architecture


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("sam2", {"embed_dim": 16, "depths": (1, 1, 2), "num_heads": (1, 2, 4)}),
        ("sam2", {"mlp_dims": (32, 64, 128), "windows": (4, 2, 3), "global_blocks": (3,)}),
        ("sam2", {"kernel": (7, 7), "patch_size": (4, 4), "position_grid": (3, 5)}),
        ("sam2", {"image_size": (64, 64), "norm_eps": 1e-6, "activation": "gelu"}),
        ("sam2_timm", {"mlp_dims": (64, 128, 256), "windows": (4, 2, 3), "num_heads": (1, 2, 4)}),
        ("sam2_timm", {"image_size": (896, 896), "global_blocks": (3,)}),
        ("sam2_timm_heads", {"num_heads": (2, 4, 8), "global_blocks": ()}),
        ("sam2_original_tiny", {"num_heads": (1, 2, 4, 8), "global_blocks": (5, 7, 9)}),
        ("sam2_original_small", {"windows": (8, 4, 14, 7), "global_blocks": (7, 10, 13)}),
        ("sam2_original_base_plus", {"num_heads": (2, 4, 8, 16), "position_grid": (14, 14)}),
        ("sam2_original_large", {"windows": (8, 4, 16, 8), "global_blocks": (23, 33, 43)}),
        ("hiera", {"embed_dim": 16, "depths": (1, 2, 2), "num_heads": (1, 2, 4)}),
        ("hiera", {"mlp_dims": (32, 64, 128), "windows": (4, 2, 1), "global_blocks": (2, 3, 4)}),
        ("hiera", {"kernel": (7, 7), "position_grid": (16, 16), "window_positions": False}),
        ("hiera_rectangular", {"image_size": (64, 96), "position_grid": (16, 24)}),
        ("hiera_timm", {"mlp_dims": (64, 128, 256), "windows": (4, 2, 1), "image_size": (64, 64)}),
        ("hiera_timm_units", {"num_heads": (2, 4, 8), "global_blocks": ()}),
        ("hiera_timm_rectangular", {"image_size": (96, 64), "position_grid": (24, 16)}),
        ("hiera_original_tiny", {"num_heads": (1, 2, 4, 8), "windows": (8, 4, 2, 1)}),
        ("hiera_original_tiny", {"global_blocks": tuple(range(4, 12)), "image_size": (224, 224)}),
        ("hiera_original_large", {"num_heads": (2, 4, 8, 16), "position_grid": (56, 56)}),
    ],
)
def test_the_form_is_what_names_shapes_and_config_say(kind, expected):
    form = of(kind).architecture.model_dump()
    assert {field: form[field] for field in expected} == expected


@pytest.mark.parametrize("size", ["tiny", "small", "base_plus", "large"])
def test_published_originals_are_read_as_timm_describes_them(size):
    file = case(f"sam2_original_{size}")
    ours = understand(file.header, None, None, None).plan.architecture
    prefix = "model.image_encoder.trunk."
    header = {
        name.removeprefix(prefix).replace("layers.0", "fc1").replace("layers.1", "fc2"): info
        for name, info in file.header.items()
        if name.startswith(prefix)
    }
    timms = understand(header, None, None, f"sam2_hiera_{size}").plan.architecture
    assert ours == timms.model_copy(update={"image_size": (1024, 1024)})  # timm's are of 896


@pytest.mark.parametrize("size", ["tiny", "small", "base", "base_plus", "large", "huge"])
def test_published_hieras_are_read_as_timm_describes_them(size):
    with torch.device("meta"):
        network = timm.create_model(f"hiera_{size}_224")
    header = {n: TensorInfo("F32", tuple(t.shape)) for n, t in network.state_dict().items()}
    original = {
        name.replace("head.norm", "norm").replace("head.fc", "head.projection"): info
        for name, info in header.items()
    }
    ours = understand(original, None, None, None).plan
    assert ours.family.name == "hiera"
    timms = understand(header, None, None, f"hiera_{size}_224").plan
    assert timms.family.name == "timm_hiera"
    assert ours.architecture == timms.architecture


@pytest.mark.parametrize("kind", ["hiera_mae", "hiera_classifier", "hiera_backbone"])
def test_each_class_has_the_same_hiera(kind):
    assert of(kind).architecture == of("hiera").architecture


def test_what_a_masked_pre_training_did_not_pool_is_told():
    (told,) = of("hiera_mae").notes
    assert told.startswith("num_query_pool is 1: so its pre-training had it.")
    assert "all 2 stages after the first" in told
    assert not any("num_query_pool" in note for note in of("hiera").notes)


@pytest.mark.parametrize(
    "depths, masked, free",
    [
        ((2, 3, 16, 3), (True, True, False, False), tuple(range(6, 24))),
        ((1, 2, 2), (True, True, True), ()),
        ((1, 2, 2), (False, False, False), (0, 1, 2, 3, 4)),
        ((1, 1, 1), (True, False, False), (2,)),
    ],
)
def test_the_first_block_of_a_stage_sees_what_the_stage_before_does(depths, masked, free):
    assert unmasked(depths, masked) == free


@pytest.mark.parametrize(
    "field, value, told",
    [
        ("embed_dim", 24, "embed_dim is 24, "),
        ("embed_dim_multiplier", 3.0, "embed_dim_multiplier is 3.0; only encoders with 2"),
        ("depths", [1, 3, 1], "depths is 1x3x1, "),
        ("depths", [1, 2, 1, 1], "masked_unit_size must be [8, 8] with 4 stages"),
        ("num_heads", [1, 2, 5], "width 64 is not divisible by 5 heads"),
        ("masked_unit_attention", [False, True, True], "must be true for the first stages"),
        ("masked_unit_attention", [True, False], "must be true for the first stages"),
        ("masked_unit_size", [4, 8], "masked_unit_size must be [4, 4] with 3 stages"),
        ("masked_unit_size", [8, 8], "masked_unit_size must be [4, 4] with 3 stages"),
        ("image_size", [64, 96], "image_size over patch_stride is 16x24, "),
        ("image_size", 64.0, "image_size must be"),
        ("num_query_pool", 0, "num_query_pool is 0; only encoders that pool"),
        ("num_query_pool", 3, "num_query_pool is 3; only encoders that pool"),
        ("query_stride", [4, 4], "query_stride is 4x4; only encoders with 2x2"),
        ("patch_padding", [2, 2], "patch_padding is 2x2; only encoders with 3x3"),
        ("mlp_ratio", 3.0, "embed_dim * mlp_ratio, as widths, is 48x96x192, "),
    ],
)
def test_a_hieras_config_that_says_otherwise_is_refused(field, value, told):
    recorded = case("hiera")
    recorded.config[field] = value
    assert told in refused(recorded, ConfigError)


def test_a_missing_block_is_called_as_its_file_calls_it():
    recorded = case("hiera")
    for name in list(recorded.header):
        if name.startswith("encoder.stages.1.layers.1.mlp.fc2."):
            del recorded.header[name]
    said = refused(recorded, AccountingError)
    assert "missing: 'encoder.stages.1.layers.1.mlp.fc2.weight' [32, 64]" in said
    for name in list(recorded.header):
        if name.startswith("encoder.stages.1.layers.0."):
            del recorded.header[name]
    said = refused(recorded, AccountingError)
    assert "missing: 'encoder.stages.1.layers.0.layernorm_before.weight'" in said


def test_a_table_of_no_square_has_no_grid_by_itself():
    recorded = case("hiera_original_tiny")
    recorded.header["model_state.pos_embed"] = TensorInfo("F32", (1, 3137, 96))
    assert "has 3137 rows, which are no square" in refused(recorded, ConfigError)


def test_of_an_original_hiera_that_nobody_published_nothing_tells_the_heads():
    recorded = case("hiera_original_tiny")
    for name in list(recorded.header):
        if ".blocks.11." in name:
            del recorded.header[name]
    said = refused(recorded, ConfigError)
    assert "no published Hiera is 96 wide with 1+2+7+1 blocks" in said


@pytest.mark.parametrize(
    "kind, family", [("hiera", "hf_hiera"), ("hiera_timm", "timm_hiera"),
                     ("hiera_original_tiny", "hiera"), ("hiera_original_base", "hiera"),
                     ("sam2_video", "hf_sam2"), ("sam2_timm", "timm_sam2"),
                     ("sam2_original_tiny", "sam2")]
)  # fmt: skip
def test_its_family_is_chosen_by_config_and_names(kind, family):
    recorded = case(kind)
    assert choose_family(FAMILIES, recorded.header, recorded.config).name == family


def test_neck_decoder_prompts_and_memory_stay_behind():
    heads = {name.split(".")[0] for name in of("sam2_video").dropped}
    assert {"mask_decoder", "prompt_encoder", "memory_attention", "vision_encoder"} <= heads
    tables = {each.name for each in of("sam2").kept if each.role == "bias_table"}
    assert tables == {"pos_embed", "pos_embed_window"}


def test_indices_beyond_the_last_block_are_nobodys_as_in_the_library():
    recorded = case("sam2_hiera")
    recorded.config["global_attention_blocks"] = [11, 3, 5]
    assert understand(recorded.header, recorded.config, None, None).plan.architecture == (
        of("sam2_hiera").architecture
    )


@pytest.mark.parametrize(
    "field, value, told",
    [
        ("hidden_size", 24, "hidden_size is 24, "),
        ("embed_dim_per_stage", [16, 32, 128], "embed_dim_per_stage is 16x32x128"),
        ("blocks_per_stage", [1, 2, 1], "blocks_per_stage is 1x2x1, "),
        ("num_attention_heads_per_stage", [1, 2, 5], "width 64 is not divisible by 5 heads"),
        ("num_attention_heads_per_stage", [1, 2], "num_heads are not those of 3 stages"),
        ("window_size_per_stage", [8, 2, 3], "begins with 8, "),
        ("window_size_per_stage", [4, 3, 3], "cannot be halved"),
        ("global_attention_blocks", 1, "global_attention_blocks must be"),
        ("patch_kernel_size", [5, 5], "patch_padding is 3x3; only encoders with 2x2"),
        ("patch_padding", 2, "patch_padding is 2x2; only encoders with 3x3"),
        ("query_stride", [4, 4], "query_stride is 4x4; only encoders with 2x2"),
        ("num_query_pool_stages", 1, "num_query_pool_stages is 1; only encoders that pool"),
        ("window_positional_embedding_background_size", [7, 7], "background_size is 7x7, "),
        ("mlp_ratio", 3.0, "embed_dim_per_stage * mlp_ratio, as widths, is 48x96x192, "),
        ("image_size", [8, 64], "leaves no token in the last stage"),
        ("layer_norm_eps", 2, "layer_norm_eps must be"),
    ],
)
@pytest.mark.parametrize("kind", ["sam2", "sam2_vision", "sam2_hiera"])
def test_a_config_that_says_otherwise_is_refused(kind, field, value, told):
    recorded = case(kind)
    encoder(recorded)[field] = value
    said = refused(recorded, ConfigError)
    assert told in said
    if field in said and "that can be built" not in said:
        assert WHOLE.get(kind, "config.json: " if "must be" in said else "") in said


@pytest.mark.parametrize("kind, section", list(WHOLE.items()))
def test_a_part_that_is_no_object_is_named(kind, section):
    recorded = case(kind)
    outer = recorded.config.get("vision_config", recorded.config)
    outer["backbone_config"] = [1]
    assert f"config.json: {section.rstrip('.')} must be an object" in refused(recorded, ConfigError)


def test_a_part_that_is_left_out_has_the_librarys_defaults():
    recorded = case("sam2")
    del recorded.config["vision_config"]["backbone_config"]
    assert "embed_dim_per_stage is 96x192x384x768" in refused(recorded, ConfigError)


def test_of_an_original_that_nobody_published_nothing_tells_the_heads():
    recorded = case("sam2_original_tiny")
    for name in list(recorded.header):
        if ".blocks.11." in name:
            del recorded.header[name]
    said = refused(recorded, ConfigError)
    assert "no published SAM 2 is 96 wide with 1+2+7+1 blocks" in said


def test_stages_that_do_not_double_the_width_are_refused():
    recorded = case("sam2_original_tiny")
    for name, info in recorded.header.items():
        if ".blocks.10.norm2." in name:
            recorded.header[name] = TensorInfo(info.dtype, (700,))
    assert "the stages are 96, 192, 384, 700 wide" in refused(recorded, ConfigError)


def test_more_stages_than_are_known_are_refused():
    recorded = case("sam2_original_large")
    for index in range(3, 12):
        name = f"model.image_encoder.trunk.blocks.{index}.proj.weight"
        recorded.header[name] = TensorInfo("F32", (288, 144))
    assert "at most 8 are known" in refused(recorded, AccountingError)


@pytest.mark.parametrize("name", ["norm2.weight", "mlp.layers.0.weight"])
def test_what_tells_a_size_is_missed_by_name(name):
    recorded = case("sam2_original_tiny")
    del recorded.header[f"model.image_encoder.trunk.blocks.3.{name}"]
    assert "is missing or has no such shape" in refused(recorded, AccountingError)
