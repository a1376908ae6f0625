"""What OpenCLIP's config says of an image tower, read as OpenCLIP reads it."""

from typing import Any

import pytest
import torch

from inflate_zoo.errors import ConfigError, UnknownNameError, UnsupportedModelError
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.configs.normalization import PROCESSORS, from_open_clip
from inflate_zoo.naming.configs.open_clip import (
    OwnTower,
    TimmTower,
    is_needed,
    read_tower,
    timm_tower,
)
from inflate_zoo.naming.configs.timm_models import create_timm, describe_timm
from tests.support.checkpoints import open_clip_config, open_clip_trunk
from tests.support.clip_towers import QUICK, clip_config

CLIP = PROCESSORS["CLIPImageProcessor"]
FILE = "open_clip_config.json"
FAMILIES = families_by_name()
VIT = FAMILIES["timm_vit"]


def tower(**vision: Any):
    found = read_tower(open_clip_config(**vision))
    assert isinstance(found, TimmTower)
    return found


def own(activation: str = "gelu", **vision: Any):
    found = read_tower(clip_config(activation, **vision))
    assert isinstance(found, OwnTower)
    return found


@pytest.mark.parametrize(
    "arch, pool, proj",
    [
        ("test_vit", "", "linear"),
        ("test_vit", "avg", "linear"),
        ("test_vit", "token", "mlp"),
        ("test_vit", None, "linear"),
        ("test_vit", "avg", "none"),
        ("test_vit", "avg", ""),
        ("test_vit", "", None),
        ("test_vit", None, "none"),
        ("test_vit2", "avg", "linear"),  # of itself normed after pooling
        ("test_vit2", "max", "linear"),
        ("test_vit2", "", "none"),
        ("test_vit3", "map", "none"),
        ("test_vit3", "avg", "linear"),  # its pooling head goes
        ("vit_medium_patch16_gap_256", "", "linear"),
    ],
)
def test_the_tower_is_the_one_that_open_clip_builds(arch, pool, proj):
    side = 256 if arch.startswith("vit_") else 160
    found = tower(arch=arch, side=side, timm_pool=pool, timm_proj=proj)
    base, arguments, said = timm_tower(VIT, found)
    original = open_clip_trunk(arch, pool, proj).eval()
    made = create_timm(VIT, base, {**arguments, "num_classes": 0}).eval()
    state = {n: t for n, t in original.state_dict().items() if not n.startswith("head.")}
    made.load_state_dict(state, strict=True, assign=True)
    picture = torch.randn(1, 3, side, side)
    with torch.no_grad():
        tokens = [model.forward_features(picture) for model in (original, made)]
        pooled = [m.forward_head(tokens[0], pre_logits=True) for m in (original, made)]
    assert torch.equal(*tokens)
    assert torch.equal(*pooled)
    assert said["img_size"] == [side, side]


@pytest.mark.parametrize(
    "arch, family, pool",
    [
        ("beit_base_patch16_224", "timm_beit", "token"),
        ("beit_base_patch16_224", "timm_beit", "avg"),
        ("eva02_tiny_patch14_224", "timm_eva02", "token"),
        ("eva02_base_patch16_clip_224", "timm_eva02_split", "avg"),
        ("vit_small_patch16_dinov3_qkvb", "timm_dinov3", "token"),
        ("swin_tiny_patch4_window7_224", "timm_swin", "avg"),
    ],
)
def test_norms_stay_where_they_are_whatever_timm_calls_the_argument(arch, family, pool):
    original = open_clip_trunk(arch, pool)
    base, arguments, _ = timm_tower(
        FAMILIES[family], tower(arch=arch, timm_pool=pool, image_size=None)
    )
    made = create_timm(FAMILIES[family], base, {**arguments, "num_classes": 0})
    kept = {n for n in original.state_dict() if not n.startswith("head.")}
    assert {n for n in made.state_dict() if not n.startswith("head.")} == kept
    pools = [getattr(m.head, "global_pool", None) or m.global_pool for m in (original, made)]
    assert str(pools[0]) == str(pools[1])


def test_what_is_left_out_is_open_clips_default():
    config = open_clip_config()
    config["model_cfg"]["vision_cfg"] = {"timm_model_name": "timm/test_vit.r160_in1k"}
    found = read_tower(config)
    assert (found.architecture, found.pool, found.projected) == ("test_vit.r160_in1k", "avg", True)
    assert timm_tower(VIT, found)[:2] == ("test_vit", {"global_pool": "avg", "fc_norm": False})


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"model_cfg": None},
        {"model_cfg": {"vision_cfg": None}},
        {"model_cfg": {"text_cfg": {}}, "mine": 1},
    ],
)
def test_a_config_without_an_image_tower_states_none(config):
    assert read_tower(config) is None


@pytest.mark.parametrize("vision", [{}, {"timm_model_name": None}, {"timm_model_name": ""}])
def test_a_tower_of_open_clips_own_is_described_with_its_defaults(vision):
    found = read_tower({"model_cfg": {"vision_cfg": vision}})
    assert isinstance(found, OwnTower)
    said = describe_timm(FAMILIES["open_clip"], "vit_base_patch16_clip_224", {"num_classes": 0})
    assert {**found.described, "patch_size": [16, 16], "img_size": [224, 224]} == {
        name: value for name, value in said.items() if name != "pool_dropped"
    }
    assert (found.described["patch_size"], found.described["img_size"]) == (16, 224)


@pytest.mark.parametrize(
    "vision, said",
    [
        ({"width": 96}, {"embed_dim": 96, "num_heads": 8, "mlp_dim": 192}),
        ({"width": 1408, "head_width": 88, "mlp_ratio": 4.3637},
         {"num_heads": 16, "mlp_dim": 6144}),
        ({"image_size": [32, 48], "patch_size": [8, 4]},
         {"img_size": [32, 48], "patch_size": [8, 4]}),
        ({"pool_type": "avg"}, {"pool": "mean", "final_norm": "tokens"}),
        ({"global_average_pool": True}, {"pool": "mean"}),
        ({"pool_type": "tok", "final_ln_after_pool": True}, {"pool": "cls"}),  # the same
        ({"no_ln_pre": True, "ls_init_value": 1e-5}, {"pre_norm": False, "layer_scale": True}),
        ({"qk_norm": False, "act_kwargs": None, "norm_kwargs": {}, "block_type": None}, {}),
    ],
)  # fmt: skip
def test_what_a_tower_of_open_clips_own_is_told_by(vision, said):
    found = own(**vision).described
    assert {name: found[name] for name in said} == said
    assert own(**vision).preprocess["mean"] == [0.4, 0.5, 0.6]


@pytest.mark.parametrize("stated, activation", [
    (True, "quick_gelu"), (False, "gelu"), (None, "gelu"), (..., "gelu"),
])  # fmt: skip
def test_its_activation_is_the_configs(stated, activation):
    config = clip_config()
    config["model_cfg"] |= {} if stated is ... else {"quick_gelu": stated}
    found = read_tower(config)
    assert isinstance(found, OwnTower)
    assert found.described["activation"] == activation
    assert own(QUICK).described["activation"] == "quick_gelu"


@pytest.mark.parametrize(
    "vision, told",
    [
        ({"layers": [3, 4, 6, 3], "heads": 32}, "a CNN"),
        ({"attentional_pool": True}, "CoCa"),
        ({"attentional_pool": "parallel"}, "CoCa"),
        ({"pool_type": "avg", "final_ln_after_pool": True}, "after the mean"),
        ({"global_average_pool": True, "final_ln_after_pool": True}, "after the mean"),
    ],
)
def test_another_network_of_open_clips_is_told_by_its_field(vision, told):
    with pytest.raises(UnsupportedModelError, match=told) as caught:
        own(**vision)
    assert caught.value.details[0].startswith(f"{FILE}: model_cfg.vision_cfg.")


@pytest.mark.parametrize(
    "field, value",
    [
        ("mine", 1),
        ("width", "768"),
        ("width", 50),
        ("layers", 10**9),
        ("mlp_ratio", 0),
        ("image_size", [32, 32, 32]),
        ("pool_type", "none"),
        ("no_ln_pre", "yes"),
        ("input_patchnorm", True),
        ("qk_norm", True),
        ("scale_fc", True),
        ("block_type", "custom"),
        ("norm_kwargs", {"eps": 1e-6}),
        ("act_kwargs", {"approximate": "tanh"}),
        ("pos_embed_type", "rope"),
    ],
)
def test_a_field_of_open_clips_own_tower_that_nobody_takes_is_refused(field, value):
    with pytest.raises(ConfigError, match=f"{FILE}: model_cfg.vision_cfg.{field}|{field}") as error:
        own(**{field: value})
    assert FILE in error.value.message


def test_an_activation_that_is_no_flag_is_refused():
    config = clip_config()
    config["model_cfg"]["quick_gelu"] = "yes"
    with pytest.raises(ConfigError, match=f"{FILE}: model_cfg.quick_gelu must be true or false"):
        read_tower(config)


@pytest.mark.parametrize(
    "config, needed",
    [
        (None, True),
        ({}, True),
        ({"model_type": None}, True),
        ({"id2label": {}}, True),
        ({"architecture": "test_vit"}, False),
        ({"model_type": "clip"}, False),
    ],
)
def test_it_is_needed_where_config_json_leaves_it_open(config, needed):
    assert is_needed(config) is needed


def spoilt(path: str, value: Any) -> dict[str, Any]:
    config: dict[str, Any] = open_clip_config()
    *parts, last = path.split(".")
    place = config
    for part in parts:
        place = place[part]
    place[last] = value
    return config


@pytest.mark.parametrize(
    "path, value",
    [
        ("model_cfg", [1]),
        ("model_cfg", "x"),
        ("model_cfg.vision_cfg", 3),
        ("model_cfg.text_cfg", []),
        ("model_cfg.vision_cfg.timm_model_name", ["test_vit"]),
        ("model_cfg.vision_cfg.timm_model_name", {"a": 1}),
        ("model_cfg.vision_cfg.timm_pool", "../x"),
        ("model_cfg.vision_cfg.timm_pool", []),
        ("model_cfg.vision_cfg.timm_proj", "conv"),
        ("model_cfg.vision_cfg.image_size", 0),
        ("model_cfg.vision_cfg.image_size", 10**9),
        ("model_cfg.vision_cfg.image_size", [160, 160, 160]),
        ("model_cfg.vision_cfg.image_size", 1e3),
        ("model_cfg.vision_cfg.checkpoint_path", "/etc/passwd"),
        ("model_cfg.vision_cfg.timm_model_kwargs", {"features_only": True}),
        ("model_cfg.hf_model_name", "org/code"),
        ("auto_map", {"AutoModel": "x.Model"}),
        ("preprocess_cfg", [0.5]),
        ("preprocess_cfg.mode", "BGR"),
        ("preprocess_cfg.do_rescale", False),
    ],
)
def test_a_hostile_field_is_refused_by_name(path, value):
    with pytest.raises(ConfigError) as caught:
        read_tower(spoilt(path, value))
    assert caught.value.message.startswith(f"{FILE}: ")
    assert path in caught.value.message
    assert FILE in caught.value.hint


@pytest.mark.parametrize(
    "vision, kind, told",
    [
        ({"arch": "no_such_net"}, UnknownNameError, "no_such_net"),
        ({"arch": "hf-hub:org/name"}, UnknownNameError, "hf-hub"),
        ({"arch": "local-dir:/etc"}, UnknownNameError, "local-dir"),
        ({"arch": "v" * 9000}, UnknownNameError, "vvv"),
        ({"arch": "resnet50", "timm_pool": "abs_attn"}, UnsupportedModelError, "resnet"),
        ({"arch": "convnext_base"}, UnsupportedModelError, "convnext"),
        ({"arch": "vit_base_mci_224"}, UnsupportedModelError, "hybrid"),
        ({"timm_pool": "abs_attn"}, ConfigError, "model_cfg.vision_cfg: timm cannot build"),
        ({"arch": "test_vit2", "timm_pool": "token"}, ConfigError, "timm cannot build 'test_vit2'"),
    ],
)
def test_what_timm_does_not_take_is_told_with_the_file(vision, kind, told):
    with pytest.raises(kind) as caught:
        timm_tower(VIT, tower(**vision))
    assert told in str(caught.value)
    assert FILE in str(caught.value)
    assert len(max(caught.value.lines(), key=len)) < 400


@pytest.mark.parametrize(
    "cfg, mean, std, default",
    [
        ({"mean": [0.4, 0.5, 0.6], "std": [0.2] * 3}, (0.4, 0.5, 0.6), (0.2,) * 3, False),
        ({"mean": 0.5, "std": [0.25]}, (0.5,) * 3, (0.25,) * 3, False),
        ({}, CLIP.mean, CLIP.std, True),
        ({"mean": None, "std": None}, CLIP.mean, CLIP.std, True),
        ({"mean": [0.5] * 3}, (0.5,) * 3, CLIP.std, True),
        ({"mean": 0, "std": []}, CLIP.mean, CLIP.std, True),  # `mean or DEFAULT` there
        ({"mean": [0.0] * 3, "std": [1.0] * 3}, (0.0,) * 3, (1.0,) * 3, False),
    ],
)  # fmt: skip
def test_how_it_is_fed(cfg, mean, std, default):
    fed = from_open_clip(cfg)
    assert (fed.normalization.mean, fed.normalization.std) == (mean, std)
    assert fed.basis == "stated"
    assert fed.origin.startswith(f"{FILE}: preprocess_cfg")
    assert ("OpenCLIP's default" in fed.origin) is default
    assert fed.processor.settings == {"mean": mean, "std": std}


@pytest.mark.parametrize(
    "cfg",
    [
        {"mean": "0.5"},
        {"mean": {"r": 1}},
        {"mean": [0.5, float("nan"), 0.5]},
        {"std": [0.5, 0, 0.5]},
        {"std": True},
        {"std": -1},
        {"mean": 10**400},
    ],
)
def test_what_is_no_normalisation_is_named(cfg):
    with pytest.raises(ConfigError) as caught:
        from_open_clip(cfg)
    assert caught.value.message.startswith(f"{FILE}: preprocess_cfg.{next(iter(cfg))}")
