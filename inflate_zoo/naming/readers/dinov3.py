"""What a header and a config say of a DINOv3."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from inflate_zoo.errors import UnsupportedModelError
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
    positive,
    small,
    stated_flag,
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
from inflate_zoo.networks.dinov3.config import Dinov3Form

_CORE = {"patch_embed.weight": 4, "reg_token": 3, "blocks.0.mlp.fc1.weight": 2}


def gather(family: Family, matching: Matching, header: Header) -> FromHeader:
    """Read the architecture off names and shapes.

    Raises:
        AccountingError: A tensor without which nothing can be said is missing or misshapen, or a
            whole block is missing.
    """
    stem, registers, fc1 = require_core(family, matching, header, _CORE)
    dim, in_channels, *patch = header[stem].shape
    numbers = block_numbers(family, matching)
    values: dict[str, Any] = {
        "embed_dim": dim,
        "in_channels": in_channels,
        "patch_size": tuple(patch),
        "depth": len(numbers),
        "mlp_dim": header[fc1].shape[0],
        "gated": is_there(family, matching, numbers, "blocks.{}.mlp.gate.{wb}"),
        "qv_bias": is_there(family, matching, numbers, "blocks.{}.attn.q_bias"),
        "reg_tokens": header[registers].shape[1],
    }
    telling = {
        "depth": f"blocks.{len(numbers) - 1}.norm1.weight",
        "gated": "blocks.0.mlp.gate.weight",
        "qv_bias": "blocks.0.attn.q_bias",
    }
    told_by = dict.fromkeys(("embed_dim", "in_channels", "patch_size"), f"'{stem}' says")
    told_by |= {"mlp_dim": f"'{fc1}' says", "reg_tokens": f"'{registers}' says"}
    told_by |= {field: teller(family, matching, target) for field, target in telling.items()}
    return FromHeader(values, told_by)


def make_form(facts: FromHeader, claims: FromConfig, statement: Statement) -> Dinov3Form:
    """Facts and claims together.

    Raises:
        ConfigError: They make no network.
    """
    known, image, patch = claims.values, claims.values["image_size"], facts.values["patch_size"]
    grid = tokens_of(image, patch)
    if 0 in grid:
        raise disagreement(
            statement,
            f"{claims.labels['image_size']} {plain(image)} is less than the patch "
            f"{plain(patch)} of the stem",
        )
    told = ("num_heads", "activation", "norm_eps", "rotary_theta", "pool")
    with building("DINOv3", statement):
        own = {field: known[field] for field in told}
        return Dinov3Form(**facts.values, **own, image_grid=grid)


def _query_and_value(raw: Raw, _: int) -> bool:
    """Biases of transformers' DINOv3, which has a field for each.

    Raises:
        UnsupportedModelError: One has biases, the other none.
    """
    query, value = (stated_flag(raw, f"{part}_bias", True) for part in ("query", "value"))
    if query != value:
        raise UnsupportedModelError(
            "a DINOv3 with biases of queries or of values alone is not converted",
            details=[f"config.json: query_bias is {plain(query)}, value_bias {plain(value)}"],
            hint="nearest supported: both or neither, as in every published model",
        )
    return query


FIELDS: Mapping[str, FieldType] = MappingProxyType(
    {
        "embed_dim": whole,
        "depth": whole,
        "num_heads": whole,
        "in_channels": whole,
        "patch_size": pair,
        "image_size": pair,
        "gated": flag,
        "mlp_dim": whole,
        "activation": activation,
        "norm_eps": small,
        "rotary_theta": positive,
        "reg_tokens": count,
        "qv_bias": flag,
        "pool": as_it_is,
    }
)
DINOV3 = Reader(
    fields=FIELDS,
    required=("num_heads", "activation", "norm_eps", "rotary_theta", "image_size", "pool"),
    rules=MappingProxyType(
        {"dinov3_qv_bias": ConfigRule(_query_and_value, "query_bias and value_bias")}
    ),
    width="embed_dim",
    gather=gather,
    settled=settled,
    check=check_heads,
    make_form=make_form,
    note=no_note,
)
