"""Runs trials on this machine: one at a time in this process, several in processes of their own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from inflate_zoo import stops
from inflate_zoo.bench.definitions.results import OUT_OF_MEMORY
from inflate_zoo.bench.definitions.trial_folder import TrialFolder
from inflate_zoo.bench.engines.engine import Ended, Shown, Tally, reason
from inflate_zoo.bench.engines.needs import Needs
from inflate_zoo.bench.engines.processes import Processes
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.bench.trials.leases import clock, holder
from inflate_zoo.bench.trials.running import Outcome, run_trial

WAIT_SECONDS = 2.0  # between two looks at what others hold


@dataclass(frozen=True, slots=True)
class Here:
    """This machine.

    Attributes:
        devices: One entry for each trial at a time, its device; `None` is the best there is.
        memory: Bytes of main memory that trials may take together: fewer run at a time where it
            does not hold more. `None` does not count.
        since: From when on failures of other processes count, as they would fail here as well, in
            seconds since 1970 by the file system's clock; `None` is from now on.
        wait: Whether trials that other processes hold are waited for; else they are left.
        checked: Whether the folders need no look before the first trial starts, as they were
            written just now, or are so many of a run that each is looked at when it starts.
    """

    devices: tuple[str | None, ...]
    memory: int | None = None
    since: float | None = None
    wait: bool = True
    checked: bool = False

    def run(self, trials: Sequence[TrialFolder], demands: Resources, shown: Shown) -> Tally:
        """Run trials, wait for those that other processes hold if so asked, say how all ended.

        Args:
            trials: Their folders.
            demands: What each of them may use; the device is this engine's.
            shown: Told what happens.

        Raises:
            UsageError: A folder is no trial, or there is no such device; before any trial starts,
                unless the folders are taken as checked.
            WorkError: A trial could not even fail, as its folder cannot be written.
        """
        if not self.checked:
            for trial in trials:
                if not trial.done:
                    trial.require_ready()
        most, needs = len(self.devices), None
        if self.memory is not None:
            needs = Needs([trial for trial in trials if not trial.done], self.memory, most)
        shown.begin(trials, needs.at_once if needs else most)
        since = self.since
        if since is None:  # failures are dated by what they are written to
            since = clock(trials[0].folder) if trials else 0.0
        course = _Course(tuple(trials), self.devices, shown, since, needs, wait=self.wait)
        with self._workers(demands, shown) as workers:
            try:
                while not course.over and not course.stopping:
                    for trial, device in course.startable():
                        workers.start(trial, device, course.since(trial))
                    for trial, how in workers.endings(course.patience()):
                        course.note(trial, how)
            except KeyboardInterrupt:
                shown.interrupted()  # at once: to end all may take a moment
                raise
        return course.tally()

    def _workers(self, demands: Resources, shown: Shown) -> AbstractContextManager[_Workers]:
        return closing(
            _ThisProcess(demands, shown) if len(self.devices) == 1 else Processes(demands, shown)
        )


class _Workers(Protocol):
    """Where trials run."""

    def start(self, trial: TrialFolder, device: str | None, since: float | None) -> None:
        """Run a trial, or begin to."""

    def endings(self, patience: float | None) -> list[tuple[TrialFolder, Outcome]]:
        """Those that ended; waits for one if any runs, so many seconds at most."""

    def close(self) -> None:
        """End what still runs."""


class _ThisProcess:
    """This process, which takes one trial at a time."""

    def __init__(self, demands: Resources, shown: Shown) -> None:
        self._demands, self._shown = demands, shown
        self._ended: list[tuple[TrialFolder, Outcome]] = []

    def start(self, trial: TrialFolder, device: str | None, since: float | None) -> None:
        resources = replace(self._demands, device=device)
        self._ended.append((trial, run_trial(trial, resources, self._shown.watch(trial), since)))

    def endings(self, patience: float | None) -> list[tuple[TrialFolder, Outcome]]:
        if not self._ended and patience is not None:
            time.sleep(patience)
        ended, self._ended = self._ended, []
        return ended

    def close(self) -> None:
        pass


class _Course:
    """Which trials wait, run and have ended; each that runs has a slot, and so a device."""

    def __init__(
        self,
        trials: Sequence[TrialFolder],
        devices: tuple[str | None, ...],
        shown: Shown,
        since: float,
        needs: Needs | None = None,
        *,
        wait: bool,
    ) -> None:
        self._trials, self._devices, self._shown = trials, devices, shown
        self._since, self._wait, self._stopped = since, wait, False
        self._needs = needs
        self._waiting = {trial.folder: trial for trial in trials}
        self._running: dict[Path, int] = {}
        self._ended: dict[Path, Ended] = {}
        self._held: dict[Path, float] = {}  # when another was last seen to hold it
        self._left: set[Path] = set()  # of these, those that are not waited for, for now
        self._beside: set[Path] = set()  # those that run and have had others beside them
        self._alone: dict[Path, str | None] = {}  # memory did not hold them beside others, where
        self._closed: set[int] = set()  # slots that memory does not hold

    @property
    def stopping(self) -> bool:
        """Whether this process was asked to stop, or one that shares its trial."""
        return self._stopped or stops.asked()

    @property
    def over(self) -> bool:
        return not self._running and self._waiting.keys() <= self._left

    def startable(self) -> Iterator[tuple[TrialFolder, str | None]]:
        """Those that may start now, each with its device; they count as running."""
        for folder, trial in tuple(self._waiting.items()):
            if len(self._running) + len(self._closed) >= len(self._devices):
                return
            slot = self._slot(folder) if folder not in self._left and self._due(folder) else None
            if slot is None:
                continue
            if self._needs and not self._needs.fits(trial, self._running):
                return  # nor may a smaller one go first: this one would wait for ever
            del self._waiting[folder]
            if others := self._on(self._devices[slot]):
                self._beside.update((folder, *others))
            self._running[folder] = slot
            yield trial, self._devices[slot]

    def since(self, trial: TrialFolder) -> float | None:
        """From when on a failure counts: not its own, where it runs again."""
        return None if trial.folder in self._alone else self._since

    def patience(self) -> float | None:
        """Seconds until what others hold is looked at again; `None` where nothing is."""
        return WAIT_SECONDS if self._held.keys() & self._waiting.keys() else None

    def note(self, trial: TrialFolder, how: Outcome) -> None:
        """A trial ended, or another process holds it."""
        folder, say = trial.folder, self._shown.say
        slot, beside = self._running.pop(folder), folder in self._beside
        self._beside.discard(folder)
        if how == "held":
            if folder not in self._held:
                say(f"trial {folder.name} is run by {holder(folder) or 'another'}")
            self._held[folder] = time.monotonic()
            self._waiting[folder] = trial
            if not self._wait:
                self._left.add(folder)
            elif (progress := trial.progress()) is not None:
                self._shown.elsewhere(trial, progress)
        elif how == "stopped":
            say(f"trial {folder.name} stopped; it goes on where it is")
            self._stopped = True
            self._waiting[folder] = trial
        elif how == "failed" and beside and _memory_ran_out(trial):
            say(f"trial {folder.name} ran out of memory beside others; it runs again, alone")
            self._alone[folder] = self._devices[slot]
            self._waiting[folder] = trial
            self._close(slot)
        else:
            self._ended[folder] = how
            self._left.clear()  # meanwhile others may have left what they had
            if how == "failed":
                say(f"trial {folder.name} failed: {reason(trial)}", urgent=True)
            self._shown.ended(trial, how)
            self._learn(trial)

    def tally(self) -> Tally:
        """How all ended."""
        return Tally(
            tuple(t for t in self._trials if self._ended.get(t.folder) == "done"),
            tuple((t, reason(t)) for t in self._trials if self._ended.get(t.folder) == "failed"),
            tuple(trial for trial in self._trials if trial.folder not in self._ended),
            self.stopping,
        )

    def _learn(self, trial: TrialFolder) -> None:
        """What a trial took tells how many fit beside each other."""
        if self._needs is None or not (told := self._needs.ended(trial)):
            return
        self._shown.say(told)
        self._shown.change(self._needs.at_once)

    def _close(self, slot: int) -> None:
        """Run fewer at a time on a device; the last slot stays, for one that has it to itself."""
        device = self._devices[slot]
        slots = {number for number, of in enumerate(self._devices) if of == device}
        if slots - self._closed != {slot}:
            self._closed.add(slot)

    def _due(self, folder: Path) -> bool:
        seen = self._held.get(folder)
        return seen is None or time.monotonic() - seen >= WAIT_SECONDS

    def _on(self, device: str | None) -> list[Path]:
        return [folder for folder, slot in self._running.items() if self._devices[slot] == device]

    def _slot(self, folder: Path) -> int | None:
        """A free slot for a trial; its device is not shared with one that is to be alone there."""
        drained = {device for other, device in self._alone.items() if other in self._waiting}
        used = self._closed.union(self._running.values())
        for slot, device in enumerate(self._devices):
            if slot in used:
                continue
            others = self._on(device)
            if folder in self._alone:
                if device == self._alone[folder] and not others:
                    return slot
            elif device not in drained and not self._alone.keys() & set(others):
                return slot
        return None


def _memory_ran_out(trial: TrialFolder) -> bool:
    failure = trial.failure()
    return failure is not None and failure.kind == OUT_OF_MEMORY
