"""Compact letter display: arms that share a letter are not told apart."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from string import ascii_letters


def letters(arms: Sequence[str], apart: Collection[tuple[str, str]]) -> Mapping[str, str]:
    """Letters by insertion and absorption.

    Piepho 2004, Journal of Computational and Graphical Statistics 13: 456-466: one column holds all
    arms; each pair that is told apart splits the columns that hold both, and a column inside
    another one goes.

    Args:
        arms: In the order in which letters are given out.
        apart: Pairs that are told apart, in either order.

    Returns:
        Arm to its letters, in the order of `arms`: `a` belongs to the first arm.
    """
    columns = [frozenset(arms)]
    for pair in apart:
        split: list[frozenset[str]] = []
        for column in columns:
            split += [column - {one} for one in pair] if column.issuperset(pair) else [column]
        distinct = dict.fromkeys(split)
        columns = [one for one in distinct if not any(one < other for other in distinct)]
    place = {arm: number for number, arm in enumerate(arms)}
    columns.sort(key=lambda column: sorted(place[arm] for arm in column))
    return {
        arm: "".join(_letter(at) for at, column in enumerate(columns) if arm in column)
        for arm in arms
    }


def _letter(place: int) -> str:
    """The alphabet in small letters, in capitals, then from `a2` on."""
    rounds, at = divmod(place, len(ascii_letters))
    return ascii_letters[at] + (str(rounds + 1) if rounds else "")
