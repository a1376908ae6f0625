"""What readers of hierarchical networks ask, on recorded headers and on values by hand."""

import pytest

from inflate_zoo.errors import AccountingError, ConfigError
from inflate_zoo.files.header import TensorInfo
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.configs.from_config import FromConfig
from inflate_zoo.naming.patterns import match_header
from inflate_zoo.naming.readers.staged import (
    MOST_STAGES,
    first_sizes,
    mlp_dims,
    square_windows,
    stage_depths,
    stage_windows,
    trained_windows,
    wholes,
    windows,
)
from tests.support.recorded import case, plan_of

FAMILY = families_by_name()["timm_swin"]
TABLE = "attn.relative_position_bias_table"


def blocks_of(depths):
    return [
        f"layers.{stage}.blocks.{block}.{TABLE}"
        for stage, depth in enumerate(depths)
        for block in range(depth)
    ]


@pytest.mark.parametrize("value", [[], [2, 0, 2], "2,2,2", [2] * 9])
def test_depths_must_be_a_list_of_counts(value):
    found = case("swin")
    found.config["depths"] = value
    with pytest.raises(ConfigError, match="depths"):
        plan_of(found)


def test_missing_blocks_and_stages_are_told():
    found = case("swin")
    header = {n: t for n, t in found.header.items() if ".layers.1.blocks.0." not in n}
    with pytest.raises(AccountingError, match="found 2 of 2, 1 of 2, 2 of 2"):
        plan_of(type(found)(found.definition, found.kind, found.config, header))
    header = {n: t for n, t in found.header.items() if ".layers.1." not in n}
    with pytest.raises(AccountingError) as error:
        plan_of(type(found)(found.definition, found.kind, found.config, header))
    assert error.value.details == ("no block of stage 1 is there",)


def test_windows_of_an_earlier_training_are_counts():
    found = case("swinv2")
    found.config["pretrained_window_sizes"] = [0, -1, 0]
    with pytest.raises(ConfigError, match="pretrained_window_sizes must be a whole number from 0"):
        plan_of(found)


def test_blocks_are_counted_in_each_stage_however_the_names_are_ordered():
    names = blocks_of((2, 12, 1))
    for order in (names, names[::-1]):
        assert stage_depths(match_header(FAMILY, "", order)) == (2, 12, 1)


@pytest.mark.parametrize(
    "names, told",
    [
        (["layers.0.blocks.9999.norm1.weight"], "found 1 of 10000"),
        (["layers.9999.blocks.0.norm1.weight"], "the 1 stages"),
        (blocks_of((1,) * (MOST_STAGES + 1)), "the 9 stages"),
    ],
    ids=["block", "stage", "stages"],
)
def test_numbers_far_off_are_refused(names, told):
    with pytest.raises(AccountingError, match=told):
        stage_depths(match_header(FAMILY, "", names))


def test_sizes_are_those_of_the_first_block_of_each_stage():
    shapes = [(169, 3), (7, 7), (49, 6)]
    header = {
        name: TensorInfo("F32", shape)
        for name, shape in zip(blocks_of((2, 1)), shapes, strict=True)
    }
    matching = match_header(FAMILY, "", header)
    assert first_sizes(matching, header, (2, 1), TABLE, 0) == (169, 49)
    assert first_sizes(matching, header, (2, 1), TABLE, 1) == (3, 6)
    with pytest.raises(AccountingError, match=f"'layers.0.blocks.0.{TABLE}' is missing or has no"):
        first_sizes(matching, header, (2, 1), TABLE, 2)
    with pytest.raises(
        AccountingError, match=r"'stages\.0\.blocks\.0\.mlp\.fc1\.weight' is missing"
    ):
        first_sizes(matching, header, (2, 1), "mlp.fc1.weight", 0)


@pytest.mark.parametrize(
    "read, taken, others",
    [
        (wholes, [([2, 2], (2, 2)), ((1,), (1,))], [[], 2, "22", [0], [1.0], [[1]], [1] * 9]),
        (
            windows,
            [(7, 7), ([[4, 5]], ((4, 5),)), (((4, 4), [2, 3]), ((4, 4), (2, 3)))],
            [0, True, "7", [], [4], [[4]], [[4, 0]], [[1, 1, 1]], [[4, 4]] * 9],
        ),
        (
            trained_windows,
            [([0, 6], ((0, 0), (6, 6))), ([[6, 0], 3], ((6, 0), (3, 3)))],
            [6, [], [-1], [[6]], [[6, 6, 6]], [None], ["ab"], [0] * 9],
        ),
    ],
    ids=["wholes", "windows", "trained_windows"],
)
def test_values_of_each_stage_are_typed_or_named(read, taken, others):
    for value, expected in taken:
        assert read("a.b", value) == expected
    for value in others:
        with pytest.raises(ConfigError, match=r"config\.json: a\.b must be "):
            read("a.b", value)


def test_widths_of_the_feed_forward_parts_double_with_the_stages():
    assert mlp_dims({}, 0) == (384, 768, 1536, 3072)
    stated = {"depths": [1, 1, 1], "embed_dim": 9, "mlp_ratio": 2.5}
    assert mlp_dims(stated, 0) == (22, 45, 90)
    for wrong in ({"depths": 2}, {"embed_dim": "96"}, {"mlp_ratio": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            mlp_dims(wrong, 0)


@pytest.mark.parametrize(
    "claimed, expected",
    [
        ({}, None),
        ({"windows": 7}, ((7, 7),) * 2),
        ({"windows": ((4, 5), (2, 2))}, ((4, 5), (2, 2))),
    ],
)
def test_one_side_is_claimed_for_all_stages(claimed, expected):
    assert stage_windows(FromConfig(claimed, {}), 2) == expected


def test_windows_are_read_off_tables_where_those_are_of_squares():
    assert square_windows((169, 49, 1), "table") == ((7, 7), (4, 4), (1, 1))
    for rows in (168, 170, 36):
        with pytest.raises(ConfigError, match=f"'table' and its like have 169, {rows} rows"):
            square_windows((169, rows), "table")
