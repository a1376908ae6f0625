"""What every engine is asked and answers: planned trials go in, how they ended comes out.

What a trial is, and how it stands, lies in its folder; an engine decides where and when it runs.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Protocol

from inflate_zoo.bench.definitions.trial_folder import TrialFolder
from inflate_zoo.bench.definitions.trial_progress import TrialProgress
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.bench.training.progress import Watcher

Ended = Literal["done", "failed"]


@dataclass(frozen=True, slots=True)
class Tally:
    """How trials ended.

    Attributes:
        done: Those with a record.
        failed: Those without, with the reason.
        left: Those that were not waited for, or not come to.
        stopped: Whether it was asked to leave them.
    """

    done: tuple[TrialFolder, ...]
    failed: tuple[tuple[TrialFolder, str], ...]
    left: tuple[TrialFolder, ...] = ()
    stopped: bool = False


class Shown(Protocol):
    """Told how the trials go; shows it, or does nothing."""

    def begin(self, trials: Sequence[TrialFolder], at_once: int) -> None:
        """All trials, in the order in which they run, and how many run at a time."""

    def change(self, at_once: int) -> None:
        """Another number of trials runs at a time from now on."""

    def watch(self, trial: TrialFolder) -> Watcher:
        """The watcher of a trial that begins."""

    def elsewhere(self, trial: TrialFolder, progress: TrialProgress) -> None:
        """Another process has a trial, and noted how far it is; told again and again."""

    def ended(self, trial: TrialFolder, how: Ended) -> None:
        """A trial ended, here or elsewhere."""

    def interrupted(self) -> None:
        """The command was asked to end; what runs is about to be ended."""

    def say(self, text: str, *, urgent: bool = False) -> None:
        """Something happened that is no trial's progress; see `Say`."""


class Engine(Protocol):
    """Runs trials somewhere."""

    def run(self, trials: Sequence[TrialFolder], demands: Resources, shown: Shown) -> Tally:
        """Run trials, wait for those that other processes hold, and say how all ended.

        Args:
            trials: Their folders.
            demands: What each of them may use.
            shown: Told what happens.

        Raises:
            UsageError: A folder is no trial, or there is no such device; before any trial starts.
            WorkError: Trials cannot be run there.
        """


def reason(trial: TrialFolder) -> str:
    """Why a trial failed."""
    failure = trial.failure()
    return "unknown" if failure is None else failure.told


def signal_of(code: int) -> int | None:
    """Number of the signal that ended a process; `None` where none did.

    Args:
        code: Its exit code: below 0, or as shells have it, 128 and the number. Many programs end
            with 255, which is no signal's.
    """
    number = -code if code < 0 else code - 128
    return number if number in signal.valid_signals() else None


def signal_name(number: int) -> str:
    """What a signal is called, e.g. `SIGKILL`."""
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
