"""Runs trials on a Ray cluster: a task for each, which starts a process of its own on some node.

How a trial stands lies in its folder, on a disk that all nodes share. So nothing is lost with a
node, nor with the driver, which may be killed and started again.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from inflate_zoo import interrupts
from inflate_zoo.bench.definitions.trial_folder import TrialFolder
from inflate_zoo.bench.engines import ray_node
from inflate_zoo.bench.engines.engine import Shown, Tally, signal_name, signal_of
from inflate_zoo.bench.engines.ray_cluster import (
    Node,
    connected,
    look,
    nodes_of,
    refusal,
    task_failed,
)
from inflate_zoo.bench.engines.ray_course import Course, Loss
from inflate_zoo.bench.engines.ray_node import Check, Ending, Order, Sight
from inflate_zoo.bench.engines.ray_tasks import TaskShare, demands_of, share, together
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.errors import UsageError, WorkError
from inflate_zoo.files.writing.whole_files import replace_text, writing
from inflate_zoo.stops import EXIT_CODE
from inflate_zoo.texts import plural

FOLDER = "ray"  # of the run folder: what the tasks print
MESSAGES = "messages.log"  # there, what Ray itself says
_AHEAD = 200  # tasks that Ray has beyond those that run: enough for a cluster that grows
_PATIENCE = 1.0  # seconds to wait for a task that ends
_OLD_SECONDS = 30 * 86400.0  # longer than any command runs
_COUNT_SECONDS = 10.0  # between two counts of the nodes


@dataclass(frozen=True, slots=True)
class Ray:
    """A Ray cluster: `RAY_ADDRESS`, or one that runs on this machine, or one that is started.

    Attributes:
        out: The run folder, which all nodes share.
        since: From when on failures count, in seconds since 1970.
        cpus: Cores of a task; `None` decides.
        gpus: GPUs of a task; `None` decides.
        others: Further resources of a task.
    """

    out: Path
    since: float
    cpus: float | None = None
    gpus: float | None = None
    others: tuple[tuple[str, float], ...] = ()

    def run(self, trials: Sequence[TrialFolder], demands: Resources, shown: Shown) -> Tally:
        """Run trials, wait for those that others hold, and say how all ended.

        Args:
            trials: Their folders.
            demands: What each of them may use.
            shown: Told what happens.

        Raises:
            UsageError: Ray is not installed, or no node has what a trial is to have.
            WorkError: There is no cluster, or a node cannot take trials.
        """
        over = {trial.folder for trial in trials if trial.done}
        if len(over) == len(trials):
            return _none_left(trials, shown)
        with self._messages(), connected(shown) as ray, self._token() as token:
            nodes = nodes_of(ray)
            task = share(demands, self.cpus, self.gpus, self.others, [n.resources for n in nodes])
            takers = [node for node in nodes if task.fitting(node.resources)]
            if not takers:
                raise _no_node(task)
            check = self._check(token, demands_of(demands, task))
            takers = look(ray, takers, check)
            places = sum(task.fitting(node.resources) for node in takers)
            named = f"{plural(len(takers), 'node')} of the Ray cluster"
            shown.say(f"{named}: {places} at a time, {task.told()} each")
            driver = _Driver(self, ray, task, check, demands_of(demands, task), shown)
            return driver.run(trials, [t for t in trials if t.folder not in over], takers)

    @contextmanager
    def _messages(self) -> Iterator[None]:
        """Ray prints of nodes and workers that die, pages each time, to where results go."""
        path = self.out / FOLDER / MESSAGES
        with writing(path.name):
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = path.open("a", encoding="utf-8")
        try:
            with stream, redirect_stdout(stream):
                yield
        finally:
            with suppress(OSError):
                if not path.stat().st_size:
                    path.unlink()

    @contextmanager
    def _token(self) -> Iterator[str]:
        """A file in the run folder that was not there a moment ago."""
        token = f"{FOLDER}/.seen-{uuid.uuid4().hex}"
        replace_text(self.out / token, "")
        self._remove_old((self.out / token).stat().st_mtime)
        try:
            yield token
        finally:
            with suppress(OSError):
                (self.out / token).unlink()

    def _remove_old(self, now: float) -> None:
        """Remove those of commands that were killed; others of this run may still be at work."""
        for path in (self.out / FOLDER).glob(".seen-*"):
            with suppress(OSError):
                if now - path.stat().st_mtime > _OLD_SECONDS:
                    path.unlink()

    def _check(self, token: str, demands: Resources) -> Check:
        words = ("bench-trial", "--from", str(self.out.resolve()), "--check", *_words(demands))
        return Check(str(self.out.resolve()), token, words, demands.threads or 1)


class _Driver:
    """Orders tasks and sees to their ends."""

    def __init__(
        self,
        engine: Ray,
        ray: ModuleType,
        task: TaskShare,
        check: Check,
        demands: Resources,
        shown: Shown,
    ) -> None:
        self._engine, self._ray, self._task, self._check = engine, ray, task, check
        self._words, self._shown = _words(demands), shown
        # Of a task that Ray itself runs again nobody hears, and of what memory does not hold it
        # does so for ever: how often is for the course to say, by what there is to show.
        self._remote = ray.remote(max_retries=0)(ray_node.run)
        self._known: frozenset[str] = frozenset()
        self._tasks: dict[Any, tuple[TrialFolder, ...]] = {}
        self._at_once, self._counted = 0, time.monotonic()

    def run(
        self, trials: Sequence[TrialFolder], left: Sequence[TrialFolder], nodes: Sequence[Node]
    ) -> Tally:
        """Until all have ended.

        Args:
            trials: All of them.
            left: Those that are not done.
            nodes: Those that can take them.
        """
        self._known = frozenset(node.name for node in nodes)
        self._at_once = self._places(nodes)
        self._shown.begin(trials, self._at_once)
        shares = self._task.with_whole_gpus() != self._task
        groups = list(together(left, self._at_once))
        course = Course(trials, groups, self._engine.since, self._shown, shares=shares)
        try:
            while not course.over:
                self._order(course)
                self._hear(course)
                course.look()
                self._count()
        except KeyboardInterrupt:
            self._shown.interrupted()
            raise
        finally:
            self._end()
        return course.tally()

    def _order(self, course: Course) -> None:
        if len(self._tasks) >= self._at_once + _AHEAD:
            return
        for trials in course.startable():
            ordered = tuple((str(t.folder.resolve()), course.since(t)) for t in trials)
            name = trials[0].folder.name
            log = self._engine.out.resolve() / FOLDER / f"{name}.log"
            order = Order(ordered, (*self._words, "--no-wait"), str(log), self._check, self._known)
            alone = course.alone.issuperset(trial.folder for trial in trials)
            task = self._task.with_whole_gpus() if alone else self._task
            ref = self._remote.options(name=f"trial-{name}", **task.options()).remote(order)
            self._tasks[ref] = trials
            if len(self._tasks) >= self._at_once + _AHEAD:
                return

    def _hear(self, course: Course) -> None:
        if not self._tasks:
            time.sleep(_PATIENCE)
            return
        ready, _ = self._ray.wait(list(self._tasks), num_returns=1, timeout=_PATIENCE)
        for ref in ready:
            trials = self._tasks.pop(ref)
            try:
                loss = _loss(self._ray.get(ref), trials)
            except self._ray.exceptions.RayError as error:
                interrupts.check()
                loss = _lost(self._ray, error)
            course.settle(trials, loss)

    def _count(self) -> None:
        """Nodes come and go."""
        if time.monotonic() - self._counted < _COUNT_SECONDS:
            return
        self._counted = time.monotonic()
        if (places := self._places(nodes_of(self._ray))) not in (0, self._at_once):
            self._at_once = places
            self._shown.change(places)

    def _places(self, nodes: Sequence[Node]) -> int:
        return sum(self._task.fitting(node.resources) for node in nodes)

    def _end(self) -> None:
        """End what still runs: it saves first."""
        if not self._tasks:
            return
        with suppress(self._ray.exceptions.RayError, ConnectionError):
            for ref in self._tasks:
                self._ray.cancel(ref, force=False)
            refs = list(self._tasks)
            self._ray.wait(refs, num_returns=len(refs), timeout=ray_node.GRACE_SECONDS)


def _none_left(trials: Sequence[TrialFolder], shown: Shown) -> Tally:
    shown.begin(trials, 1)
    for trial in trials:
        shown.ended(trial, "done")
    return Tally(tuple(trials), ())


def _no_node(task: TaskShare) -> UsageError:
    return UsageError(
        f"no node of the Ray cluster has what a trial is to have: {task.told()}",
        hint="ask for less with --cpus, --gpus or --resource; of a cluster that grows by itself "
        "start one node first",
    )


def _words(demands: Resources) -> tuple[str, ...]:
    """The options of `bench-trial` for what a trial may use."""
    words = ["--device", demands.device or "cpu", "--threads", str(demands.threads or 1)]
    words += [] if demands.workers is None else ["--workers", str(demands.workers)]
    words += demands.tracker_words
    return (*words, *["--compile"] * demands.compiled)


def _loss(told: Ending | Sight, trials: Sequence[TrialFolder]) -> Loss | None:
    """What a task says of its command's end, if that is not of the trials' own making.

    Raises:
        WorkError: Its node cannot take trials.
    """
    if isinstance(told, Sight):
        raise refusal([told])
    code, tail = told.code, "; ".join(told.tail[-1:])
    if code == ray_node.REFUSED:
        raise WorkError(
            f"node '{told.host}' cannot run trial {trials[0].folder.name}",
            details=told.tail,
            hint="mend that on the node, or keep it out of the cluster, and run the same command",
        )
    if code == 0:
        return None
    if code == EXIT_CODE:
        return Loss(f"it was asked to leave '{told.host}'", counts=False)
    if told.memory:
        return Loss(f"memory ran out on '{told.host}'", memory=True)
    if (number := signal_of(code)) is not None:
        return Loss(f"its process on '{told.host}' was ended by {signal_name(number)}")
    return Loss(f"its process on '{told.host}' ended with exit code {code}: {tail}")


def _lost(ray: ModuleType, error: Exception) -> Loss:
    """Why a task never ended by itself.

    Raises:
        WorkError: For a reason that the next one would meet as well.
    """
    kinds = ray.exceptions
    if isinstance(error, kinds.OutOfMemoryError):
        return Loss("memory ran out on its node", memory=True)
    if isinstance(error, kinds.NodeDiedError | kinds.ObjectLostError):
        return Loss("its node was lost")
    if isinstance(error, kinds.WorkerCrashedError | kinds.LocalRayletDiedError):
        return Loss("its Ray worker died")
    if isinstance(error, kinds.TaskCancelledError):
        return Loss("its task was cancelled")
    raise task_failed(error)
