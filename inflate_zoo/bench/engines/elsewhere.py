"""Trials that other machines run, watched through what lies in their folders."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from inflate_zoo.bench.definitions.trial_folder import RECORD, TrialFolder
from inflate_zoo.bench.engines.engine import Ended, Shown, Tally, reason
from inflate_zoo.bench.trials.leases import LEASE, holder
from inflate_zoo.bench.trials.run_plan import failed_since

FRONT = 32  # trials behind those in progress that are looked at each time: they are next
SWEEP_SECONDS = 60.0  # between two looks at all the others
SETTLED_SECONDS = 5.0  # after which a folder that did not change is taken as it was seen


class Elsewhere:
    """How trials stand that others run; looks at what can have changed, 10,000 or not.

    Args:
        trials: All of them, in the order in which they run.
        shown: Told how they go and how they end.
        since: From when on a failure counts, in seconds since 1970 by the file system's clock.
        clock: Seconds from anywhere.
    """

    def __init__(
        self,
        trials: Sequence[TrialFolder],
        shown: Shown,
        since: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._trials, self._shown, self._since = tuple(trials), shown, since
        self._clock, self._swept = clock, float("-inf")
        self._open = {trial.folder: trial for trial in trials}
        self._begun: set[Path] = set()  # those with a lease, whether or not its holder lives
        self._held: dict[Path, str] = {}
        self._changed: dict[Path, tuple[int, float]] = {}  # when a folder did, and was seen to
        self._ended: dict[Path, Ended] = {}

    @property
    def over(self) -> bool:
        """Whether all have ended."""
        return not self._open

    @property
    def open(self) -> tuple[TrialFolder, ...]:
        """Those that have not ended, as far as was seen."""
        return tuple(self._open.values())

    @property
    def held(self) -> tuple[str, ...]:
        """Who holds those that run, `host:pid` each."""
        return tuple(self._held.values())

    @property
    def ended(self) -> int:
        """How many have ended."""
        return len(self._ended)

    def look(self, *, everywhere: bool = False) -> None:
        """See what changed, and tell it.

        Args:
            everywhere: Whether all folders are looked at, however lately that was done.
        """
        now = self._clock()
        if everywhere or now - self._swept >= SWEEP_SECONDS:
            self._swept = now
            folders = list(self._open)
        else:
            next_ones = (folder for folder in self._open if folder not in self._begun)
            folders = [*self._begun, *islice(next_ones, FRONT)]
        for folder in folders:
            with suppress(OSError):  # of a network: the next look sees what this one did not
                if folder in self._begun or self._may_differ(folder, now):
                    self._look_at(self._open[folder])

    def tally(self, *, stopped: bool = False) -> Tally:
        """How all ended.

        Args:
            stopped: Whether those that are left are left on purpose.
        """
        return Tally(
            tuple(t for t in self._trials if self._ended.get(t.folder) == "done"),
            tuple((t, reason(t)) for t in self._trials if self._ended.get(t.folder) == "failed"),
            self.open,
            stopped,
        )

    def _may_differ(self, folder: Path, now: float) -> bool:
        """Whether a folder changed since it was last seen to; file systems count in seconds."""
        changed = folder.stat().st_mtime_ns
        before, seen = self._changed.get(folder, (None, now))
        if changed != before:
            self._changed[folder] = changed, now
            return True
        return now - seen <= SETTLED_SECONDS

    def _look_at(self, trial: TrialFolder) -> None:
        folder = trial.folder
        if (folder / RECORD).exists() and trial.done:
            self._end(trial, "done")
            return
        by = holder(folder)
        if by is None and failed_since(folder, self._since):
            self._shown.say(f"trial {folder.name} failed: {reason(trial)}", urgent=True)
            self._end(trial, "failed")
            return
        self._held.pop(folder, None)
        self._begun.discard(folder)
        if by is not None or (folder / LEASE).exists():
            self._begun.add(folder)
        if by is None:
            return
        self._held[folder] = by
        if (progress := trial.progress()) is not None:
            self._shown.elsewhere(trial, progress)

    def _end(self, trial: TrialFolder, how: Ended) -> None:
        self._ended[trial.folder] = how
        del self._open[trial.folder]
        self._begun.discard(trial.folder)
        self._held.pop(trial.folder, None)
        self._changed.pop(trial.folder, None)
        self._shown.ended(trial, how)
