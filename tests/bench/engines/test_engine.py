"""Why a trial failed, in a line; which signal ended a process."""

import pytest

from inflate_zoo.bench.definitions.results import Failure
from inflate_zoo.bench.engines.engine import reason, signal_name, signal_of
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


@pytest.mark.parametrize(
    "code, number",
    [(0, None), (1, None), (75, None), (-9, 9), (137, 9), (143, 15), (128, None), (255, None)],
)
def test_which_signal_an_exit_code_tells_of(code, number):
    assert signal_of(code) == number


def test_a_signal_without_a_name_is_called_by_its_number():
    assert (signal_name(9), signal_name(40)) == ("SIGKILL", "signal 40")
