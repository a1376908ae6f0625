"""How running trials are shown: bars on a terminal, plain lines elsewhere. All on stderr."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from inflate_zoo.cli.bench.pace import Pace
from inflate_zoo.cli.common import say, watched
from inflate_zoo.errors import printable
from inflate_zoo.texts import duration, plural

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from inflate_zoo.bench.definitions.trial_folder import TrialFolder
    from inflate_zoo.bench.definitions.trial_progress import Stage, TrialProgress
    from inflate_zoo.bench.engines.engine import Ended
    from inflate_zoo.bench.report.so_far import SoFar
    from inflate_zoo.bench.training.progress import Watcher

_SECONDS_BETWEEN_LINES = 30.0
_LONG = 86400.0  # seconds; a run that takes longer says so while it is easy to stop
_MINUTES = "quick"  # the protocol that takes minutes


class Board:
    """Shows trials; made by `board`.

    Args:
        bars: Where there is a terminal.
        ranked: Whether rounds of seeds that are over say how the ranking stands.
    """

    def __init__(self, bars: Progress | None, *, ranked: bool = True) -> None:
        self._bars, self._ranked = bars, ranked
        self._whole: TaskID | None = None
        self._counted: dict[str, TaskID] = {}
        self._lined: dict[str, float] = {}
        self._began = time.monotonic()
        self._numbers: dict[Path, int] = {}
        self._watched: dict[Path, _Bar | _Lines] = {}
        self._noted: dict[Path, TrialProgress] = {}  # by other processes
        self._failed, self._warned = 0, False
        self._rounds: Rounds | None = None
        self.pace = Pace(0, 1)

    def say(self, text: str, *, urgent: bool = False) -> None:
        """A line, above the bars; see `Say`."""
        if self._bars is None:
            say(text, urgent=urgent)
        else:
            self._bars.console.print(printable(text), markup=False, highlight=False)

    def count(self, what: str, done: int, total: int) -> None:
        """Progress of something before the trials."""
        if self._bars is not None:
            if what not in self._counted:
                self._counted[what] = self._bars.add_task(what, total=total, left="", note="")
            self._bars.update(self._counted[what], completed=done, total=total)
            if done == total:
                self._bars.remove_task(self._counted.pop(what))
        elif done == total or self._due(what):
            say(f"{done} of {total} {what}")

    def begin(self, trials: Sequence[TrialFolder], at_once: int) -> None:
        """All trials, in the order in which they run, and how many run at a time."""
        from inflate_zoo.bench.definitions.trial_folder import RECORD

        self._numbers = {trial.folder: number for number, trial in enumerate(trials, start=1)}
        self._rounds = Rounds(trials) if self._ranked else None
        over = [trial.folder.name for trial in trials if (trial.folder / RECORD).exists()]
        self.pace = Pace(len(trials), at_once, over)
        if self._bars is not None:
            self._whole = self._bars.add_task(
                "trials", total=len(trials), completed=len(over), left="", note=""
            )

    def change(self, at_once: int) -> None:
        """Another number of trials runs at a time from now on."""
        self.pace.at_once = at_once

    def watch(self, trial: TrialFolder) -> Watcher:
        """The watcher of one trial."""
        return self._watcher(trial)

    def _watcher(self, trial: TrialFolder, where: str = "") -> _Bar | _Lines:
        if (before := self._watched.pop(trial.folder, None)) is not None:
            before.over()  # another process had it
        spec = trial.spec
        name = f"{spec.arm.label}, seed {spec.seed}, fold {spec.fold}{where}"
        self.pace.begin(trial.folder.name)
        shown: _Bar | _Lines
        if self._bars is None:
            number = f"[{self._numbers[trial.folder]}/{self.pace.total}]"
            shown = _Lines(self, trial, f"{number} {name}")
        else:
            shown = _Bar(self, trial, name, self._bars)
        self._watched[trial.folder] = shown
        return shown

    def elsewhere(self, trial: TrialFolder, progress: TrialProgress) -> None:
        """Another process has a trial; shows what it noted since the last look."""
        folder = trial.folder
        before, watched = self._noted.get(folder), self._watched.get(folder)
        if before is None or watched is None or before.host != progress.host:
            before, watched = None, self._watcher(trial, f", on {progress.host}")
        self._noted[folder] = progress
        _replay(before, progress, watched)

    def ended(self, trial: TrialFolder, how: Ended) -> None:
        """A trial ended, here or elsewhere."""
        self.pace.end(trial.folder.name)
        self._failed += how == "failed"
        if (watched := self._watched.pop(trial.folder, None)) is not None:
            watched.over()
        if self._bars is not None and self._whole is not None:
            self._bars.update(self._whole, completed=self.pace.ended, left=self.left())
        elif watched is not None and self.pace.ended < self.pace.total:
            say(f"{self.pace.ended} of {self.pace.total} trials ended, {self.left()}".rstrip(", "))
        for line in self._rounds.ended(trial) if self._rounds else ():
            self.say(line)

    def interrupted(self) -> None:
        """The command was asked to end, and what runs is about to."""
        done = f"{self.pace.ended - self._failed} of {plural(self.pace.total, 'trial')} done"
        self.say(f"{done}; the same command goes on")

    def staged(self, trial: TrialFolder, stage: Stage) -> None:
        """A trial does something else; its process may have taken long to come to the first."""
        if stage == "loading":
            self.pace.begin(trial.folder.name)

    def stepped(self, trial: TrialFolder, step: int, steps: int) -> None:
        """A step of a trial is done: what will all of them take?"""
        self.pace.step(trial.folder.name, step, steps)
        if self._bars is not None and self._whole is not None:
            self._bars.update(self._whole, left=self.left())
        left, each = self.pace.left(), self.pace.per_step()
        if self._warned or left is None or each is None or left < _LONG:
            return
        self._warned = True
        line = (
            f"warning: at {duration(each)} a step this run takes about {duration(left)} on this "
            "device"
        )
        quick = trial.spec.protocol.name.startswith(_MINUTES)
        told = line if quick else f"{line}; --protocol {_MINUTES} takes minutes"
        self.say(told, urgent=True)

    def left(self) -> str:
        """How long all trials will still take, in words; empty where nothing was measured."""
        left = self.pace.left()
        return "" if left is None else f"about {duration(left)} left"

    def _due(self, what: str) -> bool:
        now = time.monotonic()
        if now - self._lined.get(what, self._began) < _SECONDS_BETWEEN_LINES:
            return False
        self._lined[what] = now
        return True


def _replay(before: TrialProgress | None, now: TrialProgress, watcher: Watcher) -> None:
    """Tell a watcher what is new in what another process noted."""
    if before is None or before.stage != now.stage:
        watcher.stage(now.stage)
    if now.dice is not None and (before is None or before.dice != now.dice):
        watcher.dice(now.dice)
    if now.stage != "training":
        if now.done is not None and now.total is not None:
            watcher.part(now.done, now.total)
    elif now.step and now.steps and (before is None or before.step != now.step):
        loss = math.nan if now.loss is None else now.loss
        watcher.step(now.step, now.steps, loss, now.waiting or 0.0)


class Rounds:
    """Which rounds of seeds are complete: those whose trials have all ended.

    Args:
        trials: All of them.
    """

    def __init__(self, trials: Sequence[TrialFolder]) -> None:
        self._left: dict[int, set[Path]] = {}
        for trial in trials:
            self._left.setdefault(trial.spec.seed, set()).add(trial.folder)
        self._over: list[int] = []
        self._so_far: SoFar | None = None

    def ended(self, trial: TrialFolder) -> tuple[str, ...]:
        """What the ranking says so far, once a round of several is over; nothing after the last."""
        left = self._left[trial.spec.seed]
        left.discard(trial.folder)
        if left or len(self._left) == 1:
            return ()
        self._over.append(trial.spec.seed)
        if len(self._over) == len(self._left):
            return ()  # the report is next
        return self._standing(trial.folder.parents[1])

    def _standing(self, out: Path) -> tuple[str, ...]:
        """What the trials of the seeds that are over alone say."""
        from inflate_zoo.bench.report.so_far import SoFar
        from inflate_zoo.errors import InflateZooError

        self._so_far = self._so_far or SoFar([out])
        try:
            return self._so_far.after(self._over)
        except InflateZooError:  # no record yet: all failed
            return ()


class _Bar:
    """One trial as a bar: steps, loss, Dice so far, wait for data, time left."""

    def __init__(self, board: Board, trial: TrialFolder, name: str, bars: Progress) -> None:
        self._board, self._trial, self._bars = board, trial, bars
        self._name, self._dice = printable(name), ""
        self._task = bars.add_task(self._name, total=None, left="", note="")

    def over(self) -> None:
        self._bars.remove_task(self._task)

    def stage(self, stage: Stage) -> None:
        self._board.staged(self._trial, stage)
        self.over()  # a new one: its parts are counted anew
        steps = self._trial.spec.protocol.train.steps if stage == "training" else None
        self._task = self._bars.add_task(self._name, total=steps, left="", note=stage)

    def resumed(self, step: int) -> None:
        self._bars.update(self._task, completed=step)
        self._board.say(f"{self._name} goes on from step {step}")

    def step(self, step: int, steps: int, loss: float, waiting: float) -> None:
        self._board.stepped(self._trial, step, steps)
        left = self._board.pace.left_of(self._trial.folder.name)
        note = f"loss {loss:.3f}{self._dice}, {waiting:.0%} waiting for data"
        shown = "" if left is None else duration(left)
        self._bars.update(self._task, completed=step, total=steps, left=shown, note=note)

    def dice(self, value: float) -> None:
        self._dice = f", validation Dice {value:.3f}"

    def part(self, done: int, total: int) -> None:
        self._bars.update(self._task, completed=done, total=total)


class _Lines:
    """One trial as plain lines, a few per minute at most."""

    def __init__(self, board: Board, trial: TrialFolder, name: str) -> None:
        self._board, self._trial, self._name = board, trial, name
        self._stage, self._last = "", time.monotonic()
        self._dice = ""

    def over(self) -> None:
        pass

    def _line(self, text: str, last: bool) -> None:
        now = time.monotonic()
        if last or now - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = now
            say(f"{self._name}: {text}")

    def stage(self, stage: Stage) -> None:
        self._board.staged(self._trial, stage)
        self._stage = stage
        self._line(stage, last=True)

    def resumed(self, step: int) -> None:
        self._line(f"goes on from step {step}", last=True)

    def step(self, step: int, steps: int, loss: float, waiting: float) -> None:
        self._board.stepped(self._trial, step, steps)
        text = (
            f"step {step} of {steps}, loss {loss:.3f}{self._dice}, {waiting:.0%} waiting for data"
        )
        if step < steps and (left := self._board.pace.left_of(self._trial.folder.name)) is not None:
            text += f", {duration(left)} left"
            text += f"; of all trials {self._board.left()}" if self._board.pace.total > 1 else ""
        self._line(text, last=step == steps)

    def dice(self, value: float) -> None:
        self._dice = f", validation Dice {value:.3f}"

    def part(self, done: int, total: int) -> None:
        self._line(f"{self._stage}: {done} of {total}", last=done == total)


@contextmanager
def board(*, ranked: bool = True) -> Iterator[Board]:
    """Show what happens in the block.

    Args:
        ranked: Whether rounds of seeds that are over say how the ranking stands.
    """
    if not watched():
        yield Board(None, ranked=ranked)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}", markup=False),
        TextColumn("{task.fields[note]}", markup=False),
    )
    console = Console(stderr=True)
    # Rich would send what is printed for stdout to its own console, stderr.
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bars:
        yield Board(bars, ranked=ranked)
