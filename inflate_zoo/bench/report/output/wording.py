"""Names, numbers and differences as they stand in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from inflate_zoo.bench.ranking.types import Comparison
from inflate_zoo.bench.report.output.text import shortened, with_width

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
            "eleven", "twelve")  # fmt: skip
_MOST_NAMES, _LONGEST = 5, 32  # names in a sentence, characters of a name


def name_of(arm: str) -> str:
    """An arm's name, not too long for a sentence."""
    return shortened(arm, _LONGEST)


def names_of(arms: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`; of many the first."""
    shown = [name_of(arm) for arm in arms]
    if len(shown) > _MOST_NAMES:
        shown = [*shown[: _MOST_NAMES - 1], f"{len(shown) - _MOST_NAMES + 1} more"]
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


def in_words(count: int) -> str:
    """A number as a word, where it has a short one."""
    return _NUMBERS[count] if count < len(_NUMBERS) else str(count)


def gap_text(values: Sequence[float], sign: str = "") -> str:
    """Two decimals, three where two would show a zero; the ends of a range, highest first."""
    digits = 2 if all(abs(value) >= 0.0095 for value in values) else 3
    told = [f"{value:{sign}z.{digits}f}" for value in sorted(values, reverse=True)]
    return told[0] if told[0] == told[-1] else f"{told[0]} to {told[-1]}"


def span_text(comparisons: Sequence[Comparison]) -> str:
    """From the greatest difference to the smallest."""
    return f"{gap_text([one.difference for one in comparisons], '+')} Dice"


def width_text(one: Comparison) -> str:
    """A difference with the half-width of the deciding test."""
    return f"{with_width(one.difference, one.half_width)} Dice"
