"""What originals are built of: sizes in pixels, and a library's names of our tensors."""

import torch

from inflate_zoo.conversion.originals.references import (
    Asked,
    called,
    filled,
    library_name,
    named_by_timm,
)
from inflate_zoo.naming.understanding import understand
from tests.support.checkpoints import build_timm
from tests.support.recorded import case


def understood(kind):
    recorded = case(kind)
    return understand(recorded.header, recorded.config, recorded.family, None)


def kept(source, name):
    return next(each for each in source.plan.kept if each.name == name)


def test_images_are_as_large_as_the_grid_asks():
    assert Asked(understood("vit_rectangular_patch"), {}, (3, 5)).size == (24, 20)


def test_a_joined_tensor_goes_by_its_first_part():
    source = understood("vit")
    query = "encoder.layer.0.attention.attention.query.weight"
    assert library_name(source.plan, kept(source, "blocks.0.attn.qkv.weight")) == query
    state = {query: torch.ones(2)}
    asked = Asked(source, state, (4, 4))
    assert asked.held(kept(source, "blocks.0.attn.qkv.weight")) is state[query]


def test_timms_names_are_those_of_its_family():
    source = understood("augreg")
    assert (
        library_name(source.plan, kept(source, "patch_embed.weight")) == "patch_embed.proj.weight"
    )


def test_timms_model_holds_the_tensors_and_its_own_buffers():
    original = build_timm("swin_timm").eval()
    state = {n: t for n, t in original.state_dict().items() if not n.startswith("head.")}
    made = filled(named_by_timm(Asked(understood("swin_timm"), state, (4, 4))), state)
    assert called(made, "timm").endswith(" SwinTransformer")
    assert not made.training
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(made.forward_features(images), original.forward_features(images))
