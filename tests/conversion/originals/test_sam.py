"""SAM's originals as the proof builds them: at their own size, taking any other."""

import pytest
import torch
import torch.nn.functional as F
from timm.models.vision_transformer_sam import VisionTransformerSAM

from inflate_zoo.conversion.originals.known import ORIGINALS
from inflate_zoo.conversion.originals.references import Asked
from inflate_zoo.conversion.originals.sam import timm_sam, tokens_of
from inflate_zoo.files.header import TensorInfo
from inflate_zoo.naming.understanding import understand
from tests.support.checkpoints import build_timm, build_transformers, sam_original
from tests.support.recorded import case

NATIVE = (4, 4)  # of images of 32 x 32


def asked_of(kind, grid=NATIVE, **changes):
    """The library's own tensors; the position table at the grid, as the proof resizes it."""
    recorded = case(kind)
    understood = understand(recorded.header, recorded.config, recorded.family, None)
    state = dict(_built(kind).state_dict())
    state = {name.removeprefix("vision_encoder."): tensor for name, tensor in state.items()}
    return Asked(understood, state | changes, grid)


def _built(kind):
    return build_timm(kind, depth=2) if "timm" in kind else of_transformers(kind)


def of_transformers(kind):
    return build_transformers(kind, num_hidden_layers=2)


def asked_of_original():
    prefix, file = "image_encoder.", sam_original()
    header = {name: TensorInfo("F32", tuple(tensor.shape)) for name, tensor in file.items()}
    state = {n.removeprefix(prefix): t for n, t in file.items() if n.startswith(prefix)}
    return Asked(understand(header, None, "sam", None), state, NATIVE)


def images(size=(32, 32)):
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", ["sam_timm", "sam_timm_no_bias"])
def test_timms_named_architecture_is_filled_with_the_state(kind):
    model = timm_sam(asked_of(kind))
    assert type(model) is VisionTransformerSAM
    assert not model.training
    with torch.inference_mode():
        expected = build_timm(kind, depth=2).eval().forward_features(images())
        assert torch.equal(model.forward_features(images()), expected)


def test_without_a_name_sizes_and_epsilon_are_those_of_the_form():
    model = timm_sam(asked_of_original())
    assert {norm.eps for norm in model.modules() if "Norm" in type(norm).__name__} == {1e-6}
    assert [block.window_size for block in model.blocks] == [3, 0, 3]
    with torch.inference_mode():
        expected = build_timm("sam_timm").eval().forward_features(images())
        torch.testing.assert_close(model.forward_features(images()), expected, rtol=0, atol=1e-3)


def test_another_grid_has_its_own_position_table_and_resizes_the_others_itself():
    table = torch.randn(1, 5, 3, 48)
    model = timm_sam(asked_of("sam_timm", (5, 3), pos_embed=table))
    assert model.pos_embed.shape == (1, 5, 3, 48)
    assert model.blocks[1].attn.rel_pos_h.shape == (7, 12)  # the file's
    assert model.forward_features(images((40, 24))).shape == (2, 24, 5, 3)


def test_tables_of_another_window_are_not_taken():
    asked = asked_of("sam_timm", **{"blocks.0.attn.rel_pos_h": torch.zeros(7, 12)})
    assert timm_sam(asked) is None
    other = case("swin_timm")
    understood = understand(other.header, other.config, other.family, None)
    assert timm_sam(Asked(understood, {}, NATIVE)) is None


def test_transformers_takes_another_grid_and_resizes_tables_itself():
    reference = ORIGINALS["SamVisionModel"](asked_of("sam_vision"))
    expected = of_transformers("sam_vision")(images()).last_hidden_state
    torch.testing.assert_close(reference.tokens(images()), tokens_of(expected))
    assert reference.built_by.startswith("transformers ")
    assert reference.pooled is None
    asked = asked_of("sam_vision", (5, 3), pos_embed=torch.randn(1, 5, 3, 48))
    got = ORIGINALS["SamVisionModel"](asked).tokens(images((40, 24)))
    assert got.shape == (2, 15, 24)


@pytest.mark.parametrize("kind, pools", [("sam_timm", True), ("sam_timm_classifier", False)])
def test_timms_mean_is_compared_where_it_takes_one(kind, pools):
    reference = ORIGINALS["VisionTransformerSAM"](asked_of(kind))
    assert (reference.pooled is not None) == pools
    if pools:
        model = build_timm(kind, depth=2).eval()
        expected = model.forward_head(model.forward_features(images()), pre_logits=True)
        got = reference.pooled(reference.tokens(images()))
        torch.testing.assert_close(got, expected.flatten(1))
    assert ORIGINALS["VisionTransformerSAM"](asked_of_original()).pooled is None


def test_tokens_run_along_the_width_first():
    grid = torch.arange(24.0).view(1, 4, 2, 3)
    assert torch.equal(tokens_of(grid), F.unfold(grid, 1).mT)
