"""How a ranking stands while its trials run, in a sentence for each task and protocol."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from inflate_zoo.bench.ranking.types import TaskRanking
from inflate_zoo.bench.report.collect import CollectedTrial, Collector
from inflate_zoo.bench.report.output.text import number
from inflate_zoo.bench.report.output.wording import name_of
from inflate_zoo.bench.report.results import ranking_of
from inflate_zoo.texts import plural

_NOT_SO_FAR = "no complete arm yet"


class SoFar:
    """What the trials of some rounds of seeds say; asked again and again, it reads each once.

    Args:
        folders: Folders that `bench` writes, each with a folder `trials`.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._collector = Collector(folders)

    def after(self, seeds: Collection[int]) -> tuple[str, ...]:
        """How the ranking stands, a sentence for each task and protocol.

        Args:
            seeds: Those whose trials count.

        Raises:
            UsageError: A folder without trials.
            WorkError: There is no trial that can be read.
        """
        planned: dict[tuple[str, str], list[CollectedTrial]] = {}
        for trial in self._collector.collect().trials:
            planned.setdefault(_study_of(trial), []).append(trial)
        counted = [t for own in planned.values() for t in own if t.described.seed in seeds]
        ranked = {(task.task, task.protocol): task for task in ranking_of(counted).tasks}
        return tuple(
            _round(key, own, ranked.get(key), seeds, several=len(planned) > 1)
            for key, own in planned.items()
        )


def _study_of(trial: CollectedTrial) -> tuple[str, str]:
    return trial.described.task.name, trial.described.protocol.name


def _round(
    key: tuple[str, str],
    planned: Sequence[CollectedTrial],
    task: TaskRanking | None,
    seeds: Collection[int],
    *,
    several: bool,
) -> str:
    known = {trial.described.seed for trial in planned}
    name = f"{name_of(key[0])}, {name_of(key[1])}: " if several else ""
    parts = "; ".join(_standing_now(task)) if task else _NOT_SO_FAR
    return f"{name}after {len(known & set(seeds))} of {plural(len(known), 'seed')}: {parts}"


def _standing_now(task: TaskRanking) -> Iterator[str]:
    """What is claimed so far, and what is open."""
    complete = [one for one in task.standings if not one.missing and "dice" in one.mean]
    if not complete:
        yield _NOT_SO_FAR
        return
    transfer, sources = task.asked("transfer"), task.asked("sources")
    if not any(one.half_width is not None for one in (*transfer, *sources)):
        best = max(complete, key=lambda one: one.mean["dice"])
        yield f"{name_of(best.arm)} has the highest mean Dice, {number(best.mean['dice'])}"
        yield "nothing can be tested yet"
        return
    above = [one.first for one in transfer if one.claimed and one.difference > 0]
    below = [one.first for one in transfer if one.claimed and one.difference <= 0]
    if transfer:
        yield f"{', '.join(map(name_of, above)) or 'none'} above random"
    if below:
        yield f"{', '.join(map(name_of, below))} below random"
    if sources:
        still = sum(not one.claimed for one in sources)
        apart = "the pair is" if len(sources) == 1 else f"all {len(sources)} pairs are"
        yield f"{plural(still, 'pair')} open" if still else f"{apart} told apart"
    lacking = [name_of(one.arm) for one in task.standings if one.missing]
    if lacking:
        yield f"{', '.join(lacking)} not complete"
