"""From a source's files to a plan, and to how its original is fed."""

from types import SimpleNamespace
from typing import Any

import pytest

from inflate_zoo.errors import ConfigError, UnknownNameError, UnsupportedModelError, UsageError
from inflate_zoo.files.header import TensorInfo
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.configs.normalization import Preprocessor, from_timm
from inflate_zoo.naming.configs.open_clip import read_tower
from inflate_zoo.naming.understanding import Understood, find_feeding, understand
from tests.support.checkpoints import open_clip_config, open_clip_trunk
from tests.support.recorded import case, cases

PREPROCESSOR = "preprocessor_config.json"
STATED = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.25, 0.5]}


def timm_source(name):
    plan: Any = SimpleNamespace(family=families_by_name()["timm_vit"])
    return Understood(plan, {}, name.split(".")[0], {}, name)


@pytest.mark.parametrize(
    "name, config, mean, basis",
    [
        ("vit_small_patch14_dinov2.lvd142m", None, 0.485, "stated"),
        ("vit_small_patch14_dinov2", None, 0.485, "guessed"),
        ("vit_base_patch16_224_dino", None, 0.485, "stated"),
        ("vit_base_patch16_224.mae", None, 0.485, "stated"),
        ("vit_base_patch16_224", None, 0.5, "guessed"),
        ("vit_base_patch16_224", {"pretrained_cfg": {"tag": "mae"}}, 0.485, "stated"),
        ("vit_base_patch16_224", {"pretrained_cfg": {"tag": "mine"}}, 0.5, "guessed"),
        ("vit_base_patch16_224.mine", {}, 0.5, "guessed"),
        ("vit_base_patch16_224", {"pretrained_cfg": {"mean": 0.25, "std": None}}, 0.25, "stated"),
        ("vit_base_patch16_224", {"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]}, 0.1, "stated"),
    ],
)
def test_timm_is_read_by_its_config_then_its_registry(name, config, mean, basis):
    stated = None if config is None else {"architecture": name, **config}
    found = find_feeding(timm_source(name), stated, None)
    assert (found.normalization.mean[0], found.basis) == (mean, basis)


def test_a_tag_that_timm_does_not_have_is_refused():
    with pytest.raises(UnknownNameError, match="pretrained tag") as caught:
        find_feeding(timm_source("vit_small_patch14_dinov2.lvd142"), None, None)
    assert "lvd142m" in caught.value.hint


def test_timm_config_goes_before_the_file_of_the_other_library():
    config = {"architecture": "vit_base_patch16_224", "pretrained_cfg": {"mean": 0.1, "std": 0.2}}
    other = Preprocessor(PREPROCESSOR, "", STATED)
    assert find_feeding(timm_source("vit_base_patch16_224"), config, other).origin.startswith(
        "config.json"
    )
    bare = find_feeding(timm_source("vit_base_patch16_224"), None, other)
    assert (bare.origin, bare.normalization.mean) == (PREPROCESSOR, (0.4, 0.5, 0.6))
    with pytest.raises(ConfigError, match="pretrained_cfg"):
        from_timm({"mean": "x"}, "config.json: pretrained_cfg")


FILE = "open_clip_config.json"


def tower(**vision: Any):
    found = read_tower(open_clip_config(**vision))
    assert found is not None
    return found


def test_tensors_of_another_kind_are_told_as_what_they_are():
    with pytest.raises(
        UsageError, match=f"{FILE} names a timm architecture, the tensors are those of hf_siglip"
    ):
        understand(case("siglip").header, None, None, None, open_clip=tower())
    text = {"text.transformer.resblocks.0.attn.in_proj_weight": TensorInfo("F32", (4,))}
    with pytest.raises(UnsupportedModelError, match="without its plain image tower"):
        understand(text, None, None, None, open_clip=tower())


def test_of_another_size_both_are_named():
    trunk = open_clip_trunk().state_dict()
    header = {f"visual.trunk.{n}": TensorInfo("F32", tuple(t.shape)) for n, t in trunk.items()}
    with pytest.raises(UsageError) as caught:
        understand(header, None, None, None, open_clip=tower(side=224))
    assert FILE in str(caught.value)
    assert "224x224" in str(caught.value)


def of_clip(kind, **cfg: Any):
    source = next(each for each in cases("timm_vit") if each.kind == kind)
    assert source.config is not None
    source.config["pretrained_cfg"].pop("notes", None)
    source.config["pretrained_cfg"] |= cfg
    return understand(source.header, source.config, None, None).plan


@pytest.mark.parametrize("cfg", [{"tag": "openai"}, {"tag": "mine", "notes": ["natively Quick\n"]}])
def test_weights_of_another_activation_than_their_architecture_are_warned_of(cfg):
    with pytest.warns(UserWarning, match="natively Quick.*this network has gelu"):
        plan = of_clip("clip", **cfg)
    assert any("natively Quick" in note and "--arch" in note for note in plan.notes)
    assert all(note.isprintable() for note in plan.notes)


def test_weights_under_their_own_activation_are_not():
    assert of_clip("clip_quickgelu", tag="openai").notes == ()
    assert of_clip("clip", tag="laion2b").notes == ()


@pytest.fixture
def larger():
    """A model of language and images: its config and names, with SigLIP's image tower."""
    tower = case("siglip_vision")
    header = {f"model.vision_tower.{name}": info for name, info in tower.header.items()}
    header["model.language_model.layers.0.mlp.up_proj.weight"] = TensorInfo("F32", (8, 4))
    config = {
        "model_type": "gemma3", "mm_tokens_per_image": 256, "boi_token_index": 255999,
        "text_config": {"sliding_window": 512}, "vision_config": tower.config,
    }  # fmt: skip
    return header, config


def test_the_image_tower_of_a_larger_model_is_taken_by_its_family(larger):
    header, config = larger
    with pytest.raises(UnsupportedModelError, match="image tower of type 'siglip_vision") as caught:
        understand(header, config, None, None)
    assert "--family hf_siglip" in caught.value.hint
    plan = understand(header, config, "hf_siglip", None).plan
    assert plan.prefix.startswith("model.vision_tower.")
    assert plan.dropped


@pytest.mark.parametrize("field", ["auto_map", "custom_pipelines"])
def test_a_larger_model_may_ask_for_no_code_either(larger, field):
    header, config = larger
    with pytest.raises(ConfigError, match=f"{field} must be"):
        understand(header, config | {field: {"AutoModel": "modeling.Evil"}}, "hf_siglip", None)
    other = {"backbone_config": {"model_type": "resnet", field: "modeling.Evil"}}
    with pytest.raises(ConfigError, match=rf"backbone_config\.{field} must be"):
        understand(header, config | other, "hf_siglip", None)
    config["vision_config"]["state_dict"] = "x"
    with pytest.raises(ConfigError, match=r"vision_config\.state_dict"):
        understand(header, config, "hf_siglip", None)
