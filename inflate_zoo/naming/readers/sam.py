"""What a header and a config say of SAM's image encoder."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from inflate_zoo.errors import AccountingError, ConfigError
from inflate_zoo.files.header import Header
from inflate_zoo.naming.configs.from_config import (
    ConfigRule,
    FieldType,
    FromConfig,
    Raw,
    Statement,
    activation,
    flag,
    indices,
    pair,
    plain,
    small,
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
    is_there,
    no_note,
    require_core,
    settled,
    teller,
    tokens_of,
)
from inflate_zoo.naming.readers.reader import Reader
from inflate_zoo.networks.sam.config import SamForm

_FIRST = "blocks.0.attn.rel_pos_h"
_CORE = {"patch_embed.weight": 4, "pos_embed": 4, _FIRST: 2, "blocks.0.mlp.fc1.weight": 2,
         "neck.conv1.weight": 4}  # fmt: skip
_OTHER = ("rows",)  # facts that are no field of the form


def gather(family: Family, matching: Matching, header: Header) -> FromHeader:
    """Read the architecture off names and shapes.

    Raises:
        AccountingError: A tensor without which nothing can be said is missing or misshapen, or a
            whole block is missing.
    """
    stem, table, first, fc1, neck = require_core(family, matching, header, _CORE)
    dim, in_channels, *patch = header[stem].shape
    numbers = block_numbers(family, matching)
    channels = header[first].shape[1]
    if not channels or dim % channels:
        raise AccountingError(
            f"'{first}' has an unexpected shape: {header[first]}",
            hint=f"a head's channels divide the width, which is {dim}",
        )
    values: dict[str, Any] = {
        "embed_dim": dim,
        "in_channels": in_channels,
        "patch_size": tuple(patch),
        "depth": len(numbers),
        "num_heads": dim // channels,
        "mlp_dim": header[fc1].shape[0],
        "neck_dim": header[neck].shape[0],
        "qkv_bias": is_there(family, matching, numbers, "blocks.{}.attn.qkv.bias"),
        "position_grid": header[table].shape[1:3],
        "rows": tuple(_rows(matching, header, index) for index in numbers),
    }
    telling = {
        "depth": f"blocks.{numbers[-1]}.norm1.weight",
        "num_heads": _FIRST,
        "mlp_dim": "blocks.0.mlp.fc1.weight",
        "neck_dim": "neck.conv1.weight",
        "qkv_bias": "blocks.0.attn.qkv.bias",
    }
    told_by = dict.fromkeys(("embed_dim", "in_channels", "patch_size"), f"'{stem}' says")
    told_by |= {field: teller(family, matching, target) for field, target in telling.items()}
    return FromHeader(values, told_by, table)


def _rows(matching: Matching, header: Header, index: int) -> tuple[int, int]:
    """Rows of the tables of a block, in height and width; 0 of one that is missing."""
    found = []
    for axis in ("h", "w"):
        source = matching.kept.get(f"blocks.{index}.attn.rel_pos_{axis}", ("",))[0]
        shape = header[source].shape if source else ()
        found.append(shape[0] if shape else 0)
    return found[0], found[1]


def make_form(facts: FromHeader, claims: FromConfig, statement: Statement) -> SamForm:
    """Facts and claims together.

    Raises:
        ConfigError: They make no network.
    """
    known = {name: value for name, value in facts.values.items() if name not in _OTHER}
    _compare_grid(facts, claims, statement)
    window, global_blocks = _windows(facts, claims, statement)
    said = ("activation", "norm_eps", "neck_eps")
    with building("SAM encoder", statement):
        return SamForm(
            **known,
            **{name: claims.values[name] for name in said},
            window_size=window,
            global_blocks=global_blocks,
        )


def _compare_grid(facts: FromHeader, claims: FromConfig, statement: Statement) -> None:
    image = claims.values.get("image_size")
    patch, found = facts.values["patch_size"], facts.values["position_grid"]
    if image is None:
        return
    grid = tokens_of(image, patch)
    if grid != found:
        raise disagreement(
            statement,
            f"{claims.labels['image_size']} is {plain(image)} with patch {plain(patch)}: "
            f"{plain(grid)} positions, '{facts.table}' has {plain(found)}",
        )


def _windows(
    facts: FromHeader, claims: FromConfig, statement: Statement
) -> tuple[int, tuple[int, ...]]:
    """The side of windows and the global blocks: as claimed, else as the tables' rows have them.

    Raises:
        ConfigError: Claims and tables disagree, or nothing tells.
    """
    rows, (high, wide) = facts.values["rows"], facts.values["position_grid"]
    whole_rows = (2 * high - 1, 2 * wide - 1)
    window = claims.values.get("window_size")
    global_blocks = claims.values.get("global_blocks")
    if global_blocks is None:
        global_blocks = tuple(i for i, found in enumerate(rows) if found == whole_rows)
    else:  # an index beyond the last block is nobody's, as in the library
        global_blocks = tuple(index for index in global_blocks if index < len(rows))
    others = [found for i, found in enumerate(rows) if i not in global_blocks]
    if window is None:
        window = _side(others, (high, wide))
    wanted = [whole_rows if i in global_blocks else (2 * window - 1,) * 2 for i in range(len(rows))]
    for index, (found, expected) in enumerate(zip(rows, wanted, strict=True)):
        if found != expected:
            kind = "global" if index in global_blocks else f"in windows of {window}"
            raise disagreement(
                statement,
                f"block {index} is {kind}: tables of {plain(expected)} rows, those in the file "
                f"have {plain(found)}",
            )
    return window, global_blocks


def _side(rows: Sequence[tuple[int, int]], grid: tuple[int, int]) -> int:
    """The side of the windows that tables are made for; where all are global, one is the grid.

    Raises:
        ConfigError: There are none, and the grid is no square, so that nothing tells.
    """
    if rows:
        return (rows[0][0] + 1) // 2
    if grid[0] == grid[1]:
        return grid[0]
    raise ConfigError(
        "every block's tables are those of the whole grid: nothing says how large windows are",
        hint="networks without windows are converted where their grid is a square",
    )


def _mlp_dim(raw: Raw, embed_dim: int) -> int:
    if raw.get("mlp_dim") is not None:
        return whole("mlp_dim", raw["mlp_dim"])
    return int(stated_number(raw, "hidden_size", embed_dim) * stated_number(raw, "mlp_ratio", 4.0))


def _check(claims: FromConfig, embed_dim: int, statement: Statement) -> None:
    if "num_heads" in claims.values:
        check_heads(claims, embed_dim, statement)
    for field in ("absolute_positions", "relative_positions"):
        if claims.values.get(field) is False:
            raise ConfigError(
                f"{statement.name}: {claims.labels[field]} is false, a SAM encoder without "
                f"{field.replace('_', ' ')} is not converted",
                hint="published SAM encoders have both",
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
        "neck_eps": small,
        "neck_dim": whole,
        "window_size": whole,
        "global_blocks": indices,
        "qkv_bias": flag,
        "absolute_positions": flag,
        "relative_positions": flag,
    }
)
SAM = Reader(
    fields=FIELDS,
    required=("norm_eps", "neck_eps", "activation"),
    rules=MappingProxyType({"sam_mlp_dim": ConfigRule(_mlp_dim, "mlp_dim")}),
    width="embed_dim",
    gather=gather,
    settled=settled,
    check=_check,
    make_form=make_form,
    note=no_note,
)
