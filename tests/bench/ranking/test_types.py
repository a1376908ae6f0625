"""What a ranking's parts say of themselves."""

import pytest

from tests.support.rankings import comparison, ranking


@pytest.mark.parametrize(
    "difference, claimed, better", [(0.1, True, "a"), (-0.1, True, "b"), (0.1, False, None)]
)
def test_the_better_arm_is_the_one_that_is_claimed_to_be(difference, claimed, better):
    one = comparison("sources", ("a", "b"), difference, claimed=claimed)
    assert one.better == better


def test_a_question_is_answered_by_one_metric_at_a_time_and_in_order():
    asked = [
        comparison(question, pair, 0.1, metric=metric)
        for question in ("transfer", "sources")
        for metric in ("dice", "surface_dice")
        for pair in (("a", "b"), ("a", "c"))
    ]
    found = ranking({"a": 0.8, "b": 0.7, "c": 0.6}, asked)
    assert found.asked("transfer") == (asked[0], asked[1])
    assert found.asked("sources", "surface_dice") == (asked[6], asked[7])
    assert found.asked("depth") == ()
