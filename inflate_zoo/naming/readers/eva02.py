"""What a header and a config say of an EVA-02."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from inflate_zoo.files.header import Header
from inflate_zoo.naming.configs.from_config import (
    FieldType,
    FromConfig,
    Statement,
    activation,
    as_it_is,
    flag,
    pair,
    plain,
    positive,
    small,
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
    is_there,
    no_note,
    require_core,
    settled,
    teller,
    tokens_of,
)
from inflate_zoo.naming.readers.reader import Reader
from inflate_zoo.networks.eva02.config import Eva02Form

_CORE = {
    "patch_embed.weight": 4,
    "pos_embed": 3,
    "blocks.0.mlp.fc1.weight": 2,
    "blocks.0.mlp.fc2.weight": 2,
}


def gather(family: Family, matching: Matching, header: Header) -> FromHeader:
    """Read the architecture off names and shapes.

    Raises:
        AccountingError: A tensor without which nothing can be said is missing or misshapen, or a
            whole block is missing.
    """
    stem, table, _, fc2 = require_core(family, matching, header, _CORE)
    dim, in_channels, *patch = header[stem].shape
    numbers = block_numbers(family, matching)

    def piece(target: str) -> bool:
        return is_there(family, matching, numbers, target)

    pooled = "pooled" if piece("fc_norm.{wb}") else "none"
    values: dict[str, Any] = {
        "embed_dim": dim,
        "in_channels": in_channels,
        "patch_size": tuple(patch),
        "depth": len(numbers),
        "mlp_dim": header[fc2].shape[1],
        "attn_norm": piece("blocks.{}.attn.norm.{wb}"),
        "mlp_norm": piece("blocks.{}.mlp.norm.{wb}"),
        "final_norm": "tokens" if piece("norm.{wb}") else pooled,
    }
    telling = {
        "depth": f"blocks.{len(numbers) - 1}.norm1.weight",
        "attn_norm": "blocks.0.attn.norm.weight",
        "mlp_norm": "blocks.0.mlp.norm.weight",
        "final_norm": "fc_norm.weight" if pooled == "pooled" else "norm.weight",
    }
    told_by = dict.fromkeys(("embed_dim", "in_channels", "patch_size"), f"'{stem}' says")
    told_by["mlp_dim"] = f"'{fc2}' says"
    told_by |= {field: teller(family, matching, target) for field, target in telling.items()}
    return FromHeader(values, told_by, table, header[table].shape[1])


def make_form(facts: FromHeader, claims: FromConfig, statement: Statement) -> Eva02Form:
    """Facts and claims together.

    Raises:
        ConfigError: They make no network, or the table is of another grid.
    """
    known, image, patch = claims.values, claims.values["image_size"], facts.values["patch_size"]
    grid = tokens_of(image, patch)
    expected = 1 + grid[0] * grid[1]
    if 0 in grid or facts.rows != expected:
        raise disagreement(
            statement,
            f"{claims.labels['image_size']} is {plain(image)} with patch {plain(patch)}: "
            f"{expected} position rows, '{facts.table}' has {facts.rows}",
        )
    told = ("num_heads", "activation", "norm_eps", "rotary_theta", "rotary_grid", "pool")
    with building("EVA-02", statement):
        own = {field: known[field] for field in told}
        return Eva02Form(**facts.values, **own, position_grid=grid)


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
        "attn_norm": flag,
        "mlp_norm": flag,
        "norm_eps": small,
        "rotary_theta": positive,
        "rotary_grid": pair,
        "final_norm": as_it_is,
        "pool": as_it_is,
    }
)
EVA02 = Reader(
    fields=FIELDS,
    required=(
        "num_heads",
        "activation",
        "norm_eps",
        "rotary_theta",
        "rotary_grid",
        "image_size",
        "pool",
    ),
    rules=MappingProxyType({}),
    width="embed_dim",
    gather=gather,
    settled=settled,
    check=check_heads,
    make_form=make_form,
    note=no_note,
)
