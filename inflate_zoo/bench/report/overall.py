"""What the rankings of several tasks say together, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from inflate_zoo.bench.ranking.types import Comparison, Ranking
from inflate_zoo.bench.report.answers import Answer, competes, noun_of
from inflate_zoo.bench.report.output.wording import in_words, name_of, names_of, span_text
from inflate_zoo.bench.report.results import Results


def answer_overall(results: Results) -> Answer | None:
    """What all tasks say together; None for fewer than two."""
    ranking = results.ranking
    if len(ranking.tasks) < 2:
        return None
    nouns = {noun_of(study) for study in results.studies}
    noun = nouns.pop() if len(nouns) == 1 else "arm"
    kinds = {one.arm: one for task in ranking.tasks for one in task.standings}
    inflated = [(arm, rank) for arm, rank in ranking.overall if competes(kinds[arm])]
    return Answer(
        _transfer_overall(ranking, noun),
        _order(inflated),
        "",
        _stable(ranking) if len(ranking.overall) > 1 else "",
    )


def _transfer_overall(ranking: Ranking, noun: str) -> str:
    """In how many of the tasks that ask each arm beats random weights."""
    asked: dict[str, list[Comparison]] = {}
    for task in ranking.tasks:
        for one in task.asked("transfer"):
            asked.setdefault(one.first, []).append(one)
    groups: dict[tuple[int, int], list[str]] = {}
    for arm, found in asked.items():
        won = sum(one.claimed and one.difference > 0 for one in found)
        groups.setdefault((won, len(found)), []).append(arm)
    if not groups:
        return ""
    everything = [one for found in asked.values() for one in found]
    ours = {one.arm for task in ranking.tasks for one in task.standings if competes(one)}
    everyone = f"all {noun}s" + (" that can be compared" if ours - asked.keys() else "")
    parts: list[str] = []
    for (won, of), arms in sorted(groups.items(), key=lambda each: -each[0][0] / each[0][1]):
        who = everyone if len(groups) == 1 and len(arms) > 1 else names_of(arms)
        verb = ("beat " if len(arms) > 1 else "beats ") + "random weights " if not parts else ""
        whom = "" if of == len(ranking.tasks) else "them" if len(arms) > 1 else "it"
        parts.append(f"{who} {verb}in {_where(won, of, whom)}")
    told = ", ".join(parts)
    return f"Over {in_words(len(ranking.tasks))} tasks {told} ({span_text(everything)})."


def _where(won: int, of: int, whom: str) -> str:
    """In which of the tasks that compare an arm; `whom` where others do not."""
    every = {1: "the one", 2: "both"}.get(of, f"all {in_words(of)}")
    never = {1: "none", 2: "neither"}.get(of, f"none of {in_words(of)}")
    told = {of: every, 0: never}.get(won, f"{in_words(won)} of {in_words(of)}")
    compare = "compares" if of == 1 or told == "neither" else "compare"
    return f"{told} that {compare} {whom}" if whom else told


def _order(ranked: Sequence[tuple[str, float]]) -> str:
    """The order by mean rank."""
    if len(ranked) < 2:
        return ""
    best = ranked[0][1]
    first = [arm for arm, rank in ranked if rank == best]
    rest = [f"{name_of(arm)} ({rank:.2f})" for arm, rank in ranked if rank != best]
    if not rest:
        return f"By mean rank {names_of(first)} are level ({best:.2f})."
    more = f" and {len(rest) - 4} more" if len(rest) > 4 else ""
    verb = "lead" if len(first) > 1 else "leads"
    lead = f"By mean rank {names_of(first)} {verb} ({best:.2f})"
    return f"{lead}, before {', '.join(rest[:4])}{more}."


def _stable(ranking: Ranking) -> str:
    """How sure the order over tasks is."""
    told = "The order over tasks is descriptive, no test of its own"
    early = sum(caveat.weight == "provisional" for caveat in ranking.caveats)
    if early:
        told += f", and {in_words(early)} of its {in_words(len(ranking.tasks))} tasks provisional"
    known = [each.tau for each in ranking.stability if each.tau is not None]
    if not known:
        return f"{told}."
    return (
        f"{told}; other ways to take the tasks together agree with it to a Kendall's tau of "
        f"{min(known):z.2f} or more."
    )
