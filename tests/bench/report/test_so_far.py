"""How a ranking stands while its trials run; all values are made up."""

import pytest

from inflate_zoo.bench.definitions.trial_folder import TrialFolder
from inflate_zoo.bench.report.so_far import SoFar
from inflate_zoo.errors import UsageError
from tests.support import records


@pytest.fixture(scope="module")
def rounds(tmp_path_factory):
    arms = records.arms_of(("made-up/vit-one", "made-up/vit-two"), ("center",))
    arms = [arm for arm in arms if arm.kind != "2d"]
    return records.save_run(
        tmp_path_factory.mktemp("rounds"), arms=arms, seeds=5, incomplete=False, overlays=False
    )


def test_the_ranking_so_far_counts_the_seeds_that_are_done_alone(rounds):
    (none,) = SoFar([rounds]).after(())
    assert none == "after 0 of 5 seeds: no complete arm yet"
    (one,) = SoFar([rounds]).after({0})
    assert one.startswith("after 1 of 5 seeds: vit-one center has the highest mean Dice, 0.")
    assert one.endswith("; nothing can be tested yet")
    (all_of,) = SoFar([rounds]).after(range(5))
    assert all_of == (
        "after 5 of 5 seeds: vit-one center, vit-two center above random; the pair is told apart"
    )


def test_the_ranking_so_far_tells_open_pairs_and_what_is_incomplete(tmp_path):
    arms = [records.Arm(name, "inflated", name, "center", 0.8) for name in ("mae", "clip", "dino")]
    arms.append(records.Arm("random", "random", "random", None, 0.8))
    for arm in arms:
        for seed in range(3):
            made = records.record(arm, seed, 12)
            if (arm.label, seed) == ("dino", 1):
                records.save_failed(tmp_path, made)
            else:
                records.save(tmp_path, made, overlays=False)
    (told,) = SoFar([tmp_path]).after((0, 1, 2))
    assert told == "after 3 of 3 seeds: none above random; 1 pair open; dino not complete"
    (told,) = SoFar([tmp_path]).after((0, 2))
    assert told == "after 2 of 3 seeds: none above random; 3 pairs open"


def test_each_task_has_its_own_sentence_so_far(tmp_path):
    for name in ("first", "second"):
        records.save_run(
            tmp_path, arms=records.arms_of(("a/one",), ("center",)), seeds=2, cases=4,
            incomplete=False, overlays=False, task=records.task(name),
        )  # fmt: skip
    first, second = SoFar([tmp_path]).after((0,))
    assert first.startswith("first, quick: after 1 of 2 seeds: ")
    assert second.startswith("second, quick: after 1 of 2 seeds: ")
    with pytest.raises(UsageError, match="holds no"):
        SoFar([tmp_path / "trials"]).after((0,))


def test_each_record_is_read_once_however_often_it_is_asked(tmp_path, monkeypatch):
    read, believed = [], TrialFolder.believed
    monkeypatch.setattr(
        TrialFolder, "believed", lambda trial: read.append(trial.folder) or believed(trial)
    )
    arms = [records.Arm(name, "inflated", name, "center", 0.8) for name in ("mae", "clip")]
    so_far = SoFar([tmp_path])
    for seed in range(3):
        for arm in arms:
            records.save(tmp_path, records.record(arm, seed, 12), overlays=False)
        waiting = records.record(arms[0], seed + 1, 12)
        records.save_failed(tmp_path, waiting)  # it has a record when it is asked again
        read.clear()
        told = so_far.after(range(seed + 1))
        assert len(read) == len(arms)
        assert told == SoFar([tmp_path]).after(range(seed + 1))
    assert told[0].startswith("after 3 of 4 seeds: ")
