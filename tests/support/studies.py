"""Simulated studies, for the error and power of the ranking's questions; nothing was measured.

value[arm, seed, case] = case + arm + seed + seed(arm) + case(arm) + noise: a seed does something to
all arms and something to each, and an arm has cases of its own that it does well.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

from inflate_zoo.bench.ranking import questions, statistics
from inflate_zoo.bench.ranking.statistics import Means
from inflate_zoo.bench.ranking.types import Contestant


@dataclass(frozen=True)
class Setting:
    """How scores spread; standard deviations, in Dice.

    Attributes:
        shared: What a seed does to all arms.
        own: What it does to each.
        random: What it does to `random`, if not `own`.
        first: What it does to the first arm, if not `own`.
        others: What it does to every other arm, if not `own`.
        graded: What it does to the first and to the last arm, the others evenly between by factor.
        collapse: How much of its trainings `random` loses 0.3 in; its mean stays.
        skewed: Whether scores crowd below 1.
    """

    shared: float = 0.0
    own: float = 0.01
    random: float | None = None
    first: float | None = None
    others: float | None = None
    graded: tuple[float, float] | None = None
    collapse: float = 0.0
    skewed: bool = False

    def seed_spreads(self, arms: int) -> np.ndarray:
        """Of each arm, `random` last."""
        if self.graded is not None:
            return np.geomspace(*self.graded, arms)
        spreads = np.full(arms, self.own)
        spreads[1::2] = self.own if self.others is None else self.others
        spreads[0] = self.own if self.first is None else self.first
        spreads[-1] = self.own if self.random is None else self.random
        return spreads


SETTINGS = {
    "equal": Setting(own=0.03),
    "shared": Setting(shared=0.03, own=0.01),
    "wild random": Setting(shared=0.01, own=0.005, random=0.06),
    "wild source": Setting(own=0.005, first=0.05),
    "both wild": Setting(own=0.005, first=0.05, random=0.06),
    "half wild": Setting(own=0.005, others=0.04),
    "graded": Setting(graded=(0.005, 0.06)),
    "skewed": Setting(own=0.01, skewed=True),
}
LIKE_TRAININGS = {
    "calm": Setting(shared=0.02),
    "wild random": Setting(shared=0.02, random=0.06),
    "wild source": Setting(shared=0.02, first=0.06),
}
NOISE = 0.02
ARMS, SEEDS, CASES = (2, 3, 4, 8), (3, 5, 10), (10, 25, 52)


def simulate(studies, arms, seeds, cases, setting, *, gains=0.0, rng=0):
    """What the tests see of scores of shape (studies, arms, seeds, cases), as `Means`.

    Args:
        gains: Of all arms or of each.
    """
    if setting.skewed:
        return Means.of(1 - np.exp(-3 * scores(studies, arms, seeds, cases, setting, rng=rng)))
    normal = np.random.default_rng(rng).standard_normal
    level, of_cases, of_seeds = _effects(normal, studies, arms, seeds, cases, setting, gains)
    # Means of noise over seeds and over cases: one mean of all, and departures that are unrelated.
    whole = NOISE / (seeds * cases) ** 0.5 * normal((studies, arms, 1))
    along_cases = NOISE / seeds**0.5 * normal((studies, arms, cases))
    along_seeds = NOISE / cases**0.5 * normal((studies, arms, seeds))
    along_cases += whole - along_cases.mean(axis=-1, keepdims=True)
    along_seeds += whole - along_seeds.mean(axis=-1, keepdims=True)
    return Means(
        level + along_cases + of_cases + of_seeds.mean(axis=-1, keepdims=True),
        level + along_seeds + of_seeds + of_cases.mean(axis=-1, keepdims=True),
    )


def scores(studies, arms, seeds, cases, setting, *, gains=0.0, rng=0):
    """The scores themselves, at least 0, shape (studies, arms, seeds, cases)."""
    normal = np.random.default_rng(rng).standard_normal
    level, of_cases, of_seeds = _effects(normal, studies, arms, seeds, cases, setting, gains)
    values = NOISE * normal((studies, arms, seeds, cases))
    values += (level + of_seeds)[..., None] + of_cases[:, :, None]
    return np.maximum(values, 0, out=values)


def _effects(normal, studies, arms, seeds, cases, setting, gains):
    """Level, what cases and what seeds do, shapes (1, arms, 1), (studies, arms, cases or seeds)."""
    level = 0.8 + np.broadcast_to(gains, arms)[None, :, None]
    of_cases = 0.02 * normal((studies, arms, cases)) + 0.08 * normal((studies, 1, cases))
    of_seeds = setting.seed_spreads(arms)[:, None] * normal((studies, arms, seeds))
    if setting.collapse:
        fails = normal((studies, seeds)) < special.ndtri(setting.collapse)
        of_seeds[:, -1] += 0.3 * (setting.collapse - fails)
    return level, of_cases, of_seeds + setting.shared * normal((studies, 1, seeds))


def contestants(arms, depth=0):
    """So many arms: sources, `2d` of the first `depth` of them, `random` last."""
    names = [f"source {place}" for place in range(arms - depth - 1)]
    return [
        *(
            Contestant(name, "inflated", "random", f"{name} 2d" if place < depth else None)
            for place, name in enumerate(names)
        ),
        *(Contestant(f"{name} 2d", "2d") for name in names[:depth]),
        Contestant("random", "random"),
    ]


def claims(means, asked):
    """Question to what is claimed, shape (studies, pairs): 1 first better, -1 second, 0 neither."""
    tests = [statistics.compare(means, each.pairs, each.pool) for each in asked]
    open_ = np.any([(each.p <= questions.ERROR).any(axis=-1) for each in tests], axis=0)
    answers = questions.answer(Means(means.per_case[open_], means.per_seed[open_]), asked)
    found = {
        each.question: np.zeros(test.p.shape, int) for each, test in zip(asked, tests, strict=True)
    }
    for name, each in answers.items():  # in the other studies no p is small enough for any claim
        found[name][open_] = np.sign(each.tests.difference).astype(int) * each.claimed
    return found


def error(means, asked):
    """Share of studies of equal arms that claim any difference."""
    made = [each.any(axis=-1) for each in claims(means, asked).values()]
    return float(np.any(made, axis=0).mean())


def power(studies, arms, seeds, cases, setting, gain, *, rng=7):
    """Share of sources found above `random`, and of true differences between sources found.

    Every source is better than `random` by the gain, the first by twice as much; the second, where
    the first is wild.
    """
    best = 0 if setting.first is None else 1
    gains = np.full(arms, gain)
    gains[best], gains[-1] = 2 * gain, 0
    asked = questions.ask(contestants(arms))
    means = simulate(studies, arms, seeds, cases, setting, gains=gains, rng=rng)
    made = claims(means, asked)
    (pairs,) = [each.pairs for each in asked if each.question == "sources"]
    above = (made["transfer"] > 0).mean()
    signs = np.where(pairs[:, 0] == best, 1, -1)[(pairs == best).any(axis=1)]
    found = made["sources"][:, (pairs == best).any(axis=1)] == signs
    return float(above), float(found.mean())
