"""How a source is written where networks are compared: `SOURCE:arch=NAME:weights=ema:2d`.

With another patch `SOURCE:patch_size=16,16` and `SOURCE:patch_depth=4`; of a network of windows
also `SOURCE:depth_window=4` and `SOURCE:merge_depth`; with a name for tables `SOURCE:label=NAME`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from inflate_zoo.errors import UsageError
from inflate_zoo.hub.addresses import is_local
from inflate_zoo.inflation.recipe import MOST_PATCH_DEPTH
from inflate_zoo.inflation.schemes import SCHEMES
from inflate_zoo.networks.layers.grids import MOST_WINDOW

RANDOM, SLICES = "random", "2d"
_KEYS = ("family", "arch", "weights")
_WINDOW, _MERGED, _PATCH, _DEPTH = "depth_window", "merge_depth", "patch_size", "patch_depth"
_LABEL = "label"
_LONGEST_LABEL = 60
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
        depth_window: As `convert --depth-window`.
        merge_depth: As `convert --merge-depth`.
        patch_size: As `convert --patch-size`: height and width in pixels.
        patch_depth: As `convert --patch-depth`, in voxels; the protocol's by default.
        label: What it is called in tables, in place of its own name; makes it no other source.
    """

    plain: str
    arm: str = ""
    family: str | None = None
    arch: str | None = None
    weights: str | None = None
    depth_window: int | None = None
    merge_depth: bool = False
    patch_size: tuple[int, int] | None = None
    patch_depth: int | None = None
    label: str | None = field(default=None, compare=False)

    @property
    def bare(self) -> ArmSource:
        """The same source as a 2D network: no arm, and nothing of what it becomes over depth."""
        return replace(self, arm="", patch_depth=None, depth_window=None, merge_depth=False)

    @property
    def windows(self) -> tuple[str, ...]:
        """What is said of its windows over depth, as it was written."""
        window = () if self.depth_window is None else (f"{_WINDOW}={self.depth_window}",)
        return (*window, *([_MERGED] if self.merge_depth else []))

    @property
    def over_depth(self) -> tuple[str, ...]:
        """All that is said of what it becomes over depth, as it was written."""
        depth = () if self.patch_depth is None else (f"{_DEPTH}={self.patch_depth}",)
        return (*depth, *self.windows)

    @property
    def words(self) -> tuple[str, ...]:
        """What tells it from other arms of its source, for people."""
        patch = "" if self.patch_size is None else f"{_PATCH}={{}},{{}}".format(*self.patch_size)
        return tuple(filter(None, (self.weights, patch, *self.over_depth)))


def parse_arm(text: str) -> ArmSource:
    """Split off what a source says behind its colons, in any order; nothing else is split off.

    Raises:
        UsageError: Something is said twice, of random weights, is misspelt, or is no window,
            patch or label that can be.
    """
    found = ArmSource(text)
    while ":" in found.plain:
        plain, _, ending = found.plain.rpartition(":")
        key, equals, written = ending.partition("=")
        value: str | int | bool | tuple[int, int] = written
        if not plain:
            break
        if ending in _ARMS:
            name, value = "arm", ending
        elif ending == _MERGED:
            name, value = ending, True
        elif key in _READ and written:
            name, value = key, _READ[key](text, written)
        elif equals and key in _KEYS and written:
            name = key
        else:
            _refuse_misspelt(found.plain, plain, ending)
            break
        if getattr(found, name):
            raise UsageError(
                f"'{text}' says two things: ':{ending}' and another",
                hint="name the source twice, once with each",
            )
        found = replace(found, plain=plain, **{name: value})  # type: ignore[arg-type]
    _refuse_useless(text, found)
    return found


def _refuse_useless(text: str, found: ArmSource) -> None:
    if found.plain == RANDOM != text:
        raise UsageError(
            f"'{text}': random weights are one arm, of the networks beside them",
            hint=f"write '{RANDOM}' alone",
        )
    if found.arm == SLICES and found.over_depth:
        raise UsageError(
            f"'{text}' is taken slice by slice, without depth: ':{found.over_depth[0]}' has no use",
            hint=f"leave out ':{':'.join(found.over_depth)}', or ':{SLICES}'",
        )


def _depth(text: str, written: str) -> int:
    if not _is_whole(written, MOST_PATCH_DEPTH):
        raise UsageError(
            f"'{text}' gives no patch depth in 1 to {MOST_PATCH_DEPTH}",
            hint=f"write it in voxels, e.g. :{_DEPTH}=4",
        )
    return int(written)


def _is_whole(written: str, most: int) -> bool:
    return written.isascii() and written.isdigit() and 1 <= int(written[:9]) <= most


def _window(text: str, written: str) -> int:
    if not _is_whole(written, MOST_WINDOW):
        raise UsageError(
            f"'{text}' gives no depth of windows in 1 to {MOST_WINDOW}",
            hint=f"write it in tokens, e.g. :{_WINDOW}=4",
        )
    return int(written)


def _patch(text: str, value: str) -> tuple[int, int]:
    sides = value.replace("x", ",").split(",")
    if len(sides) != 2 or not all(re.fullmatch("[1-9][0-9]{0,3}", side) for side in sides):
        raise UsageError(
            f"'{text}': patch size '{value}' is not two numbers H,W",
            hint="give height and width in pixels: patch_size=16,16",
        )
    return int(sides[0]), int(sides[1])


def _label(text: str, written: str) -> str:
    if written != written.strip() or not written.isprintable() or len(written) > _LONGEST_LABEL:
        raise UsageError(
            f"'{text}' gives no label of at most {_LONGEST_LABEL} characters",
            hint=f"write a word or a few, e.g. :{_LABEL}=early",
        )
    return written


_READ: Mapping[str, Callable[[str, str], str | int | tuple[int, int]]] = MappingProxyType(
    {_WINDOW: _window, _PATCH: _patch, _DEPTH: _depth, _LABEL: _label}
)
_VALUED = (*_KEYS, *_READ)


def _refuse_misspelt(text: str, plain: str, ending: str) -> None:
    if (is_local(text) and not is_local(plain)) or "/" in ending or "\\" in ending:
        return
    key, equals, value = ending.partition("=")
    if equals and key in _VALUED:
        raise UsageError(f"'{text}' gives no {key}", hint=f"write it behind the sign: {key}=NAME")
    known = _VALUED if equals else (*_ARMS, _MERGED)
    close = difflib.get_close_matches(key.lower(), known, n=1)
    if close:
        meant = f"{plain}:{close[0]}{equals}{value}"
        raise UsageError(f"'{text}' ends in ':{ending}'", hint=f"did you mean '{meant}'?")
