"""What fields may hold: the values at the ends of each rule, and those beyond them."""

import pytest

from inflate_zoo.naming.configs import rules

STAGE = [1] * rules.MOST_STAGES


@pytest.mark.parametrize(
    "rule, good, bad",
    [
        (rules.whole(1, 3), [1, 3], [0, 4, 2.0, True, "2", None]),
        (rules.number(0, 1), [0, 1, 0.5], [-0.1, 1.1, float("nan"), float("inf"), True, "1"]),
        (rules.word("", "a"), ["", "a"], ["b", None, 1, ["a"]]),
        (rules.at_most(2), [[], [1, 2], {"a": 1}], [[1, 2, 3], "ab", 2]),
        (rules.either(rules.FLAG, rules.LABELS), [True, 0], [-1, "x", None]),
        (rules.or_null(rules.FLAG), [None, False], [0, "false"]),
        (rules.each_of(2), [[1], STAGE, (2, 1)], [[], [*STAGE, 1], [3], [0], 1]),
        (rules.PIXELS, [1, [224, 192]], [0, [224], [1, 2, 3], [0, 1], 16_385]),
        (rules.INPUT, [[3, 224, 224]], [[224, 224], [0, 8, 8], [3, 0, 8], 3]),
        (rules.TRAINED, [[0, 12]], [[-1], [129], 12]),
        (rules.SIDES, [[7, 7], [[7, 9], [4]]], [[0], [[7, 129]], 7]),
        (rules.PER_CHANNEL, [[0.5], (1, 2.0, -3)], [[], 0.5, ["a"], [[1]], [0.0] * 1025]),
        (rules.EPSILON, [1e-12, 0.5], [0, 1, True, "1e-6"]),
        (rules.RATIO, [64, 0.5], [0, 65, True]),
        (rules.INDICES, [[], [0, 11]], [[-1], [1001], [True], 3, [0] * 1001]),
        (rules.UNSET, [None, False], [True, 0, ""]),
        (rules.NULL, [None, {}], [[], 0, ""]),
    ],
)
def test_a_rule_holds_within_its_range_alone(rule, good, bad):
    assert all(rule.holds(value) for value in good)
    assert [value for value in bad if rule.holds(value)] == []
    assert rule.expected
