"""How a source is written where networks are compared: `SOURCE:arch=NAME:weights=ema:2d`."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from typing import Any

from inflate_zoo.errors import UsageError
from inflate_zoo.hub.addresses import is_local
from inflate_zoo.inflation.schemes import SCHEMES

RANDOM, SLICES = "random", "2d"
_KEYS = ("family", "arch", "weights", "patch_size")
_ARMS = (SLICES, *SCHEMES)


@dataclass(frozen=True, slots=True)
class ArmSource:
    """A source and what stands behind its colons.

    Attributes:
        plain: The source, as `convert` takes it.
        arm: `2d` or a scheme, for one arm alone; empty for all.
        family: As `convert --family`; likewise the others.
        arch: timm architecture of a bare file.
        weights: Which copy in a training file.
        patch_size: As `convert --patch-size`: height and width in pixels.
    """

    plain: str
    arm: str = ""
    family: str | None = None
    arch: str | None = None
    weights: str | None = None
    patch_size: tuple[int, int] | None = None

    @property
    def told_apart(self) -> tuple[str, ...]:
        """What tells it from other arms of its source, in words."""
        patch = "" if self.patch_size is None else "patch {}x{}".format(*self.patch_size)
        return tuple(filter(None, (self.weights, patch)))


def parse_arm(text: str) -> ArmSource:
    """Split off what a source says behind its colons, in any order; nothing else is split off.

    Raises:
        UsageError: Something is said twice, or is misspelt.
    """
    found = ArmSource(text)
    while ":" in found.plain:
        plain, _, ending = found.plain.rpartition(":")
        key, equals, value = ending.partition("=")
        if not plain:
            break
        if ending in _ARMS:
            field, value = "arm", ending
        elif equals and key in _KEYS and value:
            field = key
        else:
            _refuse_misspelt(found.plain, plain, ending)
            break
        if getattr(found, field):
            raise UsageError(
                f"'{text}' says two things: ':{ending}' and another",
                hint="name the source twice, once with each",
            )
        said: Any = _patch(text, value) if field == "patch_size" else value
        found = replace(found, plain=plain, **{field: said})
    return found


def _patch(text: str, value: str) -> tuple[int, int]:
    sides = value.replace("x", ",").split(",")
    if len(sides) != 2 or not all(re.fullmatch("[1-9][0-9]{0,3}", side) for side in sides):
        raise UsageError(
            f"'{text}': patch size '{value}' is not two numbers H,W",
            hint="give height and width in pixels: patch_size=16,16",
        )
    return int(sides[0]), int(sides[1])


def _refuse_misspelt(text: str, plain: str, ending: str) -> None:
    if (is_local(text) and not is_local(plain)) or "/" in ending or "\\" in ending:
        return
    key, equals, value = ending.partition("=")
    if equals and key in _KEYS:
        raise UsageError(f"'{text}' gives no {key}", hint=f"write it behind the sign: {key}=NAME")
    known = _KEYS if equals else _ARMS
    close = difflib.get_close_matches(key.lower(), known, n=1)
    if close:
        meant = f"{plain}:{close[0]}{equals}{value}"
        raise UsageError(f"'{text}' ends in ':{ending}'", hint=f"did you mean '{meant}'?")
