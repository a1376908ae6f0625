"""Trials under fire: killed at exact moments, shared by processes, spread over processes."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from inflate_zoo.bench.definitions.trial_folder import TrialFolder, place_file
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.bench.training.progress import Silent
from inflate_zoo.bench.trials.running import run_trial
from tests.support.children import Child
from tests.support.trials import TINY, one_thread, tiny_run

ROOT = Path(__file__).parents[2]
CPU = Resources("cpu", 0)
TOKEN = "hf_TheTokenThatMustNotLeak0123456789"
EVERY_STEP = ("train.checkpoint_every=1", "train.select=best", "network.drop_path=0.2")

# What a child does before its command: ends itself, as by kill -9, at an exact moment.
MOMENTS = {
    "between two steps": """
        from inflate_zoo.bench.training.stepper import Stepper
        step = Stepper.step
        def dies(self, state, *arguments):
            if state.step == 4:
                os._exit(9)
            return step(self, state, *arguments)
        Stepper.step = dies
    """,
    "before a checkpoint's rename": """
        from pathlib import Path
        whole = Path.replace
        def dies(self, target):
            if Path(target).name == "checkpoint.safetensors":
                written.append(target)
                if len(written) == 3:
                    os._exit(9)
            return whole(self, target)
        written = []
        Path.replace = dies
    """,
    "between two cases": """
        from inflate_zoo.bench.scoring import evaluation
        score = evaluation.score_case
        def dies(predictor, case, task, folder, index, guard):
            if index == 1:
                os._exit(9)
            return score(predictor, case, task, folder, index, guard)
        evaluation.score_case = dies
    """,
    "before the record": """
        from inflate_zoo.bench.definitions import trial_folder as records
        records.TrialFolder.finish = lambda *_: os._exit(9)
    """,
    "after the record": """
        import shutil
        from pathlib import Path
        gone = Path.unlink
        def dies(self, missing_ok=False):
            if self.name == "checkpoint.safetensors":
                os._exit(9)
            gone(self, missing_ok)
        Path.unlink = dies
    """,
}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


SECRET = {"HF_TOKEN": TOKEN, "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture
def start(home, tmp_path):
    """Start a command in a process of its own, in the shared folder."""
    numbers = count()

    def started(*words, before="", **more):
        return Child(words, home, tmp_path / str(next(numbers)), SECRET | more, before)

    return started


def leftovers(folder):
    """Names that a finished trial's folder should not hold."""
    wanted = {
        "trial.json", "record.json", "config.json", "model.safetensors", "overlays.safetensors",
        "events", place_file(TrialFolder(folder).place),
    }  # fmt: skip
    return {path.name for path in folder.iterdir()} - wanted


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def whole(home):
    """The record of a trial that nobody disturbed."""
    with one_thread():
        trial = tiny_run(home, *EVERY_STEP, name="whole").trial()
        assert run_trial(trial, CPU, Silent()) == "done"
    assert not leftovers(trial.folder)
    return trial.believed()


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_trial_goes_on_to_the_same_bits(home, whole, moment, start):
    trial = tiny_run(home, *EVERY_STEP, name=moment.replace(" ", "-")).trial()
    child = start("bench-trial", trial.folder, "--device", "cpu", before=MOMENTS[moment])
    code, _, errors = child.wait(120)
    assert code == 9, errors
    assert trial.done == (moment == "after the record")
    # Only what the kill came before the end of is done again.
    steps = []
    watcher = Silent()
    watcher.step = lambda step, *_: steps.append(step)
    with one_thread():
        assert run_trial(trial, CPU, watcher) == "done"
    first = {"between two steps": 5, "before a checkpoint's rename": 3}.get(moment)
    assert steps == ([] if first is None else list(range(first, 7)))
    record = trial.believed()
    assert record.result == whole.result
    assert record.hash == whole.hash
    if moment != "after the record":
        assert not leftovers(trial.folder)


def test_sigkill_in_the_middle_of_training(home, start):
    changes = ("train.steps=30", "train.checkpoint_every=7", "train.validate_every=10")
    with one_thread():
        calm = tiny_run(home, *changes, name="calm").trial()
        assert run_trial(calm, CPU, Silent()) == "done"
    trial = tiny_run(home, *changes, name="shot").trial()
    child = start("bench-trial", trial.folder, "--device", "cpu")
    checkpoint, until = trial.folder / "checkpoint.safetensors", time.monotonic() + 100
    while not checkpoint.exists():
        assert child.poll() is None, child.printed()
        assert time.monotonic() < until
        time.sleep(0.002)
    child.kill()
    assert child.wait(20)[0] == -signal.SIGKILL
    assert not trial.done
    assert (trial.folder / "lease.json").exists()
    with one_thread():
        assert run_trial(trial, CPU, Silent()) == "done"  # its holder is dead: no minute's wait
    assert trial.believed().result == calm.believed().result
    assert not leftovers(trial.folder)
    kept, other = (load_file(t.folder / "model.safetensors") for t in (trial, calm))
    assert all(torch.equal(kept[name], other[name]) for name in other)


def test_two_processes_share_a_run_and_nothing_private_gets_out(home, start):
    run = tiny_run(home, name="unused")
    words = ["bench", "--data", run.data.name, "--source", run.source.name, "--source", "random"]
    words += ["--protocol", "quick", "--seeds", "1", "--out", "shared", "--device", "cpu"]
    words += ["--cache", str(run.cache), *(word for key in TINY for word in ("--set", key))]
    children = [start(*words) for _ in range(2)]
    ended = [child.wait(150) for child in children]
    assert [code for code, *_ in ended] == [0, 0], ended
    outputs = [printed for _, *printed in ended]
    assert outputs[0][0] == outputs[1][0]
    assert "random" in outputs[0][0]
    told = "".join(errors for _, errors in outputs)
    for arm in ("vit center", "random"):  # each trained by one process, once
        assert len(re.findall(rf"{arm}, seed 0, fold 0: training$", told, re.MULTILINE)) == 1, told
    folders = list((home / "shared" / "trials").iterdir())
    assert len(folders) == 2
    assert not any(leftovers(folder) for folder in folders)
    private = (str(home), str(ROOT), TOKEN)
    for text in (*outputs[0], *outputs[1]):
        assert not [secret for secret in private if secret in text]
    for path in (home / "shared").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert TOKEN.encode() not in content
            if not path.name.startswith("place-"):
                assert not [secret for secret in private if secret.encode() in content], path


def test_two_processes_train_one_trial_as_one_does(home):
    # Two groups per step, one per process; dropped branches belong to windows, not to processes.
    changes = ("network.drop_path=0.2", "train.steps=5")
    with one_thread():
        alone = tiny_run(home, *changes, name="alone").trial()
        assert run_trial(alone, CPU, Silent()) == "done"
    together = tiny_run(home, *changes, name="together").trial()
    words = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", free_port()]
    words += ["-m", "inflate_zoo", "bench-trial", str(together.folder), "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, *words],
        cwd=home, env=os.environ | SECRET | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=150,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ours, theirs = together.believed(), alone.believed()
    assert ours.run.processes == 2
    for curve in ("loss", "validation_dice"):
        got, expected = (torch.tensor(getattr(r.result.curves, curve)) for r in (ours, theirs))
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    kept, other = (load_file(t.folder / "model.safetensors") for t in (together, alone))
    for name, tensor in other.items():
        torch.testing.assert_close(kept[name], tensor, rtol=1e-3, atol=1e-4)
    assert not leftovers(together.folder)


BROKEN = """
    from inflate_zoo.bench.training import sampling
    draw = sampling.draw
    def broken(case, rule, seed):
        if os.environ["RANK"] == "1":
            raise ValueError("no such window")
        return draw(case, rule, seed)
    sampling.draw = broken
"""


def test_one_of_two_processes_that_fails_ends_both_with_the_first_reason(home, start):
    """Without what would end the others: they are started as `torchrun` starts them, no more."""
    trial = tiny_run(home, name="broken-pair").trial()
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    words = ("bench-trial", trial.folder, "--device", "cpu")
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    children = [start(*words, before=BROKEN, **shared, **rank) for rank in ranks]
    ended = [child.wait(100) for child in children]
    assert [code for code, *_ in ended] == [1, 1], ended
    failure = json.loads((trial.folder / "failure.json").read_text())
    assert failure["kind"] == "data_worker"
    assert "no such window" in failure["reason"]
    assert failure["case"] in trial.spec.cases.train
    assert not trial.done


STOPPED = ("train.steps=30", "train.checkpoint_every=100", "train.validate_every=0")
SLOW = """
    import time
    from inflate_zoo.bench.training.stepper import Stepper
    step = Stepper.step
    def slow(self, *arguments):
        time.sleep(0.1)
        return step(self, *arguments)
    Stepper.step = slow
"""


def wait_for(what, child):
    until = time.monotonic() + 200
    while not what():
        assert child.poll() is None, child.printed()
        assert time.monotonic() < until, child.printed()
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_scheduler_that_takes_the_machine_away_is_answered_75(home, start, number):
    with one_thread():
        calm = tiny_run(home, *STOPPED, name="unhurried").trial()
        assert run_trial(calm, CPU, Silent()) == "done"
    run = tiny_run(home, *STOPPED, name=f"taken-{int(number)}", seeds=2)
    words = ("bench-trial", "--from", run.out, "--device", "cpu")
    child = start(*words, before=SLOW)
    wait_for(lambda: list(run.out.glob("trials/*/events/*")), child)
    os.kill(child.pid, number)
    code, told, errors = child.wait(60)
    assert (code, told) == (75, "0 done, 0 failed, 2 left\n"), errors
    assert "stopped; it goes on where it is" in errors
    left = {path.name for path in run.out.glob("trials/*/*")}
    assert "checkpoint.safetensors" in left
    assert not left & {"lease.json", "failure.json", "stops.json"}
    code, told, errors = start(*words).wait(150)
    assert (code, told) == (0, "2 done, 0 failed\n"), errors
    assert "goes on from step" in errors
    assert run.trial(seed=0).believed().result == calm.believed().result


def test_ctrl_c_ends_it_at_once_all_the_same(home, start):
    trial = tiny_run(home, *STOPPED, name="pressed").trial()
    child = start("bench-trial", trial.folder, "--device", "cpu", before=SLOW)
    wait_for(lambda: list(trial.folder.glob("events/*")), child)
    os.kill(child.pid, signal.SIGINT)
    assert child.wait(60)[0] == 130
    assert not (trial.folder / "checkpoint.safetensors").exists()


def test_of_two_processes_that_share_a_trial_both_stop_after_the_same_step(home, start):
    """One of them hears of it, as where an agent passes a signal on to one after the other."""
    trial = tiny_run(home, *STOPPED, name="stopped-pair").trial()
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    words = ("bench-trial", trial.folder, "--device", "cpu")
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    children = [start(*words, before=SLOW, **shared, **rank) for rank in ranks]
    wait_for(lambda: list(trial.folder.glob("events/*")), children[0])
    os.kill(children[1].pid, signal.SIGTERM)
    ended = [child.wait(100) for child in children]
    assert [code for code, *_ in ended] == [75, 75], ended
    assert (trial.folder / "checkpoint.safetensors").exists()
    assert not (trial.folder / "failure.json").exists()


AT_IMPORT = """
import os, signal, sys
awaited, number = sys.argv.pop(1), int(sys.argv.pop(1))
class Sender:
    def find_spec(self, name, *_):
        if name == awaited:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), number)
sys.meta_path.insert(0, Sender())
from inflate_zoo.__main__ import main
main()
"""


@pytest.mark.parametrize(
    "name, number", [("inflate_zoo.interrupts", signal.SIGUSR1), ("accelerate", signal.SIGTERM)]
)
def test_a_signal_while_the_command_starts_is_heard(home, name, number):
    trial = tiny_run(home, *STOPPED, name=f"early-{name}").trial()
    words = [name, str(int(number)), "bench-trial", str(trial.folder), "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", AT_IMPORT, *words],
        cwd=home, env=os.environ | SECRET | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (75, "0 done, 0 failed, 1 left\n"), done.stderr
