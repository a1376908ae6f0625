"""What a header and a config say of a plain vision transformer."""

import math
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from inflate_zoo.errors import ConfigError
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
from inflate_zoo.naming.from_header import FromHeader
from inflate_zoo.naming.patterns import Matching
from inflate_zoo.naming.readers.pieces import (
    block_numbers,
    building,
    check_heads,
    disagreement,
    heads_of_width_64,
    is_there,
    require_core,
    teller,
    tokens_of,
)
from inflate_zoo.naming.readers.reader import Reader
from inflate_zoo.networks.base import Form2D
from inflate_zoo.networks.vit.config import CroppedForm, VitForm

_FC1 = "blocks.0.mlp.fc1.weight"
_CORE = {"patch_embed.weight": 4, "pos_embed": 0, _FC1: 2}
# The same where the stem is a matrix over patches.
_LINEAR = {**_CORE, "patch_embed.weight": 2}
_NAME_IT = "name the architecture: --arch NAME"


def gather(family: Family, matching: Matching, header: Header) -> FromHeader:
    """Read the architecture off names and shapes.

    Raises:
        AccountingError: A tensor without which nothing can be said is missing or misshapen, or a
            whole block is missing.
    """
    core = _LINEAR if family.linear_stem else _CORE
    stem, table, fc1 = require_core(family, matching, header, core)
    dim = header[stem].shape[0]
    indices = block_numbers(family, matching)
    registers = matching.kept.get("reg_token", (None,))[0]
    parts = matching.kept[_FC1] if _FC1 in matching.whole else (fc1,)  # in two parts, or in one

    piece = partial(is_there, family, matching, indices)
    pooled = "pooled" if piece("fc_norm.{wb}") else "none"
    values: dict[str, Any] = {
        "embed_dim": dim,
        **_told_by_stem(family, header[stem].shape),
        "depth": len(indices),
        "hidden": sum(header[name].shape[0] for name in parts if header[name].shape),
        "qkv_bias": piece("blocks.{}.attn.qkv.bias"),
        "layer_scale": piece("blocks.{}.ls1.gamma") or piece("blocks.{}.ls2.gamma"),
        "cls_token": piece("cls_token"),
        "dist_token": piece("dist_token"),
        "reg_tokens": 0 if registers is None else _rows(header[registers].shape),
        "stem_bias": piece("patch_embed.bias"),
        "pre_norm": piece("norm_pre.{wb}"),
        "final_norm": "tokens" if piece("norm.{wb}") else pooled,
    }
    if len(header[table].shape) == 4:  # a plane of its own
        values["plane"] = header[table].shape[1:3]
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
    told_by = dict.fromkeys(("embed_dim", "in_channels", "patch_size", "columns"), f"'{stem}' says")
    told_by["mlp_dim"] = f"'{fc1}' says"
    told_by["position_rows"] = f"'{table}' says"
    told_by |= {f: teller(family, matching, target) for f, target in telling.items()}
    return FromHeader(values, told_by, table, math.prod(header[table].shape[:-1]))


def _told_by_stem(family: Family, shape: tuple[int, ...]) -> dict[str, Any]:
    """What a stem tells: a matrix only how many values a patch has in all channels."""
    if family.linear_stem:
        return {"columns": shape[1]}
    return {"in_channels": shape[1], "patch_size": shape[2:]}


def _rows(shape: tuple[int, ...]) -> int:
    return shape[-2] if len(shape) > 1 else 0


def make_form(facts: FromHeader, claims: FromConfig, statement: Statement) -> VitForm:
    """Facts and claims together.

    Raises:
        ConfigError: They make no network, e.g. a pooling without its token.
    """
    known = {key: facts.values[key] for key in facts.values.keys() & VitForm.model_fields.keys()}
    known |= _patches(facts, claims, statement)
    mlp = claims.values.get("mlp", "mlp")
    pool = claims.values["pool"]
    if pool == "cls" and not known["cls_token"]:
        pool = "mean"
    grid, prefix = _grid(facts, claims, known["patch_size"], statement)
    kind: type[VitForm] = VitForm
    own: dict[str, Any] = {}
    if "table_size" in claims.values:
        image, patch = claims.values["image_size"], known["patch_size"]
        kind, own = CroppedForm, {"image_grid": tokens_of(image, patch)}
    with building("vision transformer", statement):
        return kind(
            **known,
            **own,
            mlp=mlp,
            mlp_dim=facts.values["hidden"] // (2 if mlp == "swiglu" else 1),
            num_heads=claims.values["num_heads"],
            activation=claims.values.get("activation", "gelu"),
            norm_eps=claims.values["norm_eps"],
            position_grid=grid,
            position_prefix=prefix,
            position_resizing=claims.values.get("position_resizing", "bicubic"),
            pool=pool,
        )


def _patches(facts: FromHeader, claims: FromConfig, statement: Statement) -> dict[str, Any]:
    """Channels and sides of a patch, where the stem does not tell them.

    Raises:
        ConfigError: Those claimed make patches of another size.
    """
    if "columns" not in facts.values:
        return {}
    channels, patch = claims.values["in_channels"], claims.values["patch_size"]
    columns, size = facts.values["columns"], channels * math.prod(patch)
    if columns != size:
        labels = claims.labels
        raise disagreement(
            statement,
            f"{labels['patch_size']} is {plain(patch)} and {labels['in_channels']} {channels}: "
            f"{size} values in a patch, {facts.told_by['columns']} {columns}",
        )
    return {"in_channels": channels, "patch_size": patch}


def _grid(
    facts: FromHeader, claims: FromConfig, patch: tuple[int, int], statement: Statement
) -> tuple[tuple[int, int], int]:
    """The table's grid and how many prefix tokens own a row of it."""
    values, table = facts.values, facts.table
    first = values["cls_token"] + values["dist_token"]
    owned = sorted({0, first, first + values["reg_tokens"]}, reverse=True)
    if "position_prefix" in claims.values:
        claimed = claims.values["position_prefix"]
        # timm adds the cls token's row of a DINOv2 with registers to the token: originals have it.
        owned = [claimed] if claimed else sorted({0, first}, reverse=True)
    sized = "table_size" if "table_size" in claims.values else "image_size"
    image = claims.values.get(sized)
    if image is None and "plane" in values:
        return values["plane"], 0
    if image is None:  # no config: published tables of that kind are square
        for prefix in owned:
            side = math.isqrt(max(0, facts.rows - prefix))
            if side and side * side == facts.rows - prefix:
                return (side, side), prefix
        raise ConfigError(
            f"'{table}' has {facts.rows} rows, which is no square grid with {owned[0]} prefix rows",
            hint=statement.hint if claims.values.get("position_rows") else _NAME_IT,
        )
    grid = tokens_of(image, patch)
    prefix = facts.rows - grid[0] * grid[1]
    if prefix not in owned or 0 in grid:
        label = claims.labels[sized]
        expected = " or ".join(str(grid[0] * grid[1] + own) for own in owned)
        raise disagreement(
            statement,
            f"{label} is {plain(image)} with patch {plain(patch)}: {expected} position rows, "
            f"'{table}' has {facts.rows}",
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


def _radio_tokens(raw: Raw, _: int) -> int:
    # Class tokens and registers stand in one table.
    registers = count("num_registers", raw.get("num_registers", 7))
    return count("num_cls_tokens", raw.get("num_cls_tokens", 3)) + registers


def _settled(facts: FromHeader, claims: FromConfig) -> Mapping[str, Any]:
    """The facts, the width of the feed-forward part as a gated one has it among them."""
    gated = claims.values.get("mlp", "mlp") == "swiglu"
    hidden = facts.values["hidden"] // (2 if gated else 1)
    return {**facts.values, "mlp_dim": hidden, "position_rows": facts.rows}


def _note(family: Family, form: Form2D) -> str:
    if isinstance(form, CroppedForm):
        return (
            "The original's summary is several class tokens side by side; forward() returns the "
            "mean of the patch tokens."
        )
    if isinstance(form, VitForm) and form.pool == "mean" and family.config["pool"].default == "cls":
        return "There is no cls token; forward() returns the mean of the patch tokens."
    return ""


RULES: Mapping[str, ConfigRule] = MappingProxyType(
    {
        "dinov2_activation": ConfigRule(_dinov2_activation, "hidden_act"),
        "dinov2_mlp": ConfigRule(_dinov2_mlp, "use_swiglu_ffn"),
        "dinov2_mlp_dim": ConfigRule(_dinov2_mlp_dim, "hidden_size * mlp_ratio, as a width,"),
        "radio_tokens": ConfigRule(_radio_tokens, "num_cls_tokens + num_registers"),
        "heads_of_width_64": ConfigRule(heads_of_width_64, "the number of heads"),
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
        "table_size": pair,
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
        "position_rows": whole,
        "position_resizing": as_it_is,
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
    check=check_heads,
    make_form=make_form,
    note=_note,
)
