"""Which complete towers a file holds, and which of several is meant. Pure: names alone.

Training files put the network under wrappers (`state_dict.module.model.`), beside its average,
its teacher, its optimizer. A tower is found by its form, whatever stands before it: where a name
ends like a stem, and all that the family requires stands under the same prefix.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

from inflate_zoo.errors import AmbiguousSourceError, UnsupportedModelError, UsageError
from inflate_zoo.files.header import Header
from inflate_zoo.naming.definition import Family
from inflate_zoo.naming.patterns import (
    Matching,
    bare_name,
    ending_in,
    is_optional,
    match_header,
    match_name,
    sources_of,
)
from inflate_zoo.naming.unsupported import unfinished

# Words of a wrapper's name that say it is an average of another network's weights.
_AVERAGE = frozenset({"ema", "momentum", "swa", "averaged", "average", "avg", "shadow", "polyak"})
_EARLIER = frozenset({"gram", "teacher"})  # of DINOv3: its patches are held to an earlier teacher's
_MOST = 64  # stems in one file; more are no training file's
_READ = 4000  # names of a broken file that are looked at; each costs some microseconds


def complete_towers(family: Family, header: Header) -> tuple[str, ...]:
    """Prefixes of the towers of which every required piece is there, in the first block at least.

    Args:
        family: The family.
        header: Names of all tensors of the file.

    Returns:
        Prefixes, empty or with their last dot, in the order of the file.
    """
    prefixes = _stems(family, header)
    if not prefixes or len(prefixes) > _MOST:
        return ()
    needed = _needed(family)
    found: dict[str, set[str]] = {prefix: set() for prefix in prefixes}
    for name in header:
        for prefix in prefixes:
            if name.startswith(prefix):
                matches = match_name(family, bare_name(prefix, name))
                found[prefix].update(match.target for match in matches)
    return tuple(prefix for prefix, targets in found.items() if needed <= targets)


def _needed(family: Family) -> set[str]:
    """Our names of what every tower has, in its first block."""
    return {
        target.replace("{}", "0").replace("{wb}", "weight")
        for target in family.targets
        if not is_optional(family, target)
    }


def _stems(family: Family, header: Header) -> list[str]:
    patterns = [ending_in(source) for source in sources_of(family, "", family.stem)]
    matches = (pattern.fullmatch(name) for name in header for pattern in patterns)
    return list(dict.fromkeys(match["prefix"] for match in matches if match))


def likeliest_tower(family: Family, header: Header) -> str:
    """The prefix that explains most names of a file without a complete tower, for its message.

    Raises:
        UnsupportedModelError: A wrapper stands before some parts of a network and not before the
            others, as transformers saves some models.
    """
    found = _by_prefix(family, header)
    needed = _needed(family)
    for inner, targets in found.items():
        outer = "".join(f"{part}." for part in inner.split(".")[:-2])
        if inner and needed <= {*targets, *found.get(outer, ())}:
            raise _scattered(inner, outer)
    return max(found, key=lambda prefix: len(found[prefix]))


def refuse_scattered(family: Family, header: Header, matching: Matching) -> None:
    """Say of a tower that lacks something whether that stands where nothing else of it stands.

    Args:
        family: The family.
        header: Names of all tensors of the file.
        matching: Its names under the prefix of the tower.

    Raises:
        UnsupportedModelError: It does, as transformers saves some models.
    """
    others = {name: header[name] for name in (*matching.leftover, *matching.beside)}
    for prefix, targets in _by_prefix(family, others).items():
        if targets and matching.kept.keys().isdisjoint(targets):
            raise _scattered(prefix, matching.prefix)


def _scattered(some: str, others: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"parts of the network stand under '{some}*', others under '{others}*'",
        hint="load it with its library, save the encoder alone, e.g. "
        "model.base_model.save_pretrained('saved'), and convert that folder",
    )


def _by_prefix(family: Family, header: Header) -> dict[str, list[str]]:
    """Our names of what a file holds under each prefix."""
    found: dict[str, list[str]] = {"": []}
    for name in islice(header, _READ):
        parts = name.split(".")
        for length in range(min(len(parts), 8)):
            prefix = "".join(f"{part}." for part in parts[:length])
            for match in match_name(family, bare_name(prefix, name)):
                found.setdefault(prefix, []).append(match.target)
    return found


def choose_tower(prefixes: Sequence[str], wanted: str | None) -> str:
    """Which of several complete towers is meant.

    Unless one is asked for, averages (EMA) and DINOv3's `gram_teacher` are passed over where there
    is anything else, and of a student and its teacher, as in DINO, the teacher is taken: it is what
    is published.

    Args:
        prefixes: Of all complete towers; at least one.
        wanted: A name of `--weights`: a wrapper (`teacher`), a word of it (`ema`), or the whole
            prefix.

    Raises:
        AmbiguousSourceError: Several are equally good; names each and what chooses it.
        UsageError: None has that name.
    """
    named = list(prefixes) if wanted is None else _named(prefixes, wanted)
    if not named:
        raise UsageError(
            f"the file has no weights called '{wanted}'",
            details=[f"it holds '{prefix}*'" for prefix in prefixes],
            hint=f"choose with {_flags(prefixes)}, or leave out --weights",
        )
    left = [prefix for prefix in named if not _is_aside(_words(prefix))] or named
    if any("teacher" in _words(prefix) for prefix in left):
        left = [prefix for prefix in left if "student" not in _words(prefix)] or left
    if len(left) > 1:
        shown = " and ".join(f"'{prefix}*'" for prefix in left)
        raise AmbiguousSourceError(
            f"the file holds {len(left)} complete copies of the network: {shown}",
            hint=f"say which: {_flags(left)}",
        )
    return left[0]


def _is_aside(words: set[str]) -> bool:
    """Whether a tower is kept beside the one that is trained, for its training's sake."""
    return bool(words & _AVERAGE) or words >= _EARLIER


def _named(prefixes: Sequence[str], wanted: str) -> list[str]:
    """Towers of that name: of the whole prefix, else of some parts of it, else of a word."""
    asked = wanted.removesuffix("*").strip(".")
    words = _AVERAGE if asked == "ema" else {asked}
    rules: tuple[Callable[[str], bool], ...] = (
        lambda prefix: prefix.strip(".") == asked,
        lambda prefix: bool(asked) and f".{asked}." in f".{prefix}",
        lambda prefix: asked in _words(prefix),
        lambda prefix: bool(_words(prefix) & words),
    )
    found = ([prefix for prefix in prefixes if rule(prefix)] for rule in rules)
    return next(filter(None, found), [])


def _words(prefix: str) -> set[str]:
    return set(re.split(r"[._]", prefix.lower())) - {""}


def _flags(prefixes: Sequence[str]) -> str:
    return " or ".join(f"--weights {_label(prefix, prefixes)}" for prefix in prefixes)


def _label(prefix: str, prefixes: Sequence[str]) -> str:
    """The shortest name that chooses a tower: its first part that the others lack, or all."""
    others = {part for other in prefixes if other != prefix for part in other.split(".")}
    own = [part for part in prefix.split(".") if part and part not in others]
    return own[0] if own else prefix.removesuffix(".") or "'*'"


def best_matching(
    family: Family, header: Header, weights: str | None = None, width: object = None
) -> Matching:
    """Sort the header's names under the tower that is meant.

    Args:
        family: The family.
        header: Names of all tensors of the file.
        weights: Which of several complete towers, as `--weights` names it.
        width: Of the network that is looked for: of several towers (a small student's and its large
            teacher's) only those of that width are meant.

    Returns:
        The names sorted; without a complete tower under the prefix that explains most of them.

    Raises:
        AmbiguousSourceError: Several complete towers are equally good.
        UsageError: None is called so.
        UnsupportedModelError: What is left over is of an adapter, or of OpenCLIP's own network; or
            see `likeliest_tower`.
    """
    towers = complete_towers(family, header)
    if towers:
        fitting = [tower for tower in towers if width_of(family, header, tower) == width]
        prefix = choose_tower(towers if weights else fitting or towers, weights)
        copies = tuple(tower for tower in towers if tower != prefix)
        matching = match_header(family, prefix, header, copies)
    else:
        matching = match_header(family, likeliest_tower(family, header), header)
    if error := unfinished(matching.leftover):
        raise error
    return matching


def width_of(family: Family, header: Header, prefix: str) -> int | None:
    """The width of the tower under a prefix, by its stem; `None` where that has no shape."""
    shape = _stem_shape(family, header, prefix)
    return shape[0] if shape else None


def _stem_shape(family: Family, header: Header, prefix: str) -> tuple[int, ...]:
    patterns = [ending_in(source) for source in sources_of(family, "", family.stem)]
    found = (
        info.shape
        for name, info in header.items()
        if info.shape and any((m := p.fullmatch(name)) and m["prefix"] == prefix for p in patterns)
    )
    return next(found, ())


def left_out(prefix: str, names: Iterable[str]) -> Mapping[str, int]:
    """What was not taken, by the wrapper or module it belongs to, with the number of its tensors.

    Args:
        prefix: Prefix of the tower.
        names: Source names that were not taken.
    """
    own = prefix.split(".")[:-1]
    counts: dict[str, int] = {}
    for name in names:
        parts = name.split(".")
        shared = next((i for i, part in enumerate(own) if parts[i : i + 1] != [part]), len(own))
        whole = len(parts) <= shared + 1
        group = name if whole else ".".join(parts[: shared + 1]) + ".*"
        counts[group] = counts.get(group, 0) + 1
    return counts


def counted(group: str, tensors: int) -> str:
    """A group of `left_out` for people: `optimizer.* (302)`."""
    return f"{group} ({tensors})" if group.endswith(".*") else group
