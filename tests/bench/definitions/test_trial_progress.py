"""How far a trial is, as it is noted."""

import pytest

from inflate_zoo.bench.definitions.trial_progress import TrialProgress

HERE = {"host": "node7", "device": "cpu"}
TRAINING = {"stage": "training", "step": 40, "steps": 100, "per_step": 0.5}


def test_the_time_left_is_told_of_a_training_whose_steps_were_measured():
    assert TrialProgress(**HERE, **TRAINING).left == 30.0
    assert TrialProgress(**HERE, **{**TRAINING, "step": 120}).left == 0.0
    for lacking in ("step", "steps", "per_step"):
        assert TrialProgress(**HERE, **{**TRAINING, lacking: None}).left is None
    assert TrialProgress(**HERE, **{**TRAINING, "stage": "evaluating"}).left is None


def test_what_a_later_release_adds_is_passed_over_and_what_cannot_be_is_refused():
    assert TrialProgress(**HERE, watts=300).stage == "loading"
    for changes in ({"step": -1}, {"step": 1.5}, {"stage": "resting"}, {"loss": float("nan")}):
        with pytest.raises(ValueError, match="validation error"):
            TrialProgress(**HERE, **changes)
