"""Trials in processes of their own, forked off one that has imported what a trial needs.

To start Python and import torch, MONAI and accelerate costs as much as a small trial. The process
that is forked has only imported: no thread of its own, no GPU in use, nothing to inherit.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shlex
import signal
import sys
import threading
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inflate_zoo import interrupts
from inflate_zoo.bench.data.machine import oom_kills
from inflate_zoo.bench.definitions.results import OUT_OF_MEMORY, Failure
from inflate_zoo.bench.definitions.trial_folder import TrialFolder
from inflate_zoo.bench.definitions.trial_progress import Stage
from inflate_zoo.bench.engines.engine import Shown, signal_name, signal_of
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.bench.training.progress import Watcher
from inflate_zoo.bench.trials.leases import release_dead
from inflate_zoo.bench.trials.running import Outcome, fail_elsewhere, run_trial, standing
from inflate_zoo.errors import InflateZooError, UsageError, WorkError
from inflate_zoo.files.foreign import json_value

if TYPE_CHECKING:
    from multiprocessing.context import (
        ForkServerContext,
        ForkServerProcess,
        SpawnContext,
        SpawnProcess,
    )
    from multiprocessing.process import BaseProcess

GRACE_SECONDS = 5.0  # between asking a process to end and ending it
_BETWEEN_STEPS = 0.1  # seconds; what is shown need not be newer
_FORKSERVER = "forkserver" in multiprocessing.get_all_start_methods()  # not on Windows
_NAME = "trial-"  # how these processes are told from others
_IMPORTED = (
    "accelerate",
    "inflate_zoo.bench.scoring.evaluation",
    "inflate_zoo.bench.training.trainer",
    "inflate_zoo.bench.trials.running",
    "monai.networks.nets",
)


def get_ready() -> None:
    """Begin to import what trials need, in the process that is to be forked.

    It hears no Ctrl-C, and so do those forked off it: the terminal signals them all, and it is for
    this process to end them.
    """
    if not _FORKSERVER:
        return
    from multiprocessing import forkserver, resource_tracker

    multiprocessing.get_context("forkserver").set_forkserver_preload(list(_IMPORTED))
    resource_tracker.ensure_running()  # begun below, it would unblock what is blocked there
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _context() -> ForkServerContext | SpawnContext:
    if _FORKSERVER:
        return multiprocessing.get_context("forkserver")
    return multiprocessing.get_context("spawn")


class Processes:
    """Runs each trial in a process of its own.

    Args:
        demands: What each may use.
        shown: Gives the watchers; told what the processes say.
    """

    def __init__(self, demands: Resources, shown: Shown) -> None:
        self._demands, self._shown = demands, shown
        self._running: list[_Running] = []
        self._stood: list[tuple[TrialFolder, Outcome]] = []

    def start(self, trial: TrialFolder, device: str | None, since: float | None) -> None:
        """Begin to run a trial, unless nothing is to be done."""
        if stands := standing(trial):
            self._stood.append((trial, stands))
            return
        get_ready()
        context = _context()
        ours, theirs = context.Pipe(duplex=False)
        resources = replace(self._demands, device=device)
        process = context.Process(
            target=_work,
            args=(theirs, trial.folder, resources, since),
            name=f"{_NAME}{trial.folder.name}",
        )
        watcher = self._shown.watch(trial)
        kills = oom_kills()
        process.start()
        theirs.close()
        self._running.append(_Running(trial, process, ours, watcher, kills))

    def endings(self, patience: float | None) -> list[tuple[TrialFolder, Outcome]]:
        """Those that ended; waits for one if any runs, so many seconds at most.

        Raises:
            UsageError: A trial could not even begin: there is no such device.
            WorkError: A trial could not even fail, as its folder cannot be written.
        """
        until = None if patience is None else time.monotonic() + patience
        while True:
            ended, self._stood = self._stood, []
            ended += [(one.trial, one.outcome()) for one in self._take_over()]
            left = None if until is None else until - time.monotonic()
            if ended or (left is not None and left <= 0):
                return ended
            if not self._running:
                time.sleep(left or 0)
                return []
            ears = [ear for one in self._running for ear in (one.link, one.process.sentinel)]
            self._hear(wait(ears, left))

    def close(self) -> None:
        """End what still runs: ask, wait a moment, kill; nothing half-written is left."""
        processes = [p for p in multiprocessing.active_children() if p.name.startswith(_NAME)]
        for process in processes:
            process.terminate()
        until = time.monotonic() + GRACE_SECONDS
        for process in processes:
            _require_end(process, max(0.0, until - time.monotonic()))
        for one in self._running:
            one.link.close()
            release_dead(one.trial.folder, one.process.pid)
        self._running = []

    def _hear(self, ready: list[Any]) -> None:
        for one in self._running:
            if one.link in ready:
                one.hear(self._shown)
            elif one.process.sentinel in ready:
                one.open = False  # dead, and all that it said was heard

    def _take_over(self) -> list[_Running]:
        """Those that ended; they do not count as running any more."""
        over = [one for one in self._running if not one.open]
        self._running = [one for one in self._running if one.open]
        for one in over:
            one.link.close()
            _require_end(one.process, GRACE_SECONDS)
        return over


@dataclass
class _Running:
    """A trial and the process that has it.

    Attributes:
        trial: Its folder.
        process: That runs it.
        link: What it says comes through here.
        watcher: Told how it goes.
        kills: How many processes the system had ended for memory when it began.
        open: Whether it may say more.
        last: What it said at its end.
    """

    trial: TrialFolder
    process: ForkServerProcess | SpawnProcess
    link: Connection
    watcher: Watcher
    kills: int
    open: bool = True
    last: tuple[str, list[Any]] | None = None

    def hear(self, shown: Shown) -> None:
        """Pass on one thing that it says."""
        try:
            content = self.link.recv_bytes()
        except (EOFError, OSError):  # of a pipe, as the process ended
            self.open = False
            return
        name, values = json_value(content, _garbled)
        if name == "warn":
            shown.say(*values, urgent=True)
        elif name in ("ended", "raised"):
            self.last = name, values
        else:
            getattr(self.watcher, name)(*values)

    def outcome(self) -> Outcome:
        """How the trial ended.

        Raises:
            UsageError: It could not begin.
            WorkError: It could not even fail.
        """
        if self.last is None:
            release_dead(self.trial.folder, self.process.pid)
            return fail_elsewhere(self.trial, self._death())
        name, values = self.last
        if name == "raised":
            kind, message, hint, details = values
            error = UsageError if kind == UsageError.exit_code else WorkError
            raise error(message, hint=hint, details=details)
        outcome: Outcome = values[0]
        return outcome

    def _death(self) -> Failure:
        code = self.process.exitcode or 0
        kind, reason = "died", f"its process ended with exit code {code}"
        if (number := signal_of(code)) is not None:
            reason = f"its process was ended by {signal_name(number)}"
            if number == getattr(signal, "SIGKILL", None) and oom_kills() > self.kills:
                kind, reason = OUT_OF_MEMORY, "out of memory: the system ended its process"
        when = datetime.now(UTC).isoformat(timespec="seconds")
        return Failure(kind=kind, reason=reason, when=when)


def _garbled(_: Exception) -> WorkError:
    return WorkError(
        "what a trial's process says cannot be read", hint="run the same command again"
    )


def _require_end(process: BaseProcess, seconds: float) -> None:
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()


def _work(link: Connection, folder: Path, resources: Resources, since: float | None) -> None:
    """What the process does: run one trial, and say how it goes and how it ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it was not blocked
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    told = _Told(link)
    code = interrupts.run(lambda: _run(told, folder, resources, since))
    link.close()
    sys.exit(code)


def _run(told: _Told, folder: Path, resources: Resources, since: float | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", module="inflate_zoo", category=UserWarning)
        warnings.showwarning = told.warning
        try:
            told.send("ended", run_trial(TrialFolder(folder), resources, told, since))
        except InflateZooError as error:
            told.send("raised", error.exit_code, error.message, error.hint, error.details)
        except Exception as error:  # noqa: BLE001 - the parent says it
            hint = f"see where with: inflate-zoo bench-trial {shlex.quote(str(folder))} --debug"
            text = f"trial {folder.name}: unexpected {type(error).__name__}; this is a bug"
            told.send("raised", 1, text, hint, [])


class _Told:
    """Watches the trial in its process, and tells the one that shows it."""

    def __init__(self, link: Connection) -> None:
        self._link, self._stepped = link, 0.0

    def send(self, name: str, *values: object) -> None:
        with suppress(OSError):  # nobody listens any more: this process is about to end
            self._link.send_bytes(json.dumps([name, values]).encode())

    def warning(self, message: Warning | str, *_: object, **__: object) -> None:
        self.send("warn", f"warning: {message}")

    def stage(self, stage: Stage) -> None:
        self.send("stage", stage)

    def resumed(self, step: int) -> None:
        self.send("resumed", step)

    def step(self, step: int, steps: int, loss: float, waiting: float) -> None:
        now = time.monotonic()
        if step == steps or now - self._stepped >= _BETWEEN_STEPS:
            self._stepped = now
            self.send("step", step, steps, loss, waiting)

    def dice(self, value: float) -> None:
        self.send("dice", value)

    def part(self, done: int, total: int) -> None:
        self.send("part", done, total)


def _end_with_parent() -> None:
    """End where the process that started this one did: nobody else would end it."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(128 + signal.SIGTERM)
