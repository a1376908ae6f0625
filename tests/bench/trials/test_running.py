"""One trial in one process: done once, held, failed, lost."""

import json
import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from inflate_zoo import interrupts, stops
from inflate_zoo.bench.definitions.results import Failure
from inflate_zoo.bench.definitions.trial_folder import place_file
from inflate_zoo.bench.training.devices import Resources, device_kind, make_accelerator
from inflate_zoo.bench.training.progress import Silent
from inflate_zoo.bench.trials import leases, running
from inflate_zoo.bench.trials.leases import LEASE, LOCK, leased
from inflate_zoo.bench.trials.running import _failure, run_trial
from inflate_zoo.bench.trials.stopping import STOPS
from inflate_zoo.errors import DeadWorkerError, UsageError, WorkError
from inflate_zoo.segmentation.segmenter import Segmenter
from tests.support.trials import FROZEN, one_thread, tiny_run

CPU = Resources("cpu", 0)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


def place_of(trial):
    return place_file(trial.place)


def test_what_a_signal_broke_is_no_failure(home, monkeypatch):
    trial = tiny_run(home, name="signal").trial()

    def worker_dies(*_):
        with suppress(KeyboardInterrupt):  # as torch's own handler, which raises its error instead
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        raise RuntimeError("DataLoader worker exited unexpectedly")

    monkeypatch.setattr("inflate_zoo.bench.trials.running.run_attempt", worker_dies)
    assert interrupts.run(lambda: run_trial(trial, CPU, Silent())) == 143
    assert {path.name for path in trial.folder.iterdir()} <= {
        "trial.json", "progress.json", place_of(trial), LOCK,
    }  # fmt: skip


def test_a_trial_that_another_holds_is_left_alone(home, monkeypatch):
    trial = tiny_run(home, name="held").trial()
    with leased(trial.folder):
        before = {path.name for path in trial.folder.iterdir()}
        with monkeypatch.context() as patch:  # asked every two seconds: the lease comes first
            patch.setattr("inflate_zoo.bench.trials.running.make_accelerator", None)
            assert run_trial(trial, CPU, Silent()) == "held"
        assert {path.name for path in trial.folder.iterdir()} == before


def steal(folder):
    lease = {"host": "elsewhere", "pid": 1, "token": "theirs"}
    (folder / LEASE).write_text(json.dumps(lease))


@pytest.mark.parametrize("then", ["goes on", "fails"])
def test_who_lost_the_lease_writes_nothing_more(home, then):
    class Thief(Silent):
        def step(self, step, *_):
            if step == 1:
                steal(trial.folder)
                if then == "fails":
                    raise ValueError("its files were tidied away")

    trial = tiny_run(home, "train.checkpoint_every=1", name=f"lost-{then}").trial()
    assert run_trial(trial, CPU, Thief()) == "held"
    names = {path.name for path in trial.folder.iterdir()}
    assert names == {"trial.json", place_of(trial), "events", "progress.json", LEASE, LOCK}
    assert "elsewhere" in (trial.folder / LEASE).read_text()


def test_a_lease_stolen_while_scoring_keeps_the_record_back(home):
    class Thief(Silent):
        def part(self, done, total):
            steal(trial.folder)

    trial = tiny_run(home, name="late").trial()
    assert run_trial(trial, CPU, Thief()) == "held"
    assert not trial.done
    assert not (trial.folder / "model.safetensors").exists()


def test_a_lease_stolen_while_the_network_is_saved_does_too(home, monkeypatch):
    real = Segmenter.save_pretrained

    def slow(self, folder):
        steal(folder)
        return real(self, folder)

    monkeypatch.setattr(Segmenter, "save_pretrained", slow)
    trial = tiny_run(home, name="later").trial()
    assert run_trial(trial, CPU, Silent()) == "held"
    assert not trial.done


def test_a_failure_of_another_process_counts_if_it_is_fresh(home):
    trial = tiny_run(home, name="fresh").trial()
    trial.fail(Failure(kind="error", reason="there"))
    moment = (trial.folder / "failure.json").stat().st_mtime
    assert run_trial(trial, CPU, Silent(), since=moment - 1) == "failed"
    assert trial.failure().reason == "there"
    assert run_trial(trial, CPU, Silent(), since=moment + 1) == "done"
    assert trial.failure() is None


def test_a_second_failure_tells_its_own_reason(home):
    class Fails(Silent):
        def step(self, *_):
            raise ValueError(why)

    trial = tiny_run(home, name="twice").trial()
    for why in ("first", "second"):
        assert run_trial(trial, CPU, Fails()) == "failed"
        assert trial.failure().reason == f"ValueError: {why}"


def test_who_lost_the_lease_scores_no_case_more(home):
    class Thief(Silent):
        def part(self, done, total):
            steal(trial.folder)

    trial = tiny_run(home, name="scoring").trial()
    assert run_trial(trial, CPU, Thief()) == "held"
    assert [path.name for path in (trial.folder / "cases").glob("*.json")] == ["0000.json"]


def test_while_a_trial_runs_it_is_noted_where_and_how_far(home, monkeypatch):
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.01)

    class Waits(Silent):
        def step(self, step, *_):
            while step == 4 and (trial.progress() is None or trial.progress().step != 4):
                time.sleep(0.01)
            if step == 4:
                found.append(trial.progress())

    found = []
    trial = tiny_run(home, name="noted").trial()
    assert run_trial(trial, CPU, Waits()) == "done"
    (progress,) = found
    assert (progress.host, progress.device) == (socket.gethostname(), "cpu")
    assert (progress.stage, progress.step, progress.steps) == ("training", 4, 6)
    assert progress.loss is not None
    assert progress.dice is not None
    assert not (trial.folder / "progress.json").exists()


def ask(*_):
    os.kill(os.getpid(), signal.SIGTERM)


class Asks(Silent):
    """Asks to stop after a part of a stage, or a step."""

    def __init__(self, part=None, step=None):
        self.at_part, self.at_step, self.parts, self.steps = part, step, [], []

    def part(self, done, total):
        self.parts.append(done)
        if done == self.at_part:
            ask()

    def step(self, step, *_):
        self.steps.append(step)
        if step == self.at_step:
            ask()


def attempt(trial, watcher):
    with stops.heeded():
        return run_trial(trial, CPU, watcher)


def test_a_trial_that_is_asked_to_stop_goes_on_to_the_same_bits(home):
    changes = ("train.validate_every=0", "train.checkpoint_every=100")
    whole, left = (tiny_run(home, *changes, name=name).trial() for name in ("all", "left"))
    assert run_trial(whole, CPU, Silent()) == "done"
    first = Asks(step=4)
    assert attempt(left, first) == "stopped"
    assert first.steps == [1, 2, 3, 4]
    assert not (left.folder / LEASE).exists()
    assert left.failure() is None
    second = Asks(part=1)
    assert attempt(left, second) == "stopped"
    assert (second.steps, second.parts) == ([5, 6], [1])  # a case is scored, and kept
    third = Asks()
    assert attempt(left, third) == "done"
    assert (third.steps, third.parts) == ([], [1, 2])
    assert left.believed().result == whole.believed().result
    names = ({path.name for path in trial.folder.iterdir()} for trial in (whole, left))
    assert len(set(map(frozenset, names))) == 1


def test_stopped_twice_without_progress_is_a_failure(home):
    class AtOnce(Silent):
        def stage(self, stage):
            if stage == "features":
                ask()

    changes = (*FROZEN, "train.steps=5")
    trial = tiny_run(home, *changes, name="in-vain").trial()
    assert attempt(trial, AtOnce()) == "stopped"  # between two windows that are encoded
    assert trial.failure() is None
    assert attempt(trial, AtOnce()) == "failed"
    assert trial.failure().kind == "stopped"
    assert attempt(trial, AtOnce()) == "stopped"  # tried again, from the first
    assert attempt(trial, Silent()) == "done"
    assert not (trial.folder / STOPS).exists()


def test_what_stopping_broke_is_no_failure(home, monkeypatch):
    def worker_dies(*_):
        ask()
        raise RuntimeError("DataLoader worker exited unexpectedly")

    trial = tiny_run(home, name="broken-stop").trial()
    monkeypatch.setattr("inflate_zoo.bench.trials.running.run_attempt", worker_dies)
    assert attempt(trial, Silent()) == "stopped"
    assert trial.failure() is None


def failed(error):
    try:
        raise error
    except (OSError, RuntimeError, MemoryError, DeadWorkerError) as caught:
        return _failure(caught)


def test_reasons_hold_no_path_and_one_line():
    failure = failed(FileNotFoundError(2, "No such file or directory", "/no/such/place"))
    assert failure.where.startswith(f"{Path(__file__).name}:")
    assert failure.reason == "FileNotFoundError: No such file or directory: 'place'"
    leak = failed(RuntimeError("cannot map /home/me/cache/a.npy of 3/4"))
    assert leak.reason == "RuntimeError: cannot map a.npy of 3/4"
    long = failed(RuntimeError("first\nsecond" + "x" * 900))
    assert long.reason == "RuntimeError: first"
    allocator = "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"
    assert failed(RuntimeError(allocator)).kind == "out_of_memory"
    assert failed(MemoryError()).kind == "out_of_memory"
    died = failed(DeadWorkerError(["one", "two"]))
    assert (died.kind, died.case) == ("data_worker", "one, two")


@pytest.mark.parametrize("step", ["make_accelerator", "device_name"])
def test_a_device_that_is_too_full_to_begin_on_fails_the_trial_alone(home, monkeypatch, step):
    trial = tiny_run(home, name=f"full-{step}").trial()

    def refuse(*_):
        raise error

    monkeypatch.setattr(running, step, refuse)
    error = torch.OutOfMemoryError("CUDA out of memory")
    assert run_trial(trial, CPU, Silent()) == "failed"
    assert trial.failure().kind == "out_of_memory"
    assert trial.failure().reason.startswith("out of memory before it had begun")
    assert not (trial.folder / LEASE).exists()
    with leased(trial.folder):
        monkeypatch.setattr(running, "standing", lambda _: None)  # taken a moment later
        assert run_trial(trial, CPU, Silent()) == "held"
    monkeypatch.setenv("LOCAL_RANK", "1")  # of several processes the others wait for this one
    with pytest.raises(WorkError, match="before it had begun"):
        run_trial(trial, CPU, Silent())
    error = RuntimeError("no driver")
    with pytest.raises(RuntimeError, match="no driver"):
        run_trial(trial, CPU, Silent())


def test_what_was_stopped_before_a_failure_counts_no_more(home):
    class Stops(Silent):
        def stage(self, stage):
            raise stops.Stopped

    trial = tiny_run(home, name="stopped-failed").trial()
    assert run_trial(trial, CPU, Stops()) == "stopped"
    trial.fail(Failure(kind="died", reason="killed"))
    assert run_trial(trial, CPU, Stops()) == "stopped"
    assert run_trial(trial, CPU, Stops()) == "failed"
    assert trial.failure().kind == "stopped"


def test_devices():
    assert device_kind(Resources("cpu")) == "cpu"
    for name in ("gpu", "meta", "cuda:99"):
        with pytest.raises(UsageError, match=name):
            device_kind(Resources(name))
    # Trials of either precision may follow each other in a process.
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()
    Accelerator(cpu=True, mixed_precision="bf16")
    assert make_accelerator("fp32", CPU).mixed_precision == "no"
    assert make_accelerator("bf16", CPU).mixed_precision == "no"


def edited(text):
    record = json.loads(text)
    record["result"]["mean"] = {name: {"dice": 1.0} for name in record["result"]["mean"]}
    return json.dumps(record)


@pytest.mark.parametrize("spoil", [edited, lambda text: text[: len(text) // 2]])
def test_a_record_that_is_not_to_be_believed_is_put_aside_and_the_trial_runs_again(home, spoil):
    trial = tiny_run(home, "train.steps=2", name=f"edited-{spoil.__name__}").trial()
    assert run_trial(trial, CPU, Silent()) == "done"
    path, aside = trial.folder / "record.json", trial.folder / "unbelieved-record.json"
    first, spoiled = trial.believed(), spoil(path.read_text())
    path.write_text(spoiled)
    (trial.folder / "cases").mkdir()
    (trial.folder / "cases" / "0000.json").write_text('{"regions": {}}')
    with pytest.warns(UserWarning, match="is not to be believed: .*; the trial runs again"):
        assert run_trial(trial, CPU, Silent()) == "done"
    assert trial.believed().result == first.result
    assert trial.believed().digest == first.digest
    assert aside.read_text() == spoiled
    assert run_trial(trial, CPU, Silent()) == "done"


def test_a_training_whose_checkpoint_is_torn_begins_anew_and_ends_as_any(home):
    class Stops(Silent):
        def step(self, step, *_):
            if step == 5:
                raise ValueError("stop")

    changes = ("train.checkpoint_every=2", "train.validate_every=0")
    whole, torn = (tiny_run(home, *changes, name=name).trial() for name in ("unbroken", "torn"))
    assert run_trial(whole, CPU, Silent()) == "done"
    assert run_trial(torn, CPU, Stops()) == "failed"
    checkpoint = torn.folder / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.warns(UserWarning, match=r"is damaged: .*; the training starts anew"):
        assert run_trial(torn, CPU, Silent()) == "done"
    assert torn.believed().result == whole.believed().result
    assert not list(torn.folder.glob("*checkpoint*"))
