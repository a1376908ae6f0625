"""Two arms, as the whole ranking sees them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from inflate_zoo.bench.ranking.types import Caveat, Comparison, Standing, TaskRanking
from inflate_zoo.bench.report.answers import reach
from inflate_zoo.bench.report.output.text import number, signed, with_width
from inflate_zoo.bench.report.output.wording import name_of, width_text
from inflate_zoo.bench.report.results import Results
from inflate_zoo.errors import UnknownNameError, UsageError, visible
from inflate_zoo.texts import plural

_ASKED = {
    "transfer": "does transfer help",
    "sources": "which source is better",
    "depth": "does depth help",
}


@dataclass(frozen=True)
class Compared:
    """What one study says of two arms.

    Attributes:
        title: Of the study.
        sentences: What there is to say.
        comparisons: Of the pair, at most one for each metric.
        caveats: All that is known against the study; the sentences hold them too.
    """

    title: str
    sentences: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    caveats: tuple[Caveat, ...]


def compare(results: Results, first: str, second: str) -> tuple[Compared, ...]:
    """What a ranking says of two arms, in every study that has both.

    The pair is judged as in the whole ranking: taken alone it would have an easier test, and
    picking it would be one of many tries.

    Args:
        results: The ranking.
        first: Label of an arm.
        second: Label of another.

    Raises:
        UsageError: They are one, or no study has both.
    """
    if first == second:
        raise UsageError(
            f"'{visible(first)}' is one arm: it cannot be compared with itself",
            hint="--compare takes the labels of two arms",
        )
    found, pair = [], {first, second}
    for study in results.studies:
        known = {standing.arm: standing for standing in study.ranking.standings}
        if first in known and second in known:
            task = study.ranking
            own = tuple(one for one in task.comparisons if {one.first, one.second} == pair)
            doubts = [one for one in study.caveats if one.weight == "not a ranking"]
            notes = [one for one in study.caveats if one not in doubts]
            told = (
                *(caveat.sentence for caveat in doubts),
                *_told(task, own, notes, known[first], known[second]),
            )
            found.append(Compared(study.title, told, own, study.caveats))
    if not found:
        raise _in_none(results, first, second)
    return tuple(found)


def _in_none(results: Results, first: str, second: str) -> UsageError:
    """Why no study has both."""
    labels = {one.arm for study in results.studies for one in study.ranking.standings}
    for name in (first, second):
        if name not in labels:
            return UnknownNameError("arm", name, labels)
    return UsageError(
        f"no task has both '{visible(first)}' and '{visible(second)}'",
        details=[f"{study.title}: {', '.join(study.arms)}" for study in results.studies],
        hint="name two arms of one task",
    )


def _told(
    task: TaskRanking,
    own: Sequence[Comparison],
    notes: Sequence[Caveat],
    first: Standing,
    second: Standing,
) -> Iterator[str]:
    dice = next((one for one in own if one.metric == "dice"), None)
    if dice is None:
        yield _unasked(first, second)
        yield from (caveat.sentence for caveat in notes)
        return
    yield _verdict(dice)
    count = len(task.asked(dice.question))
    yield (
        f"{plural(dice.seeds, 'seed')}, {plural(dice.cases, 'test case')}; one of "
        f"{plural(count, 'pair')} under '{_ASKED[dice.question]}'."
    )
    yield from (caveat.sentence for caveat in notes)
    if dice.claimed and len(dice.regions) > 1:
        regions = (
            f"{name_of(each.region)} {with_width(each.difference, each.half_width)}"
            for each in dice.regions
        )
        yield f"By region: {', '.join(regions)}."
    if dice.low is not None and dice.high is not None:
        yield (
            f"These trained models on other cases: {signed(dice.low)} to {signed(dice.high)} "
            "(95 % bootstrap)."
        )
    yield from (_beside(one, dice) for one in own if one.metric == "surface_dice")


def _unasked(first: Standing, second: Standing) -> str:
    """Why there is no comparison."""
    for one in (first, second):
        if one.missing:
            lacks = f"{name_of(one.arm)} lacks {plural(one.missing, 'trial')}"
            return f"{lacks}, so it is not compared."
        if one.contestant.outside:
            return f"{name_of(one.arm)} stands outside the ranking: {one.contestant.outside}."
    if "dice" not in first.mean:
        return "No test case has a region to score, so this pair is not compared."
    means = " and ".join(number(one.mean.get("dice")) for one in (first, second))
    return f"No question asks for this pair, so it is not tested: mean Dice {means}."


def _verdict(one: Comparison) -> str:
    names = name_of(one.first), name_of(one.second)
    if one.better is not None:
        relation = "is ahead of" if one.better == one.first else "is behind"
        return f"{names[0]} {relation} {names[1]}: {width_text(one)}."
    told = f"{names[0]} and {names[1]} are not told apart: {width_text(one)}"
    if one.half_width is None:
        return f"{told}, not tested."
    return f"{'; '.join(filter(None, (told, reach(one))))}."


def _beside(surface: Comparison, dice: Comparison) -> str:
    flipped = -1 if surface.first != dice.first else 1
    says = "claims the same" if surface.better == dice.better else "does not claim the same"
    if surface.half_width is None:
        says = "was not tested"
    told = with_width(flipped * surface.difference, surface.half_width)
    return f"Surface Dice {says}: {told}."
