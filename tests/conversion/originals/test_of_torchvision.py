"""The originals of 3D sources: what torchvision builds of a state computes as what saved it."""

import importlib.util

import pytest
import torch

from inflate_zoo.conversion.originals import of_torchvision
from inflate_zoo.conversion.originals.of_torchvision import torchvision_swin3d
from inflate_zoo.conversion.originals.references import Asked
from inflate_zoo.errors import UsageError, VerificationError
from inflate_zoo.naming.understanding import understand
from tests.support.checkpoints import build_swin3d, video_swin_original
from tests.support.recorded import case

VOLUME = (12, 64, 64)


def asked_of(kind):
    recorded = case(kind)
    understood = understand(recorded.header, None, recorded.family, None)
    state = dict(build_swin3d().state_dict())
    if kind == "video_swin":
        held = video_swin_original()["state_dict"].items()
        state = {name.removeprefix("backbone."): tensor for name, tensor in held}
    return Asked(understood, state, (4, 4))


@pytest.mark.parametrize("kind", ["swin3d", "video_swin"])
def test_either_file_gives_the_network_that_saved_it(kind):
    made, theirs = torchvision_swin3d(asked_of(kind)), build_swin3d()
    volume = torch.randn(1, 3, *VOLUME, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = theirs.norm(theirs.features(theirs.patch_embed(volume)))
        got = made.tokens(volume)
        assert torch.equal(got.view_as(expected), expected)
        torch.testing.assert_close(theirs.head(made.pooled(got)), theirs(volume))
    assert made.built_by.startswith("torchvision ")
    assert made.built_by.endswith("SwinTransformer3d")


def test_building_it_leaves_random_numbers_as_they_were():
    asked = asked_of("swin3d")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    torchvision_swin3d(asked)
    assert torch.equal(torch.rand(3), expected)


def test_another_form_is_not_built():
    recorded = case("swin_original")
    understood = understand(recorded.header, None, recorded.family, None)
    assert torchvision_swin3d(Asked(understood, {}, (4, 4))) is None


def test_without_torchvision_it_says_what_to_do(monkeypatch):
    monkeypatch.setattr(of_torchvision, "find_spec", lambda _: None)
    assert importlib.util.find_spec("torchvision")
    with pytest.raises(UsageError, match="needs torchvision, which is not installed") as error:
        torchvision_swin3d(asked_of("swin3d"))
    assert "pip install" in error.value.hint
    assert "--no-verify" in error.value.hint


def test_tensors_that_torchvision_has_no_network_for_are_told():
    asked = asked_of("swin3d")
    form = asked.plan.architecture.model_copy(update={"mlp_dims": (32, 64, 120)})
    object.__setattr__(asked.understood.plan, "architecture", form)
    name = "features.4.0.mlp.0.weight"
    asked.state[name] = asked.state[name][:120]
    with pytest.raises(VerificationError, match="torchvision builds no such network") as error:
        torchvision_swin3d(asked)
    assert error.value.details == ("differs: 'features.4.0.mlp.0.weight'",)
