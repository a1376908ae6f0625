"""The original of DINOv3's own files: timm, which reads them, computes as transformers does."""

import pytest
import torch
from timm.models.eva import Eva

from inflate_zoo.conversion.originals.dinov3 import timm_dinov3
from inflate_zoo.conversion.originals.references import Asked
from inflate_zoo.errors import VerificationError
from inflate_zoo.files.dtypes import dtype_name
from inflate_zoo.files.header import TensorInfo
from inflate_zoo.naming.understanding import understand
from tests.support.checkpoints import build_transformers, dinov3_original
from tests.support.recorded import case

PERIODS, MASK = "rope_embed.periods", "blocks.1.attn.qkv.bias_mask"


def asked_of(kind="dinov3", grid=(4, 6), **overrides):
    state = dinov3_original(kind, **overrides)
    header = {name: TensorInfo(dtype_name(t), tuple(t.shape)) for name, t in state.items()}
    state = {name: tensor.float() for name, tensor in state.items()}
    state.setdefault("storage_tokens", torch.empty(1, 0, state["cls_token"].shape[-1]))
    return Asked(understand(header, None, None, None), state, grid)


@pytest.mark.parametrize(
    "kind, overrides",
    [
        ("dinov3", {}),
        ("dinov3_gated", {}),
        ("dinov3_no_bias", {}),
        ("dinov3", {"num_register_tokens": 0}),
        # Of these sizes timm's product of width and ratio is less than the file's by rounding.
        ("dinov3", {"hidden_size": 448, "num_attention_heads": 7, "intermediate_size": 115}),
        ("dinov3_gated", {"hidden_size": 448, "num_attention_heads": 7, "intermediate_size": 115}),
    ],
)
def test_timm_computes_what_transformers_does(kind, overrides):
    model = timm_dinov3(asked_of(kind, **overrides))
    assert type(model) is Eva
    images = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))
    wide = {"hidden_size": 128, "num_attention_heads": 2, "num_hidden_layers": 2} | overrides
    with torch.inference_mode():
        expected = build_transformers(kind, **wide)(images).last_hidden_state
        torch.testing.assert_close(model.forward_features(images), expected, rtol=0, atol=2e-5)
        pooled = model.forward_head(expected, pre_logits=True)
    torch.testing.assert_close(pooled, expected[:, 0])


def test_another_form_is_not_built():
    found = understand(case("dinov2_original").header, None, "dino", None)
    assert timm_dinov3(Asked(found, {}, (4, 4))) is None


def test_a_tensor_of_another_shape_is_not_taken():
    asked = asked_of()
    asked.state["norm.weight"] = torch.ones(127)
    assert timm_dinov3(asked) is None


def test_periods_may_be_rounded_or_lacking():
    exact = 100.0 ** (torch.arange(16) / 16)
    assert not torch.equal(dinov3_original()[PERIODS].float(), exact)
    for periods in (exact, exact.to(torch.bfloat16).float(), None):
        asked = asked_of()
        asked.state.pop(PERIODS)
        if periods is not None:
            asked.state[PERIODS] = periods
        assert timm_dinov3(asked) is not None


@pytest.mark.parametrize(
    "periods",
    [
        10.0 ** (torch.arange(16) / 16),
        110.0 ** (torch.arange(16) / 16),
        torch.full((16,), torch.nan),
        torch.linspace(1, 100, 16),
    ],
)
def test_periods_of_another_base_are_refused(periods):
    asked = asked_of()
    asked.state[PERIODS] = periods
    with pytest.raises(VerificationError, match="not those of base 100") as caught:
        timm_dinov3(asked)
    assert f"'{PERIODS}' goes from" in caught.value.details[0]


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0, float("nan")])
@pytest.mark.parametrize("place", [0, 127, 128, 255, 256, 383])
def test_a_mask_of_other_biases_than_the_keys_is_refused(place, value):
    asked = asked_of()
    mask = asked.state[MASK]
    if mask[place] == value:
        assert timm_dinov3(asked) is not None
        return
    mask[place] = value
    with pytest.raises(VerificationError, match="does not mask the bias of keys") as caught:
        timm_dinov3(asked)
    assert f"'{MASK}' is not 1 for query and value" in caught.value.details[0]
