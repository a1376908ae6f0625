"""Which drawings a study has, and what they show."""

import numpy as np
import pytest

from inflate_zoo.bench.report.collect import collect
from inflate_zoo.bench.report.drawings import plots
from inflate_zoo.bench.report.results import rank_trials
from tests.support import records
from tests.support.rankings import comparison
from tests.support.reports import ARMS, study_of

QUESTIONS = {"differences-transfer", "differences-sources", "differences-depth"}


def test_a_study_has_a_drawing_for_each_question_region_and_curve(tmp_path):
    study = study_of(tmp_path, seeds=2, cases=4)
    assert {*plots.of_study(study)} == QUESTIONS | {
        "cases-1", "cases-2", "ranks", "loss", "validation-dice"
    }  # fmt: skip
    assert {*plots.of_study(study, full=False)} == QUESTIONS


def test_what_is_not_there_is_not_drawn(tmp_path):
    for seed in range(2):
        made = records.record(ARMS[0], seed, 4)
        made["result"]["curves"]["validation_dice"] = []
        records.save(tmp_path, made, overlays=False)
    (study,) = rank_trials(collect([tmp_path])).studies
    assert {*plots.of_study(study)} == {"cases-1", "cases-2", "loss"}


def test_a_mean_curve_is_over_the_steps_that_all_seeds_have(tmp_path):
    for seed, points in enumerate(([[50, 0.2], [100, 0.4]], [[100, 0.6], [150, 0.8]])):
        made = records.record(ARMS[0], seed, 4)
        made["result"]["curves"]["validation_dice"] = points
        records.save(tmp_path, made, overlays=False)
    (study,) = rank_trials(collect([tmp_path])).studies
    seeds, (steps, values) = plots._lines(study, ARMS[0].label, "validation_dice")
    assert sorted([*told[0]] for told in seeds) == [[50, 100], [100, 150]]
    assert (steps.tolist(), values.tolist()) == ([100], [pytest.approx(0.5)])


def test_a_long_curve_is_thinned_to_means_of_neighbours():
    steps = np.arange(600.0)
    thin, values = plots._thinned(steps, 2 * steps)
    np.testing.assert_allclose(thin, steps.reshape(150, 4).mean(axis=1))
    np.testing.assert_allclose(values, 2 * thin)
    short = plots._thinned(steps[:9], steps[:9])
    np.testing.assert_array_equal(short[0], steps[:9])


def test_a_short_name_leaves_its_room_to_the_other():
    long = "x" * 30
    told = plots._pair(comparison("sources", (long, "y"), 0.1), 20)
    assert told == f"{long} − y"  # noqa: RUF001
    both = plots._pair(comparison("sources", (long, long), 0.1), 20)
    assert len(both) == 20 + 3 + 20
