"""The driver of a Ray cluster, with a stand-in for Ray; the real one: whole/test_on_ray.py."""

import os
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from inflate_zoo.bench.definitions.results import Failure, Run
from inflate_zoo.bench.definitions.trial_folder import TrialFolder
from inflate_zoo.bench.engines import ray, ray_course
from inflate_zoo.bench.engines.ray import Ray
from inflate_zoo.bench.engines.ray_course import MOST_LOST
from inflate_zoo.bench.engines.ray_node import Ending, Sight
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.errors import UsageError, WorkError
from tests.support import fake_ray
from tests.support.fake_ray import FakeRay, id_of, node
from tests.support.shown import Shown
from tests.support.trials import FROZEN, result_of, tiny_run

pytest.importorskip("ray", reason="Ray is not installed")

READY = Sight("host-a", ())
CPU = Resources("cpu", 0, threads=1)
NODES = [node("a", CPU=2.0, GPU=1.0), node("b", CPU=1.0), node("gone", alive=False, CPU=9.0)]


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_course, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(ray, "_PATIENCE", 0.0)
    return tiny_run(tmp_path, seeds=3)


def done(order):
    """A task that does what it is asked."""
    for folder, _ in order.trials:
        trial = TrialFolder(Path(folder))
        if not trial.done:
            trial.finish(result_of(trial), Run())
    return Ending("host-a", 0)


def go(run, monkeypatch, task=done, sight=READY, demands=CPU, nodes=NODES, **more):
    """Run the trials; the stand-in, how they ended, what was told."""

    def tasks(name, options, argument):
        return sight if name == "look" else task(argument)

    fake, shown = FakeRay(tasks, list(nodes)), Shown()

    @contextmanager
    def connected(_):
        yield fake

    monkeypatch.setattr(ray, "connected", connected)
    return fake, Ray(run.out, 1.0, **more).run(run.trials, demands, shown), shown


def orders(fake):
    return [options for name, options in fake.ordered if name == "run"]


def test_each_trial_is_a_task_with_its_share_and_ray_tries_none_again(run, monkeypatch):
    seen = []

    def task(order):
        seen.append(order)
        return done(order)

    asked = {"cpus": 1.0, "gpus": 0.0, "others": (("memory", 8e9),)}
    nodes = [node("a", CPU=2.0, memory=64e9), node("b", CPU=1.0, memory=8e9), node("c", CPU=8.0)]
    fake, tally, shown = go(run, monkeypatch, task, nodes=nodes, **asked)
    assert tally.done == run.trials
    assert shown.begun == (3, 3)
    told = "2 nodes of the Ray cluster: 3 at a time, 1 CPU, 8e+09 memory each"
    assert shown.said == [told]
    assert sorted(shown.over) == sorted((trial.folder.name, "done") for trial in run.trials)
    share = {"num_cpus": 1.0, "num_gpus": 0.0, "memory": 8e9, "resources": {}}
    names = [f"trial-{trial.folder.name}" for trial in run.trials]
    assert orders(fake) == [{"max_retries": 0, "name": name, **share} for name in names]
    looks = [options for name, options in fake.ordered if name == "look"]
    assert [each["scheduling_strategy"].node_id for each in looks] == [id_of("a"), id_of("b")]
    first = seen[0]
    assert first.trials == ((str(run.trials[0].folder), 1.0),)
    assert first.words == ("--device", "cpu", "--threads", "1", "--workers", "0", "--no-wait")
    assert first.log == str(run.out / "ray" / f"{run.trials[0].folder.name}.log")
    assert first.known == {id_of("a"), id_of("b")}
    check = ("bench-trial", "--from", str(run.out), "--check")
    assert first.check.words == (*check, *first.words[:-1])
    assert not list((run.out / "ray").iterdir())  # the file that the nodes looked for is gone


def test_the_file_that_nodes_look_for_is_there_meanwhile(run, monkeypatch):
    def task(order):
        assert (run.out / order.check.token).exists()
        return done(order)

    assert go(run, monkeypatch, task)[1].done == run.trials


def test_what_ray_prints_is_no_result(run, monkeypatch, capsys):
    def task(order):
        print("(raylet) A worker died")
        return done(order)

    go(run, monkeypatch, task)
    assert capsys.readouterr().out == ""
    assert (run.out / "ray/messages.log").read_text() == "(raylet) A worker died\n" * 3


def test_what_killed_commands_left_is_removed_once_it_is_old(run, monkeypatch):
    (run.out / "ray").mkdir()
    for name, age in (("old", 31 * 86400), ("young", 86400)):
        path = run.out / "ray" / f".seen-{name}"
        path.touch()
        os.utime(path, (time.time() - age,) * 2)
    go(run, monkeypatch)
    assert [path.name for path in (run.out / "ray").iterdir()] == [".seen-young"]


def test_where_all_is_done_no_cluster_is_asked_for(run, monkeypatch):
    for trial in run.trials:
        trial.finish(result_of(trial), Run())
    fake, tally, shown = go(run, monkeypatch)
    assert tally.done == run.trials
    assert fake.ordered == []
    assert len(shown.over) == 3


def test_frozen_trials_share_a_task(tmp_path, monkeypatch):
    many = tiny_run(tmp_path, *FROZEN, seeds=9)
    fake, tally, _ = go(many, monkeypatch, nodes=[node("a", CPU=1.0)])
    assert tally.done == many.trials
    assert len(orders(fake)) == 3  # of four at most


@pytest.mark.parametrize(
    "told, said",
    [
        (Ending("b", 75), "it was asked to leave 'b'"),
        (Ending("b", 137), "its process on 'b' was ended by SIGKILL"),
        (Ending("b", 137, memory=True), "memory ran out on 'b'"),
        (Ending("b", 1, ("x", "odd")), "its process on 'b' ended with exit code 1: odd"),
        (Ending("b", 255, ("odd",)), "its process on 'b' ended with exit code 255: odd"),
        (fake_ray.OutOfMemoryError(), "memory ran out on its node"),
        (fake_ray.NodeDiedError(), "its node was lost"),
        (fake_ray.ObjectLostError(), "its node was lost"),
        (fake_ray.WorkerCrashedError(), "its Ray worker died"),
        (fake_ray.LocalRayletDiedError(), "its Ray worker died"),
        (fake_ray.TaskCancelledError(), "its task was cancelled"),
    ],
)
def test_what_is_lost_goes_on(run, monkeypatch, told, said):
    left = [told]

    def task(order):
        if not left:
            return done(order)
        if isinstance(ending := left.pop(), Exception):
            raise ending
        return ending

    _, tally, shown = go(run, monkeypatch, task)
    assert tally.done == run.trials
    name = run.trials[0].folder.name
    assert shown.said[1:] == [f"trial {name}: {said}; it goes on where it is"]


def test_what_is_lost_again_and_again_failed_and_so_did_what_says_so(run, monkeypatch):
    first, second, _ = run.trials
    times = []

    def task(order):
        (folder, _), *_ = order.trials
        if folder == str(first.folder):
            times.append(folder)
            raise fake_ray.NodeDiedError
        if folder == str(second.folder):
            second.fail(Failure(kind="nan_loss", reason="the loss is NaN"))
            return Ending("a", 1, ("0 done, 1 failed",))
        return done(order)

    _, tally, _ = go(run, monkeypatch, task)
    assert len(times) == MOST_LOST
    why = f"its node was lost, {MOST_LOST} times in a row with nothing to show"
    assert tally.failed == ((first, why), (second, "the loss is NaN"))


@pytest.mark.parametrize(
    "told, sentence, detail",
    [
        (Ending("b", 2, ("error: the cache",)), "node 'b' cannot run trial", "error: the cache"),
        (Sight("b", ("no torch",)), "cannot take trials: 'b'", "b: no torch"),
        (fake_ray.RayTaskError("Traceback\n  File\nOSError: odd"), "failed: OSError: odd", None),
    ],
)
def test_what_the_next_one_would_meet_as_well_ends_the_run(
    run, monkeypatch, told, sentence, detail
):
    def task(order):
        if isinstance(told, Exception):
            raise told
        return told

    with pytest.raises(WorkError) as caught:
        go(run, monkeypatch, task)
    assert sentence in caught.value.message
    assert detail is None or detail in caught.value.details


def test_nothing_runs_where_a_node_lacks_something(run, monkeypatch):
    with pytest.raises(WorkError, match="2 nodes of the Ray cluster cannot take trials: 'b'"):
        go(run, monkeypatch, pytest.fail, sight=Sight("b", ("no torch",)))


def test_nothing_runs_where_no_node_has_what_a_trial_takes(run, monkeypatch):
    with pytest.raises(UsageError, match="what a trial is to have: 1 CPU, 2 GPU"):
        go(run, monkeypatch, pytest.fail, gpus=2.0)


def test_ctrl_c_ends_what_runs(run, monkeypatch):
    heard = []

    def task(order):
        if heard:
            raise KeyboardInterrupt
        heard.append(order)
        return done(order)

    fake = FakeRay(lambda name, _, order: Sight("a", ()) if name == "look" else task(order), NODES)

    @contextmanager
    def connected(_):
        yield fake

    monkeypatch.setattr(ray, "connected", connected)
    shown = Shown()
    with pytest.raises(KeyboardInterrupt):
        Ray(run.out, 1.0).run(run.trials, CPU, shown)
    assert shown.said[1:] == ["interrupted after 1"]
    assert len(fake.cancelled) == 1  # the third; the second is what was heard


def test_a_gpu_that_was_shared_is_a_trial_s_own_after_memory_ran_out(run, monkeypatch):
    first = run.trials[0]
    seen = []

    def task(order):
        if not seen and order.trials[0][0] == str(first.folder):
            seen.append(order)
            first.fail(Failure(kind="out_of_memory", reason="out of memory"))
            return Ending("a", 1)
        return done(order)

    fake, tally, shown = go(run, monkeypatch, task, gpus=0.5)
    assert tally.done == run.trials
    assert [options["num_gpus"] for options in orders(fake)] == [0.5, 0.5, 0.5, 1.0]
    assert shown.said[1].endswith("ran out of memory beside others; it runs again, alone")


def test_nodes_that_come_are_counted(run, monkeypatch):
    monkeypatch.setattr(ray, "_COUNT_SECONDS", 0.0)
    nodes = [node("a", CPU=1.0)]
    fake, shown = FakeRay(lambda *_: None, nodes), Shown()

    def tasks(name, _, argument):
        if name == "look":
            return Sight("a", ())
        fake.nodes_ = [*nodes, node("b", CPU=4.0)]
        return done(argument)

    fake.tasks = tasks

    @contextmanager
    def connected(_):
        yield fake

    monkeypatch.setattr(ray, "connected", connected)
    Ray(run.out, 1.0).run(run.trials, CPU, shown)
    assert (shown.begun, shown.changed) == ((3, 1), [5])
