"""From names and shapes to a plan: every source tensor accounted for, the architecture derived.

Facts come from the header, claims from the config; where they disagree it is an error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod
from typing import Any, Literal

from inflate_zoo.errors import AccountingError
from inflate_zoo.files.dtypes import FLOATS
from inflate_zoo.files.header import Header
from inflate_zoo.naming.claims import read_claims
from inflate_zoo.naming.configs.from_config import CONFIG_FILE, FromConfig, Statement, plain
from inflate_zoo.naming.configs.gate import GATED
from inflate_zoo.naming.definition import Family, Role
from inflate_zoo.naming.from_header import FromHeader, either, leftover_lines
from inflate_zoo.naming.patterns import (
    WHOLE,
    Matching,
    Share,
    bare_name,
    is_optional,
    role_of,
    sources_of,
    ways_of,
)
from inflate_zoo.naming.readers.known import READERS
from inflate_zoo.naming.readers.pieces import disagreement
from inflate_zoo.naming.readers.reader import Reader
from inflate_zoo.naming.towers import best_matching, refuse_scattered
from inflate_zoo.networks.base import Form2D


@dataclass(frozen=True, slots=True)
class TensorPlan:
    """One tensor of the 2D network under our name.

    Attributes:
        name: Our name.
        role: What becomes of it; `copy` where it gains no depth.
        sources: The source tensors, stacked along dimension 0 where there are several; none where
            it holds no value, and the source has no such tensor.
        shape: Shape under our name, still 2D.
        dtype: Type in the source (safetensors' name); F32 where joined parts differ.
        channels_last: Whether the source has a kernel as a matrix whose rows run over height, width
            and channel; under our name the channel comes first.
        share: What is taken of the source tensor.
    """

    name: str
    role: Role | Literal["copy"]
    sources: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    channels_last: bool = False
    share: Share = WHOLE


@dataclass(frozen=True, slots=True)
class Plan:
    """How a 2D checkpoint becomes our form.

    Attributes:
        family: The family.
        prefix: Prefix of the kept source names.
        architecture: The 2D network.
        kept: One entry per tensor of the 2D network, in the order of the forward pass.
        dropped: All source tensors that are left out, sorted.
        notes: What a user should know, one sentence each.
        copies: Prefixes of the other complete towers of the file.
        repooled: Whether `forward` pools otherwise than the original.
    """

    family: Family
    prefix: str
    architecture: Form2D
    kept: tuple[TensorPlan, ...]
    dropped: tuple[str, ...]
    notes: tuple[str, ...]
    copies: tuple[str, ...] = ()
    repooled: bool = False


def make_plan(
    family: Family,
    header: Header,
    raw: Mapping[str, Any],
    section: str = "",
    *,
    statement: Statement = CONFIG_FILE,
    weights: str | None = None,
) -> Plan:
    """Account for every tensor of a header and derive the architecture.

    Args:
        family: The family.
        header: Names, types and shapes.
        raw: The config's part on the image tower; empty where the source has none.
        section: What to put before its fields in messages.
        statement: What made the claims, for messages.
        weights: Which of several complete towers.

    Returns:
        The plan.

    Raises:
        AccountingError: Tensors are left over, missing, of an unexpected shape or type.
        ConfigError: The config is malformed, or disagrees with the tensors.
        UnsupportedModelError: See `refuse_scattered`.
    """
    reader = READERS[family.network]
    width = family.config.get(reader.width)
    stated = raw.get(width.path) if width is not None and width.path is not None else None
    matching = best_matching(family, header, weights, stated)
    facts = reader.gather(family, matching, header)
    claims = read_claims(family, raw, section, facts.values[reader.width], statement)
    if details := _differences(reader, facts, claims):
        refuse_scattered(family, header, matching)
        raise disagreement(statement, *details)
    architecture = reader.make_form(facts, claims, statement)
    kept = _account(family, matching, header, architecture)
    empty = _empty(matching, header, architecture)
    note = _pooling_note(family, matching, architecture, raw)
    return Plan(
        family,
        matching.prefix,
        architecture,
        kept,
        tuple(sorted([*matching.dropped, *matching.beside, *empty])),
        tuple(filter(None, (note, _outer_norm_note(family, matching), reader.remark(claims)))),
        matching.copies,
        repooled=bool(note),
    )


def _differences(reader: Reader, facts: FromHeader, claims: FromConfig) -> list[str]:
    """Where claims and facts disagree: both values, and the tensor."""
    known = reader.settled(facts, claims)
    details = []
    for field, claimed in claims.values.items():
        if field in known and known[field] != claimed:
            by = facts.told_by.get(field, "the tensors say")
            details.append(
                f"{claims.labels[field]} is {plain(claimed)}, {by} {plain(known[field])}"
            )
    return details


def _canonical(
    family: Family, role: str, shapes: list[tuple[int, ...]], expected: tuple[int, ...]
) -> tuple[int, ...]:
    """Shape under our name, of source tensors stacked along dimension 0."""
    first = shapes[0]
    if len(shapes) > 1 and first and all(shape == first for shape in shapes):
        return (len(shapes) * first[0], *first[1:])
    if role == "token" and len(first) == 1:
        return (1, 1, *first)
    if role in ("position_table", "token") and len(first) == 2:
        return (1, *first)
    if role == "position_table" and len(first) == 4:
        return (first[0], first[1] * first[2], first[3])
    if _is_matrix(family, role) and first == (expected[0], prod(expected[1:])):
        return expected
    return first


def _times(count: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of what has so many equal parts of a shape along dimension 0."""
    return (*(count * side for side in shape[:1]), *shape[1:])


def _is_matrix(family: Family, role: str) -> bool:
    """Whether it is a stem that stands in the source as a matrix over patches."""
    return role == "stem_kernel" and family.linear_stem is not None


def _unused(matching: Matching, architecture: Form2D) -> list[str]:
    """Known names of the tower that its network has no use for."""
    unused = matching.kept.keys() - architecture.shapes()
    return [source for name in unused for source in matching.kept[name]]


def _empty(matching: Matching, header: Header, architecture: Form2D) -> list[str]:
    """Those of them that hold no value: tables of no registers, which transformers saves."""
    return [source for source in _unused(matching, architecture) if 0 in header[source].shape]


def _account(
    family: Family, matching: Matching, header: Header, architecture: Form2D
) -> tuple[TensorPlan, ...]:
    """One entry per expected tensor.

    Raises:
        AccountingError: Lists everything left over, missing, misshapen or of a foreign type.
    """
    expected = architecture.shapes()
    kept: list[TensorPlan] = []
    problems: list[str] = []
    for name, shape in expected.items():
        planned = _planned(family, matching, header, name, shape)
        if isinstance(planned, TensorPlan):
            kept.append(planned)
        else:
            problems += planned
    extra = set(_unused(matching, architecture)).difference(_empty(matching, header, architecture))
    names = tuple(
        source
        for name in expected
        for source in sources_of(family, matching.prefix, name, matching.starts)
    )
    absent = tuple(n for n in names if n not in header)
    problems = [
        *leftover_lines(sorted([*matching.leftover, *extra]), header, absent or names),
        *problems,
    ]
    if problems:
        refuse_scattered(family, header, matching)
        # A tensor that is split is told of once, not for each of its parts.
        raise _unaccounted(family, matching, header, list(dict.fromkeys(problems)))
    return tuple(kept)


def _planned(
    family: Family, matching: Matching, header: Header, name: str, shape: tuple[int, ...]
) -> TensorPlan | list[str]:
    """The entry of one of our tensors, or why there is none."""
    sources, role = matching.kept.get(name, ()), role_of(family, name)
    if 0 in shape and not sources and is_optional(family, name):
        stem = header[matching.kept[family.stem][0]]  # it has no type of its own
        return TensorPlan(name, role, (), shape, stem.dtype)
    if name not in matching.whole:
        return _missing(family, matching, header, name, shape)
    infos, share = [header[source] for source in sources], matching.shares[name]
    foreign = [s for s, info in zip(sources, infos, strict=True) if info.dtype not in FLOATS]
    if foreign:
        return [f"type not among {', '.join(FLOATS)}: '{s}' {header[s]}" for s in foreign]
    found, wanted = _canonical(family, role, [info.shape for info in infos], shape), shape
    if share != WHOLE:  # no kernel and no table, of which sources differ in form
        found, wanted = infos[0].shape, _times(share.of, shape)
    if found != wanted:
        shown = " + ".join(f"'{s}' {header[s]}" for s in sources)
        return [f"unexpected shape: {shown}, expected {list(wanted)}"]
    dtypes = {info.dtype for info in infos}
    dtype = dtypes.pop() if len(dtypes) == 1 else "F32"
    last = _is_matrix(family, role) and family.linear_stem == "channels_last"
    return TensorPlan(name, role, sources, shape, dtype, last, share)


def _unaccounted(
    family: Family, matching: Matching, header: Header, problems: Sequence[str]
) -> AccountingError:
    """The error for tensors left over, missing, misshapen or of a foreign type."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    norm = {"norm.weight", "norm.bias"}
    unnormed = len(problems) == len(norm) and norm.isdisjoint(matching.kept)
    return AccountingError(
        f"not every tensor is accounted for under {family.name}: {count}",
        details=problems,
        hint=(
            "a backbone class may save no last norm, as transformers' Swinv2Backbone: take the "
            f"weights as {family.reference}, or a class around it, saves them"
            if unnormed and family.library == "transformers"
            else _next_step(matching, header)
        ),
    )


def _next_step(matching: Matching, header: Header) -> str:
    """What to do where not every tensor is accounted for, by what the tensors are."""
    if any(header[name].dtype == "F64" for found in matching.kept.values() for name in found):
        return "save the weights in float32, and convert that"
    first, second = (matching.kept.get(f"blocks.0.mlp.fc{n}.weight", ()) for n in (1, 2))
    if len(first) == len(second) == 1:
        outer, inner = header[first[0]].shape, header[second[0]].shape
        if len(outer) == len(inner) == 2 and outer[0] == 2 * inner[1]:
            return (
                "its feed-forward part is gated: fc1 is twice as wide as what fc2 takes; of timm "
                "it is converted where the architecture says so, e.g. vit_giant_patch14_dinov2, or "
                f"where model_args of config.json say what code passes, e.g. {GATED}"
            )
    return "is it the right family? 'inflate-zoo families' lists them; --family overrides"


def _missing(
    family: Family,
    matching: Matching,
    header: Header,
    name: str,
    shape: tuple[int, ...],
) -> list[str]:
    present = matching.kept.get(name, ())
    bare = {bare_name(matching.prefix, source) for source in present}
    ways = ways_of(family, "", name, matching.starts)
    fitting = {source: way for source, way in ways.items() if bare < set(way)}
    if not fitting:
        return [f"given twice: '{source}' {header[source]}" for source in present]
    likely = [source for source in fitting if source in matching.used]  # of other blocks
    likely = likely or list(fitting)
    way, parts = fitting[likely[0]], len(family.split.get(likely[0], (name,)))
    if not present and len(way) == 1:  # alternatives of one tensor
        alike = [fitting[source] for source in likely]
        single = [matching.prefix + way[0] for way in alike if len(way) == 1]
        return [f"missing: {either(single)} {list(_times(parts, shape))}"]
    part = [shape[0] // len(way), *shape[1:]]
    absent = [source for source in way if source not in bare]
    return [f"missing: '{matching.prefix}{source}' {part}" for source in absent]


def _pooling_note(
    family: Family, matching: Matching, architecture: Form2D, raw: Mapping[str, Any]
) -> str:
    """What to say where `forward` pools otherwise than the original; empty where it does not."""
    heads = [n for n in matching.dropped if _pools(family, matching.prefix, n)]
    if heads or raw.get("pool_dropped"):
        return (
            "The original pools its tokens with a head that is not part of the encoder and was "
            "dropped; forward() returns the mean of the patch tokens."
        )
    return READERS[family.network].note(family, architecture)


def _outer_norm_note(family: Family, matching: Matching) -> str:
    """What to say of a norm that stands outside a network which has its own; empty without one."""
    wrappers = matching.prefix.split(".")[:-1]
    outer = {"".join(f"{part}." for part in wrappers[:n]) for n in range(len(wrappers))}
    bare = sources_of(family, "", "norm.weight") if family.library == "transformers" else []
    names = {prefix + name for prefix in outer.difference(matching.copies) for name in bare}
    found = sorted(names.intersection(matching.beside))
    if not found or "norm.weight" not in matching.kept:
        return ""
    return (
        f"Beside the network stands another norm, {found[0]}, which was dropped: a backbone class "
        "(PixioBackbone) puts it on its maps; forward_features() ends with the network's own."
    )


def _pools(family: Family, prefix: str, name: str) -> bool:
    bare = bare_name(prefix, name)
    return any(fnmatchcase(bare, pattern) for pattern in family.pooling_head)
