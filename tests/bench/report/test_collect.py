"""Trials found in run folders, each once."""

import json

import pytest

from inflate_zoo.bench.report import results
from inflate_zoo.bench.report.collect import collect
from inflate_zoo.bench.report.terminal import table
from inflate_zoo.bench.report.writing import write_report
from inflate_zoo.errors import UsageError
from tests.support import records
from tests.support.reports import ARMS

SMALL = records.arms_of(("made-up/vit-one",), ("center",))


def test_an_arm_is_called_what_the_trial_says_now(tmp_path):
    for seed in range(3):
        for arm in (ARMS[0], ARMS[-1]):
            place = records.save(tmp_path, records.record(arm, seed, 4), overlays=False)
            told = json.loads((place / "trial.json").read_text())
            told["arm"]["label"] += " renamed"
            (place / "trial.json").write_text(json.dumps(told))
    study = results.rank_trials(collect([tmp_path])).studies[0]
    assert set(study.arms) == {f"{arm.label} renamed" for arm in (ARMS[0], ARMS[-1])}
    assert {standing.arm for standing in study.ranking.standings} == set(study.arms)


@pytest.mark.parametrize("folders", [("run", "run"), ("one", "two")], ids=["one", "two"])
def test_trials_of_an_arm_that_were_planned_beside_others_are_no_other_arm(tmp_path, folders):
    """`random` has a longer label where it stands beside a network of another kind."""
    for arm in (ARMS[0], ARMS[-1]):
        for seed in range(4):
            made = records.record(arm, seed, 4)
            made["trial"]["arm"]["weights"] = "" if arm.kind == "random" else "ab" * 32
            if arm.kind == "random" and seed < 2:
                made["trial"]["arm"]["label"] = "random 12 blocks of width 384"
            records.save(tmp_path / folders[seed < 2], made, overlays=False)
    told = results.rank_trials(collect([tmp_path / name for name in dict.fromkeys(folders)]))
    (study,) = told.studies
    means = {standing.arm: standing.missing for standing in study.ranking.standings}
    assert means == {ARMS[0].label: 0, "random 12 blocks of width 384": 0}
    assert [one.second for one in study.ranking.asked("transfer")] == [
        "random 12 blocks of width 384"
    ]
    assert [caveat.weight for caveat in study.caveats] == ["not a ranking", "provisional"]  # cases


def test_several_folders_make_one_report_and_a_trial_counts_once(tmp_path, undrawn):
    one, two = tmp_path / "one", tmp_path / "two"
    for seed in range(2):
        for arm in SMALL:
            made = records.record(arm, seed)
            records.save(one if seed else two, made, overlays=False)
            records.save_failed(two if seed else one, made)
    results = write_report([one, two], tmp_path / "out")
    assert len(results.trials) == len(SMALL) * 2
    assert all(trial.record for trial in results.trials)
    again = write_report([two, one, one], tmp_path / "again")
    assert table(results) == table(again)
    same = [(tmp_path / name / "report.html").read_bytes() for name in ("out", "again")]
    assert same[0] == same[1]


def test_a_folder_without_trials_is_refused(tmp_path):
    for folder, told in ((tmp_path, "holds no"), (tmp_path / "absent", "is no folder")):
        with pytest.raises(UsageError, match=told):
            write_report([folder], tmp_path / "out")
    (tmp_path / "trials" / ".staging").mkdir(parents=True)
    with pytest.raises(UsageError, match="holds no trials"):
        write_report([tmp_path], tmp_path / "out")
    assert not (tmp_path / "out").exists()
