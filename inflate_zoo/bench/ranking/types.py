"""What a ranking is made from and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Weight = Literal["not a ranking", "unstable", "note"]
Cell = tuple[str, str]
"""What is tested: (region, metric)."""


@dataclass(frozen=True)
class Caveat:
    """What to keep in mind of a ranking.

    Attributes:
        weight: Whether it says why this is no ranking, or that another way to take tasks together
            gives another order.
        text: The rest of the sentence.
    """

    weight: Weight
    text: str

    @property
    def sentence(self) -> str:
        """What is shown."""
        return self.text if self.weight == "note" else f"{self.weight}: {self.text}"


@dataclass(frozen=True)
class Outcome:
    """The scores of one trial.

    Attributes:
        task: Name of the task.
        protocol: Name of the protocol.
        arm: Label of the arm.
        seed: Seed of the training.
        fold: Fold that was tested.
        cases: Case to region to metric to value; a None value takes the case out of that region and
            metric for all arms. None for a trial that failed or has not run.
    """

    task: str
    protocol: str
    arm: str
    seed: int
    fold: int
    cases: Mapping[str, Mapping[str, Mapping[str, float | None]]] | None


@dataclass(frozen=True)
class Comparison:
    """One ordered pair of arms in one region and metric.

    Attributes:
        region: Name of the region.
        metric: Name of the metric.
        first: The arm that may be better.
        second: The arm it is compared with.
        difference: Mean over cases and seeds of `first` minus that of `second`.
        standard_error: Of the difference, over cases and trainings; None where no test is possible.
        degrees: Degrees of freedom; None where no test is possible.
        t: The statistic; None where no test is possible.
        p: One-sided p that `first` is better; 1 where no test is possible.
        p_holm: The same after Holm over all ordered pairs of the task, region and metric.
        better: Whether `first` is better than `second`: p_holm is below alpha.
        wilcoxon_p: Two-sided Wilcoxon signed-rank over cases, on means over seeds: whether these
            trained models differ, which says nothing of another training. None below two cases.
        low: Lower end of the 95 % percentile bootstrap interval of the difference over cases, for
            these trained models; None below two cases.
        high: Upper end.
        cases: Cases that count.
        seeds: Seeds per arm.
    """

    region: str
    metric: str
    first: str
    second: str
    difference: float
    standard_error: float | None
    degrees: float | None
    t: float | None
    p: float
    p_holm: float
    better: bool
    wilcoxon_p: float | None
    low: float | None
    high: float | None
    cases: int
    seeds: int


@dataclass(frozen=True)
class Standing:
    """Where an arm stands in a task.

    Attributes:
        arm: Label of the arm.
        rank: Mean over regions and metrics of its rank by points; ties share the mean rank. Arms
            with a missing trial share the mean of the last ranks.
        group: Place or places ("1", "2-4") of the arms with this very rank. Being in a higher group
            means more points; that one arm is better than another stands in the comparisons alone.
        points: (region, metric) to the number of arms it is better than; empty if `missing`.
        means: (region, metric) to its mean over seeds and cases; empty if `missing`.
        seed_spread: (region, metric) to the standard deviation between its seeds' means over cases,
            None with one seed; empty if `missing`.
        missing: Trials of this arm that failed or have not run.
    """

    arm: str
    rank: float
    group: str
    points: Mapping[Cell, int]
    means: Mapping[Cell, float]
    seed_spread: Mapping[Cell, float | None]
    missing: int


@dataclass(frozen=True)
class TaskRanking:
    """All arms of one task and protocol.

    Attributes:
        task: Name of the task.
        protocol: Name of the protocol.
        standings: Best first; equal ranks by label.
        comparisons: Every ordered pair of complete arms in every region and metric. A region and
            metric without any common case is left out, here and in the standings.
        cases: Test cases over all folds.
        seeds: Seeds per arm.
        smallest_p: Smallest one-sided p that an exact permutation test could attain (see
            `statistics.smallest_p`).
        caveats: What makes it none.
    """

    task: str
    protocol: str
    standings: tuple[Standing, ...]
    comparisons: tuple[Comparison, ...]
    cases: int
    seeds: int
    smallest_p: float
    caveats: tuple[Caveat, ...]


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
            that stand in every task.
        stability: Of the overall ranks; empty with a single task.
        caveats: On the overall ranks.
    """

    tasks: tuple[TaskRanking, ...]
    overall: tuple[tuple[str, float], ...]
    stability: tuple[Agreement, ...]
    caveats: tuple[Caveat, ...]
