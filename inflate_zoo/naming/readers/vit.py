"""What a header and a config say of a plain vision transformer."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from inflate_zoo.errors import AccountingError, ConfigError
from inflate_zoo.files.header import Header
from inflate_zoo.naming.configs.from_config import (
    ConfigRule,
    FieldType,
    FromConfig,
    Raw,
    Statement,
    activation,
    as_it_is,
    count,
    flag,
    pair,
    plain,
    small,
    stated_flag,
    stated_number,
    whole,
)
from inflate_zoo.naming.definition import Family
from inflate_zoo.naming.from_header import FromHeader, either, leftover_lines
from inflate_zoo.naming.patterns import Matching, covers, is_optional, sources_of
from inflate_zoo.naming.readers.reader import Reader
from inflate_zoo.networks.base import Form2D
from inflate_zoo.networks.vit.config import VitForm
from inflate_zoo.texts import problems_of

_CORE = ("patch_embed.weight", "pos_embed", "blocks.0.mlp.fc1.weight")


def gather(family: Family, matching: Matching, header: Header) -> FromHeader:
    """Read the architecture off names and shapes.

    Raises:
        AccountingError: A tensor without which nothing can be said is missing or misshapen, or a
            whole block is missing.
    """
    if any(target not in matching.kept for target in _CORE):
        raise _lacks_core(family, matching, header)
    stem, table, fc1 = (matching.kept[target][0] for target in _CORE)
    for name, rank in ((stem, 4), (fc1, 2)):
        if len(header[name].shape) != rank:
            raise AccountingError(
                f"'{name}' has an unexpected shape: {header[name]}",
                hint="a 2D stem has shape [out, in, height, width]; is this a 3D or a 1D model?",
            )
    dim, in_channels, *patch = header[stem].shape
    indices = _blocks(family, matching)
    registers = matching.kept.get("reg_token", (None,))[0]

    def piece(target: str) -> bool:
        if not covers(family, target):
            return False
        there = any(name in matching.kept for name in _spelled(target, indices))
        return there or not is_optional(family, target)

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
    told_by |= {f: _teller(family, matching, target) for f, target in telling.items()}
    return FromHeader(values, told_by, table, math.prod(header[table].shape[:-1]))


def _rows(shape: tuple[int, ...]) -> int:
    return shape[-2] if len(shape) > 1 else 0


def _teller(family: Family, matching: Matching, target: str) -> str:
    if target in matching.kept:
        return f"'{matching.kept[target][0]}' says"
    names = sources_of(family, matching.prefix, target)
    return f"the absence of '{names[0]}' says" if names else "the tensors say"


def _blocks(family: Family, matching: Matching) -> range:
    """The block numbers, 0 to the last without a gap.

    Raises:
        AccountingError: A block lacks all its tensors. A number far off would otherwise ask for
            millions of them.
    """
    found = {int(name.split(".")[1]) for name in matching.kept if name.startswith("blocks.")}
    last = max(found)
    absent = [index for index in range(last) if index not in found]
    if absent:
        names = [sources_of(family, matching.prefix, f"blocks.{i}.norm1.weight")[0] for i in absent]
        raise AccountingError(
            f"the blocks go up to number {last}, but {len(absent)} before it are missing",
            details=[f"missing: '{name}' and the others of its block" for name in names],
            hint="is the file complete? download it again, or give the whole folder of shards",
        )
    return range(last + 1)


def _spelled(target: str, indices: range) -> list[str]:
    spelled = [target.replace("{wb}", part) for part in ("weight", "bias")]
    return [name.replace("{}", str(index)) for name in spelled for index in indices]


def _lacks_core(family: Family, matching: Matching, header: Header) -> AccountingError:
    absent = [t for t in _CORE if t not in matching.kept]
    names = [sources_of(family, matching.prefix, t) for t in absent]
    details = [f"missing: {either(alternatives)}" for alternatives in names]
    details += leftover_lines(matching.leftover, header, [n for found in names for n in found])
    return AccountingError(
        f"the tensors are not those of {family.name} ({family.summary})",
        details=details,
        hint="'inflate-zoo families' lists the families; --family overrides the choice",
    )


def make_form(facts: FromHeader, claims: FromConfig, statement: Statement) -> VitForm:
    """Facts and claims together.

    Raises:
        ConfigError: They make no network, e.g. a pooling without its token.
    """
    known = {key: value for key, value in facts.values.items() if key != "hidden"}
    mlp = claims.values.get("mlp", "mlp")
    pool = claims.values["pool"]
    if pool == "cls" and not known["cls_token"]:
        pool = "mean"
    grid, prefix = _grid(facts, claims, statement)
    try:
        return VitForm(
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
    except ValidationError as error:
        raise ConfigError(
            "the source describes no vision transformer that can be built",
            details=problems_of(error, "it"),
            hint=f"is the file complete? {statement.hint}",
        ) from error


def _grid(
    facts: FromHeader, claims: FromConfig, statement: Statement
) -> tuple[tuple[int, int], int]:
    """The table's grid and how many prefix tokens own a row of it."""
    values, table = facts.values, facts.table
    first = values["cls_token"] + values["dist_token"]
    owned = sorted({0, first, first + values["reg_tokens"]}, reverse=True)
    if "position_prefix" in claims.values:
        claimed = claims.values["position_prefix"]
        # timm adds the cls token's row of a DINOv2 with registers to the token: originals have it.
        owned = [claimed] if claimed else sorted({0, first}, reverse=True)
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
    grid = (image[0] // max(1, patch[0]), image[1] // max(1, patch[1]))
    prefix = facts.rows - grid[0] * grid[1]
    if prefix not in owned or 0 in grid:
        label = claims.labels["image_size"]
        expected = " or ".join(str(grid[0] * grid[1] + own) for own in owned)
        raise ConfigError(
            f"{statement.name} and the tensors disagree",
            details=[
                f"{label} is {plain(image)} with patch {plain(patch)}: {expected} position rows, "
                f"'{table}' has {facts.rows}"
            ],
            hint=statement.hint,
        )
    return grid, prefix


def _dinov2_mlp(raw: Raw, _: int) -> str:
    return "swiglu" if stated_flag(raw, "use_swiglu_ffn", False) else "mlp"


def _dinov2_mlp_dim(raw: Raw, embed_dim: int) -> int:
    hidden = int(stated_number(raw, "hidden_size", embed_dim) * stated_number(raw, "mlp_ratio", 4))
    if _dinov2_mlp(raw, embed_dim) == "mlp":
        return hidden
    return (int(hidden * 2 / 3) + 7) // 8 * 8  # Dinov2SwiGLUFFN: two thirds, up to a multiple of 8


def _dinov2_activation(raw: Raw, embed_dim: int) -> Any:
    # The gate is silu whatever hidden_act says.
    gated = _dinov2_mlp(raw, embed_dim) == "swiglu"
    return "silu" if gated else raw.get("hidden_act", "gelu")


def _heads_of_width_64(_: Raw, embed_dim: int) -> int:
    if embed_dim % 64 and embed_dim > 64:
        raise ConfigError(
            f"the tensors are {embed_dim} wide, no multiple of 64: the number of heads is unknown",
            hint="name the architecture: --arch NAME",
        )
    return max(1, embed_dim // 64)


def _settled(facts: FromHeader, claims: FromConfig) -> Mapping[str, Any]:
    """The facts, the width of the feed-forward part as a gated one has it among them."""
    gated = claims.values.get("mlp", "mlp") == "swiglu"
    return {**facts.values, "mlp_dim": facts.values["hidden"] // (2 if gated else 1)}


def _check(claims: FromConfig, embed_dim: int, statement: Statement) -> None:
    width, heads = claims.values.get("embed_dim", embed_dim), claims.values["num_heads"]
    if width % heads:
        raise ConfigError(
            f"{statement.name}: {claims.labels.get('embed_dim', 'embed_dim')} {width} is not "
            f"divisible by {claims.labels['num_heads']} {heads}",
            hint=statement.hint,
        )


def _note(family: Family, form: Form2D) -> str:
    if isinstance(form, VitForm) and form.pool == "mean" and family.config["pool"].default == "cls":
        return "There is no cls token; forward() returns the mean of the patch tokens."
    return ""


RULES: Mapping[str, ConfigRule] = MappingProxyType(
    {
        "dinov2_activation": ConfigRule(_dinov2_activation, "hidden_act"),
        "dinov2_mlp": ConfigRule(_dinov2_mlp, "use_swiglu_ffn"),
        "dinov2_mlp_dim": ConfigRule(_dinov2_mlp_dim, "hidden_size * mlp_ratio, as a width,"),
        "heads_of_width_64": ConfigRule(_heads_of_width_64, "the number of heads"),
    }
)
FIELDS: Mapping[str, FieldType] = MappingProxyType(
    {
        "embed_dim": whole,
        "depth": whole,
        "num_heads": whole,
        "in_channels": whole,
        "patch_size": pair,
        "image_size": pair,
        "mlp": as_it_is,
        "mlp_dim": whole,
        "activation": activation,
        "norm_eps": small,
        "qkv_bias": flag,
        "layer_scale": flag,
        "cls_token": flag,
        "dist_token": flag,
        "reg_tokens": count,
        "position_prefix": count,
        "pre_norm": flag,
        "final_norm": as_it_is,
        "pool": as_it_is,
    }
)
VIT = Reader(
    fields=FIELDS,
    required=("num_heads", "norm_eps", "pool"),
    rules=RULES,
    width="embed_dim",
    gather=gather,
    settled=_settled,
    check=_check,
    make_form=make_form,
    note=_note,
)
