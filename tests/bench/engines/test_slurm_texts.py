"""The batch script, and what SLURM's commands print."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import PurePosixPath

import pytest

from inflate_zoo.bench.engines.flags import SlurmFlags
from inflate_zoo.bench.engines.slurm_texts import (
    Task,
    asks_gpu,
    edited,
    job_name,
    over,
    require_flags,
    script,
    standing,
    submitted,
    tail,
    tasks_of,
    threads_of,
)
from inflate_zoo.errors import UsageError

OUT = PurePosixPath("/home/me/runs/one")
WORKER = ["/opt/my python", "-m", "inflate_zoo", "bench-trial", "--from", str(OUT)]


def options_of(text):
    return [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SB")]


def test_every_flag_stands_in_the_script_and_nothing_that_was_not_said():
    plain = options_of(script(WORKER, SlurmFlags(jobs=16), 16, OUT))
    assert plain == [
        f"--job-name={job_name(OUT)}",
        "--array=0-15",
        "--output=/home/me/runs/one/slurm/%A_%a.log",
        "--open-mode=append",
        "--ntasks=1",
        "--requeue",
        "--signal=B:USR1@120",
    ]
    flags = SlurmFlags(
        jobs=16, time="2-0", partition="a,b", account="lab", qos="low", gpus_per_task="a100:1",
        gres="gpu:1", cpus_per_task=8, mem="16G", constraint="fast&new",
        sbatch=("--nice=10", "--signal=B:USR1@300"),
    )  # fmt: skip
    assert options_of(script(WORKER, flags, 16, OUT))[7:] == [
        "--time=2-0", "--partition=a,b", "--account=lab", "--qos=low", "--gpus-per-task=a100:1",
        "--gres=gpu:1", "--cpus-per-task=8", "--mem=16G", "--constraint=fast&new", "--nice=10",
        "--signal=B:USR1@300",
    ]  # fmt: skip


def test_setup_comes_before_the_worker_and_a_container_in_front_of_it():
    flags = SlurmFlags(
        jobs=1, setup="module load cuda\nulimit -n 4096", container="apptainer exec z"
    )
    lines = script(WORKER, flags, 1, OUT).splitlines()
    assert "module load cuda" in lines
    assert "ulimit -n 4096" in lines
    (started,) = [line for line in lines if "exec" in line]
    assert started.endswith(
        "exec apptainer exec z '/opt/my python' -m inflate_zoo bench-trial --from "
        "/home/me/runs/one) &"
    )
    assert lines.index("ulimit -n 4096") < lines.index(started)


def test_what_sbatch_would_read_otherwise_is_quoted():
    flags = SlurmFlags(jobs=1, constraint='a "b" #c')
    text = script(WORKER, flags, 1, PurePosixPath("/home/my runs/50%"))
    assert '--output="/home/my runs/50%%/slurm/%A_%a.log"' in options_of(text)
    assert r'--constraint="a \"b\" #c"' in options_of(text)


def test_an_edited_script_is_told_from_one_that_was_written():
    text = script(WORKER, SlurmFlags(jobs=2), 2, OUT)
    assert not edited(text)
    assert edited(text.replace("--array=0-1", "--array=0-7"))
    assert edited(text + "\n")
    assert edited("#!/bin/sh\necho of my own\n")
    without = [line for line in text.splitlines() if "sha256" not in line]
    assert edited("\n".join(without))


@pytest.mark.parametrize(
    "flags, threads, told",
    [
        (SlurmFlags(), None, "needs the number of workers"),
        (SlurmFlags(jobs=1, cpus_per_task=2), 4, "4 threads, and a job gets 2 cores"),
        (SlurmFlags(jobs=1, sbatch=("nice=3",)), None, "'nice=3' is no option of sbatch"),
        (SlurmFlags(jobs=1, partition="a\n#SBATCH --wrap=x"), None, "cannot stand in a line"),
        (SlurmFlags(jobs=1, sbatch=("--comment=a\nb",)), None, "cannot stand in a line"),
        (SlurmFlags(jobs=1, container="a\nb"), None, "cannot stand in a line"),
    ],
)
def test_what_makes_no_job_is_refused(flags, threads, told):
    with pytest.raises(UsageError) as caught:
        require_flags(flags, threads)
    assert told in caught.value.message
    assert caught.value.hint


def test_threads_are_those_that_were_said_or_the_cores_of_a_job():
    assert threads_of(SlurmFlags(), None) == 1
    assert threads_of(SlurmFlags(cpus_per_task=4), None) == 4
    assert threads_of(SlurmFlags(cpus_per_task=4), 2) == 2
    require_flags(SlurmFlags(jobs=1, cpus_per_task=4, setup="a\nb"), 4)


def test_which_options_ask_for_a_gpu():
    assert asks_gpu(SlurmFlags(gpus_per_task="1"))
    assert asks_gpu(SlurmFlags(gres="gpu:a100:2"))
    assert asks_gpu(SlurmFlags(gres="lscratch:50,gpu:a100:1"))
    assert not asks_gpu(SlurmFlags(gres="tmpfs:10G,gpumem:4G"))
    assert not asks_gpu(SlurmFlags())


def test_a_job_is_called_by_its_folder_and_none_like_another():
    names = {job_name(PurePosixPath(path)) for path in ("/a/one", "/b/one", "/a/one two", "/a/.")}
    assert len(names) == 4
    assert job_name(OUT).startswith("inflate-zoo-one-")
    assert all(name.isascii() and " " not in name and "|" not in name for name in names)
    assert len(job_name(PurePosixPath("/a") / ("x" * 250))) < 80


def test_the_number_of_a_job_is_found_among_a_sites_words():
    assert submitted("123\n") == "123"
    assert submitted("123;other\n") == "123"
    assert submitted("Welcome to the cluster 7!\n4567\n") == "4567"
    with pytest.raises(ValueError, match="hello"):
        submitted("hello\n")


QUEUE = """\
CLUSTER: one
12|0|RUNNING|None|node7
12|1|PENDING|Resources|
12|2|PENDING|Resources|
12|3|REQUEUE_HOLD|launch failed requeued held|
12|4|COMPLETING|None|node8
11|0|TIMEOUT|TimeLimit|node7
13|N/A|OUT_OF_MEMORY|OutOfMemory|node7
"""


def test_what_the_queue_says_is_read_and_told():
    tasks = tasks_of(QUEUE)
    assert tasks[0] == Task("12", "0", "RUNNING", "None", "node7")
    assert [task.alive for task in tasks] == [True] * 5 + [False] * 2
    assert [task.running for task in tasks] == [True, False, False, False, True, False, False]
    assert tasks[-1].index == ""
    assert standing(tasks) == (
        "2 workers at work, 3 waiting (Resources, launch failed requeued held)"
    )
    assert standing(tasks[5:]) == ""
    assert standing([Task("1", "0", "SUSPENDED", "None", "")]) == "1 waiting (suspended)"
    assert over(tasks) == "1 TIMEOUT, 1 OUT_OF_MEMORY"
    assert over(tasks[:5]) == ""


def test_the_end_of_a_log_is_its_last_lines_that_say_something():
    assert tail("one\n\ntwo \n  three\n\n", 2) == ["two", "  three"]
    assert tail("", 2) == []


# What follows runs the script, with small programs in the places of worker and scontrol.

LISTENS = """\
import os, signal, sys, time
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})
time.sleep(0.3)  # not yet
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
open("listens", "w").close()
time.sleep(20)
sys.exit(9)
"""


@pytest.fixture
def started(tmp_path):
    """Starts the script with a worker, in a group of its own."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "scontrol").write_text('#!/bin/sh\necho "$@" >>requeued\n')
    (bin_ / "scontrol").chmod(0o755)
    begun = []

    def start(*worker, setup=None):
        text = script(worker, SlurmFlags(jobs=1, setup=setup), 1, PurePosixPath(tmp_path))
        (tmp_path / "worker.sh").write_text(text)
        path = f"{bin_}:{os.environ['PATH']}"
        process = subprocess.Popen(
            ["bash", "worker.sh"], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "SLURM_JOB_ID": "17", "PATH": path}, start_new_session=True,
        )  # fmt: skip
        begun.append(process)
        return process

    yield start
    for process in begun:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")


def wait_for(path):
    end = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end, path
        time.sleep(0.02)


@needs_bash
@pytest.mark.parametrize("code", [0, 1, 2, 255])
def test_the_scripts_code_is_the_workers(started, tmp_path, code):
    process = started("sh", "-c", f"echo x >>tries; exit {code}", setup="touch prepared")
    assert process.wait(20) == code
    assert (tmp_path / "tries").read_text() == "x\n"
    assert (tmp_path / "prepared").exists()
    assert not (tmp_path / "requeued").exists()


STRICT = "set -euo pipefail"
strict_or_not = pytest.mark.parametrize("setup", [None, STRICT])


@needs_bash
@strict_or_not
def test_a_worker_that_has_more_to_do_is_requeued(started, tmp_path, setup):
    assert started("sh", "-c", "exit 75", setup=setup).wait(20) == 75
    assert (tmp_path / "requeued").read_text() == "requeue 17\n"


@needs_bash
def test_where_the_set_up_is_strict_a_line_of_it_that_fails_still_ends_the_job(started, tmp_path):
    assert started("touch", "begun", setup=f"{STRICT}\nfalse").wait(20) == 1
    assert not (tmp_path / "begun").exists()


@needs_bash
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
@pytest.mark.parametrize("early", [True, False])
def test_a_signal_reaches_the_worker_whenever_it_comes(started, tmp_path, number, early):
    (tmp_path / "listens.py").write_text(LISTENS)
    process = started("python3", "listens.py", setup="touch begun\nsleep 0.2" if early else None)
    wait_for(tmp_path / ("begun" if early else "listens"))
    process.send_signal(number)  # to the shell alone, as --signal=B: does
    assert process.wait(20) == 75
    # At TERM SLURM has decided: what it preempts it requeues itself, what was cancelled nobody.
    assert (tmp_path / "requeued").exists() == (number == signal.SIGUSR1)
    assert (tmp_path / "listens").exists() != early  # nothing was begun any more


@needs_bash
def test_what_is_cancelled_does_not_come_back_though_the_worker_hears_it_first(started, tmp_path):
    (tmp_path / "bin/sleep").write_text(
        "#!/bin/sh\ntouch rests\nwhile [ ! -e told ]; do command -p sleep 0.02; done\n"
    )
    (tmp_path / "bin/sleep").chmod(0o755)
    process = started("sh", "-c", "exit 75")
    wait_for(tmp_path / "rests")
    process.send_signal(signal.SIGTERM)
    (tmp_path / "told").touch()
    assert process.wait(20) == 75
    assert not (tmp_path / "requeued").exists()
    assert "nothing that was cancelled" in process.stderr.read()


@needs_bash
@strict_or_not
def test_a_time_limit_that_is_over_before_the_worker_left_is_still_one(started, tmp_path, setup):
    (tmp_path / "slow.py").write_text(
        LISTENS.replace("sys.exit(75)", "(time.sleep(1), sys.exit(75))")
    )
    process = started("python3", "slow.py", setup=setup)
    wait_for(tmp_path / "listens")
    process.send_signal(signal.SIGUSR1)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 75
    assert (tmp_path / "requeued").read_text() == "requeue 17\n"


@needs_bash
def test_a_signal_to_all_that_comes_while_the_worker_starts_kills_nobody(started, tmp_path):
    (tmp_path / "listens.py").write_text(LISTENS)
    process = started("sh", "-c", "touch starts; sleep 0.3; exec python3 listens.py")
    wait_for(tmp_path / "starts")
    os.killpg(process.pid, signal.SIGUSR1)
    assert process.wait(30) == 75


@needs_bash
@strict_or_not
def test_a_worker_that_is_killed_starts_again_twice_at_most(started, tmp_path, setup):
    again = "echo x >>tries; [ $(wc -l <tries) = 3 ] && exit 0; kill -9 $$"
    process = started("sh", "-c", again, setup=setup)
    assert process.wait(20) == 0
    (tmp_path / "tries").unlink()
    process = started("sh", "-c", "echo x >>tries; kill -9 $$", setup=setup)
    assert process.wait(20) == 137
    assert (tmp_path / "tries").read_text() == "x\n" * 3
    assert "the worker was killed (exit code 137)" in process.stderr.read()
