"""How long a run of many trials will take, from its first measured steps on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

_FEWEST = 3  # intervals between steps that are measured, the first steps aside: they warm up


@dataclass
class _Running:
    began: float
    first: int = 0  # the step after which it was first seen
    since: float = 0.0
    step: int = 0
    seen: float = 0.0
    steps: int = 0

    @property
    def per_step(self) -> float | None:
        """Seconds of a step, measured."""
        done = self.step - self.first
        return (self.seen - self.since) / done if self.steps and done >= _FEWEST else None

    @property
    def whole(self) -> float | None:
        """Seconds of the trial from nothing to the end of its training."""
        each = self.per_step
        return None if each is None else self.since - self.began + each * self.steps


class Pace:
    """Told when trials begin, step and end.

    Args:
        total: Trials, those included that are done already.
        at_once: Trials at a time.
        over: Names of those that are done already, as far as is known.
        clock: Seconds from anywhere.
    """

    def __init__(
        self,
        total: int,
        at_once: int,
        over: Iterable[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total, self._over = total, set(over)
        self.at_once, self._clock = at_once, clock
        self._running: dict[str, _Running] = {}
        self._took: list[float] = []

    @property
    def ended(self) -> int:
        """Trials that have ended, those included that were done already."""
        return len(self._over)

    def begin(self, name: str) -> None:
        """A trial begins."""
        self._over.discard(name)
        self._running[name] = _Running(self._clock())

    def step(self, name: str, step: int, steps: int) -> None:
        """So many steps of a trial are done."""
        trial, now = self._running[name], self._clock()
        if not trial.steps:
            trial.first, trial.since, trial.steps = step, now, steps
        trial.step, trial.seen = step, now

    def end(self, name: str) -> None:
        """A trial ended, whether or not it had begun here."""
        self._over.add(name)
        trial = self._running.pop(name, None)
        if trial is None or trial.whole is None or trial.step < trial.steps:
            return
        lacking = (trial.first - 1) * (trial.per_step or 0.0)  # steps that an earlier attempt did
        self._took.append(self._clock() - trial.began + lacking)

    def per_step(self) -> float | None:
        """Seconds of a step, of the slowest trial that runs."""
        return max((each for t in self._running.values() if (each := t.per_step)), default=None)

    def left_of(self, name: str) -> float | None:
        """Seconds until a trial has trained."""
        trial = self._running[name]
        each = trial.per_step
        return None if each is None else each * (trial.steps - trial.step)

    def left(self) -> float | None:
        """Seconds until all trials have ended; `None` before anything was measured."""
        known = self._took or [w for t in self._running.values() if (w := t.whole) is not None]
        if not known:
            return None
        typical, now = sum(known) / len(known), self._clock()
        waiting = self.total - self.ended - len(self._running)
        begun = sum(self._rest(trial, typical, now) for trial in self._running.values())
        others = max(self.at_once, len(self._running))  # other processes run some as well
        busy = max(1, min(others, waiting + len(self._running)))
        return (waiting * typical + begun) / busy

    def _rest(self, trial: _Running, typical: float, now: float) -> float:
        spent = now - trial.began + max(0, trial.first - 1) * (trial.per_step or 0.0)
        return max(0.0, typical - spent)
