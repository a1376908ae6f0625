"""From what was asked for to trials: data checked, prepared and split, sources converted."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from inflate_zoo.bench.arms.making import ArmRequest, make_arms
from inflate_zoo.bench.data.cases import prepare
from inflate_zoo.bench.data.checking import check
from inflate_zoo.bench.data.deriving import derive_task, resolve_task
from inflate_zoo.bench.data.layouts import read_dataset
from inflate_zoo.bench.data.splits import (
    Parts,
    chosen_by_test,
    divide,
    divide_as_published,
    require_digest,
)
from inflate_zoo.bench.definitions.catalog import load_task
from inflate_zoo.bench.definitions.datasets import Dataset
from inflate_zoo.bench.definitions.progress import StageProgress
from inflate_zoo.bench.definitions.protocols import ChannelRule, Protocol
from inflate_zoo.bench.definitions.tasks import Split, Task
from inflate_zoo.bench.definitions.trials import CaseNames, Place, TrialSpec
from inflate_zoo.errors import ConfigError, UsageError

_MOST_WARNINGS = 8
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for.

    Attributes:
        data: Folder of the data set.
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

    data: Path
    dataset: str | None
    wanted: ArmRequest
    protocol: Protocol
    seeds: int
    folds: tuple[int, ...] | None
    rule: ChannelRule
    out: Path | None
    cache: Path
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Planned:
    """Trials that are not on disk yet.

    Attributes:
        out: Run folder.
        trials: Specification and place of each, in the order in which they should run.
    """

    out: Path
    trials: tuple[tuple[TrialSpec, Place], ...]


def plan(request: Request, say: Say, progress: StageProgress) -> Planned:
    """Check and prepare the data, find and convert the sources, list the trials.

    Args:
        request: What was asked for.
        say: Told what happens.
        progress: Told what is counted, how much is done, how much there is.

    Raises:
        UsageError: The data set or a source cannot be used; every bad case is counted.
        HubError: The Hub could not be reached, or refused.
    """
    dataset = _checked(request.data, say, progress)
    named = load_task(request.dataset) if request.dataset else None
    names = [case.name for case in dataset.cases]
    if named:
        require_digest(named, names)
        _require_same_form(named, dataset)
    trials: list[tuple[TrialSpec, Place]] = []
    for fold, parts in _folds(request, named, dataset).items():
        if request.protocol.data.select_on == "test":
            drawn = named if request.protocol.data.split == "paper" else None
            parts = chosen_by_test(parts, drawn.paper_split if drawn else None)
        cases = CaseNames(train=parts.train, validation=parts.validation, test=parts.test)
        training = [*parts.train, *parts.validation]
        task = named or derive_task(dataset, training, _slug(dataset.name))
        protocol = request.protocol.of_task(task.name)
        task = resolve_task(task, protocol.data)
        entries = prepare(
            task,
            dataset,
            names,
            request.cache,
            lambda done, total: progress("cases prepared", done, total),
        )
        made = make_arms(request.wanted, task, protocol, request.rule, request.cache, say)
        # Seeds in the outer loop: what is there after a while is balanced.
        for seed in range(request.seeds):
            for arm in made:
                spec = TrialSpec(
                    task=task,
                    protocol=protocol.of_weights(random=arm.spec.kind == "random"),
                    arm=arm.spec,
                    cases=cases,
                    entries=entries,
                    fold=fold,
                    seed=seed,
                    channel_rule=request.rule,
                )
                place = Place(
                    cache=str(request.cache.resolve()),
                    weights=str(arm.weights.resolve()) if arm.weights else None,
                    command=request.command,
                )
                trials.append((spec, place))
    trials.sort(key=lambda pair: pair[0].seed)
    name = _slug(named.name if named else dataset.name)
    out = request.out or Path("runs") / f"{name}-{request.protocol.name}"
    return Planned(out, tuple(trials))


def _checked(folder: Path, say: Say, progress: StageProgress) -> Dataset:
    """The data set, once every case is known to be good."""
    dataset = read_dataset(folder)
    report = check(dataset, progress=lambda done, total: progress("cases checked", done, total))
    for finding in report.warnings[:_MOST_WARNINGS]:
        say(f"warning: {finding.case or 'data set'}: {finding.what}")
    if (more := len(report.warnings) - _MOST_WARNINGS) > 0:
        say(f"... and {more} more warnings; see all with: inflate-zoo data check {folder.name}")
    if report.bad:
        raise UsageError(
            f"'{folder.name}' has {len(report.bad)} bad cases or entries",
            details=[f"{bad.case or 'dataset.json'}: {bad.what}" for bad in report.bad],
            hint=f"see all with: inflate-zoo data check {folder.name}",
        )
    return dataset


def _folds(request: Request, named: Task | None, dataset: Dataset) -> dict[int, Parts]:
    """The parts of each fold asked for."""
    if request.protocol.data.split == "paper":
        if named is None:
            raise UsageError(
                "the paper's split is known of named tasks only",
                hint="add --dataset, e.g. --dataset msd-task04, or --set data.split=folds",
            )
        if request.folds not in (None, (0,)):
            raise UsageError("the paper's split has one fold", hint="leave out --folds")
        return {0: divide_as_published(named, dataset.listed)}
    names = [case.name for case in dataset.cases]
    rule = named.split if named else Split()
    folds = tuple(range(rule.folds)) if request.folds is None else request.folds
    if wrong := [fold for fold in folds if not 0 <= fold < rule.folds]:
        raise UsageError(
            f"no fold {wrong[0]}: there are {rule.folds}, from 0",
            hint=f"choose from 0 to {rule.folds - 1}",
        )
    return {fold: divide(names, rule, fold) for fold in folds}


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
