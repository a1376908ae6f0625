"""What all of timm's networks are described by."""

from types import SimpleNamespace

import pytest
from timm.layers import GELUTanh, QuickGELU
from torch import nn

from inflate_zoo.errors import UnsupportedModelError
from inflate_zoo.naming.configs.timm_network import (
    activation_of,
    final_norm_of,
    refuse_special,
    require_class,
)


@pytest.mark.parametrize(
    "act, name",
    [
        (nn.GELU(), "gelu"),
        (nn.GELU(approximate="tanh"), "gelu_tanh"),
        (GELUTanh(), "gelu_tanh"),
        (QuickGELU(), "quick_gelu"),
        (nn.SiLU(), "silu"),
        (nn.ReLU(), "relu"),
    ],
)
def test_an_activation_has_our_name(act, name):
    assert activation_of("x", act) == name
    with pytest.raises(UnsupportedModelError, match="'x' has the activation Mish"):
        activation_of("x", nn.Mish())


def test_a_derived_class_is_another():
    class Derived(nn.Linear):
        pass

    require_class("x", nn.Linear(1, 1), (nn.Conv1d, nn.Linear), "a Linear", "take another")
    with pytest.raises(UnsupportedModelError, match="'x' is timm's Derived, not a Linear") as found:
        require_class("x", Derived(1, 1), (nn.Linear,), "a Linear", "take another")
    assert found.value.hint == "take another"


def test_an_architecture_is_not_told_to_be_named_again():
    nearest = "nearest supported: timm_vit, e.g. --arch vit_base_patch16_224"
    for arch, more in (("vit_base_patch16_224", " as timm defines it"), ("vit_base_patch16", "")):
        with pytest.raises(UnsupportedModelError, match="special norm") as caught:
            refuse_special(arch, "plain vision transformer", ["norm"], nearest)
        assert caught.value.hint.startswith(nearest + more)
        assert ("model_args" in caught.value.hint) is bool(more)


@pytest.mark.parametrize(
    "norm, fc_norm, told",
    [
        (nn.LayerNorm(2), nn.Identity(), "tokens"),
        (nn.Identity(), nn.LayerNorm(2), "pooled"),
        (nn.Identity(), nn.Identity(), "none"),
    ],
)
def test_what_is_normed_last_is_told(norm, fc_norm, told):
    assert final_norm_of(SimpleNamespace(norm=norm, fc_norm=fc_norm)) == told
