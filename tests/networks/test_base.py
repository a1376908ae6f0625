"""What every config of a backbone answers, whatever network it is of."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from inflate_zoo.errors import UsageError
from inflate_zoo.files import budgets
from inflate_zoo.networks.base import BackboneConfig, Form2D, Level, triple_of
from tests.segmentation.test_segmenter import config
from tests.support.pyramid import PyramidConfig


def pyramid(**changes):
    fields = {
        "in_channels": 1, "patch_size": (4, 2), "width": 8, "blocks": 2, "norm_eps": 1e-6,
        "image_size": (16, 16), "patch_depth": 3, "volume": (6, 16, 8),
    }  # fmt: skip
    return PyramidConfig(**(fields | changes))


@pytest.mark.parametrize("kind", [Form2D, BackboneConfig])
def test_a_network_has_to_answer_every_question(kind):
    with pytest.raises(TypeError, match="abstract"):
        kind()


def test_the_grid_is_the_volume_in_strides_of_the_final_tokens():
    assert pyramid().patch == (3, 4, 2)
    assert pyramid().levels[-1] == Level(16, (3, 8, 4))
    assert pyramid().grid_size == (2, 2, 2)
    assert pyramid().final_width == 16
    assert pyramid(volume=(3, 24, 4)).grid_size == (1, 3, 1)
    assert pyramid().num_prefix_tokens == 0
    assert pyramid().geometry() == "patch 3x4x2"
    assert PyramidConfig.kind() == "inflated_pyramid"


@pytest.mark.parametrize(
    "volume, told",
    [
        ((7, 16, 8), "volume depth 7 is not divisible by the patch's 3; nearest: 6"),
        ((6, 21, 8), "volume height 21 is not divisible by the patch's 8; nearest: 24"),
        ((6, 16, 1), "volume width 1 is not divisible by the patch's 4; nearest: 4"),
        ((0, 16, 8), "greater than 0"),
        ((6, 16, budgets.MOST_SIDE + 1), "less than or equal to"),
        ((3 << 10, 8 << 10, 4 << 10), "makes more than 16,777,216 tokens"),
        ((6.0, 16, 8), "valid integer"),
    ],
)
def test_a_volume_that_the_strides_do_not_divide_is_told(volume, told):
    with pytest.raises(ValidationError, match=told):
        pyramid(volume=volume)
    with pytest.raises(UsageError, match=f"volume {'x'.join(map(str, volume))} does not fit") as e:
        pyramid().for_volume(volume)
    assert told in e.value.message


@pytest.mark.parametrize("volume", ["6,16,8", 6, None])
def test_what_is_no_volume_is_told_as_it_was_given(volume):
    with pytest.raises(UsageError) as caught:
        triple_of(volume)
    assert caught.value.message == f"volume {volume!r} does not fit"
    assert "depth, height, width" in caught.value.hint


def test_numbers_of_another_library_are_sides():
    assert pyramid().for_volume(np.array([3, 8, 4])) == pyramid(volume=(3, 8, 4))
    assert triple_of([np.int16(3), torch.tensor(8), 4]) == (3, 8, 4)


def test_another_volume_changes_nothing_else():
    other = pyramid().for_volume([3, 8, 4])
    assert other == pyramid(volume=(3, 8, 4))
    assert pyramid().for_volume(None) == pyramid()
    assert config().for_volume((6, 4, 6)) == config()


def test_without_tables_tensors_are_the_same_for_any_volume():
    tensors = {"a": object()}
    assert pyramid().fit(tensors, pyramid().for_volume((3, 8, 4))) == tensors
    assert pyramid().stored(tensors) == (pyramid(), tensors)


def test_a_field_that_no_config_has_is_refused():
    with pytest.raises(ValidationError, match="Extra inputs"):
        pyramid(colour="red")
    with pytest.raises(ValidationError, match="format_version"):
        pyramid(format_version=2)
