"""From names and shapes to a plan: every source tensor accounted for, the architecture derived.

Facts come from the header, claims from the config; where they disagree it is an error.
"""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from inflate_zoo.architecture import Architecture, tensor_shapes
from inflate_zoo.claims import Claims, read_claims
from inflate_zoo.definitions import NamingScheme, Role
from inflate_zoo.detection import best_matching
from inflate_zoo.errors import AccountingError, ConfigError
from inflate_zoo.naming import (
    Header,
    Matching,
    covers,
    expected_parts,
    is_optional,
    match_name,
    sources_of,
)

FLOATS = ("F32", "F16", "BF16")


@dataclass(frozen=True, slots=True)
class Kept:
    """One tensor of the 2D network under our name.

    Attributes:
        name: Our name.
        role: What becomes of it; `copy` where it gains no depth.
        sources: The source tensors, stacked along dimension 0 where there are several.
        shape: Shape under our name, still 2D.
        dtype: Type in the source (safetensors' name); F32 where joined parts differ.
    """

    name: str
    role: Role | Literal["copy"]
    sources: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Plan:
    """How a 2D checkpoint becomes our form.

    Attributes:
        scheme: The naming scheme.
        prefix: Prefix of the kept source names.
        architecture: The 2D network.
        kept: One entry per tensor of the 2D network, in the order of the forward pass.
        dropped: Source tensors left out on purpose, sorted.
        notes: What a user should know, one sentence each.
    """

    scheme: NamingScheme
    prefix: str
    architecture: Architecture
    kept: tuple[Kept, ...]
    dropped: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the header alone says, and the source tensor that says it."""

    values: Mapping[str, Any]
    told_by: Mapping[str, str]
    rows: int


def make_plan(
    scheme: NamingScheme, header: Header, raw: Mapping[str, Any], section: str = ""
) -> Plan:
    """Account for every tensor of a header and derive the architecture.

    Args:
        scheme: The naming scheme.
        header: Names, types and shapes.
        raw: The config's part on the image tower; empty where the source has none.
        section: What to put before its fields in messages.

    Returns:
        The plan.

    Raises:
        AccountingError: Tensors are left over, missing, of an unexpected shape or type.
        ConfigError: The config is malformed, or disagrees with the tensors.
    """
    matching = best_matching(scheme, header)
    facts = _facts(scheme, matching, header, raw)
    claims = read_claims(scheme, raw, section, facts.values["embed_dim"])
    _compare(facts, claims)
    architecture = _architecture(facts, claims, header, matching)
    kept = _account(scheme, matching, header, architecture)
    return Plan(
        scheme,
        matching.prefix,
        architecture,
        kept,
        tuple(sorted(matching.dropped)),
        _notes(scheme, matching, architecture, raw),
    )


def _first(matching: Matching, target: str) -> str | None:
    names = matching.kept.get(target)
    return names[0] if names else None


def _facts(
    scheme: NamingScheme, matching: Matching, header: Header, raw: Mapping[str, Any]
) -> _Facts:
    stem, table = _first(matching, "patch_embed.weight"), _first(matching, "pos_embed")
    fc1 = _first(matching, "blocks.0.mlp.fc1.weight")
    if stem is None or table is None or fc1 is None:
        raise _lacks_core(scheme, matching, header)
    if len(header[stem].shape) != 4 or len(header[fc1].shape) != 2:
        wrong = stem if len(header[stem].shape) != 4 else fc1
        raise AccountingError(
            f"'{wrong}' has an unexpected shape: {header[wrong]}",
            hint="a 2D stem has shape [out, in, height, width]; is this already a 3D or a 1D model?",
        )
    dim, in_channels, *patch = header[stem].shape
    indices = {int(name.split(".")[1]) for name in matching.kept if name.startswith("blocks.")}
    hidden, rows = header[fc1].shape[0], math.prod(header[table].shape[:-1])
    registers = _first(matching, "reg_token")

    def piece(target: str) -> bool:
        if not covers(scheme, target):
            return False
        there = any(name in matching.kept for name in _spelled(target, indices))
        return there or not is_optional(scheme, target)

    values: dict[str, Any] = {
        "embed_dim": dim,
        "in_channels": in_channels,
        "patch_size": tuple(patch),
        "depth": max(indices) + 1,
        "hidden": hidden,
        "qkv_bias": piece("blocks.{}.attn.qkv.bias"),
        "layer_scale": piece("blocks.{}.ls1.gamma") or piece("blocks.{}.ls2.gamma"),
        "cls_token": piece("cls_token"),
        "dist_token": piece("dist_token"),
        "reg_tokens": header[registers].shape[-2]
        if registers and len(header[registers].shape) > 1
        else 0,
        "stem_bias": piece("patch_embed.bias"),
        "pre_norm": piece("norm_pre.{wb}"),
        "final_norm": "tokens"
        if piece("norm.{wb}")
        else "pooled"
        if piece("fc_norm.{wb}")
        else "none",
    }
    told_by = dict.fromkeys(("embed_dim", "in_channels", "patch_size"), stem)
    told_by |= {"mlp_dim": fc1, "position_grid": table}
    return _Facts(values, told_by, rows)


def _spelled(target: str, indices: set[int]) -> list[str]:
    spelled = [target.replace("{wb}", part) for part in ("weight", "bias")]
    return [name.replace("{}", str(index)) for name in spelled for index in (indices or {0})]


def _lacks_core(scheme: NamingScheme, matching: Matching, header: Header) -> AccountingError:
    core = ("patch_embed.weight", "pos_embed", "blocks.0.mlp.fc1.weight")
    absent = [t for t in core if t not in matching.kept]
    details = [f"missing: '{' or '.join(sources_of(scheme, matching.prefix, t))}'" for t in absent]
    details += [_leftover_line(name, header, ()) for name in matching.leftover]
    return AccountingError(
        f"the tensors are not those of {scheme.name} ({scheme.summary})",
        details=details,
        hint="'inflate-zoo families' lists the naming schemes; --family overrides the choice",
    )


def _compare(facts: _Facts, claims: Claims) -> None:
    """Claims against facts.

    Raises:
        ConfigError: All disagreements, with both values and the tensor.
    """
    known = dict(facts.values)
    gated = claims.values.get("mlp", "mlp") == "swiglu"
    known["mlp_dim"] = facts.values["hidden"] // (2 if gated else 1)
    details = []
    for field, claimed in claims.values.items():
        if field in known and known[field] != claimed:
            told = facts.told_by.get(field)
            by = f"'{told}' says" if told else "the tensors say"
            details.append(
                f"{claims.labels[field]} is {_plain(claimed)}, {by} {_plain(known[field])}"
            )
    if details:
        raise ConfigError(
            "config.json and the tensors disagree",
            details=details,
            hint="take both files from the same repo and revision",
        )


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def _architecture(
    facts: _Facts, claims: Claims, header: Header, matching: Matching
) -> Architecture:
    known = {key: value for key, value in facts.values.items() if key != "hidden"}
    mlp = claims.values.get("mlp", "mlp")
    pool = claims.values["pool"]
    if pool == "cls" and not known["cls_token"]:
        pool = "mean"
    table = facts.told_by["position_grid"]
    grid, prefix = _grid(facts, claims, table)
    return Architecture(
        **known,
        mlp=mlp,
        mlp_dim=facts.values["hidden"] // (2 if mlp == "swiglu" else 1),
        num_heads=claims.values["num_heads"],
        activation=claims.values.get("activation", "gelu"),
        norm_eps=claims.values["norm_eps"],
        position_grid=grid,
        position_prefix=prefix,
        pool=pool,
    )


def _grid(facts: _Facts, claims: Claims, table: str) -> tuple[tuple[int, int], int]:
    """The table's grid and how many prefix tokens own a row of it."""
    values = facts.values
    first = values["cls_token"] + values["dist_token"]
    owned = sorted({0, first, first + values["reg_tokens"]}, reverse=True)
    if "position_prefix" in claims.values:
        owned = [claims.values["position_prefix"]]
    image = claims.values.get("image_size")
    if image is None:  # no config: published tables of that kind are square
        for prefix in owned:
            side = math.isqrt(max(0, facts.rows - prefix))
            if side and side * side == facts.rows - prefix:
                return (side, side), prefix
        raise ConfigError(
            f"'{table}' has {facts.rows} rows, which is no square grid with {owned[0]} prefix rows",
            hint="name the architecture: --arch NAME",
        )
    patch = values["patch_size"]
    grid = (image[0] // patch[0], image[1] // patch[1])
    prefix = facts.rows - grid[0] * grid[1]
    if prefix not in owned or 0 in grid:
        label = claims.labels["image_size"]
        expected = " or ".join(str(grid[0] * grid[1] + own) for own in owned)
        raise ConfigError(
            "config.json and the tensors disagree",
            details=[
                f"{label} is {_plain(image)} with patch {_plain(patch)}: {expected} position rows, "
                f"'{table}' has {facts.rows}"
            ],
            hint="take both files from the same repo and revision",
        )
    return grid, prefix


def _leftover_line(name: str, header: Header, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    suffix = f"; nearest known name: '{near[0]}'" if near else ""
    return f"left over: '{name}' {header[name]}{suffix}"


def _canonical(role: str, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    """Shape under our name, of source tensors stacked along dimension 0."""
    first = shapes[0]
    if len(shapes) > 1 and all(s and s[1:] == first[1:] for s in shapes):
        return (sum(shape[0] for shape in shapes), *first[1:])
    if role == "token" and len(first) == 1:
        return (1, 1, *first)
    if role == "position_table" and len(first) == 2:
        return (1, *first)
    return first


def _account(
    scheme: NamingScheme, matching: Matching, header: Header, architecture: Architecture
) -> tuple[Kept, ...]:
    """One entry per expected tensor.

    Raises:
        AccountingError: Lists everything left over, missing, misshapen or of a foreign type.
    """
    expected = tensor_shapes(architecture)
    kept, problems = [], []
    for name, shape in expected.items():
        sources = matching.kept.get(name, ())
        wanted = expected_parts(scheme, name)
        if matching.parts.get(name, ()) != tuple(range(wanted)):
            problems += _missing(scheme, matching, header, name, shape, wanted)
            continue
        role = scheme.roles.get(name, "copy")
        infos = [header[source] for source in sources]
        found = _canonical(role, [info.shape for info in infos])
        foreign = [s for s, info in zip(sources, infos, strict=True) if info.dtype not in FLOATS]
        if foreign:
            problems += [f"type not among {', '.join(FLOATS)}: '{s}' {header[s]}" for s in foreign]
        elif found != shape:
            shown = " + ".join(f"'{s}' {header[s]}" for s in sources)
            problems.append(f"unexpected shape: {shown}, expected {list(shape)}")
        else:
            dtypes = {info.dtype for info in infos}
            dtype = dtypes.pop() if len(dtypes) == 1 else "F32"
            kept.append(Kept(name, role, sources, shape, dtype))
    extra = [source for name in matching.kept.keys() - expected for source in matching.kept[name]]
    names = tuple(n for name in expected for n in sources_of(scheme, matching.prefix, name))
    known = tuple(n for n in names if n not in header or match_name(scheme, n) is None)
    problems = [
        *(_leftover_line(n, header, known or names) for n in sorted([*matching.leftover, *extra])),
        *problems,
    ]
    if problems:
        raise AccountingError(
            f"not every tensor is accounted for under {scheme.name}: {len(problems)} problems",
            details=problems,
            hint="is it the right family? 'inflate-zoo families' lists them; --family overrides",
        )
    return tuple(kept)


def _missing(
    scheme: NamingScheme,
    matching: Matching,
    header: Header,
    name: str,
    shape: tuple[int, ...],
    wanted: int,
) -> list[str]:
    present = matching.kept.get(name, ())
    names = sources_of(scheme, matching.prefix, name)
    if len(present) > wanted:
        return [f"given twice: '{source}' {header[source]}" for source in present]
    absent = [source for source in names if source not in present]
    if wanted == 1:  # alternatives of one tensor
        absent = [" or ".join(absent)]
    part = (shape[0] // wanted, *shape[1:])
    return [f"missing: '{source}' {list(part)}" for source in absent]


def _notes(
    scheme: NamingScheme, matching: Matching, architecture: Architecture, raw: Mapping[str, Any]
) -> tuple[str, ...]:
    notes = []
    heads = [n for n in matching.dropped if _pools(scheme, matching.prefix, n)]
    if heads or raw.get("pool_dropped"):
        notes.append(
            "The original pools its tokens with a head that is not part of the encoder and was "
            "dropped; forward() returns the mean of the patch tokens."
        )
    elif architecture.pool == "mean" and scheme.config["pool"].default == "cls":
        notes.append("There is no cls token; forward() returns the mean of the patch tokens.")
    return tuple(notes)


def _pools(scheme: NamingScheme, prefix: str, name: str) -> bool:
    from fnmatch import fnmatchcase

    bare = name.removeprefix(prefix)
    return any(fnmatchcase(bare, pattern) for pattern in scheme.pooling_head)
