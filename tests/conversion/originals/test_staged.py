"""The originals of networks of windows: what timm builds of a state computes as what saved it."""

from types import SimpleNamespace

import pytest
import torch
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2

from inflate_zoo.conversion.originals.references import Asked
from inflate_zoo.conversion.originals.staged import timm_swin, timm_swinv2, tokens_of
from inflate_zoo.errors import VerificationError
from inflate_zoo.files.header import TensorInfo
from inflate_zoo.naming.understanding import understand
from tests.support.checkpoints import build_timm, swin_original, swinv2_original
from tests.support.recorded import case

NATIVE = (4, 4)  # of the last stage, for 64 x 64 pixels


def asked_of(kind, grid=NATIVE):
    recorded = case(kind)
    understood = understand(recorded.header, recorded.config, recorded.family, None)
    return Asked(understood, build_timm(kind).state_dict(), grid)


def asked_of_original(grid=NATIVE):
    """The authors' own file, of the same weights as timm's; no config and no architecture."""
    state = swin_original()["model"]
    header = {
        name: TensorInfo("F32" if tensor.is_floating_point() else "I64", tuple(tensor.shape))
        for name, tensor in state.items()
    }
    return Asked(understand(header, None, "swin", None), state, grid)


def tokens(model, size=(64, 64)):
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return tokens_of(model, images)


@pytest.mark.parametrize(
    "build, kind, made",
    [
        (timm_swin, "swin_timm", SwinTransformer),
        (timm_swin, "swin_timm_no_bias", SwinTransformer),
        (timm_swin, "swin_timm_windows", SwinTransformer),
        (timm_swinv2, "swinv2_timm", SwinTransformerV2),
        (timm_swinv2, "swinv2_timm_pretrained", SwinTransformerV2),
    ],
)
def test_a_named_architecture_is_filled_with_the_state(build, kind, made):
    model = build(asked_of(kind))
    assert type(model) is made
    assert not model.training
    assert torch.equal(tokens(model), tokens(build_timm(kind).eval()))


def test_without_a_name_sizes_are_those_of_the_form():
    model = timm_swin(asked_of_original())
    assert type(model) is SwinTransformer
    assert {norm.eps for norm in model.modules() if isinstance(norm, torch.nn.LayerNorm)} == {1e-5}
    assert torch.equal(tokens(model), tokens(build_timm("swin_timm").eval()))


def test_another_grid_is_taken_with_buffers_of_its_own():
    model = timm_swin(asked_of_original((4, 6)))
    other = build_timm("swin_timm", img_size=(64, 96)).eval()
    assert torch.equal(tokens(model, (64, 96)), tokens(other, (64, 96)))


@pytest.mark.parametrize("asked", [asked_of, asked_of_original], ids=["named", "original"])
def test_a_grid_whose_windows_timm_clips_is_not_built(asked):
    given = asked("swin_timm", (2, 2)) if asked is asked_of else asked((2, 2))
    assert timm_swin(given) is None  # tables of 9 rows where the state has 49


def test_another_form_is_not_built():
    assert timm_swin(asked_of("swinv2_timm")) is None
    assert timm_swinv2(asked_of("swin_timm")) is None


def of_v2(kind):
    """The authors' own file of a SwinV2, of the same weights as timm's."""
    recorded = case("swinv2_original")
    understood = understand(recorded.header, None, "swinv2", None)
    return Asked(understood, swinv2_original(kind)["model"], NATIVE)


def test_a_swinv2_without_a_name_is_that_of_the_form():
    model = timm_swinv2(of_v2("swinv2_timm"))
    assert type(model) is SwinTransformerV2
    assert torch.equal(tokens(model), tokens(build_timm("swinv2_timm").eval()))


def test_coordinates_in_a_file_are_held_against_those_of_the_form():
    asked = of_v2("swinv2_timm")
    name = "layers.2.blocks.1.attn.relative_coords_table"
    asked.state[name] = asked.state[name] * 1.01
    with pytest.raises(VerificationError, match="by other windows") as error:
        timm_swinv2(asked)
    assert error.value.details == (f"differs: '{name}'",)


def test_tokens_run_along_the_width_first():
    grid = torch.arange(24.0).view(1, 2, 3, 4)
    model = SimpleNamespace(forward_features=lambda images: images)
    assert torch.equal(tokens_of(model, grid), torch.arange(24.0).view(1, 6, 4))
