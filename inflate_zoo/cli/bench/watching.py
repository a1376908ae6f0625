"""How a running trial is shown: bars on a terminal, plain lines elsewhere. All on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from inflate_zoo.cli.common import say
from inflate_zoo.errors import printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from inflate_zoo.bench.definitions.trial_folder import TrialFolder
    from inflate_zoo.bench.training.progress import Watcher

_SECONDS_BETWEEN_LINES = 30.0


class Board:
    """Shows trials; made by `board`."""

    def __init__(self, bars: Progress | None) -> None:
        self._bars = bars
        self._whole: TaskID | None = None
        self._trial: _Bar | None = None
        self._counted: dict[str, TaskID] = {}
        self._lined: dict[str, float] = {}
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """A line, above the bars."""
        if self._bars is None:
            say(text)
        else:
            self._bars.console.print(printable(text), markup=False, highlight=False)

    def count(self, what: str, done: int, total: int) -> None:
        """Progress of something before the trials."""
        if self._bars is not None:
            if what not in self._counted:
                self._counted[what] = self._bars.add_task(what, total=total, note="")
            self._bars.update(self._counted[what], completed=done, total=total)
            if done == total:
                self._bars.remove_task(self._counted.pop(what))
        elif done == total or self._due(what):
            say(f"{done} of {total} {what}")

    def watch(self, trial: TrialFolder, ended: int, total: int) -> Watcher:
        """The watcher of one trial."""
        spec = trial.spec
        name = f"{spec.arm.label}, seed {spec.seed}, fold {spec.fold}"
        if self._bars is None:
            return _Lines(name, ended, total)
        if self._whole is None:
            self._whole = self._bars.add_task("trials", total=total, note="")
        self._bars.update(self._whole, completed=ended)
        if self._trial is not None:
            self._trial.remove()
        self._trial = _Bar(self._bars, name)
        return self._trial

    def _due(self, what: str) -> bool:
        now = time.monotonic()
        if now - self._lined.get(what, self._began) < _SECONDS_BETWEEN_LINES:
            return False
        self._lined[what] = now
        return True


class _Bar:
    """One trial as a bar: steps, loss, Dice so far, wait for data, time left."""

    def __init__(self, bars: Progress, name: str) -> None:
        self._bars, self._name, self._dice = bars, printable(name), ""
        self._task = bars.add_task(self._name, total=None, note="")

    def remove(self) -> None:
        self._bars.remove_task(self._task)

    def stage(self, text: str) -> None:
        self.remove()  # a new one: the time left starts anew
        self._task = self._bars.add_task(self._name, total=None, note=text)

    def step(self, step: int, steps: int, loss: float, waiting: float) -> None:
        note = f"loss {loss:.3f}{self._dice}, {waiting:.0%} waiting for data"
        self._bars.update(self._task, completed=step, total=steps, note=note)

    def dice(self, value: float) -> None:
        self._dice = f", validation Dice {value:.3f}"

    def part(self, done: int, total: int) -> None:
        self._bars.update(self._task, completed=done, total=total)


class _Lines:
    """One trial as plain lines, a few per minute at most."""

    def __init__(self, name: str, ended: int, total: int) -> None:
        self._name = f"[{ended + 1}/{total}] {name}"
        self._stage, self._last = "", time.monotonic()
        self._dice = ""
        self._began: tuple[int, float] | None = None

    def _line(self, text: str, last: bool) -> None:
        now = time.monotonic()
        if last or now - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = now
            say(f"{self._name}: {text}")

    def stage(self, text: str) -> None:
        self._stage = text
        self._line(text, last=True)

    def step(self, step: int, steps: int, loss: float, waiting: float) -> None:
        now = time.monotonic()
        first, since = self._began or (step, now)
        self._began = (first, since)
        left = (now - since) / max(1, step - first) * (steps - step)
        text = (
            f"step {step} of {steps}, loss {loss:.3f}{self._dice}, {waiting:.0%} waiting for data"
        )
        last = step == steps
        self._line(text if last else f"{text}, {left:.0f} s left", last)

    def dice(self, value: float) -> None:
        self._dice = f", validation Dice {value:.3f}"

    def part(self, done: int, total: int) -> None:
        self._line(f"{self._stage}: {done} of {total}", last=done == total)


@contextmanager
def board() -> Iterator[Board]:
    """Show what happens in the block."""
    if not sys.stderr.isatty():
        yield Board(None)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    console = Console(stderr=True)
    # Rich would send what is printed for stdout to its own console, stderr.
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bars:
        yield Board(bars)
