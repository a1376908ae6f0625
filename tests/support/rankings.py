"""Hand-made rankings, for tests of what is said of them."""

from collections.abc import Mapping, Sequence

from inflate_zoo.bench.ranking.types import (
    Caveat,
    Comparison,
    Contestant,
    RegionDifference,
    Standing,
    TaskRanking,
)

Pair = tuple[str, str]


def comparison(
    question, pair: Pair, difference, *, claimed=True, width=0.02, seeds=None, metric="dice"
) -> Comparison:
    """One pair; a width of None says that no test was possible."""
    return Comparison(
        question=question, metric=metric, first=pair[0], second=pair[1], difference=difference,
        standard_error=None if width is None else width / 3, degrees=None if width is None else 8.0,
        p=0.001 if claimed else 0.5, p_adjusted=0.002 if claimed else 0.9, level=0.025,
        claimed=claimed, half_width=width, seeds_needed=seeds, low=difference - 0.01,
        high=difference + 0.01, wilcoxon_p=0.01, cases=25, seeds=5,
        regions=(RegionDifference("head", difference, width),),
    )  # fmt: skip


def ranking(
    means: Mapping[str, float | None],
    comparisons: Sequence[Comparison] = (),
    *,
    task="task",
    seeds=5,
    caveats: Sequence[Caveat] = (),
    ranks: Mapping[str, float] | None = None,
    outside: Mapping[str, str] | None = None,
) -> TaskRanking:
    """Arms by label: `random` and those in ` 2d` are baselines; without a mean: incomplete."""
    standings = []
    for place, (arm, mean) in enumerate(means.items()):
        flat, chance = arm.endswith(" 2d"), arm.startswith("random")
        kind = "random" if chance else "2d" if flat else "inflated"
        why = (outside or {}).get(arm)
        contestant = Contestant(arm, kind, random=None if chance else "random", outside=why)
        known = mean is not None
        standings.append(
            Standing(
                contestant=contestant,
                rank=None if flat else (ranks or {}).get(arm, place + 1.0),
                letters="a" if kind == "inflated" else "",
                mean={"dice": mean, "surface_dice": mean} if known else {},
                cells={("head", "dice"): mean} if known else {},
                seed_spread={"dice": 0.01, "surface_dice": 0.01} if known else {},
                missing=0 if known else 1,
            )
        )
    return TaskRanking(
        task, "quick", tuple(standings), tuple(comparisons), 25, seeds, tuple(caveats)
    )


def against_random(differences: Mapping[str, float], undecided: Sequence[str] = ()):
    """Question `transfer`, all claimed but the undecided ones."""
    return [
        comparison("transfer", (arm, "random"), gap, claimed=arm not in undecided)
        for arm, gap in differences.items()
    ]


def between(means: Mapping[str, float], tied: Sequence[Pair] = (), seeds=9):
    """Question `sources`: all pairs, all claimed but the tied ones."""
    arms = sorted(means, key=lambda arm: -means[arm])
    pairs = [(a, b) for i, a in enumerate(arms) for b in arms[i + 1 :]]
    return [
        comparison("sources", pair, means[pair[0]] - means[pair[1]], claimed=pair not in tied,
                   seeds=seeds if pair in tied else None)
        for pair in pairs
    ]  # fmt: skip
