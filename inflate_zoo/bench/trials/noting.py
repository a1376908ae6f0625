"""Notes how far a running trial is, in a file that anybody may read."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from inflate_zoo.bench.definitions.trial_progress import PROGRESS, Stage, TrialProgress
from inflate_zoo.bench.training.progress import Watcher
from inflate_zoo.errors import WriteError
from inflate_zoo.files.writing.contents import form_text
from inflate_zoo.files.writing.whole_files import replace_text


class Noting:
    """Passes on what a trial tells, and remembers it; another thread writes it down.

    Args:
        watcher: Told everything.
        host: The machine.
        device: The name of its device.
        clock: Seconds from anywhere.
    """

    def __init__(
        self,
        watcher: Watcher,
        host: str,
        device: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watcher, self._clock = watcher, clock
        self._first: tuple[int, float] | None = None  # the first step of this attempt, and when
        self.progress = TrialProgress(host=host, device=device)

    def write(self, folder: Path) -> None:
        """Write it into the trial's folder, where that can be done: nothing depends on it."""
        with suppress(WriteError):
            replace_text(folder / PROGRESS, form_text(self.progress))

    def _note(self, **fields: object) -> None:
        self.progress = self.progress.model_copy(update=fields)

    def stage(self, stage: Stage) -> None:
        """A new part of the work begins."""
        self._note(stage=stage, done=None, total=None)
        self._watcher.stage(stage)

    def resumed(self, step: int) -> None:
        """A killed training goes on."""
        self._note(step=step)
        self._watcher.resumed(step)

    def step(self, step: int, steps: int, loss: float, waiting: float) -> None:
        """An optimiser step is done."""
        now = self._clock()
        first, since = self._first = self._first or (step, now)
        per_step = (now - since) / (step - first) if step > first else None
        finite = loss if math.isfinite(loss) else None
        self._note(step=step, steps=steps, loss=finite, waiting=waiting, per_step=per_step)
        self._watcher.step(step, steps, loss, waiting)

    def dice(self, value: float) -> None:
        """A validation is done."""
        self._note(dice=value)
        self._watcher.dice(value)

    def part(self, done: int, total: int) -> None:
        """Part of a stage without steps is done."""
        self._note(done=done, total=total)
        self._watcher.part(done, total)
