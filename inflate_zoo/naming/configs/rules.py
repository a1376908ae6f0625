"""What a field of a stranger's config may hold: a type, and a range that bounds its cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MOST_BLOCKS = 1_000
MOST_HEADS = 1_024
MOST_REGISTERS = 1_024
MOST_CHANNELS = 1_024
MOST_STAGES = 8
MOST_STAGE_BLOCKS = 100  # SwinV2-G has 42
MOST_WINDOW = 128  # a side, in tokens
MOST_WIDTH = 65_536  # of a token, or inside the feed-forward part; ViT-22B has 6,144 and 24,576
MOST_PIXELS = 16_384  # a side of an image or a patch
MOST_LABELS = 100_000  # ImageNet-21k has 21,841


@dataclass(frozen=True, slots=True)
class Rule:
    """What a value must be: in words for the message, and as a test."""

    expected: str
    holds: Callable[[Any], bool]


def whole(least: int, most: int) -> Rule:
    """A whole number; true and false are none."""
    return Rule(
        f"a whole number from {least} to {most:,}",
        lambda value: type(value) is int and least <= value <= most,
    )


def number(least: float, most: float) -> Rule:
    """A whole or a real number in a range, both ends in it."""
    return Rule(
        f"a number from {least:g} to {most:g}",
        lambda value: type(value) in (int, float) and least <= value <= most,
    )


def word(*words: str) -> Rule:
    """One of some words."""
    return Rule(
        f"one of {', '.join(each or repr(each) for each in words)}",
        lambda value: isinstance(value, str) and value in words,
    )


def at_most(count: int) -> Rule:
    """A list or an object with few entries."""
    return Rule(
        f"a list or an object of at most {count:,}",
        lambda value: isinstance(value, list | tuple | Mapping) and len(value) <= count,
    )


def _is_side(value: Any) -> bool:
    return type(value) is int and 1 <= value <= MOST_PIXELS


def _is_pixels(value: Any) -> bool:
    pair = isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_side, value))
    return pair or _is_side(value)


def _is_input(value: Any) -> bool:
    if not isinstance(value, list | tuple) or len(value) != 3:
        return False
    return whole(1, MOST_CHANNELS).holds(value[0]) and _is_pixels(value[1:])


def either(rule: Rule, other: Rule) -> Rule:
    """What one of two rules admits."""
    return Rule(
        f"{rule.expected}, or {other.expected}",
        lambda value: rule.holds(value) or other.holds(value),
    )


def _is_stages(value: Any, holds: Callable[[Any], bool]) -> bool:
    return (
        isinstance(value, list | tuple)
        and 1 <= len(value) <= MOST_STAGES
        and all(map(holds, value))
    )


def each_of(most: int) -> Rule:
    """A whole number for each stage."""
    return Rule(
        f"a list of at most {MOST_STAGES} whole numbers from 1 to {most:,}",
        lambda value: _is_stages(value, whole(1, most).holds),
    )


def _is_indices(value: Any) -> bool:
    if not isinstance(value, list | tuple) or len(value) > MOST_BLOCKS:
        return False
    return all(map(whole(0, MOST_BLOCKS).holds, value))


def or_null(rule: Rule) -> Rule:
    """What a rule admits, or null."""
    return Rule(f"{rule.expected}, or null", lambda value: value is None or rule.holds(value))


ANY = Rule("anything", lambda _: True)
FLAG = Rule("true or false", lambda value: isinstance(value, bool))
NULL = Rule("null or absent", lambda value: value in (None, {}))
OBJECT = Rule("an object", lambda value: isinstance(value, Mapping))
PIXELS = Rule(
    f"a whole number from 1 to {MOST_PIXELS:,}, or [height, width] of two such", _is_pixels
)
INPUT = Rule(
    f"[channels, height, width] up to {MOST_CHANNELS:,}, {MOST_PIXELS:,}, {MOST_PIXELS:,}",
    _is_input,
)
WIDTH = whole(1, MOST_WIDTH)
STAGES = each_of(MOST_HEADS)
TRAINED = Rule(
    f"a list of at most {MOST_STAGES} whole numbers from 0 to {MOST_WINDOW}",
    lambda value: _is_stages(value, whole(0, MOST_WINDOW).holds),
)
FLAGS = Rule(
    f"a list of true or false for at most {MOST_STAGES} stages",
    lambda value: _is_stages(value, FLAG.holds),
)
DEPTHS = each_of(MOST_STAGE_BLOCKS)
SIDES = Rule(
    f"[height, width] up to {MOST_WINDOW}, or one or two such numbers for each stage",
    lambda value: _is_stages(
        value,
        lambda each: (
            _is_stages(each, whole(1, MOST_WINDOW).holds) or whole(1, MOST_WINDOW).holds(each)
        ),
    ),
)
PER_CHANNEL = Rule(
    f"a list of at most {MOST_CHANNELS:,} numbers",
    lambda value: (
        isinstance(value, list | tuple)
        and 1 <= len(value) <= MOST_CHANNELS
        and all(map(number(-1e6, 1e6).holds, value))
    ),
)
INDICES = Rule(f"a list of at most {MOST_BLOCKS:,} block indices", _is_indices)
UNSET = Rule("false or absent", lambda value: value is False or value is None)
LABELS = whole(0, MOST_LABELS)
SHARE = number(0, 1)  # of activations dropped in training
NAME = Rule("text", lambda value: isinstance(value, str))
EPSILON = Rule(
    "a number above 0 and below 1", lambda value: type(value) in (int, float) and 0 < value < 1
)
RATIO = Rule(
    "a number above 0, at most 64", lambda value: type(value) in (int, float) and 0 < value <= 64
)
