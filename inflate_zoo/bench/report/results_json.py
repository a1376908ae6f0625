"""`results.json`: the ranking and what the first screen says of it, for programs.

One object, and what `inflate-zoo report --format json` prints. `format` is raised when a field goes
or changes its meaning, not when one is added.

| field | what |
| --- | --- |
| `format` | 1 |
| `title` | of the page |
| `answer` | of all tasks together, null for one: `transfer`, `sources`, `depth`, `certainty`, sentences or "" |
| `tasks` | one for each task and protocol: its own `answer`, `standings`, `comparisons`, `caveats` |
| `overall` | arms with the mean of their ranks over tasks, best first |
| `stability` | Kendall's tau of that order against other ways to take the tasks together |
| `caveats` | on the ranks over tasks |
| `conditions` | hosts, processors, devices, threads, versions, dates |
| `trials` | each with its arm, seed, fold, state, mean Dice, and its folder seen from the file's |
| `left_out` | sentences on trials that are not to be believed |

What has no value is null. `ranking/types.py` says what the fields of a comparison, a standing, a
caveat and an agreement mean; `claimed` and `half_width` are those of the test that decides.
"""  # noqa: E501 - rows of a table

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from inflate_zoo.bench.definitions.trials import Fed
from inflate_zoo.bench.ranking.types import Agreement, Caveat, Comparison, Kind, Metric, Standing
from inflate_zoo.bench.report.answers import Answer, answer_of
from inflate_zoo.bench.report.collect import CollectedTrial
from inflate_zoo.bench.report.conditions import Conditions, conditions
from inflate_zoo.bench.report.origins import state_of
from inflate_zoo.bench.report.overall import answer_overall
from inflate_zoo.bench.report.results import Results, Study, mean_dice


class _Form(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class RegionScore(_Form):
    """An arm's mean in one region."""

    region: str
    metric: Metric
    mean: float


class StandingForm(_Form):
    """Where an arm stands; see `Standing`."""

    arm: str
    kind: Kind
    source: str
    scheme: str | None
    normalization: Fed | None
    random: str | None
    flat: str | None
    outside: str | None
    rank: float | None
    letters: str
    mean: dict[Metric, float]
    seed_spread: dict[Metric, float | None]
    regions: tuple[RegionScore, ...]
    missing: int


class TaskForm(_Form):
    """One task under one protocol; see `TaskRanking`."""

    task: str
    protocol: str
    cases: int
    seeds: int
    answer: Answer
    standings: tuple[StandingForm, ...]
    comparisons: tuple[Comparison, ...]
    caveats: tuple[Caveat, ...]


class OverallRank(_Form):
    """An arm's mean rank over tasks."""

    arm: str
    rank: float


class TrialForm(_Form):
    """One trial.

    Attributes:
        hash: Its identity.
        folder: Where it lies.
        task: Name of its task.
        protocol: Name of its protocol.
        arm: Label of its arm.
        seed: Of its training.
        fold: That it was tested on.
        state: `done`, `failed`, `left out` or `not run`.
        dice: Mean over its test cases; None if it is not done.
    """

    hash: str
    folder: str
    task: str
    protocol: str
    arm: str
    seed: int
    fold: int
    state: str
    dice: float | None


class ReportForm(_Form):
    """The file; the module says what its fields are."""

    format: Literal[1] = 1
    title: str
    answer: Answer | None
    tasks: tuple[TaskForm, ...]
    overall: tuple[OverallRank, ...]
    stability: tuple[Agreement, ...]
    caveats: tuple[Caveat, ...]
    conditions: Conditions
    trials: tuple[TrialForm, ...]
    left_out: tuple[str, ...]


def report_form(results: Results, title: str, places: Mapping[str, str]) -> ReportForm:
    """The ranking for programs.

    Args:
        results: The ranking.
        title: Of the page.
        places: Hash of a trial to its folder.
    """
    return ReportForm(
        title=title,
        answer=answer_overall(results),
        tasks=tuple(map(_task, results.studies)),
        overall=tuple(OverallRank(arm=arm, rank=rank) for arm, rank in results.ranking.overall),
        stability=results.ranking.stability,
        caveats=results.ranking.caveats,
        conditions=conditions(results.trials),
        trials=tuple(_trial(trial, places[trial.hash]) for trial in results.trials),
        left_out=results.left_out,
    )


def _task(study: Study) -> TaskForm:
    ranking = study.ranking
    return TaskForm(
        task=ranking.task,
        protocol=ranking.protocol,
        cases=ranking.cases,
        seeds=ranking.seeds,
        answer=answer_of(study),
        standings=tuple(_standing(study, standing) for standing in ranking.standings),
        comparisons=ranking.comparisons,
        caveats=study.caveats,
    )


def _standing(study: Study, standing: Standing) -> StandingForm:
    arm, contestant = study.arms[standing.arm], standing.contestant
    return StandingForm(
        arm=standing.arm,
        kind=contestant.kind,
        source=arm.source,
        scheme=arm.scheme,
        normalization=arm.normalization,
        random=contestant.random,
        flat=contestant.flat,
        outside=contestant.outside,
        rank=standing.rank,
        letters=standing.letters,
        mean=dict(standing.mean),
        seed_spread=dict(standing.seed_spread),
        regions=tuple(
            RegionScore(region=region, metric=metric, mean=mean)
            for (region, metric), mean in standing.cells.items()
        ),
        missing=standing.missing,
    )


def _trial(trial: CollectedTrial, folder: str) -> TrialForm:
    told = trial.described
    return TrialForm(
        hash=trial.hash,
        folder=folder,
        task=told.task.name,
        protocol=told.protocol.name,
        arm=told.arm.label,
        seed=told.seed,
        fold=told.fold,
        state=state_of(trial),
        dice=mean_dice(trial),
    )
