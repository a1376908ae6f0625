"""What timm says of its models."""

import pytest

from inflate_zoo.errors import ConfigError, UnknownNameError, UnsupportedModelError
from inflate_zoo.naming.configs import timm_models
from inflate_zoo.naming.understanding import understand
from tests.support.recorded import case


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
        timm_models._of_old_name(name)


def test_what_the_gate_admits_is_what_the_library_gets(monkeypatch):
    seen = {}

    def create(arch, **named):
        seen.update(named)
        raise ValueError("enough")

    import timm

    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(ConfigError, match="enough"):
        timm_models.describe_timm("vit_tiny_patch16_224", {"depth": 3, "img_size": 32})
    assert seen == {"pretrained": False, "weight_init": "skip", "depth": 1, "img_size": 32}


@pytest.mark.parametrize(
    ("arch", "error", "told"),
    [
        ("resnet50", UnsupportedModelError, "'resnet50' is of timm's resnet, not a plain"),
        ("swin_base_patch4_window7_224", UnsupportedModelError, "swin_transformer"),
        ("hf-hub:timm/vit_base_patch16_224", UnknownNameError, "no timm architecture named"),
        ("local-dir:/etc", UnknownNameError, "no timm architecture named"),
        ("x" * 1_000_000, UnknownNameError, "no timm architecture named"),
    ],
)
def test_an_architecture_that_is_no_plain_one_is_not_built(arch, error, told, no_library):
    with pytest.raises(error, match=told) as raised:
        understand(case("augreg").header, {}, None, arch)
    assert len(raised.value.message) < 400
