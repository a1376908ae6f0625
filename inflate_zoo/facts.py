"""What a header alone says of the architecture, and which source tensor says it."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inflate_zoo.definitions import NamingScheme
from inflate_zoo.errors import AccountingError
from inflate_zoo.naming import Header, Matching, covers, is_optional, sources_of

_CORE = ("patch_embed.weight", "pos_embed", "blocks.0.mlp.fc1.weight")
_NEAREST = 16  # leftover names that get a suggestion; each costs a comparison with all known names


@dataclass(frozen=True, slots=True)
class Facts:
    """What the header alone says.

    Attributes:
        values: By field of the architecture; `hidden` is the first dimension of fc1, both halves
            of a gated one.
        told_by: Field to the words for what tells it, e.g. `'pos_embed' says`.
        table: Source name of the position table.
        rows: Its rows, those of prefix tokens included.
    """

    values: Mapping[str, Any]
    told_by: Mapping[str, str]
    table: str
    rows: int


def gather(scheme: NamingScheme, matching: Matching, header: Header) -> Facts:
    """Read the architecture off names and shapes.

    Raises:
        AccountingError: A tensor without which nothing can be said is missing or misshapen, or a
            whole block is missing.
    """
    if any(target not in matching.kept for target in _CORE):
        raise _lacks_core(scheme, matching, header)
    stem, table, fc1 = (matching.kept[target][0] for target in _CORE)
    for name, rank in ((stem, 4), (fc1, 2)):
        if len(header[name].shape) != rank:
            raise AccountingError(
                f"'{name}' has an unexpected shape: {header[name]}",
                hint="a 2D stem has shape [out, in, height, width]; is this a 3D or a 1D model?",
            )
    dim, in_channels, *patch = header[stem].shape
    indices = _blocks(scheme, matching)
    registers = matching.kept.get("reg_token", (None,))[0]

    def piece(target: str) -> bool:
        if not covers(scheme, target):
            return False
        there = any(name in matching.kept for name in _spelled(target, indices))
        return there or not is_optional(scheme, target)

    pooled = "pooled" if piece("fc_norm.{wb}") else "none"
    values: dict[str, Any] = {
        "embed_dim": dim,
        "in_channels": in_channels,
        "patch_size": tuple(patch),
        "depth": len(indices),
        "hidden": header[fc1].shape[0],
        "qkv_bias": piece("blocks.{}.attn.qkv.bias"),
        "layer_scale": piece("blocks.{}.ls1.gamma") or piece("blocks.{}.ls2.gamma"),
        "cls_token": piece("cls_token"),
        "dist_token": piece("dist_token"),
        "reg_tokens": 0 if registers is None else _rows(header[registers].shape),
        "stem_bias": piece("patch_embed.bias"),
        "pre_norm": piece("norm_pre.{wb}"),
        "final_norm": "tokens" if piece("norm.{wb}") else pooled,
    }
    last = len(indices) - 1
    telling = {
        "depth": f"blocks.{last}.norm1.weight",
        "qkv_bias": "blocks.0.attn.qkv.bias",
        "layer_scale": "blocks.0.ls1.gamma",
        "cls_token": "cls_token",
        "dist_token": "dist_token",
        "reg_tokens": "reg_token",
        "pre_norm": "norm_pre.weight",
        "final_norm": "fc_norm.weight" if pooled == "pooled" else "norm.weight",
    }
    told_by = dict.fromkeys(("embed_dim", "in_channels", "patch_size"), f"'{stem}' says")
    told_by["mlp_dim"] = f"'{fc1}' says"
    told_by |= {f: _teller(scheme, matching, target) for f, target in telling.items()}
    return Facts(values, told_by, table, math.prod(header[table].shape[:-1]))


def _rows(shape: tuple[int, ...]) -> int:
    return shape[-2] if len(shape) > 1 else 0


def _teller(scheme: NamingScheme, matching: Matching, target: str) -> str:
    if target in matching.kept:
        return f"'{matching.kept[target][0]}' says"
    names = sources_of(scheme, matching.prefix, target)
    return f"the absence of '{names[0]}' says" if names else "the tensors say"


def _blocks(scheme: NamingScheme, matching: Matching) -> range:
    """The block numbers, 0 to the last without a gap.

    Raises:
        AccountingError: A block lacks all its tensors. A number far off would otherwise ask for
            millions of them.
    """
    found = {int(name.split(".")[1]) for name in matching.kept if name.startswith("blocks.")}
    last = max(found)
    absent = [index for index in range(last) if index not in found]
    if absent:
        names = [sources_of(scheme, matching.prefix, f"blocks.{i}.norm1.weight")[0] for i in absent]
        raise AccountingError(
            f"the blocks go up to number {last}, but {len(absent)} before it are missing",
            details=[f"missing: '{name}' and the others of its block" for name in names],
            hint="is the file complete? download it again, or give the whole folder of shards",
        )
    return range(last + 1)


def _spelled(target: str, indices: range) -> list[str]:
    spelled = [target.replace("{wb}", part) for part in ("weight", "bias")]
    return [name.replace("{}", str(index)) for name in spelled for index in indices]


def _lacks_core(scheme: NamingScheme, matching: Matching, header: Header) -> AccountingError:
    absent = [t for t in _CORE if t not in matching.kept]
    names = [sources_of(scheme, matching.prefix, t) for t in absent]
    details = [f"missing: {either(alternatives)}" for alternatives in names]
    details += leftover_lines(matching.leftover, header, [n for found in names for n in found])
    return AccountingError(
        f"the tensors are not those of {scheme.name} ({scheme.summary})",
        details=details,
        hint="'inflate-zoo families' lists the naming schemes; --family overrides the choice",
    )


def either(names: Sequence[str]) -> str:
    """Alternative names for a message: `'a' or 'b'`."""
    return " or ".join(f"'{name}'" for name in names)


def leftover_lines(names: Sequence[str], header: Header, known: Sequence[str]) -> list[str]:
    """A line for each name that nobody knows; the first ones say what they resemble."""
    lines = []
    for position, name in enumerate(names):
        near = difflib.get_close_matches(name, known, n=1) if position < _NEAREST else []
        suffix = f"; nearest known name: '{near[0]}'" if near else ""
        lines.append(f"left over: '{name}' {header[name]}{suffix}")
    return lines
