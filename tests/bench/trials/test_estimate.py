"""What a dry run says."""

import tempfile

import pytest

from inflate_zoo.bench.definitions.results import Run
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.bench.training.progress import Silent
from inflate_zoo.bench.trials import estimate as measuring
from inflate_zoo.bench.trials.estimate import STEPS, Estimate, Row, _Costs, _Kind, estimate
from inflate_zoo.bench.trials.planning import Planned
from inflate_zoo.bench.trials.running import run_trial
from inflate_zoo.errors import WriteError
from inflate_zoo.files.writing import whole_files
from tests.support.trials import FROZEN, one_thread, result_of, tiny_run

CPU = Resources("cpu", 0)


@pytest.mark.parametrize("changes", [(), FROZEN])
def test_each_kind_is_measured_once_and_nothing_is_written(tmp_path, changes):
    run = tiny_run(tmp_path, *changes, kinds=("inflated", "random"), seeds=2)
    planned = Planned(run.out, tuple((trial.spec, trial.place) for trial in run.trials))
    before = sorted([*run.out.rglob("*"), *run.cache.rglob("*")])
    said = []
    with one_thread():
        found = estimate(planned, CPU, 1, said.append, lambda *counted: said.append(counted))
    stages = ("loading", *["features"] * bool(changes), "training", "evaluating")
    told = [line for line in said if isinstance(line, str)]
    assert told == [f"measuring {arm}: {s}" for arm in ("vit center", "random") for s in stages]
    assert ("steps of random measured", STEPS, STEPS) in said  # a slow one is not silent
    assert sorted([*run.out.rglob("*"), *run.cache.rglob("*")]) == before
    assert [row.trial for row in found.rows] == [trial.folder.name for trial in run.trials]
    assert [row.seed for row in found.rows] == [0, 0, 1, 1]
    assert all(row.seconds > 0 and row.memory_bytes > 2**20 for row in found.rows)
    assert not any(row.done for row in found.rows)
    with one_thread():
        for trial in run.trials[:2]:
            run_trial(trial, CPU, Silent())
        again = estimate(planned, CPU, 1, said.append, lambda *counted: said.append(counted))
    assert [row.done for row in again.rows] == [True, True, False, False]
    kept = run.trials[0].folder / "model.safetensors"
    assert found.rows[0].disk_bytes == pytest.approx(kept.stat().st_size, rel=0.02)


@pytest.mark.parametrize("steps, validations", [(2, 1), (3, 1), (7, 3), (9, 3)])
def test_every_validation_counts_that_of_the_last_step_too(
    tmp_path, monkeypatch, steps, validations
):
    def measured(trial, *_):
        for name in ("model.safetensors", "checkpoint.safetensors"):
            (trial.folder / name).write_bytes(b"")
        return _Costs(loading=0.0, encoding=0.0, step=0.0, evaluation=1.0, memory=None)

    monkeypatch.setattr(measuring, "_measure", measured)
    run = tiny_run(tmp_path, f"train.steps={steps}", "train.validate_every=3")
    (trial,) = run.trials
    planned = Planned(run.out, ((trial.spec, trial.place),))
    (row,) = estimate(planned, CPU, 1, lambda _: None, lambda *_: None).rows
    inner = trial.spec.cases.validation[: trial.spec.protocol.train.validation_cases]
    # All cases are of one size, and the first took a second.
    assert row.seconds == len(trial.spec.cases.test) + validations * len(inner)


@pytest.mark.parametrize(
    "changes",
    [
        ("train.validate_every=2", "train.select=best"),
        ("train.validate_every=0",),
        (*FROZEN, "train.validate_every=2", "train.select=best"),
    ],
    ids=["best", "last", "frozen"],
)
def test_a_training_trial_holds_as_much_as_was_told(tmp_path, monkeypatch, changes):
    """A checkpoint is written beside the one before: a disk with room for one was full."""
    run = tiny_run(tmp_path, "train.steps=6", "train.checkpoint_every=2", *changes)
    (trial,) = run.trials
    planned, held, put = Planned(run.out, ((trial.spec, trial.place),)), [], whole_files._put

    def measured(temporary, path):
        held.append(sum(file.stat().st_size for file in path.parent.glob("*safetensors*")))
        put(temporary, path)

    with one_thread():
        (row,) = estimate(planned, CPU, 1, lambda _: None, lambda *_: None).rows
        monkeypatch.setattr(whole_files, "_put", measured)
        run_trial(trial, CPU, Silent())
    assert row.disk_bytes + row.scratch_bytes == pytest.approx(max(held), rel=0.1)


def test_more_steps_cost_more(tmp_path):
    times = []
    for steps in (10, 100_000):
        run = tiny_run(tmp_path, f"train.steps={steps}", "train.validate_every=0", name=str(steps))
        planned = Planned(run.out, tuple((trial.spec, trial.place) for trial in run.trials))
        with one_thread():
            (row,) = estimate(planned, CPU, 1, lambda _: None, lambda *_: None).rows
        times.append(row.seconds)
    assert times[1] > 100 * times[0]


def test_features_are_counted_once_and_as_large_as_they_get(tmp_path):
    run = tiny_run(tmp_path, *FROZEN, "train.windows_per_case=3", seeds=2)
    pairs = [(trial.spec, trial.place) for trial in run.trials]
    arm = pairs[0][0].arm.model_copy(update={"label": "a copy", "source": "copy"})
    pairs.append((pairs[0][0].model_copy(update={"arm": arm}), pairs[0][1]))
    with one_thread():
        rows = estimate(
            Planned(run.out, tuple(pairs)), CPU, 1, lambda _: None, lambda *_: None
        ).rows
        run_trial(run.trials[0], CPU, Silent())
    assert rows[0].feature_bytes == rows[1].feature_bytes > rows[2].feature_bytes == 0
    assert rows[0].seconds == rows[1].seconds > rows[2].seconds > 0
    kept = sum(file.stat().st_size for file in run.cache.glob("features/*/*.npy"))
    assert rows[0].feature_bytes == pytest.approx(kept, rel=0.1)  # headers of the files


def test_a_trained_backbone_keeps_no_features(tmp_path):
    run = tiny_run(tmp_path)
    planned = Planned(run.out, tuple((trial.spec, trial.place) for trial in run.trials))
    with one_thread():
        (row,) = estimate(planned, CPU, 1, lambda _: None, lambda *_: None).rows
    assert row.feature_bytes == 0


@pytest.mark.parametrize("done", [0, 1])
def test_what_is_done_takes_nothing_more_whether_it_stands_before_or_behind(
    tmp_path, monkeypatch, done
):
    kind = _Kind(9.0, encoding=2.0, memory=2**30, disk=2**20, scratch=3 * 2**20, window=8)
    monkeypatch.setattr(measuring, "_measured", lambda *_: kind)
    run = tiny_run(tmp_path, *FROZEN, seeds=2)
    run.trials[done].finish(result_of(run.trials[done]), Run())
    planned = Planned(run.out, tuple((trial.spec, trial.place) for trial in run.trials))
    found = estimate(planned, CPU, 1, lambda _: None, lambda *_: None)
    over, left = found.rows[done], found.rows[1 - done]
    assert (over.seconds, over.memory_bytes, over.disk_bytes, over.feature_bytes) == (0, None, 0, 0)
    assert over.scratch_bytes == 0
    assert (left.memory_bytes, left.disk_bytes, left.scratch_bytes) == (2**30, 2**20, 3 * 2**20)
    assert left.feature_bytes > 0
    assert found.plain()["disk_bytes"] == left.disk_bytes + left.feature_bytes


def test_where_no_room_is_to_measure_the_place_is_named(tmp_path, monkeypatch):
    def full(*_):
        raise WriteError("cannot write 'checkpoint.safetensors': No space left", hint="free space")

    monkeypatch.setattr(measuring, "_measure", full)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "small"))
    run = tiny_run(tmp_path)
    planned = Planned(run.out, tuple((trial.spec, trial.place) for trial in run.trials))
    with pytest.raises(WriteError, match="cannot write 'a temporary folder'") as caught:
        estimate(planned, CPU, 1, lambda _: None, lambda *_: None)
    assert "TMPDIR" in caught.value.hint
    (tmp_path / "small").mkdir()
    with pytest.raises(WriteError, match="No space left") as caught:
        estimate(planned, CPU, 1, lambda _: None, lambda *_: None)
    assert f"trials are measured in '{tmp_path / 'small'}'" in caught.value.hint
    assert not list((tmp_path / "small").iterdir())


def test_sums_count_what_is_to_run():
    rows = (
        Row("a" * 16, "vit center", 0, 0, True, 0.0, None, 0, 0, 0),
        Row("b" * 16, "random", 0, 1, False, 90.0, 2**30, 2**20, 5 * 2**20, 2**20),
        Row("c" * 16, "random", 1, 1, False, 7200.0, None, 2**20, 6 * 2**20, 0),
    )
    found = Estimate(rows)
    plain = found.plain()
    assert plain["seconds"] == 7290
    assert plain["disk_bytes"] == 3 * 2**20
    assert plain["trials"][2]["fold"] == 1
    lines = found.lines()
    assert lines[0].endswith("vit center, seed 0, fold 0: done")
    assert lines[1].endswith("random, seed 1, fold 0: 90 s, 1.0 GiB memory")
    assert "3 trials, 2 to run: about 2.0 h" in lines[3]
    assert lines[2].endswith("random, seed 1, fold 1: 2.0 h")  # no memory where nothing can tell
    assert "one after another" in lines[3]
    beside = Estimate(rows, 2)
    assert beside.plain()["seconds"] == 7200  # the longest alone takes as much
    assert "2 at a time" in beside.lines()[3]
    assert "and 12 MiB more while trials train" in beside.lines()[3]
    assert "3 MiB of disk (1 MiB of it features in the cache) and 6 MiB more" in lines[3]
