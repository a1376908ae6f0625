"""Why a trial failed, in a line."""

import pytest

from inflate_zoo.bench.definitions.results import Failure
from inflate_zoo.bench.engines.engine import reason
from tests.support.trials import tiny_run


@pytest.mark.parametrize(
    "case, told", [("case_03", "the loss is NaN (case case_03)"), (None, "the loss is NaN")]
)
def test_a_failure_is_told_with_its_case_where_it_has_one(tmp_path, case, told):
    (trial,) = tiny_run(tmp_path).trials
    trial.fail(Failure(kind="nan_loss", reason="the loss is NaN", case=case))
    assert reason(trial) == told


def test_a_trial_that_left_no_failure_has_an_unknown_reason(tmp_path):
    (trial,) = tiny_run(tmp_path).trials
    assert reason(trial) == "unknown"
