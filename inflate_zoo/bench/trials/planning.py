"""From what was asked for to trials: sources found, data checked and split, sources converted."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inflate_zoo.bench.arms.making import ArmRequest, ResolvedArms, resolve_arms
from inflate_zoo.bench.data.cases import prepare
from inflate_zoo.bench.data.checking import check
from inflate_zoo.bench.data.deriving import derive_task, resolve_task
from inflate_zoo.bench.data.layouts import read_dataset
from inflate_zoo.bench.data.remembered import Remembered
from inflate_zoo.bench.data.splits import (
    Parts,
    chosen_by_test,
    divide,
    divide_as_published,
    require_digest,
)
from inflate_zoo.bench.definitions.catalog import bundled, load_task
from inflate_zoo.bench.definitions.datasets import Dataset
from inflate_zoo.bench.definitions.progress import Say, StageProgress
from inflate_zoo.bench.definitions.protocols import ChannelRule, Protocol
from inflate_zoo.bench.definitions.tasks import Split, Task
from inflate_zoo.bench.definitions.trials import CaseNames, Place, TrialSpec, window_of
from inflate_zoo.errors import ConfigError, UsageError
from inflate_zoo.files.reading import called
from inflate_zoo.texts import plural

_MOST_WARNINGS = 8
_TOKENS_DEEP = 6  # fewer did worse, and twice as many hardly better


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What was asked for, the data aside.

    Attributes:
        dataset: Task file or its name; `None` derives a task from the data.
        wanted: What is compared.
        protocol: How trials run.
        seeds: Trainings of each arm and fold.
        folds: Folds, from 0; `None` for all.
        rule: How the stem takes several channels.
        out: Run folder; `None` for `runs/<task>-<protocol>`.
        cache: Cache folder.
        command: The command, without local paths.
    """

    dataset: str | None
    wanted: ArmRequest
    protocol: Protocol
    seeds: int
    folds: tuple[int, ...] | None
    rule: ChannelRule
    out: Path | None
    cache: Path
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Comparison):
    """What was asked for.

    Attributes:
        data: Folder of the data set.
    """

    data: Path


@dataclass(frozen=True, slots=True)
class Resolved:
    """What was asked for, as far as it is known without the data.

    Attributes:
        asked: What was asked for.
        task: The task, if it was named.
        arms: What is compared, found and understood.
        folds: Folds, from 0.
    """

    asked: Comparison
    task: Task | None
    arms: ResolvedArms
    folds: tuple[int, ...]

    @property
    def trials(self) -> int:
        """How many there will be."""
        return self.arms.count * self.asked.seeds * len(self.folds)

    def out(self, data: Path) -> Path:
        """The run folder; a derived task is called as its data are."""
        name = _slug(self.task.name if self.task else data.resolve().name)
        return self.asked.out or Path("runs") / f"{name}-{self.asked.protocol.name}"


@dataclass(frozen=True, slots=True)
class Planned:
    """Trials that are not on disk yet.

    Attributes:
        out: Run folder.
        trials: Specification and place of each, in the order in which they should run.
    """

    out: Path
    trials: tuple[tuple[TrialSpec, Place], ...]


def resolve(asked: Comparison) -> Resolved:
    """Find out everything that can be known before data are read: nothing wrong is to wait for it.

    Raises:
        UsageError: There is no such task, fold or scheme, or a source cannot be used.
        HubError: The Hub could not be reached, or refused.
    """
    named = load_task(asked.dataset) if asked.dataset else None
    folds = _folds(asked, named)
    arms = resolve_arms(asked.wanted, asked.protocol, asked.rule, asked.cache)
    return Resolved(asked, named, arms, folds)


def plan(request: Request, say: Say, progress: StageProgress) -> Planned:
    """`resolve`, then `plan_resolved`."""
    return plan_resolved(resolve(request), request.data, say, progress)


def plan_resolved(resolved: Resolved, data: Path, say: Say, progress: StageProgress) -> Planned:
    """Check and prepare the data, convert the sources, list the trials.

    Args:
        resolved: What was asked for.
        data: Folder of the data set.
        say: Told what happens.
        progress: Told what is counted, how much is done, how much there is.

    Raises:
        UsageError: The data set or a source cannot be used; every bad case is counted.
        HubError: The Hub could not be reached, or refused.
    """
    request, named = resolved.asked, resolved.task
    remembered = Remembered(request.cache)
    dataset = _checked(data, remembered, say, progress)
    names = [case.name for case in dataset.cases]
    if named:
        require_digest(named, names)
        _require_same_form(named, dataset)
    trials: list[tuple[TrialSpec, Place]] = []
    for fold in resolved.folds:
        parts = _parts(request.protocol, named, dataset, fold)
        if request.protocol.data.select_on == "test":
            drawn = named if request.protocol.data.split == "paper" else None
            parts = chosen_by_test(parts, drawn.paper_split if drawn else None)
        cases = CaseNames(train=parts.train, validation=parts.validation, test=parts.test)
        # The scored cases may choose a checkpoint; a task is derived without them all the same.
        scored = set(parts.test)
        training = [case for case in (*parts.train, *parts.validation) if case not in scored]
        task = named or derive_task(dataset, training, _slug(dataset.name), remembered)
        protocol = request.protocol.of_task(task.name)
        task = resolve_task(task, protocol.data)
        entries = prepare(
            task,
            dataset,
            names,
            request.cache,
            lambda done, total: progress("cases prepared", done, total),
        )
        made = resolved.arms.make(task, protocol, request.cache, say)
        for arm in made:
            spec = TrialSpec(
                task=task,
                protocol=protocol.of_weights(random=arm.spec.kind == "random"),
                arm=arm.spec,
                cases=cases,
                entries=entries,
                fold=fold,
                seed=0,
                channel_rule=request.rule,
            )
            place = Place(
                cache=str(request.cache.resolve()),
                weights=str(arm.weights.resolve()) if arm.weights else None,
                command=request.command,
            )
            # Copies: seeds share what is large, and are not checked again.
            seeds = range(request.seeds)
            trials += [(spec.model_copy(update={"seed": seed}), place) for seed in seeds]
    _tell_misspelt(request.protocol, trials[0][0].task.name, say)
    _tell_shallow([spec for spec, _ in trials], say)
    # Seeds come in rounds: what is there after a while is balanced.
    trials.sort(key=lambda pair: pair[0].seed)
    return Planned(resolved.out(data), tuple(trials))


def _tell_misspelt(protocol: Protocol, task: str, say: Say) -> None:
    """Warn where a protocol has steps or a window of its own for nearly this task."""
    own = {*protocol.task_steps, *protocol.task_window}
    if task in own:
        return
    strangers = sorted(own.difference(bundled("task")))  # others may be of data used elsewhere
    if close := difflib.get_close_matches(task, strangers, n=1, cutoff=0.8):
        say(
            f"warning: protocol '{protocol.name}' has steps or a window for a task "
            f"'{close[0]}', which are not taken: this one is '{task}'",
            urgent=True,
        )


def _tell_shallow(specs: Sequence[TrialSpec], say: Say) -> None:
    """Say which windows are one or two tokens deep, where less deep patches would give more.

    On Task04 two tokens lost more than half of what pre-training brought: benchmarks/README.md.
    """
    for spec in {spec.arm.label: spec for spec in specs}.values():
        if spec.arm.kind != "inflated" or spec.protocol.network.centre_slice:
            continue
        window, depth = window_of(spec)[0], spec.arm.config.patch[0]
        less = max(1, round(window / _TOKENS_DEEP))
        if window <= 2 * depth and less < depth:
            say(
                f"'{spec.arm.label}' sees windows {window} voxels deep as "
                f"{plural(window // depth, 'token')} over depth: try it beside less deep patches, "
                f"SOURCE:patch_depth={less} of its 2D checkpoint"
            )


def _checked(folder: Path, remembered: Remembered, say: Say, progress: StageProgress) -> Dataset:
    """The data set, once every case is known to be good."""
    dataset = read_dataset(folder)
    report = check(dataset, lambda done, total: progress("cases checked", done, total), remembered)
    see = f"see all with: inflate-zoo data check {shlex.quote(str(folder))}"
    for finding in report.warnings[:_MOST_WARNINGS]:
        say(f"warning: {finding.case or 'data set'}: {finding.what}", urgent=True)
    if (more := len(report.warnings) - _MOST_WARNINGS) > 0:
        say(f"... and {plural(more, 'more warning')}; {see}", urgent=True)
    if report.bad:
        raise UsageError(
            f"'{called(folder)}' has {plural(len(report.bad), 'problem')}",
            details=[f"{bad.case or 'data set'}: {bad.what}" for bad in report.bad],
            hint=see,
        )
    return dataset


def _folds(asked: Comparison, named: Task | None) -> tuple[int, ...]:
    """The folds asked for."""
    if asked.protocol.data.split == "paper":
        if named is None:
            raise UsageError(
                "the paper's split is known of named tasks only",
                hint="add --dataset, e.g. --dataset msd-task04, or --set data.split=folds",
            )
        if asked.folds not in (None, (0,)):
            raise UsageError("the paper's split has one fold", hint="leave out --folds")
        return (0,)
    rule = named.split if named else Split()
    folds = tuple(range(rule.folds)) if asked.folds is None else asked.folds
    if wrong := [fold for fold in folds if not 0 <= fold < rule.folds]:
        raise UsageError(
            f"no fold {wrong[0]}: there are {rule.folds}, from 0",
            hint=f"choose from 0 to {rule.folds - 1}",
        )
    return folds


def _parts(protocol: Protocol, named: Task | None, dataset: Dataset, fold: int) -> Parts:
    if protocol.data.split == "paper" and named is not None:
        return divide_as_published(named, dataset.listed)
    names = [case.name for case in dataset.cases]
    return divide(names, named.split if named else Split(), fold)


def _require_same_form(task: Task, dataset: Dataset) -> None:
    if len(task.channels) != len(dataset.channels) or set(task.labels.values()) != set(
        dataset.labels.values()
    ):
        raise ConfigError(
            f"'{dataset.name}' is not the data set of task '{task.name}'",
            details=[
                f"channels: {len(dataset.channels)}, the task has {len(task.channels)}",
                f"labels: {sorted(dataset.labels.values())}, the task has {list(task.values)}",
            ],
            hint="leave out --dataset to derive a task from the data",
        )


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:80].lower() or "task"
