"""The batch script of SLURM's workers, and what SLURM's commands print: texts in, texts out."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from inflate_zoo.bench.engines.flags import SlurmFlags
from inflate_zoo.errors import UsageError
from inflate_zoo.texts import plural

SIGNAL_SECONDS = 120  # before the time limit: a step, a save and a case must fit
QUEUE_FORMAT = "%F|%K|%T|%r|%N"  # job of the array, index in it, state, reason, nodes
_MARK = "# sha256 as written: "
_LONGEST_NAME = 40
# What a job does not come back from; SLURM requeues what it preempts or loses with a node.
_OVER = frozenset(
    ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
     "PREEMPTED", "REVOKED", "TIMEOUT")
)  # fmt: skip
_FORGIVING = "set +e  # should the lines above be strict: below every exit code is answered"
_RUNNING = frozenset(("COMPLETING", "CONFIGURING", "RESIZING", "RUNNING", "SIGNALING", "STAGE_OUT"))

_SCRIPT = """\
#!/bin/bash
# A worker: it takes trials of its run folder that nobody has, one by one, until none is left.
# 'inflate-zoo bench --on slurm' wrote this, and writes it anew each time. Once it was edited it is
# submitted as it stands; remove it to have it written again.
{mark}
{options}

# USR1 comes before the time limit, TERM at the end: the worker saves and leaves with code 75.
stopped='' worker=''
stop() {{  # again and again: one may come before the worker listens
  stopped=${{stopped:-$1}}
  [ -z "$worker" ] || while kill -USR1 "$worker" 2>/dev/null; do sleep 3; done &
}}
trap 'stop USR1' USR1
trap 'stop TERM' TERM
{setup}
code=75 killed=0
while [ -z "$stopped" ]; do
  # Until it listens the worker ignores both, and so do programs that are put before it.
  (trap '' USR1 TERM; exec {command}) &
  worker=$!
  [ -z "$stopped" ] || stop "$stopped"  # one came just now
  while kill -0 "$worker" 2>/dev/null; do wait "$worker"; done  # a signal ends the waiting
  wait "$worker"
  code=$?
  # One that was killed, by the system for its memory or by a person, starts again, twice at most.
  # Above 192 is no signal: 255 is what containers' runtimes end with where they cannot begin.
  [ "$code" -gt 128 ] && [ "$code" -le 192 ] && [ "$killed" -lt 2 ] || break
  killed=$((killed + 1))
  echo "the worker was killed (exit code $code)" >&2
done
worker=''
if [ "$code" = 75 ]; then  # there is more to do
  sleep 1  # TERM comes to the worker as well, and may come here last
  if [ "$stopped" = TERM ]; then
    echo "SLURM ends this job; it requeues what it preempts, and nothing that was cancelled" >&2
  else
    echo "saved; the job is requeued to go on" >&2
    scontrol requeue "$SLURM_JOB_ID"
  fi
fi
exit "$code"
"""


@dataclass(frozen=True, slots=True)
class Task:
    """A job of SLURM, best one of an array.

    Attributes:
        job: Number of the array.
        index: In the array; empty for a job of its own.
        state: In SLURM's words.
        reason: Why it waits.
        nodes: Where it runs.
    """

    job: str
    index: str
    state: str
    reason: str
    nodes: str

    @property
    def alive(self) -> bool:
        """Whether it runs or is to run."""
        return self.state not in _OVER

    @property
    def running(self) -> bool:
        """Whether it has a node."""
        return self.state in _RUNNING


def require_flags(flags: SlurmFlags, threads: int | None) -> None:
    """Refuse what can make no job.

    Args:
        flags: What is asked of SLURM.
        threads: Of a trial, if that was said.

    Raises:
        UsageError: It cannot; nothing was asked of SLURM yet.
    """
    if flags.jobs is None:
        raise UsageError(
            "--on slurm needs the number of workers", hint="add --jobs, e.g. --jobs 16"
        )
    if threads and flags.cpus_per_task and threads > flags.cpus_per_task:
        raise UsageError(
            f"a trial would take {threads} threads, and a job gets {flags.cpus_per_task} cores",
            hint=f"--cpus-per-task {threads}, or leave out --threads",
        )
    for option in flags.sbatch:
        if not re.match(r"--?[A-Za-z]", option):
            raise UsageError(
                f"'{option}' is no option of sbatch",
                hint="e.g. --sbatch=--nice=10, with its dashes",
            )
    for value in (*_options(flags), *flags.sbatch, flags.container or ""):
        if not value.isprintable():
            raise UsageError(
                f"{value!r} cannot stand in a line of the batch script",
                hint="lines for the shell go into --setup",
            )


def threads_of(flags: SlurmFlags, threads: int | None) -> int:
    """Threads of a trial: as said, else the cores of a job, of which SLURM gives one unasked."""
    return threads or flags.cpus_per_task or 1


def asks_gpu(flags: SlurmFlags) -> bool:
    """Whether jobs get GPUs by these options."""
    names = [part.partition(":")[0] for part in (flags.gres or "").split(",")]
    return bool(flags.gpus_per_task) or "gpu" in names


def job_name(out: PurePath) -> str:
    """What the jobs of a run folder are called: they are found again by it.

    Args:
        out: The folder, whole.
    """
    short = re.sub(r"[^A-Za-z0-9._-]+", "-", out.name)[:_LONGEST_NAME].strip("-.") or "run"
    return f"inflate-zoo-{short}-{hashlib.sha256(str(out).encode()).hexdigest()[:8]}"


def script(command: Sequence[str], flags: SlurmFlags, workers: int, out: PurePath) -> str:
    """The batch script of an array of workers.

    Args:
        command: What a worker is, in words.
        flags: What is asked of SLURM.
        workers: How many.
        out: The run folder, whole.
    """
    logs = str(out / "slurm").replace("%", "%%")
    options = [
        f"--job-name={job_name(out)}",
        f"--array={array_of(workers)}",
        f"--output={_quoted(f'{logs}/%A_%a.log')}",
        "--open-mode=append",
        "--ntasks=1",
        "--requeue",
        f"--signal=B:USR1@{SIGNAL_SECONDS}",
        *_options(flags),
        *flags.sbatch,
    ]
    words = shlex.join(command)
    text = _SCRIPT.format(
        mark=_MARK,
        options="\n".join(f"#SBATCH {option}" for option in options),
        setup=f"\n{flags.setup}\n{_FORGIVING}\n" if flags.setup else "",
        command=f"{flags.container} {words}" if flags.container else words,
    )
    return text.replace(f"{_MARK}\n", f"{_MARK}{_digest(text)}\n", 1)


def edited(text: str) -> bool:
    """Whether a script is another than the one that was written, by the digest in it."""
    found = re.search(rf"^{_MARK}([0-9a-f]{{64}})$", text, re.MULTILINE)
    if found is None:
        return True
    return found[1] != _digest(text.replace(found[0], _MARK, 1))


def array_of(workers: int) -> str:
    """Indices of so many jobs of an array."""
    return f"0-{workers - 1}"


def submitted(printed: str) -> str:
    """Number of the job that `sbatch --parsable` made; a cluster's name may follow it.

    Raises:
        ValueError: It printed none.
    """
    for line in reversed(printed.splitlines()):  # a site's own words may come first
        number, _, _ = line.strip().partition(";")
        if number.isdecimal():
            return number
    raise ValueError(printed)


def tasks_of(printed: str) -> tuple[Task, ...]:
    """Jobs that `squeue` printed in `QUEUE_FORMAT`; other lines are a site's own words."""
    tasks = []
    for line in printed.splitlines():
        parts = line.strip().split("|")
        if len(parts) == 5 and parts[0].isdecimal():
            job, index, state, reason, nodes = parts
            tasks.append(Task(job, index if index.isdecimal() else "", state, reason, nodes))
    return tuple(tasks)


def standing(tasks: Iterable[Task]) -> str:
    """How many of the jobs that are not over run and wait, in words; "" where none is left."""
    alive = [task for task in tasks if task.alive]
    waiting = [task for task in alive if not task.running]
    run = len(alive) - len(waiting)
    parts = [f"{plural(run, 'worker')} at work"] if run else []
    if waiting:
        reasons = Counter(
            task.reason if task.reason not in ("", "None") else task.state.lower()
            for task in waiting
        )
        why = ", ".join(reason for reason, _ in reasons.most_common(3))
        parts.append(f"{len(waiting)} waiting ({why})")
    return ", ".join(parts)


def over(tasks: Iterable[Task]) -> str:
    """How jobs that are over ended, in SLURM's words; "" where it knows of none any more."""
    states = Counter(task.state for task in tasks if not task.alive)
    return ", ".join(f"{count} {state}" for state, count in states.most_common())


def tail(text: str, lines: int) -> list[str]:
    """The last lines of a log that say something."""
    said = [line.rstrip() for line in text.splitlines() if line.strip()]
    return said[-lines:]


def _options(flags: SlurmFlags) -> list[str]:
    names = ("time", "partition", "account", "qos", "gpus_per_task", "gres", "cpus_per_task",
             "mem", "constraint")  # fmt: skip
    return [
        f"--{name.replace('_', '-')}={_quoted(str(value))}"
        for name in names
        if (value := getattr(flags, name)) is not None
    ]


def _quoted(value: str) -> str:
    """A value as `sbatch` reads it from a script, where a space ends it and `#` begins a remark."""
    if re.search(r"[\s#'\"\\]", value) is None:
        return value
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
