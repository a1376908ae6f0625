"""What a ranking is made from and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Weight = Literal["not a ranking", "unstable", "provisional", "note"]
Kind = Literal["inflated", "2d", "random"]
Metric = Literal["dice", "surface_dice"]
Question = Literal["transfer", "sources", "depth"]
"""Does transfer help (each inflated arm against its `random`), which source is better (all pairs of
inflated arms), does depth help (each inflated arm against its own `2d`)."""
Cell = tuple[str, Metric]
"""What is shown: (region, metric)."""


@dataclass(frozen=True)
class Caveat:
    """What to keep in mind of a ranking.

    Attributes:
        weight: Whether it says why this is no ranking, that another way to take tasks together
            gives another order, or that more seeds are wanted.
        text: The rest of the sentence.
    """

    weight: Weight
    text: str

    @property
    def sentence(self) -> str:
        """What is shown."""
        return self.text if self.weight == "note" else f"{self.weight}: {self.text}"


@dataclass(frozen=True)
class Contestant:
    """An arm, and the baselines that it is compared with.

    Attributes:
        arm: Its label.
        kind: What it is.
        random: Label of the arm with random weights and the same network; None without one, and
            for arms that are not inflated.
        flat: Label of the `2d` arm of its source; None without one, and for arms that are not
            inflated.
        outside: Why it is shown outside the ranking and takes part in no question; None where it
            does not.
    """

    arm: str
    kind: Kind
    random: str | None = None
    flat: str | None = None
    outside: str | None = None

    @property
    def inside(self) -> bool:
        """Whether it is ranked where it lacks no trial: inflated arms and `random`."""
        return self.kind != "2d" and self.outside is None


@dataclass(frozen=True)
class Outcome:
    """The scores of one trial.

    Attributes:
        task: Name of the task.
        protocol: Name of the protocol.
        contestant: The arm.
        seed: Seed of the training.
        fold: Fold that was tested.
        cases: Case to region to metric to value; a None value means that the reference of the case
            lacks the region. None for a trial that failed or has not run.
    """

    task: str
    protocol: str
    contestant: Contestant
    seed: int
    fold: int
    cases: Mapping[str, Mapping[str, Mapping[str, float | None]]] | None


@dataclass(frozen=True)
class RegionDifference:
    """A pair's difference in one region: a second step below a claimed pair, no test of its own.

    Attributes:
        region: Name of the region.
        difference: Mean over cases and seeds of the first arm minus that of the second.
        half_width: Of its interval, made as that of the pair; None where there is none.
    """

    region: str
    difference: float
    half_width: float | None


@dataclass(frozen=True)
class Comparison:
    """One pair of arms under one question, two-sided, on the mean over regions.

    Attributes:
        question: Which question asks for it.
        metric: `dice` decides; `surface_dice` stands beside it.
        first: For `transfer` and `depth` the inflated arm; for `sources` the arm with the higher
            mean, equal ones by label.
        second: For `transfer` its `random`, for `depth` its `2d`, for `sources` the other.
        difference: Mean over cases and seeds of `first` minus that of `second`.
        standard_error: Of the difference; None where no test is possible.
        degrees: Degrees of freedom; None where no test is possible.
        p: Two-sided, uncorrected; 1 where no test is possible.
        p_adjusted: After the step-down correction within the question, on the scale of `level`:
            rejected where it is at most `level`.
        level: What the question may be wrong with, after other questions handed theirs on.
        claimed: Whether the two differ: p_adjusted is at most level.
        half_width: Of the interval around the difference, at the level at which this pair was
            judged, so that it leaves out 0 exactly where a difference is claimed; None where no
            test is possible.
        seeds_needed: About how many seeds an unclaimed pair would take to be told apart if its true
            difference were the one found; None where it is claimed, where no test is
            possible, or where not even 99 seeds would do on these cases.
        low: Lower end of the 95 % percentile bootstrap interval of the difference over cases, for
            these trained models; None below two cases.
        high: Upper end.
        wilcoxon_p: Two-sided Wilcoxon signed-rank over cases, on means over seeds: whether these
            trained models differ. None below two cases.
        cases: Cases that count.
        seeds: Seeds per arm.
        regions: By region, in the task's order.
    """

    question: Question
    metric: Metric
    first: str
    second: str
    difference: float
    standard_error: float | None
    degrees: float | None
    p: float
    p_adjusted: float
    level: float
    claimed: bool
    half_width: float | None
    seeds_needed: int | None
    low: float | None
    high: float | None
    wilcoxon_p: float | None
    cases: int
    seeds: int
    regions: tuple[RegionDifference, ...]

    @property
    def better(self) -> str | None:
        """The arm that is claimed to be better; None where neither is."""
        if not self.claimed:
            return None
        return self.first if self.difference > 0 else self.second


@dataclass(frozen=True)
class Standing:
    """Where an arm stands in a task.

    Attributes:
        contestant: The arm.
        rank: Mean rank by wins less losses over the claimed Dice comparisons of `transfer` and
            `sources`; ties share the mean rank. Inflated arms and `random` are ranked. None for
            arms that are not: `2d`, those outside the ranking, and those with a missing trial.
        letters: Compact letter display of question `sources` by Dice: two inflated arms that share
            a letter are not told apart. "" for other arms.
        mean: Metric to the mean over cases, seeds and regions; empty if `missing`.
        cells: (region, metric) to its mean over seeds and cases; empty if `missing`.
        seed_spread: Metric to the standard deviation between its seeds' means, None with one seed;
            empty if `missing`.
        missing: Trials of this arm that failed, have not run or were not planned: it needs one for
            each seed and fold that any arm has.
    """

    contestant: Contestant
    rank: float | None
    letters: str
    mean: Mapping[Metric, float]
    cells: Mapping[Cell, float]
    seed_spread: Mapping[Metric, float | None]
    missing: int

    @property
    def arm(self) -> str:
        """Label of the arm."""
        return self.contestant.arm


@dataclass(frozen=True)
class TaskRanking:
    """All arms of one task and protocol.

    Attributes:
        task: Name of the task.
        protocol: Name of the protocol.
        standings: Ranked arms first, by rank, then by mean Dice, highest first, then by label;
            then those that are not ranked, by mean Dice; those with missing trials last.
        comparisons: Of the questions asked, in the order of `Question`, Dice before surface Dice;
            within a question by the standings of first, then second. Complete arms alone.
        cases: Test cases over all folds that count.
        seeds: Seeds per arm.
        caveats: What makes it none, or provisional.
    """

    task: str
    protocol: str
    standings: tuple[Standing, ...]
    comparisons: tuple[Comparison, ...]
    cases: int
    seeds: int
    caveats: tuple[Caveat, ...]

    def asked(self, question: Question, metric: Metric = "dice") -> tuple[Comparison, ...]:
        """The comparisons of one question."""
        return tuple(
            one for one in self.comparisons if one.question == question and one.metric == metric
        )


@dataclass(frozen=True)
class Agreement:
    """How well the overall ranking agrees with another one of the same arms.

    Attributes:
        against: How the other one is made.
        tau: Kendall's tau-b; `None` where either has no order.
        left_out: The task left out, with its protocol.
    """

    against: str
    tau: float | None
    left_out: str | None


@dataclass(frozen=True)
class Ranking:
    """All tasks.

    Attributes:
        tasks: By task, then protocol.
        overall: (arm, mean of its ranks over tasks), best first, equal ranks by label; only arms
            that are ranked in every task.
        stability: Of the overall ranks; empty with a single task.
        caveats: On the overall ranks.
    """

    tasks: tuple[TaskRanking, ...]
    overall: tuple[tuple[str, float], ...]
    stability: tuple[Agreement, ...]
    caveats: tuple[Caveat, ...]
