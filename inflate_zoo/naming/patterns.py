"""Matching tensor names against a family's patterns. Pure: no files, no tensors."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import accumulate, count
from typing import Literal, NamedTuple

from inflate_zoo.files import budgets
from inflate_zoo.naming.definition import Family, Role

_ALTERNATIVES = re.compile(r"\{(\w+(?:,\w+)+)\}")
_WB = ("weight", "bias")
# Of an index of the source: how many times ours it is, and how much more.
_INDICES = {"{}": (1, 0), "{+1}": (1, 1), "{*2}": (2, 0), "{*2+1}": (2, 1)}
# Modules that torch puts around others: compiled, sharded, recomputed. They may stand anywhere.
_TRANSPARENT = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
_NUMBER = "(?:0|[1-9][0-9]{0,3})"
# Where the blocks of each stage begin as long as no file tells: no two blocks are the same.
_FAR = range(0, 10_000 * 10_000, 10_000)
_TRAINING = re.compile(  # an optimizer by its form, the others by their usual names
    r"(?:.*\.)?state\.\d+\.\w+"
    r"|(?:optimizers?|optimizer_states?|optim|opt|(?:\w+_)?scalers?|(?:\w+_)?schedulers?|amp)\..*"
)


class Share(NamedTuple):
    """What one of our tensors takes of a source tensor: of so many equal parts the one at a place.

    Attributes:
        place: Counted from 0, along dimension 0.
        of: How many parts it has; 1 where it is taken whole.
    """

    place: int
    of: int


WHOLE = Share(0, 1)


@dataclass(frozen=True, slots=True)
class Match:
    """One source name, understood.

    Attributes:
        target: Our name.
        part: Which part of a join it is; 0 of a rename.
        parts: How many it has.
        source: The pattern that it follows.
        share: What is taken of it.
    """

    target: str
    part: int
    parts: int
    source: str
    share: Share


@dataclass(frozen=True, slots=True)
class _Pattern:
    source: str
    regex: re.Pattern[str]
    target: str
    parts: tuple[str, ...]
    steps: tuple[tuple[int, int], ...]  # of each index of the source, from ours
    share: Share
    counts_on: bool  # through all stages, where the source counts blocks anew in each

    def match(self, name: str, starts: Sequence[int]) -> Match | None:
        found = self.regex.fullmatch(name)
        if found is None:
            return None
        groups = found.groupdict()
        indices = []
        for place, (factor, more) in enumerate(self.steps):
            index, rest = divmod(int(groups[f"index{place}"]) - more, factor)
            if index < 0 or rest:
                return None
            indices.append(index)
        if self.counts_on:
            stage, block = indices
            if stage >= len(starts):
                return None
            indices = [starts[stage] + block]
        target = self.target.replace("{wb}", groups.get("wb") or "")
        for index in indices:
            target = target.replace("{}", str(index), 1)
        part = self.parts.index(groups["part"]) if self.parts else 0
        return Match(target, part, max(1, len(self.parts)), self.source, self.share)


@lru_cache(maxsize=4096)
def _compile(source: str, target: str, share: Share = WHOLE) -> _Pattern:
    found = _ALTERNATIVES.search(source)
    parts = tuple(found.group(1).split(",")) if found else ()
    pieces = re.split(r"(\{[^}]*\})", source)
    steps = tuple(_INDICES[piece] for piece in pieces if piece in _INDICES)
    # A block's number may follow that of its chunk: DINOv2's originals have blocks.0.3 for block 3.
    chunk = rf"(?:{_NUMBER}\.)?" if len(steps) == 1 else ""
    regex, places = "", count()
    for piece in pieces:
        if piece in _INDICES:
            regex += f"{chunk}(?P<index{next(places)}>{_NUMBER})"
        elif piece == "{wb}":
            regex += "(?P<wb>weight|bias)"
        else:
            regex += f"(?P<part>{'|'.join(parts)})" if piece.startswith("{") else re.escape(piece)
    counts_on = len(steps) == 2 and target.count("{}") == 1
    return _Pattern(source, re.compile(regex), target, parts, steps, share, counts_on)


def _filled(pattern: _Pattern, ours: re.Match[str], starts: Sequence[int]) -> str:
    """A source pattern with the indices, and weight or bias, of one of our names."""
    groups, source = ours.groupdict(), pattern.source
    counted = [int(groups[name]) for name in sorted(groups) if name.startswith("index")]
    if pattern.counts_on:
        stage = bisect_right(starts, counted[0]) - 1
        counted = [stage, counted[0] - starts[stage]]
    indices, filled = iter(counted), []
    for piece in re.split(r"(\{[^}]*\})", source):
        if piece in _INDICES:
            factor, more = _INDICES[piece]
            piece = str(factor * next(indices) + more)
        filled.append(piece)
    return "".join(filled).replace("{wb}", groups.get("wb") or "")


@lru_cache(maxsize=64)
def _patterns_of(
    rename: tuple[tuple[str, str], ...],
    join: tuple[tuple[str, str | tuple[str, ...]], ...],
    split: tuple[tuple[str, tuple[str, ...]], ...],
) -> tuple[_Pattern, ...]:
    patterns = [_compile(source, target) for source, target in rename]
    for target, sources in join:
        each = (sources,) if isinstance(sources, str) else sources
        patterns += [_compile(source, target) for source in each]
    for source, targets in split:
        shares = (Share(place, len(targets)) for place in range(len(targets)))
        kept = ((target, share) for target, share in zip(targets, shares, strict=True) if target)
        patterns += [_compile(source, target, share) for target, share in kept]
    return tuple(patterns)


def _patterns(family: Family) -> tuple[_Pattern, ...]:
    return _patterns_of(
        tuple(family.rename.items()), tuple(family.join.items()), tuple(family.split.items())
    )


def stage_starts(family: Family, prefix: str, names: Iterable[str]) -> Sequence[int]:
    """The number of the first block of each stage, where a family counts them anew in each.

    Args:
        family: The family.
        prefix: What all names of the tower begin with.
        names: All names of a file.

    Returns:
        Empty where the family does not, or the file has more blocks than any network.
    """
    anew = [pattern for pattern in _patterns(family) if pattern.counts_on]
    if not anew:
        return ()
    blocks: dict[int, int] = {}
    for name in names:
        bare = bare_name(prefix, name)
        found = next(filter(None, (pattern.regex.fullmatch(bare) for pattern in anew)), None)
        if found and name.startswith(prefix):
            stage, block = int(found["index0"]), int(found["index1"])
            blocks[stage] = max(blocks.get(stage, 0), block + 1)
    if sum(blocks.values()) > budgets.MOST_BLOCKS:
        return ()
    counted = [blocks.get(stage, 0) for stage in range(max(blocks, default=0) + 1)]
    return tuple(accumulate(counted[:-1], initial=0))


def match_name(family: Family, name: str, starts: Sequence[int] = _FAR) -> tuple[Match, ...]:
    """What a name (without prefix) becomes: one of our tensors, or several, of its parts.

    Args:
        family: The family.
        name: The name.
        starts: As `stage_starts` gives them, where the whole file is known.

    Returns:
        Empty where no pattern fits.
    """
    patterns = iter(_patterns(family))
    for pattern in patterns:
        if found := pattern.match(name, starts):
            if found.share == WHOLE:
                return (found,)
            others = (
                each.match(name, starts) for each in patterns if each.source == pattern.source
            )
            return (found, *filter(None, others))
    return ()


def bare_name(prefix: str, name: str) -> str:
    """A name of a tower as its library has it: without prefix and without torch's own wrappers."""
    bare = name.removeprefix(prefix)
    parts = bare.split(".")
    if _TRANSPARENT.isdisjoint(parts):
        return bare
    return ".".join(part for part in parts if part not in _TRANSPARENT)


def ending_in(source: str) -> re.Pattern[str]:
    """What finds a pattern without placeholders at the end of a name, torch's wrappers between.

    Its group `prefix` is what stands before.
    """
    wrappers = f"(?:(?:{'|'.join(sorted(_TRANSPARENT))})\\.)*"
    parts = rf"\.{wrappers}".join(map(re.escape, source.split(".")))
    return re.compile(rf"(?P<prefix>(?:.*\.)?){parts}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Matching:
    """All names of a header, sorted by what becomes of them.

    Attributes:
        prefix: The prefix that all kept names share.
        copies: Prefixes of the other complete towers in the file.
        kept: Our name to the source names, in the order they are stacked.
        shares: Our name to what is taken of these.
        whole: Our names whose parts are all there, each once and under names of one pattern.
        used: The source patterns that names follow.
        dropped: Names of the tower that are left out on purpose.
        beside: Names of what is no part of it: heads, text towers, copies, optimizers.
        leftover: Names of the tower that nobody knows.
        starts: The number of the first block of each stage, where the file counts them anew.
    """

    prefix: str
    copies: tuple[str, ...]
    kept: Mapping[str, tuple[str, ...]]
    shares: Mapping[str, Share]
    whole: frozenset[str]
    used: frozenset[str]
    dropped: tuple[str, ...]
    beside: tuple[str, ...]
    leftover: tuple[str, ...]
    starts: Sequence[int] = ()


def _is_dropped(family: Family, bare: str) -> bool:
    return any(fnmatchcase(bare, drop) for drop in family.drop)


def match_header(
    family: Family, prefix: str, names: Iterable[str], copies: Iterable[str] = ()
) -> Matching:
    """Sort every name of a header under one prefix of a tower.

    Args:
        family: The family.
        prefix: What all names of the tower begin with.
        names: All names.
        copies: Prefixes of other towers.
    """
    copies, names = tuple(copies), tuple(names)
    starts = stage_starts(family, prefix, names)
    inner = tuple(copy for copy in copies if len(copy) > len(prefix) and copy.startswith(prefix))
    found: dict[str, list[tuple[Match, str]]] = {}
    dropped, beside, leftover = [], [], []
    for name in names:
        bare = bare_name(prefix, name)
        if not name.startswith(prefix) or name.startswith(inner) or _TRAINING.fullmatch(bare):
            beside.append(name)
        elif matches := match_name(family, bare, starts):
            for match in matches:
                found.setdefault(match.target, []).append((match, name))
        elif _is_dropped(family, bare):
            dropped.append(name)
        else:
            leftover.append(name)
    for parts in found.values():
        parts.sort(key=lambda part: (part[0].part, part[1]))
    return Matching(
        prefix,
        copies,
        {target: tuple(name for _, name in parts) for target, parts in found.items()},
        {target: parts[0][0].share for target, parts in found.items()},
        frozenset(target for target, parts in found.items() if _is_whole([m for m, _ in parts])),
        frozenset(match.source for parts in found.values() for match, _ in parts),
        tuple(dropped),
        tuple(beside),
        tuple(leftover),
        starts,
    )


def _is_whole(parts: Sequence[Match]) -> bool:
    """Whether these are all parts of one pattern, in order."""
    alike = {part.source for part in parts}
    return len(alike) == 1 and [part.part for part in parts] == list(range(parts[0].parts))


def ways_of(
    family: Family, prefix: str, target: str, starts: Sequence[int] = ()
) -> dict[str, tuple[str, ...]]:
    """Each pattern by which a file may have one of our tensors, and the source names it takes."""
    return dict(_expand(family, prefix, target, starts))


def sources_of(family: Family, prefix: str, target: str, starts: Sequence[int] = ()) -> list[str]:
    """All source names that may make up one of our tensors, for messages."""
    return [name for _, names in _expand(family, prefix, target, starts) for name in names]


def _expand(
    family: Family, prefix: str, target: str, starts: Sequence[int]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    for pattern in _patterns(family):
        found = _compile(pattern.target, "").regex.fullmatch(target)
        if not found:
            continue
        name = _filled(pattern, found, starts or _FAR)
        listed = _ALTERNATIVES.search(name)
        parts = listed.group(1).split(",") if listed else [""]
        names = (name.replace(listed.group(0), part) if listed else name for part in parts)
        yield pattern.source, tuple(prefix + name for name in names)


def role_of(family: Family, target: str) -> Role | Literal["copy"]:
    """What becomes of one of our tensors."""
    pattern = re.sub(r"(?<=\.)\d+(?=\.)", "{}", target)
    return family.roles.get(target, family.roles.get(pattern, "copy"))


def covers(family: Family, target: str) -> bool:
    """Whether the family has a pattern that yields one of our names (`{}` and `{wb}` allowed)."""
    return any(_is_same(ours, target) for ours in family.targets)


def is_optional(family: Family, target: str) -> bool:
    """Whether one of our names (`{}` and `{wb}` allowed) may be absent under the family."""
    return any(_is_same(ours, target) for ours in family.optional)


def _is_same(ours: str, target: str) -> bool:
    return ours == target or any(ours.replace("{wb}", part) == target for part in _WB)
