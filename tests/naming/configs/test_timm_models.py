"""What timm says of its models."""

import pytest

from inflate_zoo.errors import ConfigError, UnknownNameError, UnsupportedModelError
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.configs import timm_models
from inflate_zoo.naming.understanding import understand
from tests.support.recorded import case

VIT = families_by_name()["timm_vit"]


@pytest.fixture
def no_library(monkeypatch):
    """Neither library is asked to build anything."""
    import timm

    def never(*words, **named):
        raise AssertionError("the library saw it")

    monkeypatch.setattr(timm, "create_model", never)


@pytest.mark.parametrize("name", ["swin_base_patch4_window7_224_in22k", "resnetv2_50x1_bitm"])
def test_timm_builds_for_a_tag_only_what_the_gate_admits(no_library, name):
    with pytest.raises(UnsupportedModelError, match="not a plain VisionTransformer"):
        timm_models._of_old_name(VIT, name)


def test_what_the_gate_admits_is_what_the_library_gets(monkeypatch):
    seen = {}

    def create(arch, **named):
        seen.update(named)
        raise ValueError("enough")

    import timm

    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(ConfigError, match="enough"):
        timm_models.describe_timm(VIT, "vit_tiny_patch16_224", {"depth": 3, "img_size": 32})
    assert seen == {"pretrained": False, "weight_init": "skip", "depth": 1, "img_size": 32}


@pytest.mark.parametrize(
    ("arch", "error", "told"),
    [
        ("resnet50", UnsupportedModelError, "'resnet50' is of timm's resnet, a CNN .ResNet.; only"),
        ("pvt_v2_b0", UnsupportedModelError, "'pvt_v2_b0' is of timm's pvt_v2, which no family"),
        ("hf-hub:timm/vit_base_patch16_224", UnknownNameError, "no timm architecture named"),
        ("local-dir:/etc", UnknownNameError, "no timm architecture named"),
        ("x" * 1_000_000, UnknownNameError, "no timm architecture named"),
    ],
)
def test_an_architecture_that_is_no_plain_one_is_not_built(arch, error, told, no_library):
    with pytest.raises(error, match=told) as raised:
        understand(case("augreg").header, {}, None, arch)
    assert len(raised.value.message) < 400


@pytest.mark.parametrize(
    "arch, converted",
    [("vit_tiny_patch16_224", True), ("timm/vit_tiny_patch16_224.augreg_in21k", True),
     ("vit_small_patch16_18x2_224", False), ("aimv2_large_patch14_224", False),
     ("beit_base_patch16_224", False), ("x", False)],
)  # fmt: skip
def test_what_a_family_has_of_timms_architectures(arch, converted):
    assert timm_models.is_converted(VIT, arch) is converted


@pytest.mark.parametrize("arch", ["timm/vit_tiny_patch16_224.augreg_in21k", "vit_tiny_patch16_224"])
def test_an_architecture_is_named_without_owner_and_tag(arch):
    assert timm_models.timm_arguments(VIT, arch, {}) == ("vit_tiny_patch16_224", {})


def test_a_model_is_described_as_timm_builds_it_without_memory():
    arguments = {"img_size": (32, 48), "depth": 5, "qkv_bias": False, "init_values": 1.0}
    model = timm_models.create_timm(VIT, "vit_tiny_patch16_224", arguments)
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    told = timm_models.describe_timm(VIT, "vit_tiny_patch16_224", arguments)
    assert (told["depth"], told["img_size"], told["qkv_bias"]) == (5, [32, 48], False)


def test_what_timm_cannot_build_is_told():
    with pytest.raises(ConfigError, match="timm cannot build 'vit_tiny_patch16_224'") as caught:
        timm_models.create_timm(VIT, "vit_tiny_patch16_224", {"no_such_argument": 1})
    assert "model_args" in caught.value.hint


def test_published_weights_are_named_in_full_and_only_a_tag_is_told():
    _, label, told = timm_models.published_cfg(VIT, "vit_base_patch16_224.mae")
    assert (label, told) == ("timm's pretrained_cfg of vit_base_patch16_224.mae", True)
    cfg, label, told = timm_models.published_cfg(VIT, "timm/vit_base_patch16_224")
    assert (label.startswith("timm's pretrained_cfg of vit_base_patch16_224."), told) == (
        True,
        False,
    )
    assert cfg["mean"] == (0.5, 0.5, 0.5)
    assert timm_models.published_cfg(VIT, "test_none_such.x") is None


CLIP = "vit_base_patch32_clip_224"


@pytest.mark.parametrize(
    "name, config, begins",
    [
        (f"{CLIP}.openai", {}, ["natively QuickGELU"]),
        (CLIP, {"pretrained_cfg": {"tag": "openai"}}, ["natively QuickGELU"]),
        (CLIP, {"pretrained_cfg": {"tag": "openai", "notes": "other"}}, ["other"]),
        (CLIP, {"pretrained_cfg": {"notes": [7, "", "mine"]}}, ["mine"]),
        (CLIP, {"notes": ["of before there was pretrained_cfg"]}, ["of before"]),
        (CLIP, {}, []),  # of which weights, nobody says
        (f"{CLIP}.mine", {}, []),
        (f"{CLIP}.laion2b_e16", {}, []),
    ],
)
def test_what_timm_notes_of_weights(name, config, begins):
    found = timm_models.notes_of(VIT, name, config)
    assert [note.startswith(start) for note, start in zip(found, begins, strict=True)] == [
        True for _ in begins
    ]


def test_a_strangers_notes_are_few_short_and_one_line_each():
    config = {"pretrained_cfg": {"notes": ["a\n\u202eb" + "x" * 1000] * 50}}
    found = timm_models.notes_of(VIT, CLIP, config)
    assert len(found) == 3
    assert all(note.isprintable() and len(note) < 300 for note in found)
