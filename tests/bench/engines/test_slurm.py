"""Trials as jobs of SLURM, its commands stood in for; the real ones: whole/test_on_slurm.py."""

import os
import sys
from dataclasses import replace

import pytest

from inflate_zoo.bench.definitions.results import Failure, Run
from inflate_zoo.bench.engines import slurm
from inflate_zoo.bench.engines.flags import SlurmFlags
from inflate_zoo.bench.engines.slurm import Slurm
from inflate_zoo.bench.engines.slurm_texts import edited, job_name
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.bench.trials.leases import leased
from inflate_zoo.errors import UsageError, WorkError
from tests.support.shown import Shown
from tests.support.trials import result_of, tiny_run

CPU = Resources("cpu", 0, threads=1)
COMMAND = """#!/bin/sh
name=$(basename "$0")
printf '%s ' "$name" "$@" >>{home}/asked; echo >>{home}/asked
[ -f {home}/$name.fails ] && {{ cat {home}/$name.fails >&2; exit 1; }}
cat {home}/$name 2>/dev/null
exit 0
"""


class Standin:
    """SLURM's commands: each prints a file of its name, fails where there is one that says so."""

    def __init__(self, home):
        self.home = home
        self.queues = []
        (home / "bin").mkdir()
        for name in ("sbatch", "squeue", "scancel"):
            path = home / "bin" / name
            path.write_text(COMMAND.format(home=home))
            path.chmod(0o755)
        self.says("sbatch", "71\n")

    def says(self, name, text):
        (self.home / name).write_text(text)

    def fails(self, name, text):
        (self.home / f"{name}.fails").write_text(text)

    def asked(self, name):
        path = self.home / "asked"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.split()[1:] for line in lines if line.split()[0] == name]


@pytest.fixture
def standin(tmp_path, monkeypatch):
    home = tmp_path / "slurm"
    home.mkdir()
    made = Standin(home)
    monkeypatch.setenv("PATH", f"{home / 'bin'}:{os.environ['PATH']}")
    for name in ("LOOK_SECONDS", "QUEUE_SECONDS", "GONE_SECONDS"):
        monkeypatch.setattr(slurm, name, 0.0)
    return made


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tiny_run(tmp_path, seeds=3)


class Told(Shown):
    """Does something when it is told something."""

    def __init__(self, then):
        super().__init__()
        self.then = then

    def say(self, text, *, urgent=False):
        super().say(text)
        for start, act in list(self.then.items()):
            if text.startswith(start):
                del self.then[start]
                act()


def finish(*trials):
    for trial in trials:
        trial.finish(result_of(trial), Run())


def queue(*states, job=71):
    return "".join(f"{job}|{i}|{state}|None|node7\n" for i, state in enumerate(states))


def engine(run, **flags):
    return Slurm(run.out.relative_to(run.out.parent), SlurmFlags(**{"jobs": 2, **flags}), 0.0)


def test_workers_are_submitted_and_their_trials_watched(run, standin):
    first, second, third = run.trials

    def works():
        standin.says("squeue", queue("RUNNING", "PENDING"))

    def ends():
        finish(first, third)
        second.fail(Failure(kind="error", reason="odd"))

    shown = Told({"submitted": works, "job 71: 1 worker at work, 1 waiting (pending)": ends})
    tally = engine(run).run(run.trials, CPU, shown)
    assert tally.done == (first, third)
    assert tally.failed == ((second, "odd"),)
    assert (tally.left, tally.stopped) == ((), False)
    assert shown.begun == (3, 2)
    assert shown.changed == [1]
    path = run.out / "slurm" / "worker.sh"
    (asked,) = standin.asked("sbatch")
    name = job_name(run.out)
    assert asked == ["--parsable", f"--job-name={name}", "--array=0-1", str(path)]
    assert standin.asked("scancel") == [["--state=PENDING", "71"]]
    assert not edited(path.read_text())
    worker = f"exec {sys.executable} -m inflate_zoo bench-trial --from {run.out} --no-wait "
    assert f"{worker}--threads 1 --device cpu --workers 0) &" in path.read_text()
    looked = standin.asked("squeue")[0]
    assert f"--name={name}" in looked
    assert f"--user={os.getuid()}" in looked
    assert shown.said[0] == "submitted job 71: 2 workers; logs in run/slurm"


def test_where_all_is_done_nothing_is_asked_of_slurm(run, standin):
    finish(*run.trials)
    tally = engine(run).run(run.trials, CPU, Shown())
    assert tally.done == run.trials
    assert not (standin.home / "asked").exists()


def test_there_are_no_more_workers_than_trials(run, standin):
    finish(run.trials[0])
    tally = engine(run, jobs=16, detach=True).run(run.trials, CPU, Shown())
    assert tally.left == run.trials[1:]
    assert "--array=0-1" in standin.asked("sbatch")[0]


def test_detached_jobs_are_left_with_how_to_come_back(run, standin):
    shown = Shown()
    tally = engine(run, detach=True).run(run.trials, CPU, shown)
    assert (tally.left, tally.stopped) == (run.trials, True)
    assert shown.said[-1] == (
        "the workers of job 71 go on by themselves: the same command comes back to them, "
        "'inflate-zoo status run' shows how far they are, 'scancel 71' ends them"
    )
    assert standin.asked("scancel") == []


def test_what_leads_back_to_detached_jobs_can_be_typed(tmp_path, monkeypatch, standin):
    monkeypatch.chdir(tmp_path)
    run, shown = tiny_run(tmp_path, name="my run"), Shown()
    engine(run, detach=True).run(run.trials, CPU, shown)
    assert "'inflate-zoo status 'my run'' shows how far they are" in shown.said[-1]


def test_an_interrupted_command_leaves_the_jobs(run, standin):
    def press():
        raise KeyboardInterrupt

    standin.says("squeue", queue("RUNNING", "RUNNING"))
    shown = Told({"job 71: 2 workers at work": press})
    with pytest.raises(KeyboardInterrupt):
        engine(run).run(run.trials, CPU, shown)
    assert shown.said[-1].startswith("the workers of job 71 go on without it: the same command")
    assert standin.asked("scancel") == []


def test_jobs_that_are_there_are_found_again_and_only_what_lacks_is_submitted(run, standin):
    standin.says("squeue", queue("RUNNING", "COMPLETED") + queue("PENDING", job=70))
    shown = Shown()
    engine(run, detach=True).run(run.trials, CPU, shown)
    assert standin.asked("sbatch") == []
    assert shown.said[0] == ("found again: 1 worker at work, 1 waiting (pending), of job 71, 70")
    assert shown.said[-1].startswith("the workers of job 71, 70 go on")
    engine(run, jobs=3, detach=True).run(run.trials, CPU, Shown())
    (asked,) = standin.asked("sbatch")
    assert "--array=0-0" in asked


def test_trials_that_found_workers_leave_get_new_ones_once(run, standin):
    first, *others = run.trials
    standin.says("squeue", queue("RUNNING", "RUNNING", job=70))

    def leave():
        finish(first)
        standin.says("squeue", queue("COMPLETED", "COMPLETED", job=70))

    shown = Told({"job 70: 2 workers": leave, "submitted job 71": lambda: finish(*others)})
    tally = engine(run).run(run.trials, CPU, shown)
    assert tally.done == run.trials
    assert "the workers that were found have ended, and 2 trials are left" in shown.said


def test_workers_that_were_cancelled_get_no_others(run, standin):
    standin.says("squeue", queue("RUNNING", job=70))
    shown = Told({
        "job 70: 1 worker": lambda: standin.says("squeue", queue("CANCELLED", job=70)),
    })  # fmt: skip
    with pytest.raises(WorkError) as caught:
        engine(run, jobs=1).run(run.trials, CPU, shown)
    assert caught.value.details[0] == "SLURM says: 1 CANCELLED"
    assert standin.asked("sbatch") == []


def test_where_no_worker_is_left_what_they_said_last_is_told(run, standin):
    finish(run.trials[0])

    def die():
        standin.says("squeue", queue("FAILED", "OUT_OF_MEMORY"))
        (run.out / "slurm" / "71_0.log").write_text("one\ntwo\nslurmstepd: error: oom-kill\n")
        (run.out / "slurm" / "71_1.log").write_text("\x1b[2Jerror: host 'node7' has none\n")
        (run.out / "slurm" / "9_1.log").write_text("of another job\n")

    with pytest.raises(WorkError) as caught:
        engine(run).run(run.trials, CPU, Told({"submitted": die}))
    error = caught.value
    assert error.message == "no worker of job 71 is left, and 2 of 3 trials have not ended"
    assert error.details[0] == "SLURM says: 1 FAILED, 1 OUT_OF_MEMORY"
    assert "71_0.log: slurmstepd: error: oom-kill" in error.details
    assert "71_1.log: \x1b[2Jerror: host 'node7' has none" in error.details  # escaped when shown
    assert not any("another job" in line for line in error.details)
    assert str(run.out) not in "\n".join(error.lines())


def test_where_their_nodes_do_not_see_the_run_folder_that_is_asked(run, standin):
    with pytest.raises(WorkError) as caught:
        engine(run).run(run.trials, CPU, Shown())
    assert caught.value.details == (
        "no log of theirs is in the run folder: do their nodes see it?",
    )


def test_trials_that_others_hold_are_waited_for_without_workers(run, standin, monkeypatch):
    looks = []

    def sleep(_):
        looks.append(1)
        if len(looks) == 4:
            finish(*run.trials)

    monkeypatch.setattr(slurm.time, "sleep", sleep)
    with leased(run.trials[0].folder):
        tally = engine(run).run(run.trials, CPU, Shown())
    assert tally.done == run.trials
    assert len(looks) >= 4


def test_what_slurm_says_is_passed_on(run, standin):
    standin.fails("sbatch", "sbatch: error: invalid partition specified: nope\n")
    with pytest.raises(WorkError, match="sbatch failed") as caught:
        engine(run, partition="nope").run(run.trials, CPU, Shown())
    assert caught.value.details == ("sbatch: error: invalid partition specified: nope",)
    standin.fails("squeue", "slurm_load_jobs error: Unable to contact slurm controller\n")
    with pytest.raises(WorkError, match="squeue failed") as caught:
        engine(run).run(run.trials, CPU, Shown())
    assert "Unable to contact" in caught.value.details[0]


def test_a_job_without_a_number_is_no_job(run, standin):
    standin.says("sbatch", "hello\n")
    with pytest.raises(WorkError, match="told no number of a job") as caught:
        engine(run).run(run.trials, CPU, Shown())
    assert "squeue --name=inflate-zoo-run-" in caught.value.hint


def test_a_queue_that_does_not_answer_for_a_while_ends_nothing(run, standin, monkeypatch):
    def breaks():
        standin.fails("squeue", "Unable to contact slurm controller\n")

    looks = []

    def sleep(_):
        looks.append(1)
        if len(looks) == 4:
            finish(*run.trials)

    monkeypatch.setattr(slurm.time, "sleep", sleep)
    shown = Told({"submitted": breaks})
    tally = engine(run).run(run.trials, CPU, shown)
    assert tally.done == run.trials
    told = "warning: squeue failed: Unable to contact slurm controller"
    assert shown.said.count(told) == 1


def test_a_machine_without_slurm_is_refused(run, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UsageError, match="there is no squeue on this machine") as caught:
        engine(run).run(run.trials, CPU, Shown())
    assert "login node" in caught.value.hint


def test_an_answer_that_does_not_come_is_not_waited_for(run, standin, monkeypatch):
    (standin.home / "bin" / "squeue").write_text("#!/bin/sh\nexec sleep 9\n")
    monkeypatch.setattr(slurm, "_ANSWER_SECONDS", 0.1)
    with pytest.raises(WorkError, match="squeue did not answer"):
        engine(run).run(run.trials, CPU, Shown())


def test_an_edited_script_is_submitted_as_it_stands(run, standin):
    path, by_hand = engine(run).write_script(CPU, 2)
    assert not by_hand
    mine = path.read_text().replace("--array=0-1", "--array=0-7%2")
    path.write_text(mine)
    shown = Shown()
    engine(run, partition="other", detach=True).run(run.trials, CPU, shown)
    assert path.read_text() == mine
    (asked,) = standin.asked("sbatch")
    assert asked == ["--parsable", f"--job-name={job_name(run.out)}", str(path)]
    assert "slurm/worker.sh as it was edited: options of SLURM do not count" in shown.said[0]
    standin.says("squeue", queue("RUNNING"))
    engine(run, detach=True).run(run.trials, CPU, Shown())
    assert len(standin.asked("sbatch")) == 1  # how many it is to be is not known
    path.unlink()
    engine(run, jobs=3, detach=True).run(run.trials, CPU, Shown())
    assert not edited(path.read_text())


def test_an_edited_script_stays_whatever_its_bytes_mean_and_what_is_no_file_is_told(run):
    path, _ = engine(run).write_script(CPU, 2)
    mine = path.read_bytes() + b"# caf\xe9\n"
    path.write_bytes(mine)
    assert engine(run, mem="8G").write_script(CPU, 2) == (path, True)
    assert path.read_bytes() == mine
    path.unlink()
    path.mkdir()
    with pytest.raises(UsageError, match=r"'worker\.sh' cannot be read: Is a directory") as caught:
        engine(run).write_script(CPU, 2)
    assert caught.value.hint


def test_a_script_that_was_written_is_written_anew(run):
    path, _ = engine(run).write_script(CPU, 2)
    engine(run, mem="8G").write_script(replace(CPU, compiled=True), 1)
    text = path.read_text()
    assert "#SBATCH --mem=8G" in text
    assert "--array=0-0" in text
    assert "--workers 0 --compile) &" in text


def test_a_container_brings_its_own_python(run):
    path, _ = engine(run, container="apptainer exec --nv zoo.sif").write_script(CPU, 2)
    assert "exec apptainer exec --nv zoo.sif inflate-zoo bench-trial --from" in path.read_text()
    assert sys.executable not in path.read_text()
