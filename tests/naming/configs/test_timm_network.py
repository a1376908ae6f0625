"""What all of timm's networks are described by."""

import pytest
from timm.layers import GELUTanh, QuickGELU
from torch import nn

from inflate_zoo.errors import UnsupportedModelError
from inflate_zoo.naming.configs.timm_network import activation_of


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
