"""What a header and a config say of a Swin transformer."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from inflate_zoo.files.header import Header
from inflate_zoo.naming.configs.from_config import (
    ConfigRule,
    FieldType,
    FromConfig,
    Statement,
    activation,
    as_it_is,
    flag,
    pair,
    plain,
    small,
    whole,
)
from inflate_zoo.naming.definition import Family
from inflate_zoo.naming.from_header import FromHeader
from inflate_zoo.naming.patterns import Matching
from inflate_zoo.naming.readers.pieces import (
    building,
    disagreement,
    no_check,
    no_note,
    require_core,
    settled,
)
from inflate_zoo.naming.readers.reader import Reader
from inflate_zoo.naming.readers.staged import (
    first_sizes,
    mlp_dims,
    square_windows,
    stage_depths,
    stage_windows,
    wholes,
    windows,
)
from inflate_zoo.networks.swin.config import SwinForm

_TABLE = "attn.relative_position_bias_table"
_CORE = {"patch_embed.weight": 4, f"stages.0.blocks.0.{_TABLE}": 2}


def gather(family: Family, matching: Matching, header: Header) -> FromHeader:
    """Read the architecture off names and shapes.

    Raises:
        AccountingError: A tensor without which nothing can be said is missing or misshapen, or
            blocks are missing.
    """
    stem, table = require_core(family, matching, header, _CORE)
    dim, in_channels, *patch = header[stem].shape
    depths = stage_depths(matching)
    first = "stages.0.blocks.0"
    values: dict[str, Any] = {
        "embed_dim": dim,
        "in_channels": in_channels,
        "patch_size": tuple(patch),
        "depths": depths,
        "num_heads": first_sizes(matching, header, depths, _TABLE, 1),
        "mlp_dims": first_sizes(matching, header, depths, "mlp.fc1.weight", 0),
        "qkv_bias": f"{first}.attn.qkv.bias" in matching.kept,
        "stem_norm": "norm_pre.weight" in matching.kept,
        "stem_bias": "patch_embed.bias" in matching.kept,
        "rows": first_sizes(matching, header, depths, _TABLE, 0),
    }
    told_by = dict.fromkeys(("embed_dim", "in_channels", "patch_size"), f"'{stem}' says")
    told_by["num_heads"] = f"'{table}' and its like say"
    return FromHeader(values, told_by, table)


def make_form(facts: FromHeader, claims: FromConfig, statement: Statement) -> SwinForm:
    """Facts and claims together.

    Raises:
        ConfigError: They make no network, or the windows are not those of the tables.
    """
    known = {name: value for name, value in facts.values.items() if name != "rows"}
    rows = facts.values["rows"]
    claimed = stage_windows(claims, len(rows))
    sides = square_windows(rows, facts.table) if claimed is None else claimed
    _compare_windows(sides, rows, facts, claims, statement)
    stride = [side * 2 ** (len(rows) - 1) for side in known["patch_size"]]
    # Of all published ones the last stage is one window.
    native = tuple(side * step for side, step in zip(sides[-1], stride, strict=True))
    said = ("norm_eps", "outer_eps", "clipping", "padding", "activation")
    with building("Swin transformer", statement):
        return SwinForm(
            **known,
            **{name: claims.values[name] for name in said},
            image_size=claims.values.get("image_size", native),
            windows=sides,
        )


def _compare_windows(
    sides: tuple[tuple[int, int], ...],
    rows: tuple[int, ...],
    facts: FromHeader,
    claims: FromConfig,
    statement: Statement,
) -> None:
    wanted = tuple((2 * height - 1) * (2 * width - 1) for height, width in sides)
    if wanted != rows:
        raise disagreement(
            statement,
            f"{claims.labels['windows']} of each stage is "
            f"{', '.join(plain(side) for side in sides)}: tables of "
            f"{', '.join(map(str, wanted))} rows, '{facts.table}' and its like have "
            f"{', '.join(map(str, rows))}",
        )


FIELDS: Mapping[str, FieldType] = MappingProxyType(
    {
        "embed_dim": whole,
        "depths": wholes,
        "num_heads": wholes,
        "mlp_dims": wholes,
        "in_channels": whole,
        "patch_size": pair,
        "image_size": pair,
        "windows": windows,
        "activation": activation,
        "norm_eps": small,
        "outer_eps": small,
        "qkv_bias": flag,
        "stem_norm": flag,
        "clipping": as_it_is,
        "padding": as_it_is,
    }
)
SWIN = Reader(
    fields=FIELDS,
    required=("norm_eps", "outer_eps", "clipping", "padding", "activation"),
    rules=MappingProxyType({"mlp_dims": ConfigRule(mlp_dims, "embed_dim * mlp_ratio, as widths,")}),
    width="embed_dim",
    gather=gather,
    settled=settled,
    check=no_check,
    make_form=make_form,
    note=no_note,
)
