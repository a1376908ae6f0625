"""Which trials wait, have a task of a cluster, and have ended; told by their folders alone."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from inflate_zoo.bench.definitions.results import OUT_OF_MEMORY, Failure
from inflate_zoo.bench.definitions.trial_folder import RECORD, TrialFolder
from inflate_zoo.bench.engines.engine import Ended, Shown, Tally, reason
from inflate_zoo.bench.trials.leases import holder
from inflate_zoo.bench.trials.run_plan import failed_at
from inflate_zoo.bench.trials.running import fail_elsewhere
from inflate_zoo.bench.trials.stopping import Kept, kept
from inflate_zoo.texts import plural

MOST_LOST = 3  # attempts in a row that end from outside with nothing to show
LOOK_SECONDS = 2.0  # between two looks at a trial's folder


@dataclass(frozen=True, slots=True)
class Loss:
    """Why a task ended without a word of its trials.

    Attributes:
        why: In words.
        memory: Whether memory ran out.
        counts: Whether it may be the trial's own doing; none is where it was asked to leave.
    """

    why: str
    memory: bool = False
    counts: bool = True


@dataclass(frozen=True, slots=True)
class _Losses:
    """A trial's losses in a row, and what it had to show when it last began."""

    times: int
    before: Kept


class Course:
    """How a run stands.

    Args:
        trials: All of them, in the order in which they run.
        groups: Those that are not done, of a task together.
        since: From when on failures count, in seconds since 1970.
        shares: Whether a task shares its GPU with others, so that memory may do for it alone.
        shown: Told what happens.
    """

    def __init__(
        self,
        trials: Sequence[TrialFolder],
        groups: Sequence[tuple[TrialFolder, ...]],
        since: float,
        shown: Shown,
        *,
        shares: bool,
    ) -> None:
        self._trials = tuple(trials)
        self._waiting = deque(groups)
        self._shown, self._shares = shown, shares
        self._since = {trial.folder: since for trial in self._trials}
        self._running: dict[Path, TrialFolder] = {}
        self._held: dict[Path, TrialFolder] = {}  # by others, or by what still leaves
        self._ended: dict[Path, Ended] = {}
        self._losses: dict[Path, _Losses] = {}
        self.alone: set[Path] = set()  # those that share nothing any more
        self._looked = 0.0
        left = {trial.folder for group in groups for trial in group}
        for trial in trials:
            if trial.folder not in left:
                self._end(trial, "done")

    @property
    def over(self) -> bool:
        """Whether all have ended."""
        return len(self._ended) == len(self._trials)

    def since(self, trial: TrialFolder) -> float:
        """From when on a failure of a trial counts."""
        return self._since[trial.folder]

    def startable(self) -> Iterator[tuple[TrialFolder, ...]]:
        """Trials of one task after the other; they count as running."""
        while self._waiting:
            free = tuple(trial for trial in self._waiting.popleft() if self._free(trial))
            if not free:
                continue
            for trial in free:
                self._running[trial.folder] = trial
                if trial.folder not in self._losses:
                    self._losses[trial.folder] = _Losses(0, kept(trial.folder))
            yield free

    def settle(self, trials: Sequence[TrialFolder], loss: Loss | None) -> None:
        """A task ended.

        Args:
            trials: Its own.
            loss: Why, if not in the way of its own; what its trials have written counts first.
        """
        again = set(self.alone)
        left = [trial for trial in trials if not self._told(trial)]
        for trial in left:
            self._running.pop(trial.folder, None)
            self._held[trial.folder] = trial  # what it left may still be saving
        left = [trial for trial in left if trial.folder not in self.alone - again]
        if loss is None or not left:
            return
        if len(trials) > 1:  # one of them at most was at work: each goes on alone
            self._shown.say(f"{plural(len(left), 'trial')}: {loss.why}; they go on one by one")
            return
        self._count(left[0], loss)

    def look(self) -> None:
        """Look at the folders, not too often: who has what, how far, what has ended."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        for trial in (*self._running.values(), *self._held.values()):
            if self._told(trial):
                continue
            if trial.folder in self._held and holder(trial.folder) is None:
                del self._held[trial.folder]
                self._waiting.appendleft((trial,))
            elif (progress := trial.progress()) is not None:
                self._shown.elsewhere(trial, progress)

    def tally(self) -> Tally:
        """How all ended."""
        ended = self._ended
        return Tally(
            tuple(t for t in self._trials if ended.get(t.folder) == "done"),
            tuple((t, reason(t)) for t in self._trials if ended.get(t.folder) == "failed"),
            tuple(t for t in self._trials if t.folder not in ended),
        )

    def _free(self, trial: TrialFolder) -> bool:
        """Whether a trial may start; not if it has ended, nor while another has it."""
        if self._told(trial):
            return False
        if (by := holder(trial.folder)) is None:
            return True
        self._shown.say(f"trial {trial.folder.name} is run by {by}")
        self._held[trial.folder] = trial
        return False

    def _told(self, trial: TrialFolder) -> bool:
        """Whether a trial has ended, by what lies in its folder; notes it the first time."""
        folder = trial.folder
        if folder in self._ended:
            return True
        if (folder / RECORD).exists() and trial.done:
            self._end(trial, "done")
            return True
        failed = failed_at(folder)
        if failed <= self._since[folder]:
            return False
        failure = trial.failure()
        if self._shares and folder not in self.alone and failure and failure.kind == OUT_OF_MEMORY:
            self._shown.say(
                f"trial {folder.name} ran out of memory beside others; it runs again, alone"
            )
            self.alone.add(folder)
            self._since[folder] = failed  # from the next one on
            return False
        self._shown.say(f"trial {folder.name} failed: {reason(trial)}", urgent=True)
        self._end(trial, "failed")
        return True

    def _end(self, trial: TrialFolder, how: Ended) -> None:
        folder = trial.folder
        self._ended[folder] = how
        for table in (self._running, self._held, self._losses):
            table.pop(folder, None)
        self._shown.ended(trial, how)

    def _count(self, trial: TrialFolder, loss: Loss) -> None:
        """Note that a trial was lost; where that has led nowhere time and again it has failed."""
        folder, before = trial.folder, self._losses[trial.folder]
        now = kept(folder)
        times = (before.times if now == before.before else 0) + loss.counts
        self._losses[folder] = _Losses(times, now)
        if times < MOST_LOST:
            self._shown.say(f"trial {folder.name}: {loss.why}; it goes on where it is")
            return
        failure = Failure(
            kind=OUT_OF_MEMORY if loss.memory else "died",
            reason=f"{loss.why}, {times} times in a row with nothing to show",
            when=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        if fail_elsewhere(trial, failure) != "held":
            self._told(trial)
