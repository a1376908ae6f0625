"""What a header and a config say of an AIMv2."""

from collections.abc import Mapping
from math import prod
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
    flag,
    pair,
    plain,
    small,
    stated_flag,
    whole,
)
from inflate_zoo.naming.definition import Family
from inflate_zoo.naming.from_header import FromHeader
from inflate_zoo.naming.patterns import Matching, sources_of
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
from inflate_zoo.networks.aimv2.config import Aimv2Form

_CORE = {"patch_embed.weight": 4, "blocks.0.mlp.fc2.weight": 2}
_PRODUCTS = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")


def gather(family: Family, matching: Matching, header: Header) -> FromHeader:
    """Read the architecture off names and shapes.

    Raises:
        AccountingError: A tensor without which nothing can be said is missing or misshapen, or a
            whole block is missing.
        UnsupportedModelError: Its blocks have biases.
    """
    stem, fc2 = require_core(family, matching, header, _CORE)
    dim, in_channels, *patch = header[stem].shape
    numbers = block_numbers(family, matching)
    _refuse_biases(family, matching, numbers)
    learned = is_there(family, matching, numbers, "pos_embed")
    table = matching.kept["pos_embed"][0] if "pos_embed" in matching.kept else ""
    values: dict[str, Any] = {
        "embed_dim": dim,
        "in_channels": in_channels,
        "patch_size": tuple(patch),
        "depth": len(numbers),
        "mlp_dim": header[fc2].shape[1],
        "positions": "learned" if learned else "sincos",
        "qkv_bias": False,  # those of a file are refused
        "mlp_bias": False,
    }
    told_by = dict.fromkeys(("embed_dim", "in_channels", "patch_size"), f"'{stem}' says")
    told_by["mlp_dim"] = f"'{fc2}' says"
    told_by["depth"] = teller(family, matching, f"blocks.{len(numbers) - 1}.norm1.weight")
    told_by["positions"] = teller(family, matching, "pos_embed")
    rows = prod(header[table].shape[:-1]) if table else 0
    return FromHeader(values, told_by, table, rows)


def _refuse_biases(family: Family, matching: Matching, numbers: range) -> None:
    """Refuse blocks with biases, which transformers builds but nobody has published.

    Raises:
        UnsupportedModelError: Names the first.
    """
    products = [f"blocks.{n}.{part}.weight" for n in numbers for part in _PRODUCTS]
    names = [name for each in products for name in sources_of(family, matching.prefix, each)]
    left = set(matching.leftover)
    biases = [bias for name in names if (bias := f"{name.removesuffix('weight')}bias") in left]
    if biases:
        raise UnsupportedModelError(
            f"an AIMv2 whose blocks have biases is not converted: '{biases[0]}' and "
            f"{len(biases) - 1} more",
            hint=f"published ones have none, e.g. {family.examples[0]}",
        )


def make_form(facts: FromHeader, claims: FromConfig, statement: Statement) -> Aimv2Form:
    """Facts and claims together.

    Raises:
        ConfigError: They make no network, or the table is of another grid.
    """
    known = {key: facts.values[key] for key in facts.values.keys() & Aimv2Form.model_fields.keys()}
    image, patch = claims.values["image_size"], known["patch_size"]
    grid = tokens_of(image, patch)
    if facts.table and facts.rows != prod(grid):
        raise disagreement(
            statement,
            f"{claims.labels['image_size']} is {plain(image)} with patch {plain(patch)}: "
            f"{prod(grid)} position rows, '{facts.table}' has {facts.rows}",
        )
    told = ("num_heads", "activation", "norm_eps")
    with building("AIMv2", statement):
        own = {field: claims.values[field] for field in told}
        return Aimv2Form(**known, **own, position_grid=grid)


def _positions(raw: Raw, _: int) -> str:
    return "sincos" if stated_flag(raw, "is_native", False) else "learned"


RULES: Mapping[str, ConfigRule] = MappingProxyType(
    {"aimv2_positions": ConfigRule(_positions, "is_native, as positions,")}
)
FIELDS: Mapping[str, FieldType] = MappingProxyType(
    {
        "embed_dim": whole,
        "depth": whole,
        "num_heads": whole,
        "in_channels": whole,
        "patch_size": pair,
        "image_size": pair,
        "positions": as_it_is,
        "mlp_dim": whole,
        "activation": activation,
        "norm_eps": small,
        "qkv_bias": flag,
        "mlp_bias": flag,
    }
)
AIMV2 = Reader(
    fields=FIELDS,
    required=("num_heads", "activation", "norm_eps", "image_size"),
    rules=RULES,
    width="embed_dim",
    gather=gather,
    settled=settled,
    check=check_heads,
    make_form=make_form,
    note=no_note,
)
