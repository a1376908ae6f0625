"""Training one trial: from derived windows to selected weights, resumable after any kill.

Nothing random is stored: windows, drop path and initial weights follow from the trial's seed and
the step, so a checkpoint is weights, optimiser state and curves.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import active_children
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.utils.data import DataLoader

from inflate_zoo import stops
from inflate_zoo.bench.definitions.trials import TrialSpec
from inflate_zoo.bench.training.checkpointing import (
    BEST,
    CHECKPOINT,
    State,
    load_best,
    resume,
    save_best,
    save_checkpoint,
)
from inflate_zoo.bench.training.events import Events
from inflate_zoo.bench.training.features import FeatureWindows
from inflate_zoo.bench.training.progress import Watcher
from inflate_zoo.bench.training.sampling import (
    FailedWindow,
    Group,
    Windows,
    collate,
    quiet_worker,
)
from inflate_zoo.bench.training.stepper import Stepper
from inflate_zoo.bench.training.stepping import GroupSampler
from inflate_zoo.bench.training.trackers import Track, untracked
from inflate_zoo.errors import DeadWorkerError, UsageError, WindowError, out_of_memory
from inflate_zoo.segmentation.segmenter import Segmenter
from inflate_zoo.stops import Stopped
from inflate_zoo.texts import plural

LOOK_SECONDS = 10.0  # of silence after which a process asks whether its trial is still its own

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from accelerate import Accelerator


class Trainer:
    """Trains one network.

    Args:
        spec: The trial.
        network: Its network, new.
        windows: Training windows, or features of them, by number.
        folder: The trial's folder.
        accelerator: Device, precision, processes.
        watcher: Told how it goes.
        guard: Raises if the trial was taken over; called before anything is written.
        validate: Gives the mean Dice on the inner validation cases.
        workers: Processes that make windows.
        compiled: Whether torch compiles the network: a minute at the start for quicker steps.
        track: Told the curves, as the record has them.

    Raises:
        UsageError: More processes than groups of windows share the trial.
    """

    def __init__(
        self,
        spec: TrialSpec,
        network: Segmenter,
        windows: Windows | FeatureWindows,
        folder: Path,
        accelerator: Accelerator,
        *,
        watcher: Watcher,
        guard: Callable[[], None],
        validate: Callable[[], float | None],
        workers: int,
        compiled: bool = False,
        track: Track = untracked,
    ) -> None:
        self._spec, self._settings = spec, spec.protocol.train
        self._network, self._windows, self._folder = network, windows, folder
        self._accelerator, self._watcher, self._guard = accelerator, watcher, guard
        self._validate, self._workers, self._track = validate, workers, track
        settings = self._settings
        processes = accelerator.num_processes
        if processes > (count := settings.batch // settings.dice_group):
            raise UsageError(
                f"{processes} processes share a trial whose steps have {count} groups of windows",
                hint=f"start at most {count}, or make groups smaller: --set train.dice_group=1",
            )
        self._stepper = Stepper(spec, network, accelerator, compiled=compiled)
        self._children: list[BaseProcess] = []  # that make the windows
        self._threads = torch.get_num_threads() if accelerator.device.type == "cpu" else 0
        self.state = State(trial=folder.name, threads=self._threads)
        self._saved = 0  # the step that the checkpoint holds
        self._looked = time.monotonic()

    def run(self) -> State:
        """Train to the end; the first process's network then holds the selected weights.

        Raises:
            Stopped: That was asked, and what is done is saved.
        """
        main = self._accelerator.is_main_process
        if state := resume(self._folder, self._network, self._stepper.optimizer, main=main):
            self.state, self._saved = state, state.step
            self._goes_on()
            self._keep_best()  # the kill may have come between the two files
        writer = None
        if self._accelerator.is_main_process:
            # What a killed attempt wrote after its last checkpoint is purged.
            after = self.state.step + 1
            writer = Events(self._folder / "events", after)
        try:
            if self.state.unjudged:
                self._judge(writer)
            self._steps(writer)
        except Stopped:
            if self.state.step > self._saved:
                self._save()
            self._accelerator.wait_for_everyone()  # who leaves first ends the others
            raise
        finally:
            if writer is not None:
                writer.close()
        self._stepper.forget_graphs()  # others may need their memory
        # The others score nothing, and know no validation since the checkpoint they went on from.
        if main and self._settings.select == "best" and self.state.best is not None:
            load_best(self._folder / BEST, self._network, self.state)
        return self.state

    def _goes_on(self) -> None:
        """Say where a killed training goes on, and whether it will round as it began."""
        before, self.state.threads = self.state.threads, self._threads
        if not self._accelerator.is_main_process:
            return
        self._watcher.resumed(self.state.step)
        if before and self._threads and before != self._threads:
            warnings.warn(
                f"trial {self._folder.name} began with {plural(before, 'thread')} and goes on with "
                f"{self._threads}; the result rounds otherwise, unless --threads is {before}",
                stacklevel=2,
            )

    @property
    def selected_step(self) -> int:
        """The step whose weights were kept."""
        best = self.state.best if self._settings.select == "best" else None
        return self._settings.steps if best is None else best

    def _steps(self, writer: Events | None) -> None:
        settings, state, world = self._settings, self.state, self._accelerator
        sampler = GroupSampler(settings, state.step, world.process_index, world.num_processes)
        loader = DataLoader(
            self._windows,
            batch_sampler=sampler,
            collate_fn=collate,
            num_workers=self._workers,
            worker_init_fn=partial(quiet_worker, asked_to_stop=stops.heeding()),
            pin_memory=world.device.type == "cuda",
        )
        others = set(active_children())
        groups = iter(loader)
        self._children = [child for child in active_children() if child not in others]
        began = time.perf_counter()
        spent = state.seconds
        try:
            while state.step < settings.steps:
                asked = time.perf_counter()
                batch = self._next(groups, sampler)
                state.waiting += time.perf_counter() - asked
                loss = self._stepper.step(state, batch, sampler.of(state.step))
                state.step += 1
                state.recent.append(loss)
                stepped = time.perf_counter()
                state.seconds = spent + stepped - began
                self._watcher.step(state.step, settings.steps, loss, state.waiting / state.seconds)
                self._note(writer, loss)
                state.pausing += time.perf_counter() - stepped
                if self._stopping():
                    raise Stopped
        finally:
            del groups  # ends its workers now, and not once an error's traceback is collected
        state.seconds = spent + time.perf_counter() - began

    def _next(self, groups: Iterator[Group | FailedWindow], sampler: GroupSampler) -> list[Group]:
        """The groups of a step."""
        try:
            found = [next(groups) for _ in range(sampler.per_step)]
        except RuntimeError as error:  # torch has no type for it
            if not any(child.exitcode for child in self._children):
                raise
            names = {key: name for name, key in self._spec.entries.items()}
            numbers = [number for group in sampler.of(self.state.step) for number in group]
            keys = {self._windows.key(number) for number in numbers}
            raise DeadWorkerError(sorted(names.get(key, key) for key in keys)) from error
        made = []
        for group in found:
            if isinstance(group, FailedWindow):
                raise WindowError(*group)
            made.append(group)
        return made

    def _stopping(self) -> bool:
        """Whether any of the processes that share the trial was asked to stop."""
        if self._accelerator.num_processes == 1:
            return stops.asked()
        mine = torch.tensor(float(stops.asked()), device=self._accelerator.device)
        return bool(self._accelerator.reduce(mine, "sum") > 0)

    def _note(self, writer: Events | None, loss: float) -> None:
        """Curves, validation and checkpoint after a step."""
        settings, state = self._settings, self.state
        last = state.step == settings.steps
        if writer is not None:
            self._look()
            writer.scalar("loss", loss, state.step)
        if state.step % max(1, settings.steps // 200) == 0 or last:
            state.loss.append((state.step, sum(state.recent) / len(state.recent)))
            self._track({"loss": state.loss[-1][1]}, state.step)
            state.recent = []
        self._judge(writer)

    def _look(self) -> None:
        """Ask now and then whether the trial was taken over: it may be after a long silence."""
        now = time.monotonic()
        if now - self._looked > LOOK_SECONDS:
            self._guard()
        self._looked = now

    def _judge(self, writer: Events | None) -> None:
        """Validation and checkpoint after a step."""
        settings, state = self._settings, self.state
        last = state.step == settings.steps
        state.unjudged = True
        if settings.validate_every and (state.step % settings.validate_every == 0 or last):
            if writer is not None:
                self._validated(writer)
            self._accelerator.wait_for_everyone()
        state.unjudged = False
        # The best weights are kept only together with a checkpoint that knows of them.
        if state.step % settings.checkpoint_every == 0 or last or state.best == state.step:
            self._save()

    def _validated(self, writer: Events) -> None:
        dice = self._validation_dice()
        if dice is None:
            return
        state = self.state
        earlier = max((value for _, value in state.validation_dice), default=-1.0)
        state.validation_dice.append((state.step, dice))
        writer.scalar("validation_dice", dice, state.step)
        self._track({"validation_dice": dice}, state.step)
        self._watcher.dice(dice)
        if self._settings.select == "best" and dice > earlier:
            state.best = state.step

    def _validation_dice(self) -> float | None:
        """Of the weights as they are; where memory runs out, graphs give theirs."""
        try:
            return self._validate()
        except Exception as error:
            if not self._stepper.holds_graphs or not out_of_memory(error):
                raise
        # Not where the error is caught: until then it holds what did not fit.
        self._stepper.forget_graphs()
        return self._validate()

    def _save(self) -> None:
        if self._accelerator.is_main_process:
            self._guard()
            path, optimizer = self._folder / CHECKPOINT, self._stepper.optimizer
            save_checkpoint(path, self._network, optimizer, self.state, self._guard)
            self._saved = self.state.step
            self._keep_best()

    def _keep_best(self) -> None:
        """Keep the weights where those of now are the best so far."""
        if self._accelerator.is_main_process and self.state.best == self.state.step:
            self._guard()
            save_best(self._folder / BEST, self._network, self.state, self._guard)
