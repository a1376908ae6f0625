"""Trials as jobs of SLURM: one array of workers that pull, watched through disk and queue."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from inflate_zoo.bench.definitions.trial_folder import TrialFolder
from inflate_zoo.bench.engines.elsewhere import Elsewhere
from inflate_zoo.bench.engines.engine import Shown, Tally
from inflate_zoo.bench.engines.flags import SlurmFlags
from inflate_zoo.bench.engines.slurm_texts import (
    QUEUE_FORMAT,
    Task,
    array_of,
    edited,
    job_name,
    over,
    script,
    standing,
    submitted,
    tail,
    tasks_of,
)
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.errors import UsageError, WorkError
from inflate_zoo.files.reading import reading
from inflate_zoo.files.writing.whole_files import make_folders, replace_text, writing
from inflate_zoo.texts import plural

FOLDER, SCRIPT = "slurm", "worker.sh"
LOOK_SECONDS = 5.0  # between two looks at the trials
QUEUE_SECONDS = 15.0  # between two questions to the controller, which all users share
GONE_SECONDS = 60.0  # until no job and no record mean that none comes: networks' disks cache that
_ANSWER_SECONDS = 120.0
_TAIL_LINES, _TAILS = 4, 2
_SAME = "the same command goes on"


@dataclass(frozen=True, slots=True)
class Slurm:
    """SLURM, as seen from where its commands are.

    Attributes:
        out: Run folder.
        flags: What is asked of it.
        since: From when on a failure counts, in seconds since 1970 by the file system's clock.
    """

    out: Path
    flags: SlurmFlags
    since: float

    def run(self, trials: Sequence[TrialFolder], demands: Resources, shown: Shown) -> Tally:
        """Submit workers, unless those of this run are there, and watch until all has ended.

        Args:
            trials: Their folders.
            demands: What each of them may use.
            shown: Told what happens.

        Raises:
            UsageError: SLURM's commands are not here, or the batch script cannot be read.
            WorkError: It refused the job, or no worker is left and trials are.
        """
        shown.begin(trials, self.flags.jobs or 1)
        watch = Elsewhere(trials, shown, self.since)
        watch.look()
        if watch.over:
            return watch.tally()
        jobs = _Jobs(self, demands, shown)
        jobs.fill(len(watch.open))
        if self.flags.detach:
            shown.say(f"{jobs.named} go on by themselves: {jobs.back}")
            return watch.tally(stopped=True)
        try:
            _follow(watch, jobs, shown)
        except KeyboardInterrupt:
            shown.interrupted()
            shown.say(f"{jobs.named} go on without it: {jobs.back}")
            raise
        jobs.cancel_waiting()
        return watch.tally()

    def write_script(self, demands: Resources, workers: int) -> tuple[Path, bool]:
        """Write the batch script, unless there is one that a person edited.

        Args:
            demands: What a trial may use.
            workers: How many jobs the array has.

        Returns:
            The script, and whether it was edited.

        Raises:
            UsageError: The one that is there cannot be read.
            WriteError: It cannot be written.
        """
        out = self.out.resolve()
        path = out / FOLDER / SCRIPT
        with reading(path), suppress(FileNotFoundError):
            if edited(path.read_text(encoding="utf-8", errors="surrogateescape")):
                return path, True
        with writing(FOLDER):
            make_folders(path.parent, [])
        command = _worker(out, demands, inside=self.flags.container is not None)
        replace_text(path, script(command, self.flags, workers, out))
        return path, False


def _worker(out: Path, demands: Resources, *, inside: bool) -> list[str]:
    """The command of a worker; a container has a Python of its own."""
    start = ["inflate-zoo"] if inside else [sys.executable, "-m", "inflate_zoo"]
    words = [*start, "bench-trial", "--from", str(out), "--no-wait"]
    words += ["--threads", str(demands.threads or 1)]
    words += ["--device", demands.device] if demands.device else []
    words += [] if demands.workers is None else ["--workers", str(demands.workers)]
    words += demands.tracker_words
    return [*words, "--compile"] if demands.compiled else words


def _follow(watch: Elsewhere, jobs: _Jobs, shown: Shown) -> None:
    """Watch until all trials have ended.

    Raises:
        WorkError: No worker is left, and trials are.
    """
    asked, gone = time.monotonic(), None
    while not watch.over:
        time.sleep(LOOK_SECONDS)
        watch.look()
        now = time.monotonic()
        if watch.over or now - asked < QUEUE_SECONDS:
            continue
        asked = now
        if jobs.look() or watch.held:
            gone = None
            continue
        gone = gone or now
        watch.look(everywhere=True)
        if watch.over or watch.held or now - gone < GONE_SECONDS:
            continue
        if not jobs.found or jobs.cancelled:
            raise jobs.dead(len(watch.open), watch.ended + len(watch.open))
        shown.say(f"the workers that were found have ended, and {plural(len(watch.open), 'trial')}"
                  " are left")  # fmt: skip
        jobs.fill(len(watch.open))
        gone = None


class _Jobs:
    """The jobs of a run.

    Attributes:
        found: Whether jobs of an earlier command still count.
    """

    def __init__(self, asked: Slurm, demands: Resources, shown: Shown) -> None:
        self._asked, self._demands, self._shown = asked, demands, shown
        self._name = job_name(asked.out.resolve())
        self._own: dict[str, None] = {}  # numbers of arrays, in order
        self._last: tuple[Task, ...] = ()
        self._told, self._silent = "", False
        self.found = False

    @property
    def named(self) -> str:
        """The jobs, in words."""
        return f"the workers of job {', '.join(self._own)}"

    @property
    def back(self) -> str:
        """How to come back to them, and how to end them."""
        out = shlex.quote(str(self._asked.out))
        return (
            f"the same command comes back to them, 'inflate-zoo status {out}' shows "
            f"how far they are, 'scancel {' '.join(self._own)}' ends them"
        )

    def fill(self, left: int) -> None:
        """Submit what lacks of the workers that were asked for.

        Args:
            left: Trials that have not ended: there are no more workers.

        Raises:
            WorkError: SLURM refused.
        """
        alive = [task for task in self._ask() if task.alive]
        self._own |= dict.fromkeys(task.job for task in alive)
        self.found = bool(alive)
        wanted = min(self._asked.flags.jobs or 1, left)
        path, by_hand = self._asked.write_script(self._demands, wanted)
        if alive:
            self._shown.say(f"found again: {standing(alive)}, of job {', '.join(self._own)}")
        if len(alive) >= wanted or (alive and by_hand):
            return
        words = ["sbatch", "--parsable", f"--job-name={self._name}"]
        words += [] if by_hand else [f"--array={array_of(wanted - len(alive))}"]
        printed = _answer([*words, str(path)])
        try:
            number = submitted(printed)
        except ValueError as error:
            raise WorkError(
                "sbatch told no number of a job",
                details=tail(printed, _TAIL_LINES),
                hint=f"look with: squeue --name={self._name}",
            ) from error
        self._own[number] = None
        what = (
            f"{FOLDER}/{SCRIPT} as it was edited: options of SLURM do not count"
            if by_hand
            else plural(wanted - len(alive), "worker")
        )
        self._shown.say(f"submitted job {number}: {what}; logs in {self._asked.out / FOLDER}")

    def look(self) -> bool:
        """Whether any job is alive, as far as is known; tells what changed."""
        try:
            self._last = tuple(task for task in self._ask() if task.job in self._own)
        except WorkError as error:
            if not self._silent:
                told = f"warning: {error.message}: {'; '.join(error.details)}"
                self._shown.say(told, urgent=True)
            self._silent = True
            return True
        self._silent = False
        told = standing(self._last)
        if told and told != self._told:
            self._shown.say(f"job {', '.join(self._own)}: {told}")
            self._shown.change(max(1, sum(task.running for task in self._last)))
        self._told = told
        return bool(told)

    @property
    def cancelled(self) -> bool:
        """Whether a person ended some."""
        return any(task.state == "CANCELLED" for task in self._last)

    def dead(self, left: int, trials: int) -> WorkError:
        """That no worker is left, with what the last ones said."""
        ended = over(self._last)
        logs = self._asked.out / FOLDER
        details = [f"SLURM says: {ended}"] if ended else []
        for path in self._logs():
            text = path.read_text(encoding="utf-8", errors="replace")
            details += [f"{path.name}: {line}" for line in tail(text, _TAIL_LINES)]
        if not self._logs():
            details.append("no log of theirs is in the run folder: do their nodes see it?")
        return WorkError(
            f"no worker of job {', '.join(self._own)} is left, and {left} of "
            f"{plural(trials, 'trial')} have not ended",
            details=details,
            hint=f"see {logs}; once the reason is gone {_SAME}",
        )

    def cancel_waiting(self) -> None:
        """Cancel workers that still wait for their turn: nothing is left for them."""
        self.look()
        waiting = {task.job for task in self._last if task.state == "PENDING"}
        for job in sorted(waiting):
            with suppress(WorkError):
                _answer(["scancel", "--state=PENDING", job])

    def _logs(self) -> list[Path]:
        """Those that were written to last, the last one at the end."""
        folder = self._asked.out / FOLDER
        found = [path for job in self._own for path in folder.glob(f"{job}_*.log")]
        return sorted(found, key=lambda path: path.stat().st_mtime)[-_TAILS:]

    def _ask(self) -> tuple[Task, ...]:
        words = ["squeue", "--noheader", "--array", "--states=all", f"--name={self._name}"]
        return tasks_of(_answer([*words, f"--user={os.getuid()}", f"--format={QUEUE_FORMAT}"]))


def _answer(words: Sequence[str]) -> str:
    """What one of SLURM's commands prints.

    Raises:
        UsageError: There is no such command.
        WorkError: It failed, with what it says.
    """
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and words of ours
            words, capture_output=True, text=True, errors="replace", timeout=_ANSWER_SECONDS
        )
    except FileNotFoundError as error:
        raise UsageError(
            f"there is no {words[0]} on this machine",
            hint="run this where jobs are submitted: on a login node of the cluster",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise WorkError(
            f"{words[0]} did not answer within {_ANSWER_SECONDS:.0f} s", hint=f"later {_SAME}"
        ) from error
    if done.returncode:
        raise WorkError(
            f"{words[0]} failed",
            details=tail(done.stderr or done.stdout, _TAIL_LINES),
            hint=f"once the reason is gone {_SAME}",
        )
    return done.stdout
