"""What every network of stages and windows has as data, checked on Swin's."""

import pytest

from inflate_zoo.files import budgets
from inflate_zoo.networks.base import Level, Windows
from inflate_zoo.networks.layers.grids import MOST_WINDOW
from inflate_zoo.networks.staged import norm_shapes
from tests.networks.swin.test_config import config


def test_the_config_says_what_is_wrong():
    with pytest.raises(ValueError, match="num_heads are not those of 2 stages"):
        config(num_heads=(2,))
    with pytest.raises(ValueError, match="width 24 is not divisible by 5 heads"):
        config(num_heads=(2, 5))
    with pytest.raises(ValueError, match="nearest: 16"):
        config(volume=(8, 18, 16))
    assert config().with_windows(Windows(7, merge_depth=False)).depth_window == 7


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"windows": ((4, 4),)}, "windows are not those of 2 stages"),
        ({"mlp_dims": (24,)}, "mlp_dims are not those of 2 stages"),
        ({"depths": (budgets.MOST_BLOCKS, 1)}, "depths are more than 1,000 blocks"),
        ({"embed_dim": budgets.MOST_WIDTH}, "the last stage is wider than 65,536"),
        ({"windows": ((4, 4), (4, MOST_WINDOW + 1))}, "a window is larger than 128 tokens"),
        ({"image_size": (16, 3)}, "leaves no token in the last stage"),
        ({"depth_window": MOST_WINDOW + 1}, "depth_window"),
        ({"clipping": "both"}, "clipping"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_no_network_of_stages_has_is_refused(changes, told):
    with pytest.raises(ValueError, match=told):
        config(**changes)


def test_each_stage_doubles_the_width_and_the_stride():
    made = config(patch_size=(2, 3), image_size=(16, 24), volume=(8, 16, 24))
    assert made.widths == (12, 24)
    assert (made.stride, made.native_grid, made.window) == ((4, 6), (4, 4), 4)
    assert made.levels == (Level(12, (2, 2, 3)), Level(24, (2, 4, 6)))
    deep = made.with_windows(Windows(3, merge_depth=True))
    assert deep.levels == (Level(12, (2, 2, 3)), Level(24, (4, 4, 6)))


def test_other_windows_are_checked_and_change_nothing_else():
    made = config().with_windows(Windows(3, merge_depth=True))
    assert made == config(depth_window=3, merge_depth=True)
    with pytest.raises(ValueError, match="volume depth 6"):
        config(volume=(6, 16, 16)).with_windows(Windows(3, merge_depth=True))


def test_it_is_told_in_a_few_words():
    made = config(depths=(2, 3), windows=((4, 5), (4, 4)))
    assert made.described() == (
        "2+3 blocks of width 12 to 24, 2+4 heads, windows 4x5, mlp gelu, eps 1e-05"
    )
    assert made.summary() == "Swin, 2+3 blocks of width 12 to 24, patch 2x2x2"
    assert made.geometry() == "patch 2x2x2, windows 4x4x5, merging in the plane"
    deep = made.with_windows(Windows(7, merge_depth=True))
    assert deep.geometry() == "patch 2x2x2, windows 7x4x5, merging over depth too"


def test_memory_is_that_of_every_stage():
    made = config()  # four times as many tokens in the first stage
    inference, training = made.memory(10)
    assert inference == 4 * 40 * (2 * 24 + 12)
    logits = 4 * 4 * 4  # of a window, for each head
    first = 40 * 2 * (9 * 12 + 2 * 24 + 2 * 2 * logits)
    second = 10 * 2 * (9 * 24 + 2 * 48 + 2 * 4 * logits)
    assert training == 4 * (first + second)
    assert config(merge_depth=True).memory(10)[0] == 2 * inference


def test_without_weights_two_sizes_of_one_network_are_the_same():
    one = config(norm_eps=1e-6, outer_eps=1e-3)
    other = config(volume=(16, 32, 16), image_size=(32, 16))
    assert one.without_weights() == other.without_weights()
    assert one.without_weights() != config(depth_window=2).without_weights()


def test_a_norm_has_a_weight_and_a_bias():
    assert norm_shapes("a.norm", 5) == {"a.norm.weight": (5,), "a.norm.bias": (5,)}
