"""Random inputs, and how far apart two results are."""

import pytest
import torch

from inflate_zoo.conversion.measuring import (
    error,
    error_to_original,
    for_network,
    random_values,
    rms,
)
from inflate_zoo.errors import VerificationError
from inflate_zoo.inflation.recipe import Recipe
from inflate_zoo.naming.definition import Normalization

PLAIN = Recipe("center", 2, (2, 4, 4))
FOLDED = Recipe("center", 2, (2, 4, 4), 1, Normalization(mean=(0.5,), std=(0.5,)))


def test_nan_never_passes():
    scale = torch.tensor(1.0)
    assert error(torch.tensor([float("nan")]), torch.zeros(1), scale) == float("inf")
    assert error(torch.tensor([-3.0]), torch.zeros(1), scale) == 3.0


def test_the_greatest_difference_is_told_on_the_scale_of_what_is_expected():
    expected = torch.tensor([3.0, -4.0, 0.0, 0.0])
    assert rms(expected) == 2.5
    assert error(expected + torch.tensor([0.0, 5.0, -1.0, 0.0]), expected, rms(expected)) == 2.0


@pytest.mark.parametrize("shape", [(2, 1, 4), (2, 5, 4), (3, 4)])
def test_an_original_of_another_shape_fails_the_proof(shape):
    got, expected = torch.ones(2, 3, 4), torch.ones(shape)
    with pytest.raises(VerificationError, match=r"shape \[2, 3, 4\], the original of") as caught:
        error_to_original(got, expected, rms(expected))
    assert str(list(shape)) in caught.value.message
    assert error_to_original(got, got, rms(got)) == 0


def test_where_a_normalisation_is_folded_whole_pixels_become_intensities():
    pixels = random_values((1, 1, 2, 4, 4), FOLDED)
    assert pixels.dtype == torch.uint8
    torch.testing.assert_close(for_network(pixels, FOLDED) * 255, pixels.float())
    values = random_values((1, 1, 2, 4, 4), PLAIN)
    assert values.min() < 0
    assert torch.equal(for_network(values, PLAIN), values.float())
