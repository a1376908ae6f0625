import numpy as np
import pytest

from inflate_zoo.bench.ranking.tables import study_of, tables_of
from inflate_zoo.bench.ranking.types import Contestant, Outcome
from inflate_zoo.errors import UsageError

REGIONS = ("x", "y")


def outcomes(values, folds=1, arms="ab"):
    """Outcomes of values[arm, seed, region, case], the surface Dice half of the Dice."""
    return [
        Outcome("t", "p", Contestant(arm, "inflated"), seed, fold, {
            f"c{case}": {
                region: {"dice": float(values[place, seed, at, case]),
                         "surface_dice": float(values[place, seed, at, case]) / 2}
                for at, region in enumerate(REGIONS)
            }
            for case in range(fold, values.shape[-1], folds)
        })
        for place, arm in enumerate(arms)
        for seed in range(values.shape[1])
        for fold in range(folds)
    ]  # fmt: skip


def drawn(arms=2, seeds=3, cases=6):
    return np.random.default_rng(0).random((arms, seeds, 2, cases))


def test_values_lie_by_arm_seed_and_case():
    values = drawn()
    tables = tables_of(study_of(outcomes(values)[::-1]))
    np.testing.assert_allclose(tables.cells["x", "dice"], values[:, :, 0])
    np.testing.assert_allclose(tables.cells["y", "surface_dice"], values[:, :, 1] / 2)
    np.testing.assert_allclose(tables.means["dice"], values.mean(axis=2))
    np.testing.assert_allclose(tables.means["surface_dice"], values.mean(axis=2) / 2)


def test_a_region_that_the_reference_lacks_counts_in_no_mean_of_its_case():
    values = drawn()
    made = outcomes(values)
    for each in made:
        each.cases["c2"]["x"] = {"dice": None, "surface_dice": None}
    tables = tables_of(study_of(made))
    expected = values.mean(axis=2)
    expected[:, :, 2] = values[:, :, 1, 2]
    np.testing.assert_allclose(tables.means["dice"], expected)
    assert tables.cells["x", "dice"].shape == (2, 3, 5)
    assert tables.cells["y", "dice"].shape == (2, 3, 6)


def test_what_one_training_lacks_counts_for_nobody():
    values = drawn()
    made = outcomes(values)
    made[4].cases["c1"]["y"]["dice"] = None
    del made[0].cases["c3"]
    tables = tables_of(study_of(made))
    kept = [0, 1, 2, 4, 5]
    expected = values.mean(axis=2)
    expected[:, :, 1] = values[:, :, 0, 1]
    np.testing.assert_allclose(tables.means["dice"], expected[..., kept])
    np.testing.assert_allclose(tables.means["surface_dice"], values.mean(axis=2)[..., kept] / 2)


def test_a_case_without_any_region_is_left_out():
    made = outcomes(drawn())
    for each in made:
        each.cases["c0"] = {region: {"dice": None, "surface_dice": 0.5} for region in REGIONS}
    tables = tables_of(study_of(made))
    assert tables.means["dice"].shape == (2, 3, 5)
    assert tables.means["surface_dice"].shape == (2, 3, 6)


def test_folds_are_pooled_and_each_case_counts_once():
    values = drawn(cases=7)
    whole, dealt = (tables_of(study_of(outcomes(values, folds))) for folds in (1, 3))
    order = [0, 3, 6, 1, 4, 2, 5]
    np.testing.assert_array_equal(dealt.means["dice"], whole.means["dice"][..., order])


def test_a_case_of_two_folds_is_two_cases():
    values = drawn()
    first, second = outcomes(values), outcomes(values + 1)
    both = first + [Outcome(e.task, e.protocol, e.contestant, e.seed, 1, e.cases) for e in second]
    found = tables_of(study_of(both)).means["dice"]
    np.testing.assert_allclose(found, np.concatenate([values, values + 1], -1).mean(axis=2))


def test_arms_that_lack_a_trial_have_no_row():
    made = outcomes(drawn(arms=3), arms="abc")
    del made[4]
    study = study_of(made)
    assert study.missing == {"a": 0, "b": 1, "c": 0}
    assert study.complete == ["a", "c"]
    assert tables_of(study).means["dice"].shape == (2, 3, 6)
    assert study.seeds == [0, 1, 2]
    assert study.contestants["b"] == Contestant("b", "inflated")


def test_nothing_complete_and_nothing_scored_are_empty():
    failed = [Outcome("t", "p", Contestant("a", "inflated"), 0, 0, None)]
    assert tables_of(study_of(failed)).means["dice"].size == 0
    empty = [Outcome("t", "p", Contestant("a", "inflated"), 0, 0, {})]
    assert tables_of(study_of(empty)).means["dice"].shape == (1, 1, 0)


def test_two_trials_under_one_name_are_refused():
    made = outcomes(drawn())
    with pytest.raises(UsageError, match="two trials of arm 'b', seed 2, fold 0"):
        study_of([*made, made[-1]])
