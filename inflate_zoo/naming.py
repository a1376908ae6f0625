"""Matching tensor names against a naming scheme's patterns. Pure: no files, no tensors."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

from inflate_zoo.definitions import NamingScheme

_ALTERNATIVES = re.compile(r"\{(\w+(?:,\w+)+)\}")
_WB = ("weight", "bias")


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What a header says of a tensor: safetensors' name of the type, and the shape."""

    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype} [{', '.join(map(str, self.shape))}]"


Header = Mapping[str, TensorInfo]


@dataclass(frozen=True, slots=True)
class Match:
    """One source name, understood: our name, and which part of a join it is (0 for a rename)."""

    target: str
    part: int


@dataclass(frozen=True, slots=True)
class _Pattern:
    regex: re.Pattern[str]
    target: str
    parts: tuple[str, ...]

    def match(self, name: str) -> Match | None:
        found = self.regex.fullmatch(name)
        if found is None:
            return None
        groups = found.groupdict()
        target = self.target.replace("{}", groups.get("index") or "")
        target = target.replace("{wb}", groups.get("wb") or "")
        part = self.parts.index(groups["part"]) if self.parts else 0
        return Match(target, part)


def _compile(source: str, target: str) -> _Pattern:
    found = _ALTERNATIVES.search(source)
    parts = tuple(found.group(1).split(",")) if found else ()
    pieces = re.split(r"(\{[^}]*\})", source)
    groups = {"{}": r"(?P<index>0|[1-9][0-9]{0,3})", "{wb}": "(?P<wb>weight|bias)"}
    regex = "".join(
        groups.get(piece, f"(?P<part>{'|'.join(parts)})")
        if piece.startswith("{")
        else re.escape(piece)
        for piece in pieces
    )
    return _Pattern(re.compile(regex), target, parts)


@lru_cache(maxsize=64)
def _patterns_of(
    rename: tuple[tuple[str, str], ...], join: tuple[tuple[str, str], ...]
) -> tuple[_Pattern, ...]:
    renames = [_compile(source, target) for source, target in rename]
    return tuple(renames + [_compile(source, target) for target, source in join])


def _patterns(scheme: NamingScheme) -> tuple[_Pattern, ...]:
    return _patterns_of(tuple(scheme.rename.items()), tuple(scheme.join.items()))


def match_name(scheme: NamingScheme, name: str) -> Match | None:
    """What a name (without prefix) becomes; `None` where no pattern fits."""
    for pattern in _patterns(scheme):
        if found := pattern.match(name):
            return found
    return None


@dataclass(frozen=True, slots=True)
class Matching:
    """All names of a header, sorted by what becomes of them.

    Attributes:
        prefix: The prefix that all kept names share.
        kept: Our name to the source names, in the order they are stacked.
        parts: Our name to the parts of a join that were found.
        dropped: Names left out on purpose.
        leftover: Names nobody knows.
    """

    prefix: str
    kept: Mapping[str, tuple[str, ...]]
    parts: Mapping[str, tuple[int, ...]]
    dropped: tuple[str, ...]
    leftover: tuple[str, ...]


def _is_dropped(scheme: NamingScheme, prefix: str, name: str) -> bool:
    bare = name.removeprefix(prefix)
    return any(fnmatchcase(name, drop) or fnmatchcase(bare, drop) for drop in scheme.drop)


def match_header(scheme: NamingScheme, prefix: str, names: Iterable[str]) -> Matching:
    """Sort every name of a header under one prefix of a scheme."""
    found: dict[str, list[tuple[int, str]]] = {}
    dropped, leftover = [], []
    for name in names:
        match = match_name(scheme, name[len(prefix) :]) if name.startswith(prefix) else None
        if match is not None:
            found.setdefault(match.target, []).append((match.part, name))
        elif _is_dropped(scheme, prefix, name):
            dropped.append(name)
        else:
            leftover.append(name)
    ordered = {target: sorted(parts) for target, parts in found.items()}
    return Matching(
        prefix,
        {target: tuple(name for _, name in parts) for target, parts in ordered.items()},
        {target: tuple(part for part, _ in parts) for target, parts in ordered.items()},
        tuple(dropped),
        tuple(leftover),
    )


def expected_parts(scheme: NamingScheme, target: str) -> int:
    """How many source tensors make up one of ours: the alternatives of its join, else 1."""
    for ours, source in scheme.join.items():
        if _compile(ours, "").regex.fullmatch(target):
            found = _ALTERNATIVES.search(source)
            return len(found.group(1).split(",")) if found else 1
    return 1


def sources_of(scheme: NamingScheme, prefix: str, target: str) -> list[str]:
    """The source names that would make up one of our tensors, for messages."""
    return list(_expand(scheme, prefix, target))


def _expand(scheme: NamingScheme, prefix: str, target: str) -> Iterator[str]:
    pairs = [(ours, source) for source, ours in scheme.rename.items()]
    for ours, source in [*pairs, *scheme.join.items()]:
        found = _compile(ours, "").regex.fullmatch(target)
        if not found:
            continue
        groups = found.groupdict()
        name = source.replace("{}", groups.get("index") or "").replace(
            "{wb}", groups.get("wb") or ""
        )
        listed = _ALTERNATIVES.search(name)
        parts = listed.group(1).split(",") if listed else [""]
        for part in parts:
            yield prefix + (name.replace(listed.group(0), part) if listed else name)


def covers(scheme: NamingScheme, target: str) -> bool:
    """Whether the scheme has a pattern that yields one of our names (`{}` and `{wb}` allowed)."""
    return any(_is_same(ours, target) for ours in _targets(scheme))


def is_optional(scheme: NamingScheme, target: str) -> bool:
    """Whether one of our names (`{}` and `{wb}` allowed) may be absent under the scheme."""
    return any(_is_same(ours, target) for ours in scheme.optional)


def _targets(scheme: NamingScheme) -> tuple[str, ...]:
    return (*scheme.rename.values(), *scheme.join)


def _is_same(ours: str, target: str) -> bool:
    return ours == target or any(ours.replace("{wb}", part) == target for part in _WB)
