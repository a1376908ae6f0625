"""Trials with their ranking, and what else must be said about them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from inflate_zoo.bench.definitions.protocols import Protocol
from inflate_zoo.bench.definitions.tasks import Task
from inflate_zoo.bench.definitions.trials import WORDS, ArmSpec, CaseNames, Fed, TrialSpec
from inflate_zoo.bench.ranking.ranking import rank
from inflate_zoo.bench.ranking.types import Caveat, Contestant, Outcome, Ranking, TaskRanking
from inflate_zoo.bench.report.baselines import contestants
from inflate_zoo.bench.report.collect import Collected, CollectedTrial
from inflate_zoo.bench.report.conditions import mixed
from inflate_zoo.errors import visible
from inflate_zoo.texts import plural

Floats = NDArray[np.float64]
_RESAMPLES = 2000
# Arms whose network may see other intensities than its weights were made for: how they are marked,
# and why.
DOUBTFUL: Mapping[Fed | None, tuple[str, str]] = MappingProxyType(
    {
        "guessed": (
            "GUESSED",
            "is a guess, as the source states none; if you know it, give --mean and --std",
        ),
        "unknown": (
            "UNKNOWN",
            "is not recorded beside its converted weights; convert the 2D source again",
        ),
        "unfolded": (
            "NOT FOLDED",
            "was not folded into its converted weights; convert the 2D source again with "
            "--fold-normalization",
        ),
    }
)
_MEASURED = {"intensity", "spacing"}  # by a derived task, on the training cases of each fold


@dataclass(frozen=True)
class Study:
    """One task under one protocol.

    Attributes:
        ranking: Its ranking.
        trials: Its trials; at least one.
        caveats: Those that make it no ranking first.
    """

    ranking: TaskRanking
    trials: tuple[CollectedTrial, ...]
    caveats: tuple[Caveat, ...]

    @property
    def title(self) -> str:
        """What it is called in headings."""
        return f"{self.ranking.task}, protocol {self.ranking.protocol}"

    @cached_property
    def arms(self) -> dict[str, ArmSpec]:
        """Label to arm, in the order of the standings."""
        known = {trial.described.arm.label: trial.described.arm for trial in self.trials}
        return {s.arm: known[s.arm] for s in self.ranking.standings if s.arm in known}

    @property
    def protocol(self) -> Protocol:
        """The protocol, with both learning rates where random weights have one of their own."""
        by_kind = {_is_random(t.described): t.described.protocol for t in reversed(self.trials)}
        plain = by_kind.get(False, self.trials[0].described.protocol)
        own = by_kind.get(True, plain).train.learning_rate
        if own == plain.train.learning_rate:
            return plain
        train = plain.train.model_copy(update={"random_learning_rate": own})
        return plain.model_copy(update={"train": train})

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of the regions."""
        return tuple(self.trials[0].described.task.regions)

    @property
    def complete(self) -> list[str]:
        """Arms without a missing trial."""
        return [standing.arm for standing in self.ranking.standings if not standing.missing]

    def finished(self, arm: str) -> list[CollectedTrial]:
        """Trials of an arm that have a record."""
        return self._finished.get(arm, [])

    @cached_property
    def _finished(self) -> dict[str, list[CollectedTrial]]:
        found: dict[str, list[CollectedTrial]] = {}
        for trial in self.trials:
            if trial.record:
                found.setdefault(trial.described.arm.label, []).append(trial)
        return found


@dataclass(frozen=True)
class Results:
    """All studies.

    Attributes:
        ranking: The ranking.
        studies: One per task and protocol, in the ranking's order.
        trials: Every trial.
        left_out: A sentence for every record, or whole trial, that is not to be believed.
    """

    ranking: Ranking
    studies: tuple[Study, ...]
    trials: tuple[CollectedTrial, ...]
    left_out: tuple[str, ...]


def rank_trials(collected: Collected) -> Results:
    """Rank trials and gather the caveats."""
    trials = collected.trials
    parts: dict[tuple[str, str], list[CollectedTrial]] = {}
    for trial in trials:
        told = trial.described
        parts.setdefault((told.task.name, told.protocol.name), []).append(trial)
    unlike = {name: tuple(_unlike(own)) for name, own in parts.items()}
    ranking = rank(_outcomes(trials), unlike)
    studies = []
    for task in ranking.tasks:
        own = parts[task.task, task.protocol]
        notes = (*mixed(own), *_absent(own), *_unknown(task, own), *_doubtful(own))
        known = dict.fromkeys((*task.caveats, *(Caveat("note", note) for note in notes)))
        ordered = sorted(known, key=lambda caveat: caveat.weight != "not a ranking")
        studies.append(Study(task, tuple(own), tuple(ordered)))
    return Results(ranking, tuple(studies), trials, collected.left_out)


def ranking_of(trials: Sequence[CollectedTrial]) -> Ranking:
    """The ranking of trials alone."""
    return rank(_outcomes(trials))


def _outcomes(trials: Sequence[CollectedTrial]) -> list[Outcome]:
    studies: dict[tuple[str, str], list[TrialSpec]] = {}
    for told in (trial.described for trial in trials):
        studies.setdefault((told.task.name, told.protocol.name), []).append(told)
    known = {study: contestants(own) for study, own in studies.items()}
    return [_outcome(trial, known) for trial in trials]


def _outcome(
    trial: CollectedTrial, known: Mapping[tuple[str, str], Mapping[str, Contestant]]
) -> Outcome:
    told = trial.described
    scores = trial.record.result.cases if trial.record else None
    return Outcome(
        task=told.task.name,
        protocol=told.protocol.name,
        contestant=known[told.task.name, told.protocol.name][told.arm.label],
        seed=told.seed,
        fold=told.fold,
        cases=None if scores is None else {each.case: each.regions for each in scores},
    )


def _absent(trials: Sequence[CollectedTrial]) -> Iterator[str]:
    """Which trials have no record, and why."""
    for trial in trials:
        if trial.record:
            continue
        told = trial.described
        who = f"'{visible(told.arm.label)}', fold {told.fold}, seed {told.seed}"
        if trial.doubt is not None:
            yield f"trial left out: {who} ({visible(trial.doubt)})"
            continue
        if trial.failure is None:
            yield f"trial missing: {who} has not run"
            continue
        at = f", case '{visible(trial.failure.case)}'" if trial.failure.case else ""
        why = f"{visible(trial.failure.kind)}: {visible(trial.failure.reason)}{at}"
        yield f"trial failed: {who} ({why})"


def _unknown(task: TaskRanking, trials: Sequence[CollectedTrial]) -> Iterator[str]:
    """Arms that lack trials of which the folders know nothing."""
    folds = {trial.described.fold for trial in trials}
    needed = f"each of {plural(task.seeds, 'seed')} on each of {plural(len(folds), 'fold')}"
    for standing in task.standings:
        known = [t for t in trials if t.described.arm.label == standing.arm and not t.record]
        if absent := standing.missing - len(known):
            lacks = f"'{visible(standing.arm)}' lacks {plural(absent, 'trial')}"
            yield f"trial missing: {lacks}, as an arm needs {needed}"


def _doubtful(trials: Sequence[CollectedTrial]) -> Iterator[str]:
    """Arms that may be fed otherwise than their weights were."""
    found: dict[Fed | None, dict[str, None]] = {}
    for arm in (trial.described.arm for trial in trials):
        if arm.normalization in DOUBTFUL:
            found.setdefault(arm.normalization, {})[f"'{visible(arm.label)}'"] = None
    for fed, arms in found.items():
        names = list(arms)
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        yield f"the input normalisation of {shown} {DOUBTFUL[fed][1]}"


def _unlike(trials: Sequence[CollectedTrial]) -> Iterator[Caveat]:
    """Differences between trials that share the names of task and protocol."""
    described = [trial.described for trial in trials]
    same = "among trials of one name; their values cannot be compared"
    for what, groups in (
        ("protocol", _comparable_protocols(described)),
        ("task", _comparable_tasks(described)),
        ("trial", [[{"channel_rule": told.channel_rule} for told in described]]),
    ):
        found: dict[str, str] = {}
        for group in groups:
            flat = [flattened(value) for value in group]
            for name in differing(flat):
                found.setdefault(name, f"{visible(name)} ({_values(flat, name)})")
        if found:
            shown = "; ".join(list(found.values())[:4])
            more = f" and {len(found) - 4} more" if len(found) > 4 else ""
            yield Caveat("not a ranking", f"the {what} settings differ {same}: {shown}{more}")
    splits: dict[int, set[CaseNames]] = {}
    for told in described:
        splits.setdefault(told.fold, set()).add(told.cases)
    if folds := sorted(fold for fold, different in splits.items() if len(different) > 1):
        shown = ", ".join(map(str, folds))
        yield Caveat("not a ranking", f"the cases of fold {shown} differ between trials")
    if changed := _changed_cases(described):
        count, first = plural(len(changed), "case"), visible(changed[0])
        yield Caveat("not a ranking", f"the data of {count} differ between trials, first '{first}'")


def _is_random(told: TrialSpec) -> bool:
    return told.arm.kind == "random"


def _comparable_protocols(described: Sequence[TrialSpec]) -> list[list[dict[str, Any]]]:
    """Groups of protocols that must be equal: all, but for the learning rate of random weights.

    A protocol may say one for them and one for the sources; a trial holds its own.
    """
    rate = described[0].protocol.train.learning_rate
    one_rate = [told.protocol.of_rate(rate) for told in described]
    kinds = [[told.protocol for told in described if _is_random(told) == kind] for kind in (0, 1)]
    return [_distinct(group, WORDS["protocol"]) for group in (one_rate, *kinds)]


def _comparable_tasks(described: Sequence[TrialSpec]) -> list[list[dict[str, Any]]]:
    """Groups of tasks that must be equal: whole within a fold, without what is measured in all."""
    folds: dict[int, list[Task]] = {}
    for told in described:
        folds.setdefault(told.fold, []).append(told.task)
    return [
        _distinct([told.task for told in described], WORDS["task"] | _MEASURED),
        *(_distinct(tasks, WORDS["task"]) for tasks in folds.values()),
    ]


def _distinct(models: Sequence[BaseModel], left_out: AbstractSet[str]) -> list[dict[str, Any]]:
    """As JSON values, each once: thousands of trials share a few settings.

    Args:
        models: Settings of trials.
        left_out: Words, which change no result: other releases, or `--set` in another order, may
            word them otherwise.
    """
    without = set(left_out)
    different = {model.model_dump_json(exclude=without): model for model in models}
    return [model.model_dump(mode="json", exclude=without) for model in different.values()]


def _changed_cases(described: Sequence[TrialSpec]) -> list[str]:
    """Cases whose contents differ although they were prepared alike."""
    entries: dict[tuple[str, str], set[str]] = {}
    for told in described:
        prepared = told.task.model_dump_json(include=_MEASURED)
        for case, key in told.entries.items():
            entries.setdefault((case, prepared), set()).add(key)
    return sorted({case for (case, _), keys in entries.items() if len(keys) > 1})


def _values(settings: Sequence[Mapping[str, Any]], name: str) -> str:
    return ", ".join(sorted({visible(setting.get(name, "absent")) for setting in settings})[:4])


def flattened(value: object, prefix: str = "") -> dict[str, str]:
    """A nested object as dotted name to text."""
    if not isinstance(value, Mapping) or not value:
        return {prefix: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}
    flat: dict[str, str] = {}
    for key, inner in value.items():
        flat |= flattened(inner, f"{prefix}.{key}" if prefix else str(key))
    return flat


def differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names whose values are not the same in all settings."""
    names = dict.fromkeys(name for setting in settings for name in setting)
    return [n for n in names if len({str(setting.get(n)) for setting in settings}) > 1]


def case_means(study: Study, arm: str, region: str, metric: str) -> dict[str, float]:
    """Case to its mean over seeds, of cases that every finished trial scored."""
    values: dict[str, list[float | None]] = {}
    for trial in study.finished(arm):
        assert trial.record is not None  # noqa: S101 - `finished` says so
        for scores in trial.record.result.cases:
            found = scores.regions.get(region, {}).get(metric)
            values.setdefault(scores.case, []).append(found)
    return {
        case: float(np.mean([v for v in found if v is not None]))
        for case, found in sorted(values.items())
        if None not in found
    }


def mean_dice(trial: CollectedTrial) -> float | None:
    """A trial's mean Dice over its test cases; None if it has none."""
    values = [each.mean_dice for each in trial.record.result.cases] if trial.record else []
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def best_trial(study: Study) -> tuple[CollectedTrial, float] | None:
    """The trial with the highest mean Dice over its test cases, and that; None without any."""
    found = [(dice, trial) for trial in study.trials if (dice := mean_dice(trial)) is not None]
    if not found:
        return None
    dice, trial = max(found, key=lambda each: each[0])
    return trial, dice


def rank_shares(study: Study) -> tuple[list[str], Floats] | None:
    """How often each complete arm has each rank by mean Dice when the cases are drawn anew.

    A case's value is the one that decides: the mean over the regions that all have a value of.

    Returns:
        Arms and shares, shape (arms, ranks); None without two complete arms and two cases. Of
        equal means that of the arm that stands first counts as the higher.
    """
    arms = study.complete
    tables = {
        region: [case_means(study, arm, region, "dice") for arm in arms] for region in study.regions
    }
    values: list[list[float]] = []
    for case in sorted(set().union(*(table for rows in tables.values() for table in rows))):
        known = [rows for rows in tables.values() if all(case in table for table in rows)]
        if known:
            values.append([fmean(rows[at][case] for rows in known) for at in range(len(arms))])
    if len(arms) < 2 or len(values) < 2:
        return None
    draws = np.random.default_rng(0).integers(len(values), size=(_RESAMPLES, len(values)))
    weights = np.stack([np.bincount(draw, minlength=len(values)) for draw in draws])
    means = np.array(values).T @ weights.T / len(values)
    places = np.argsort(np.argsort(-means, axis=0, kind="stable"), axis=0, kind="stable")
    shares = np.stack([(places == place).mean(axis=1) for place in range(len(arms))], axis=1)
    return arms, shares
