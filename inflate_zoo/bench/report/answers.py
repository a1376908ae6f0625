"""What a ranking says, in sentences: does transfer help, which source is better, how sure it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inflate_zoo.bench.ranking.statistics import MOST_SEEDS
from inflate_zoo.bench.ranking.types import Comparison, Standing, TaskRanking
from inflate_zoo.bench.report.output.text import number
from inflate_zoo.bench.report.output.wording import (
    gap_text,
    in_words,
    name_of,
    names_of,
    span_text,
    width_text,
)
from inflate_zoo.bench.report.results import Study
from inflate_zoo.texts import plural

_OTHERS = {1: "the other", 2: "both others"}


@dataclass(frozen=True)
class Answer:
    """What a task says, or all together; "" where there is nothing to say.

    Attributes:
        transfer: Whether the arms are better than random weights, and by how much.
        sources: Which of them lead.
        depth: Whether they are better than the same weights slice by slice.
        certainty: How sure all that is, and whether surface Dice says the same.
    """

    transfer: str
    sources: str
    depth: str
    certainty: str

    @property
    def sentences(self) -> tuple[str, ...]:
        """Those that say something, in order."""
        return tuple(filter(None, (self.transfer, self.sources, self.depth, self.certainty)))


@dataclass(frozen=True)
class _Words:
    """How a comparison with a baseline is told, of one arm and of several."""

    above: tuple[str, str]
    below: tuple[str, str]
    open: tuple[str, str]
    none: str


_TRANSFER = _Words(
    ("beats random weights", "beat random weights"),
    ("falls below random weights", "fall below random weights"),
    ("is not told apart from random weights", "are not told apart from random weights"),
    "is told apart from random weights",
)
_DEPTH = _Words(
    ("is ahead of its own 2d", "are ahead of their own 2d"),
    ("is behind its own 2d", "are behind their own 2d"),
    ("is not told apart from its own 2d", "are not told apart from their own 2d"),
    "is told apart from its own 2d",
)


def noun_of(study: Study) -> str:
    """What the inflated arms are called: sources, unless a source competes more than once."""
    own = [arm.source for arm in study.arms.values() if arm.kind == "inflated"]
    return "source" if len(set(own)) == len(own) else "arm"


def answer_of(study: Study) -> Answer:
    """What a study says."""
    return answer(study.ranking, noun_of(study))


def answer(task: TaskRanking, noun: str = "arm") -> Answer:
    """What the comparisons of one task say.

    Args:
        task: Its ranking.
        noun: What an inflated arm is called.
    """
    complete = [one for one in task.standings if not one.missing]
    asked = [one for one in task.comparisons if one.metric == "dice"]
    if not any(one.half_width is not None for one in asked):
        return Answer("", _untested(task, complete), "", _certainty(task))
    inflated = [one for one in task.standings if competes(one)]
    depth = task.asked("depth")
    return Answer(
        _transfer(task, len(inflated), noun),
        _sources(task, inflated, noun),
        _against(depth, noun, _DEPTH, others=len(inflated) > len(depth)),
        _certainty(task),
    )


def competes(standing: Standing) -> bool:
    """Whether an arm is one of those that are ranked as sources."""
    return standing.contestant.kind == "inflated" and standing.contestant.outside is None


def _untested(task: TaskRanking, complete: Sequence[Standing]) -> str:
    """What there is to say without a test."""
    means = {one.arm: one.mean["dice"] for one in complete if "dice" in one.mean}
    if not means:
        why = "no test case has a region to score" if complete else "no arm is complete"
        return f"There is nothing to compare: {why}."
    if len(means) == 1:
        ((arm, mean),) = means.items()
        other = "other" if len(task.standings) == 1 else "other complete"
        alone = f"there is no {other} arm to compare it with"
        return f"{name_of(arm)} reaches a Dice of {number(mean)}; {alone}."
    ordered = sorted(means, key=lambda arm: (-means[arm], arm))
    told = [f"{name_of(arm)} {number(means[arm])}" for arm in ordered]
    more = f" and {len(told) - 6} more" if len(told) > 6 else ""
    return f"By mean Dice alone, which is no test: {', '.join(told[:6])}{more}."


def _transfer(task: TaskRanking, inflated: int, noun: str) -> str:
    asked = task.asked("transfer")
    if asked:
        return _against(asked, noun, _TRANSFER, others=inflated > len(asked))
    if not inflated:
        return ""
    randoms = [one for one in task.standings if one.contestant.kind == "random"]
    if not randoms:
        why = "no arm with random weights was run ('--source random')"
    elif all(one.missing for one in randoms):
        why = "random weights lack trials"
    else:
        why = f"no complete {noun} has random weights of its own network beside it"
    return f"Whether transfer helps is not known: {why}."


def _against(asked: Sequence[Comparison], noun: str, words: _Words, *, others: bool = False) -> str:
    """Arms against their baselines: which are above, below, not told apart."""
    above = [one for one in asked if one.claimed and one.difference > 0]
    below = [one for one in asked if one.claimed and one.difference <= 0]
    undecided = [one for one in asked if not one.claimed]
    groups = [(above, words.above), (below, words.below), (undecided, words.open)]
    kept = [(group, told) for group, told in groups if group]
    if len(kept) != 1:
        parts = [
            f"{names_of(one.first for one in group)} {told[len(group) > 1]} ({span_text(group)})"
            for group, told in kept
        ]
        return f"{'; '.join(parts)}." if parts else ""
    ((group, told),) = kept
    if len(group) == 1:
        return f"{name_of(group[0].first)} {told[0]} ({width_text(group[0])})."
    that = " that can be compared" if others else ""
    if group is undecided:
        which = f"None of the {in_words(len(group))} {noun}s{that}"
        return f"{which} {words.none} ({span_text(group)})."
    all_of = "Both" if len(group) == 2 else f"All {in_words(len(group))}"
    return f"{all_of} {noun}s{that} {told[1]} ({span_text(group)})."


def _sources(task: TaskRanking, inflated: Sequence[Standing], noun: str) -> str:
    """Which arms lead, and which others they are ahead of."""
    complete = [one for one in inflated if not one.missing]
    if len(complete) < 2:
        if not complete:
            return ""
        if len(inflated) == 1:
            return f"One {noun} was run, so there is no other to compare it with."
        return f"Of {in_words(len(inflated))} {noun}s only {name_of(complete[0].arm)} is complete."
    asked = task.asked("sources")
    if not asked:
        return ""
    pairs = {frozenset((one.first, one.second)): one for one in asked}
    ordered = [one.arm for one in sorted(complete, key=lambda one: (-one.mean["dice"], one.arm))]
    top, rest = ordered[0], ordered[1:]
    tied = [arm for arm in rest if not pairs[frozenset((top, arm))].claimed]
    if not any(one.claimed for one in asked):
        return _none_better(pairs[frozenset((top, ordered[-1]))], ordered, noun)
    ahead = _ahead(pairs, [top, *tied], ordered)
    if not tied:
        gaps = [pairs[frozenset((top, arm))] for arm in rest]
        of = _OTHERS.get(len(rest), f"all {in_words(len(rest))} others")
        return f"{name_of(top)} leads: it is ahead of {of} ({span_text(gaps)})."
    among = [pairs[frozenset((a, b))] for a in tied for b in tied if a < b]
    told = reach(pairs[frozenset((top, tied[-1]))], several=len(tied) > 1)
    effort = f" ({told})" if told else ""
    if any(one.claimed for one in among):
        lead = f"{name_of(top)} has the highest mean, not told apart from {names_of(tied)}"
    else:
        lead = f"{names_of([top, *tied])} lead, not told apart"
    return f"{lead}{effort}; {ahead}." if ahead else f"{lead}{effort}."


def _none_better(widest: Comparison, ordered: Sequence[str], noun: str) -> str:
    """No pair is told apart; the ends by mean Dice are the pair that is widest apart."""
    if len(ordered) == 2:
        gap = "; ".join(filter(None, (width_text(widest), reach(widest))))
        return f"{names_of(ordered)} are not told apart ({gap})."
    told = reach(widest, several=True) or span_text([widest])
    return f"None of the {in_words(len(ordered))} {noun}s is told apart from another ({told})."


def reach(one: Comparison, *, several: bool = False) -> str:
    """What telling a pair apart would take, of several that with the largest difference.

    "" where nothing is known of it: for a difference that is shown as zero, without a test, and
    where so many seeds were run already.
    """
    gap = gap_text([abs(one.difference)])
    if one.half_width is None or not float(gap) or one.seeds >= MOST_SEEDS:
        return ""
    what = f"the largest difference, {gap}," if several else f"a difference of {gap}"
    if one.seeds_needed is not None:
        return f"{what} would need about {plural(one.seeds_needed, 'seed')}"
    return f"for {what} not even {MOST_SEEDS} seeds would do on these cases"


def _ahead(
    pairs: Mapping[frozenset[str], Comparison], leaders: Sequence[str], ordered: Sequence[str]
) -> str:
    """Which others each of the leaders is ahead of; those that are ahead of the same together."""
    beaten: dict[tuple[str, ...], list[str]] = {}
    for leader in leaders:
        behind = tuple(
            arm
            for arm in ordered
            if arm != leader and pairs[frozenset((leader, arm))].better == leader
        )
        if behind:
            beaten.setdefault(behind, []).append(leader)
    parts: list[str] = []
    for behind, ahead in beaten.items():
        who = "both" if len(leaders) == 2 == len(ahead) else names_of(ahead)
        verb = "are" if len(ahead) > 1 else "is"
        parts.append(f"{who} {'' if parts else f'{verb} ahead '}of {names_of(behind)}")
    return ", ".join(parts)


def _certainty(task: TaskRanking) -> str:
    """How much stands behind it."""
    base = f"{plural(task.seeds, 'seed')}, {plural(task.cases, 'test case')}"
    weights = {caveat.weight: caveat.text for caveat in reversed(task.caveats)}
    if "not a ranking" in weights:
        return f"{base}: this is not a ranking."
    if not any(one.half_width is not None for one in task.comparisons):
        return f"{base}: nothing was tested."
    sure = "at most about a 5 % chance of any false claim"
    if "provisional" in weights:
        sure = f"provisional, {weights['provisional']}"
    return f"{base}: {sure}. {_beside(task)}".strip()


def _beside(task: TaskRanking) -> str:
    """Whether surface Dice says the same."""
    other = [one for one in task.comparisons if one.metric == "surface_dice"]
    if not other:
        return ""
    tested = sum(one.half_width is not None for one in other)
    if not tested:
        return "Surface Dice was not tested."
    where = " where it was tested" if tested < len(other) else ""
    unlike = disagreements(task)
    if not unlike:
        return f"Surface Dice claims the same{where}."
    told = "; ".join(sentence for _, sentence in unlike[:3])
    more = f"; and {len(unlike) - 3} more" if len(unlike) > 3 else ""
    pairs = f"{len(unlike)} of {plural(tested, 'pair')}{where}"
    return f"Surface Dice differs in {pairs}: {told}{more}."


def disagreements(task: TaskRanking) -> list[tuple[Comparison, str]]:
    """Pairs of which Dice and surface Dice do not claim the same, with what each says.

    Pairs that were not tested by surface Dice are left out: it claims nothing of them.
    """
    beside = {
        (one.question, frozenset((one.first, one.second))): one
        for one in task.comparisons
        if one.metric == "surface_dice" and one.half_width is not None
    }
    found = []
    for one in task.comparisons:
        other = beside.get((one.question, frozenset((one.first, one.second))))
        if one.metric == "dice" and other is not None and one.better != other.better:
            found.append((one, _unlike(one, other)))
    return found


def _unlike(dice: Comparison, surface: Comparison) -> str:
    better = dice.better or surface.better
    assert better is not None  # noqa: S101 - they differ
    second = dice.second if better == dice.first else dice.first
    claim = f"{name_of(better)} ahead of {name_of(second)}"
    if dice.better and surface.better:
        return f"{claim} by Dice, behind it by surface Dice"
    return f"{claim} by {'Dice' if dice.better else 'surface Dice'} alone"
