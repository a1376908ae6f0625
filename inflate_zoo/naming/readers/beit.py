"""What a header and a config say of BEiT, BEiT v2 and data2vec."""

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
    flag,
    pair,
    plain,
    small,
    stated_flag,
    whole,
    wrong,
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
from inflate_zoo.networks.beit.config import BeitForm
from inflate_zoo.networks.layers.offsets import CLS_ROWS, table_rows

_CORE = {"patch_embed.weight": 4, "blocks.0.mlp.fc1.weight": 2}
_SHARED, _OF_BLOCK = "position_bias.plane", "blocks.{}.position_bias.plane"


def gather(family: Family, matching: Matching, header: Header) -> FromHeader:
    """Read the architecture off names and shapes.

    Raises:
        AccountingError: A tensor without which nothing can be said is missing or misshapen, or a
            whole block is missing.
    """
    stem, fc1 = require_core(family, matching, header, _CORE)
    dim, in_channels, *patch = header[stem].shape
    numbers = block_numbers(family, matching)
    piece = partial(is_there, family, matching, numbers)
    pooled = "pooled" if piece("fc_norm.{wb}") else "none"
    values: dict[str, Any] = {
        "embed_dim": dim,
        "in_channels": in_channels,
        "patch_size": tuple(patch),
        "depth": len(numbers),
        "mlp_dim": header[fc1].shape[0],
        "block_tables": piece(_OF_BLOCK),
        "shared_table": piece(_SHARED),
        "qv_bias": piece("blocks.{}.attn.q_bias") or piece("blocks.{}.attn.v_bias"),
        "layer_scale": piece("blocks.{}.ls1.gamma") or piece("blocks.{}.ls2.gamma"),
        "stem_bias": piece("patch_embed.bias"),
        "final_norm": "tokens" if piece("norm.{wb}") else pooled,
    }
    first = _OF_BLOCK.replace("{}", "0")
    telling = {
        "depth": f"blocks.{numbers[-1]}.norm1.weight",
        "block_tables": first,
        "shared_table": _SHARED,
        "qv_bias": "blocks.0.attn.q_bias",
        "layer_scale": "blocks.0.ls1.gamma",
        "final_norm": "fc_norm.weight" if pooled == "pooled" else "norm.weight",
    }
    told_by = dict.fromkeys(("embed_dim", "in_channels", "patch_size"), f"'{stem}' says")
    told_by["mlp_dim"] = f"'{fc1}' says"
    told_by |= {field: teller(family, matching, target) for field, target in telling.items()}
    tables = [matching.kept[name][0] for name in (first, _SHARED) if name in matching.kept]
    if not tables:
        return FromHeader(values, told_by)
    shape = header[tables[0]].shape
    return FromHeader(values, told_by, tables[0], shape[0] if shape else 0)


def make_form(facts: FromHeader, claims: FromConfig, statement: Statement) -> BeitForm:
    """Facts and claims together.

    Raises:
        ConfigError: They make no network.
    """
    known = facts.values
    grid = _grid(facts, claims, statement)
    # Originals say nothing: they norm all tokens where the cls token is taken.
    own_pool = "cls" if known["final_norm"] == "tokens" else "mean"
    resizing = claims.values["table_resizing"]
    if resizing == "bilinear" and grid[0] != grid[1]:
        resizing = "width_first"
    with building("BEiT", statement):
        return BeitForm(
            **known,
            num_heads=claims.values["num_heads"],
            activation=claims.values["activation"],
            norm_eps=claims.values["norm_eps"],
            position_grid=grid,
            table_resizing=resizing,
            pool=claims.values.get("pool", own_pool),
        )


def _grid(facts: FromHeader, claims: FromConfig, statement: Statement) -> tuple[int, int]:
    """The grid that the tables are of; without a config, as published ones are, a square.

    Raises:
        ConfigError: No grid has so many rows, or another than the config's.
    """
    image = claims.values.get("image_size")
    if image is None:
        side = math.isqrt(max(0, facts.rows - CLS_ROWS))
        grid = ((side + 1) // 2, (side + 1) // 2)
        if not facts.rows or table_rows(grid) != facts.rows:
            told = f"'{facts.table}' has {facts.rows} rows" if facts.table else "there is no table"
            raise ConfigError(
                f"{told}, which tells of no square grid", hint="name the architecture: --arch NAME"
            )
        return grid
    patch = facts.values["patch_size"]
    grid = tokens_of(image, patch)
    if 0 in grid or (facts.table and table_rows(grid) != facts.rows):
        label = claims.labels["image_size"]
        found = f", '{facts.table}' has {facts.rows}" if facts.table else ""
        raise disagreement(
            statement,
            f"{label} is {plain(image)} with patch {plain(patch)}: {table_rows(grid)} rows of "
            f"relative positions{found}",
        )
    return grid


def _settled(facts: FromHeader, claims: FromConfig) -> Mapping[str, Any]:
    """The facts; the norm of the pooled vector may be left out of a file, as its pooling is."""
    left_out = facts.values["final_norm"] == "none" and claims.values.get("final_norm") == "pooled"
    return {**facts.values, "final_norm": "pooled"} if left_out else facts.values


def _check(claims: FromConfig, embed_dim: int, statement: Statement) -> None:
    check_heads(claims, embed_dim, statement)
    if claims.values.get("absolute_positions"):
        raise ConfigError(
            f"{statement.name}: {claims.labels['absolute_positions']} is true, a BEiT with "
            "absolute positions is not converted",
            hint="published BEiT and data2vec networks have relative positions only",
        )


def _note(_: Family, form: Form2D) -> str:
    if isinstance(form, BeitForm) and form.pool == "mean" and form.final_norm == "none":
        return (
            "The file lacks the norm of the pooled vector; forward() returns the mean of the patch "
            "tokens without it."
        )
    return ""


def _beit_pool(raw: Raw, _: int) -> str:
    return "mean" if stated_flag(raw, "use_mean_pooling", True) else "cls"


def _beit_final_norm(raw: Raw, _: int) -> str:
    return "pooled" if stated_flag(raw, "use_mean_pooling", True) else "tokens"


def _beit_layer_scale(raw: Raw, _: int) -> bool:
    value = raw.get("layer_scale_init_value", 0.1)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong("layer_scale_init_value", value, "a number")
    return value > 0


RULES: Mapping[str, ConfigRule] = MappingProxyType(
    {
        "beit_final_norm": ConfigRule(_beit_final_norm, "the norm that use_mean_pooling chooses"),
        "beit_layer_scale": ConfigRule(_beit_layer_scale, "layer_scale_init_value above 0"),
        "beit_pool": ConfigRule(_beit_pool, "use_mean_pooling"),
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
        "mlp_dim": whole,
        "activation": activation,
        "norm_eps": small,
        "block_tables": flag,
        "shared_table": flag,
        "absolute_positions": flag,
        "table_resizing": as_it_is,
        "qv_bias": flag,
        "layer_scale": flag,
        "final_norm": as_it_is,
        "pool": as_it_is,
    }
)
BEIT = Reader(
    fields=FIELDS,
    required=("num_heads", "norm_eps", "activation", "table_resizing"),
    rules=RULES,
    width="embed_dim",
    gather=gather,
    settled=_settled,
    check=_check,
    make_form=make_form,
    note=_note,
)
