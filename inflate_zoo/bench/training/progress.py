"""What a running trial tells whoever watches."""

from __future__ import annotations

from typing import Protocol

from inflate_zoo.bench.definitions.trial_progress import Stage


class Watcher(Protocol):
    """Told how a trial goes; shows it, or does nothing."""

    def stage(self, stage: Stage) -> None:
        """A new part of the work begins, in this order."""

    def resumed(self, step: int) -> None:
        """A killed training goes on; so many steps are done."""

    def step(self, step: int, steps: int, loss: float, waiting: float) -> None:
        """An optimiser step is done; `waiting` is the share of time spent waiting for data."""

    def dice(self, value: float) -> None:
        """A validation is done."""

    def part(self, done: int, total: int) -> None:
        """Part of a stage without steps is done."""


class Silent:
    """Watches nothing."""

    def stage(self, stage: Stage) -> None:
        """Nothing."""

    def resumed(self, step: int) -> None:
        """Nothing."""

    def step(self, step: int, steps: int, loss: float, waiting: float) -> None:
        """Nothing."""

    def dice(self, value: float) -> None:
        """Nothing."""

    def part(self, done: int, total: int) -> None:
        """Nothing."""
