"""The originals of Hiera and SAM 2 as the proof builds them."""

import pytest
import torch
import torch.nn.functional as F
from timm.models.hiera import Hiera
from timm.models.hieradet_sam2 import HieraDet

from inflate_zoo.conversion.originals.hiera import timm_hiera, timm_hieradet
from inflate_zoo.conversion.originals.known import ORIGINALS
from inflate_zoo.conversion.originals.references import Asked
from inflate_zoo.files.header import TensorInfo
from inflate_zoo.naming.understanding import understand
from tests.support.checkpoints import build_timm, build_transformers
from tests.support.recorded import case

GRID = (2, 3)  # of images of 32 x 48
WIDE = (2, 6)  # of a Hiera's, of 32 x 96


def asked_of(kind, changes=None, grid=GRID, **config):
    """The library's own tensors, and what a config says of them."""
    recorded = case(kind)
    built = build_timm(kind) if "timm" in kind else build_transformers(kind, **config)
    state = dict(built.state_dict())
    of_library = {n: TensorInfo("F32", tuple(t.shape)) for n, t in state.items()}
    header = of_library if config else recorded.header
    understood = understand(header, recorded.config | config, recorded.family, None)
    return Asked(understood, state | (changes or {}), grid)


def images(width=48):
    return torch.randn(2, 3, 32, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", ["sam2_timm", "sam2_timm_classifier", "sam2_timm_heads"])
def test_timms_named_architecture_is_filled_with_the_state(kind):
    model = timm_hieradet(asked_of(kind))
    assert type(model) is HieraDet
    assert not model.training
    with torch.inference_mode():
        expected = build_timm(kind).eval().forward_features(images())
        assert torch.equal(model.forward_features(images()), expected)


def test_without_a_name_all_is_that_of_the_form():
    """Of the same weights transformers' network is another witness."""
    assert timm_hieradet(asked_of("sam2_hiera")) is None  # its feed-forward part is narrower
    asked, wide = (
        asked_of("sam2_hiera", mlp_ratio=4.0),
        build_transformers("sam2_hiera", mlp_ratio=4.0),
    )
    with torch.inference_mode():
        expected = wide.eval()(images()).last_hidden_state
        torch.testing.assert_close(timm_hieradet(asked).forward_features(images()), expected)


def test_what_timm_cannot_take_is_told():
    assert timm_hieradet(asked_of("sam2_timm", {"pos_embed": torch.zeros(1, 16, 4, 4)})) is None
    recorded = case("vit")
    understood = understand(recorded.header, recorded.config, recorded.family, None)
    assert timm_hieradet(Asked(understood, {}, GRID)) is None


@pytest.mark.parametrize("kind", ["sam2_hiera"])
def test_transformers_gives_a_map_of_images_of_any_size(kind):
    reference = ORIGINALS["Sam2HieraDetModel"](asked_of(kind))
    with torch.inference_mode():
        expected = build_transformers(kind).eval()(images()).last_hidden_state
    torch.testing.assert_close(reference.tokens(images()), expected.flatten(1, 2))
    assert reference.pooled is None


@pytest.mark.parametrize("kind", ["hiera_timm", "hiera_timm_classifier", "hiera_timm_units"])
def test_timms_hiera_is_built_for_the_size_with_its_table_resized(kind):
    asked, theirs = asked_of(kind, grid=WIDE), build_timm(kind, img_size=(32, 96)).eval()
    model = timm_hiera(asked)
    assert type(model) is Hiera
    table = asked.state["pos_embed"].view(1, 16, 16, 16).permute(0, 3, 1, 2)
    with torch.inference_mode():
        state = {n: t for n, t in asked.state.items() if n != "pos_embed"}
        theirs.load_state_dict(state, strict=False)
        theirs.pos_embed.copy_(
            F.interpolate(table, size=(8, 24), mode="bicubic").permute(0, 2, 3, 1).flatten(1, 2)
        )
        expected = theirs.forward_features(images(96))
        torch.testing.assert_close(model.forward_features(images(96)), expected)


@pytest.mark.parametrize("masked", [(True, False, False), (True, True, True), (False,) * 3])
@pytest.mark.parametrize("depths", [(1, 2, 2), (2, 1, 1)])
def test_of_the_same_hiera_both_libraries_are_witnesses(masked, depths):
    config = {
        "mlp_ratio": 4.0, "masked_unit_attention": list(masked), "depths": list(depths),
    }  # fmt: skip
    asked = asked_of("hiera", grid=WIDE, **config)
    reference = ORIGINALS["HieraModel"](asked)
    with torch.inference_mode():
        expected = timm_hiera(asked).forward_features(images(96))
        torch.testing.assert_close(reference.tokens(images(96)), expected, rtol=1e-4, atol=1e-5)
    assert timm_hiera(asked_of("hiera")) is None  # its feed-forward part is narrower


@pytest.mark.parametrize("kind", ["hiera", "hiera_classifier"])
def test_transformers_hiera_takes_its_own_table_as_it_is_and_resizes_it_for_others(kind):
    model = build_transformers(kind).eval()
    model = getattr(model, "hiera", model)
    own = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        for grid, given in ((WIDE, images(96)), ((4, 4), own)):
            asked = asked_of(kind, grid=grid)
            asked.state.update({n.removeprefix("hiera."): t for n, t in asked.state.items()})
            reference = ORIGINALS["HieraModel"](asked)
            expected = model(given, interpolate_pos_encoding=given is not own).last_hidden_state
            torch.testing.assert_close(reference.tokens(given), expected)
            assert reference.pooled is None


def test_a_masked_pre_training_is_pooled_as_it_is_fine_tuned():
    asked = asked_of("hiera_mae", grid=WIDE)
    asked.state.update({n.removeprefix("hiera."): t for n, t in asked.state.items()})
    assert ORIGINALS["HieraModel"](asked).tokens(images(96)).shape == (2, 12, 64)


def test_a_table_that_is_no_square_is_resized_by_no_library():
    asked = asked_of("hiera_rectangular", grid=WIDE)
    assert ORIGINALS["HieraModel"](asked) is None
    own = ORIGINALS["HieraModel"](asked_of("hiera_rectangular", grid=(4, 6)))
    assert own.tokens(torch.zeros(1, 3, 64, 96)).shape == (1, 24, 64)


def test_timms_pooling_has_a_norm_that_is_dropped():
    reference = ORIGINALS["HieraDet"](asked_of("sam2_timm"))
    assert reference.pooled is None
    assert reference.tokens(images()).shape == (2, 6, 64)
