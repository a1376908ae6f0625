"""Trials on this machine: in a row, side by side, some of which others hold, fail or die."""

import os
import signal
import sys
import threading
import time
from collections import Counter
from dataclasses import replace

import pytest

from inflate_zoo import interrupts
from inflate_zoo.bench.definitions.results import Failure, Run
from inflate_zoo.bench.definitions.trial_folder import TrialFolder, place_file
from inflate_zoo.bench.engines import here, needs
from inflate_zoo.bench.engines.engine import reason
from inflate_zoo.bench.engines.here import Here, _Course
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.bench.training.progress import Silent
from inflate_zoo.bench.trials.leases import holder, leased
from inflate_zoo.bench.trials.noting import Noting
from inflate_zoo.bench.trials.running import run_trial
from inflate_zoo.errors import UsageError, WorkError
from tests.support.shown import Shown
from tests.support.trials import one_thread, result_of, tiny_run

CPU = Resources("cpu", 0, threads=1)
ONE, TWO = ("cpu",), ("cpu", "cpu")


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(here, "WAIT_SECONDS", 0.01)
    return tiny_run(tmp_path, "train.steps=2", "train.validate_every=0", seeds=2)


def go(trials, devices=ONE, shown=None, demands=CPU, **more):
    shown = shown or Shown()
    with one_thread():
        return Here(devices, **more).run(trials, demands, shown), shown


@pytest.mark.parametrize("devices", [ONE, TWO])
def test_all_run_once_in_order(run, devices):
    tally, shown = go(run.trials, devices)
    assert tally.done == run.trials
    assert tally.failed == ()
    assert shown.said == []
    names = [trial.folder.name for trial in run.trials]
    assert shown.begun == (2, len(devices))
    assert shown.watched == names
    assert sorted(shown.over) == sorted((name, "done") for name in names)
    again, shown = go(run.trials, devices)
    assert again.done == run.trials
    assert not (devices == TWO and shown.watched)  # no process for what is done


def test_nothing_starts_where_one_is_no_trial(run, tmp_path):
    with pytest.raises(UsageError, match="is no trial"):
        go([*run.trials, TrialFolder(tmp_path / "nothing")])
    (run.trials[1].folder / place_file(run.trials[1].place)).unlink()
    with pytest.raises(UsageError, match="is no trial"):
        go([TrialFolder(trial.folder) for trial in run.trials])
    assert not any(trial.done for trial in run.trials)


def hold(trial, then, beat=lambda _: None):
    """Another process holds a trial for a moment, then ends it."""
    ready = threading.Event()

    def other():
        with leased(trial.folder, beat):
            ready.set()
            time.sleep(0.3)
            then()

    thread = threading.Thread(target=other)
    thread.start()
    ready.wait()
    return thread


@pytest.mark.parametrize("devices", [ONE, TWO])
def test_what_another_holds_is_waited_for(run, devices):
    first, second = run.trials
    thread = hold(first, lambda: first.finish(result_of(first, flops=7), Run()))
    tally, shown = go(run.trials, devices)
    thread.join()
    assert tally.done == run.trials
    assert first.believed().result.flops == 7
    assert second.believed().result.mean
    assert [line.split(" is run by ")[0] for line in shown.said] == [f"trial {first.folder.name}"]
    assert second.folder.name in shown.watched[:2]  # nothing waits for it


def test_how_far_another_is_with_what_it_holds_is_shown(run):
    first, _ = run.trials
    noting = Noting(Silent(), "elsewhere", "NVIDIA H200")
    noting.step(7, 20, 0.5, 0.0)
    thread = hold(first, lambda: first.finish(result_of(first), Run()), noting.write)
    _, shown = go([first])
    thread.join()
    name, progress = shown.noted[-1]
    assert name == first.folder.name
    assert (progress.host, progress.device, progress.step) == ("elsewhere", "NVIDIA H200", 7)


@pytest.mark.parametrize("devices", [ONE, TWO])
def test_what_another_holds_and_dies_with_is_taken_over(run, devices):
    first = run.trials[0]
    thread = hold(first, lambda: None)
    tally, _ = go([first], devices)
    thread.join()
    assert tally.done == (first,)
    assert first.believed().result.mean


def test_what_failed_meanwhile_did_so_by_the_clock_of_the_file_system(run, monkeypatch):
    """This host's clock is an hour ahead of it."""
    first, second = run.trials
    real = time.time

    class Elsewhere(Shown):
        def watch(self, trial):
            if trial is first:
                second.fail(Failure(kind="error", reason="elsewhere"))
            return super().watch(trial)

    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    tally, _ = go(run.trials, shown=Elsewhere())
    assert tally.done == (first,)
    assert tally.failed == ((second, "elsewhere"),)


@pytest.mark.parametrize("devices", [ONE, TWO])
def test_what_failed_meanwhile_is_not_tried_again_but_an_old_failure_is(run, devices):
    first, second = run.trials
    for trial in run.trials:
        trial.fail(Failure(kind="error", reason="earlier"))
    failure = Failure(kind="nan_loss", reason="the loss is NaN", case="case_03")
    (first.folder / "failure.json").unlink()
    thread = hold(first, lambda: first.fail(failure))
    tally, shown = go(run.trials, devices)
    thread.join()
    assert tally.done == (second,)
    assert tally.failed == ((first, "the loss is NaN (case case_03)"),)
    assert shown.said[-1] == f"trial {first.folder.name} failed: the loss is NaN (case case_03)"
    assert not first.done
    assert reason(second) == "unknown"


def test_side_by_side_gives_the_bits_of_one_after_another(tmp_path):
    changes = ("train.checkpoint_every=2", "network.drop_path=0.2")
    kinds = ("inflated", "random")
    runs = [tiny_run(tmp_path, *changes, kinds=kinds, seeds=2, name=name) for name in "ab"]
    for each, devices in zip(runs, (ONE, TWO), strict=True):
        assert len(go(each.trials, devices)[0].done) == 4
    for one, other in zip(runs[0].trials, runs[1].trials, strict=True):
        ours, theirs = one.believed(), other.believed()
        assert ours.result == theirs.result
        assert ours.digest == theirs.digest
        assert ours.run.threads == theirs.run.threads == 1
        names = {path.name for path in other.folder.iterdir()}
        assert names == {path.name for path in one.folder.iterdir()}


def test_what_failed_since_the_run_began_is_not_tried_again_whoever_comes(run):
    """So that of many workers one alone runs a trial whose loss is NaN."""
    first, second = run.trials
    first.fail(Failure(kind="nan_loss", reason="the loss is NaN"))
    moment = (first.folder / "failure.json").stat().st_mtime
    tally, _ = go(run.trials, since=moment - 1)
    assert tally.done == (second,)
    assert tally.failed == ((first, "the loss is NaN"),)
    tally, _ = go(run.trials, since=moment + 1)
    assert tally.done == run.trials


@pytest.mark.parametrize("devices", [ONE, TWO])
def test_what_another_holds_is_left_where_nobody_waits(run, devices):
    first, second = run.trials
    with leased(first.folder):
        tally, shown = go(run.trials, devices, wait=False)
    assert (tally.done, tally.failed, tally.left) == ((second,), (), (first,))
    assert shown.over == [(second.folder.name, "done")]


def test_what_another_left_meanwhile_is_taken_where_nobody_waits(run):
    first, _ = run.trials

    class Leaves(Silent):
        def step(self, step, *_):
            free.set()

    free, taken = threading.Event(), threading.Event()

    def other():
        with leased(first.folder):
            taken.set()
            free.wait(30)

    thread = threading.Thread(target=other)
    thread.start()
    taken.wait()
    tally, _ = go(run.trials, shown=Shown(Leaves), wait=False)
    thread.join()
    assert (tally.done, tally.left) == (run.trials, ())


class Kills(Shown):
    """Kills the process of the first trial as soon as that has something to go on from."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def watch(self, trial):
        if not self.watched:
            threading.Thread(target=self._kill, args=(trial.folder,), daemon=True).start()
        return super().watch(trial)

    def _kill(self, folder):
        while not (folder / "checkpoint.safetensors").exists():
            time.sleep(0.001)
        os.kill(int(holder(folder).rpartition(":")[2]), self.number)


def children():
    """Numbers of the processes that run trials."""
    import multiprocessing

    return sorted(p.pid for p in multiprocessing.active_children() if p.name.startswith("trial-"))


LONG = ("train.steps=60", "train.checkpoint_every=3", "train.validate_every=0")


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
def test_a_process_that_is_killed_is_a_failure_and_the_others_go_on_and_so_does_it(tmp_path):
    whole, run = (tiny_run(tmp_path, *LONG, seeds=2, name=name) for name in ("whole", "killed"))
    tally, shown = go(run.trials, TWO, Kills(signal.SIGKILL))
    trial, other = run.trials
    why = "its process was ended by SIGKILL"
    assert (tally.done, tally.failed) == ((other,), ((trial, why),))
    assert trial.failure().kind == "died"
    assert shown.said == [f"trial {trial.folder.name} failed: {why}"]
    assert not list(trial.folder.glob("lease.json"))
    assert (trial.folder / "checkpoint.safetensors").exists()
    tally, _ = go(run.trials, TWO)
    assert tally.done == run.trials
    undisturbed = whole.trial(seed=trial.spec.seed)
    go([undisturbed])
    assert trial.believed().result == undisturbed.believed().result


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
def test_a_process_that_is_asked_to_end_is_a_failure_too(tmp_path):
    run = tiny_run(tmp_path, *LONG, seeds=2)
    tally, _ = go(run.trials, TWO, Kills(signal.SIGTERM))
    trial, _ = run.trials
    assert tally.failed == ((trial, "its process was ended by SIGTERM"),)
    assert not list(trial.folder.glob("lease.json"))


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_at_once_and_leaves_nothing_half_written(tmp_path, number):
    run = tiny_run(tmp_path, *LONG, "train.steps=100000", seeds=3)

    class Presser(Silent):
        def step(self, step, *_):
            if step >= 4 and not pressed:
                pressed.append(time.monotonic())
                os.kill(os.getpid(), number)

    pressed, shown = [], Shown(Presser)
    code = interrupts.run(lambda: go(run.trials, TWO, shown))
    assert code == 128 + number
    assert time.monotonic() - pressed[0] < local_grace()
    assert shown.said == ["interrupted after 0"]
    assert not children()
    assert not [trial for trial in run.trials if (trial.folder / "failure.json").exists()]
    left = {path.name for trial in run.trials for path in trial.folder.iterdir()}
    assert left <= {
        "trial.json", place_file(run.trials[0].place), "events", "checkpoint.safetensors",
        "progress.json", ".lease.lock",
    }  # fmt: skip


def local_grace():
    from inflate_zoo.bench.engines.processes import GRACE_SECONDS

    return GRACE_SECONDS


def test_what_cannot_even_fail_ends_the_run_with_its_sentence(run, monkeypatch):
    with pytest.raises(UsageError, match="no device 'cuda:99'"):
        go(run.trials, ("cuda:99", "cuda:99"))
    assert not children()
    folder = run.trials[0].folder
    (folder / "events").write_text("no folder")
    (folder / "failure.json").mkdir()
    with pytest.raises(WorkError):
        go(run.trials, TWO)
    assert not children()


def test_what_a_trial_warns_of_is_said(run):
    trial = run.trials[0]
    with one_thread():
        assert run_trial(trial, CPU, Silent()) == "done"
    path = trial.folder / "record.json"
    path.write_text(path.read_text()[:-30])
    tally, shown = go([trial], TWO)
    assert tally.done == (trial,)
    (line,) = shown.said
    assert line.startswith("warning: the record of trial")
    assert line.endswith("the trial runs again")


class Fake:
    """A trial whose failures are made up."""

    def __init__(self, folder, kinds):
        self.folder, self._kinds, self.kind = folder, list(kinds), None

    def run(self):
        self.kind = self._kinds.pop(0) if self._kinds else None
        return "failed" if self.kind else "done"

    def failure(self):
        return Failure(kind=self.kind, reason=self.kind) if self.kind else None


def course(tmp_path, devices, failures, count=6):
    """Run made-up trials; what ran at a time with what, by name."""
    trials = [Fake(tmp_path / str(number), failures.get(number, ())) for number in range(count)]
    shown, seen, running = Shown(), [], {}
    planned = _Course(trials, devices, shown, 7.0, wait=True)
    while not planned.over:
        for trial, device in planned.startable():
            again = trial.folder in planned._alone  # its own failure does not count
            assert planned.since(trial) == (None if again else 7.0)
            running[trial] = device
        assert running, "some wait, and nothing will ever end"
        seen.append(sorted((trial.folder.name, device) for trial, device in running.items()))
        trial = next(iter(running))
        del running[trial]
        planned.note(trial, trial.run())
    return planned.tally(), seen, shown


def test_what_memory_does_not_hold_beside_others_runs_again_alone(tmp_path):
    tally, seen, shown = course(tmp_path, ("cpu",) * 3, {1: ["out_of_memory"]})
    assert len(tally.done) == 6
    assert [("1", "cpu")] in seen
    assert max(map(len, seen)) == 3
    after = seen[seen.index([("1", "cpu")]) + 1 :]
    assert max(map(len, after), default=0) == 2  # memory did not hold three
    assert shown.said == ["trial 1 ran out of memory beside others; it runs again, alone"]
    assert Counter(name for names in seen for name, _ in names)["1"] >= 2


def test_what_memory_does_not_hold_alone_failed(tmp_path):
    tally, seen, shown = course(tmp_path, TWO, {0: ["out_of_memory"] * 2, 3: ["error"]})
    assert [(trial.folder.name, why) for trial, why in tally.failed] == [
        ("0", "out_of_memory"), ("3", "error"),
    ]  # fmt: skip
    assert [("0", "cpu")] in seen
    assert shown.said[-2:] == ["trial 0 failed: out_of_memory", "trial 3 failed: error"]


@pytest.mark.parametrize("devices", [TWO, ("cuda:0", "cuda:0", "cuda:1", "cuda:1")])
def test_where_memory_holds_none_of_those_side_by_side_each_runs_alone(tmp_path, devices):
    failures = {number: ["out_of_memory"] for number in range(len(devices))}
    tally, seen, _ = course(tmp_path, devices, failures, count=9)
    assert len(tally.done) == 9
    assert len(seen[-1]) <= len(set(devices))
    for number in failures:  # again, and then with its GPU to itself
        last = [names for names in seen if str(number) in dict(names)][-1]
        device = dict(last)[str(number)]
        assert [other for _, other in last].count(device) == 1


def test_other_gpus_go_on_meanwhile(tmp_path):
    gpus = ("cuda:0", "cuda:1", "cuda:0", "cuda:1")
    _, seen, _ = course(tmp_path, gpus, {2: ["out_of_memory"]}, count=14)
    alone = [names for names in seen if ("2", "cuda:0") in names][-1]
    assert [device for _, device in alone].count("cuda:0") == 1
    assert len(alone) > 1


def test_one_at_a_time_is_never_beside_others(tmp_path):
    tally, seen, _ = course(tmp_path, ("cpu",), {0: ["out_of_memory"]})
    assert len(tally.failed) == 1
    assert all(len(names) == 1 for names in seen)


def test_memory_decides_how_many_run_and_the_first_that_is_measured_tells(tmp_path, monkeypatch):
    monkeypatch.setattr(needs, "trial_bound", lambda trial: 8 << 30)
    run = tiny_run(tmp_path, "train.steps=2", "train.validate_every=0", seeds=4)
    shown = Shown()
    with one_thread():
        tally = Here(TWO, 12 << 30).run(run.trials, CPU, shown)
    assert tally.done == run.trials
    assert shown.begun == (4, 1)
    assert shown.changed == [2]
    assert len(shown.said) == 1
    assert shown.said[0].endswith(": 2 at a time")
    spans = [trial.believed().run for trial in run.trials]
    assert {each.threads for each in spans} == {1}


def test_what_memory_does_not_hold_waits_for_its_turn(tmp_path):
    class Halves:
        """Memory holds two, but the third trial alone."""

        at_once = 2

        def fits(self, trial, running):
            names = {path.name for path in running} | {trial.folder.name}
            return len(names) == 1 or "2" not in names

        def ended(self, trial):
            return ""

    trials = [Fake(tmp_path / str(number), ()) for number in range(6)]
    planned, running, seen = _Course(trials, TWO, Shown(), 0.0, Halves(), wait=True), [], []
    while not planned.over:
        running += [trial for trial, _ in planned.startable()]
        seen.append([trial.folder.name for trial in running])
        planned.note(running[0], running.pop(0).run())
    assert seen == [["0", "1"], ["1"], ["2"], ["3", "4"], ["4", "5"], ["5"]]


def test_another_number_of_threads_is_noted_and_said(tmp_path):
    class Stops(Silent):
        def step(self, step, *_):
            if step == 5:
                raise ValueError("stop")

    class Resumed(Silent):
        def resumed(self, step):
            steps.append(step)

    steps = []
    trial = tiny_run(tmp_path, "train.checkpoint_every=2", "train.validate_every=0").trial()
    with one_thread():
        assert run_trial(trial, CPU, Stops()) == "failed"
        with pytest.warns(UserWarning, match="began with 1 thread and goes on with 2"):
            assert run_trial(trial, replace(CPU, threads=2), Resumed()) == "done"
    assert steps == [4]
    assert trial.believed().run.threads == 2
