"""SAM 2's originals as the proof builds them, which take images of any size."""

import pytest
import torch
from timm.models.hieradet_sam2 import HieraDet

from inflate_zoo.conversion.originals.known import ORIGINALS
from inflate_zoo.conversion.originals.references import Asked
from inflate_zoo.conversion.originals.sam2 import timm_hiera
from inflate_zoo.files.header import TensorInfo
from inflate_zoo.naming.understanding import understand
from tests.support.checkpoints import build_timm, build_transformers
from tests.support.recorded import case

GRID = (2, 3)  # of images of 32 x 48


def asked_of(kind, changes=None, **config):
    """The library's own tensors, and what a config says of them."""
    recorded = case(kind)
    built = build_timm(kind) if "timm" in kind else build_transformers(kind, **config)
    state = dict(built.state_dict())
    of_library = {n: TensorInfo("F32", tuple(t.shape)) for n, t in state.items()}
    header = of_library if config else recorded.header
    understood = understand(header, recorded.config | config, recorded.family, None)
    return Asked(understood, state | (changes or {}), GRID)


def images():
    return torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", ["sam2_timm", "sam2_timm_classifier", "sam2_timm_heads"])
def test_timms_named_architecture_is_filled_with_the_state(kind):
    model = timm_hiera(asked_of(kind))
    assert type(model) is HieraDet
    assert not model.training
    with torch.inference_mode():
        expected = build_timm(kind).eval().forward_features(images())
        assert torch.equal(model.forward_features(images()), expected)


def test_without_a_name_all_is_that_of_the_form():
    """Of the same weights transformers' network is another witness."""
    assert timm_hiera(asked_of("sam2_hiera")) is None  # its feed-forward part is narrower
    asked, wide = (
        asked_of("sam2_hiera", mlp_ratio=4.0),
        build_transformers("sam2_hiera", mlp_ratio=4.0),
    )
    with torch.inference_mode():
        expected = wide.eval()(images()).last_hidden_state
        torch.testing.assert_close(timm_hiera(asked).forward_features(images()), expected)


def test_what_timm_cannot_take_is_told():
    assert timm_hiera(asked_of("sam2_timm", {"pos_embed": torch.zeros(1, 16, 4, 4)})) is None
    recorded = case("vit")
    understood = understand(recorded.header, recorded.config, recorded.family, None)
    assert timm_hiera(Asked(understood, {}, GRID)) is None


@pytest.mark.parametrize("kind", ["sam2_hiera"])
def test_transformers_gives_a_map_of_images_of_any_size(kind):
    reference = ORIGINALS["Sam2HieraDetModel"](asked_of(kind))
    with torch.inference_mode():
        expected = build_transformers(kind).eval()(images()).last_hidden_state
    torch.testing.assert_close(reference.tokens(images()), expected.flatten(1, 2))
    assert reference.pooled is None


def test_timms_pooling_has_a_norm_that_is_dropped():
    reference = ORIGINALS["HieraDet"](asked_of("sam2_timm"))
    assert reference.pooled is None
    assert reference.tokens(images()).shape == (2, 6, 64)
