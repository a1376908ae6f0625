"""What a header and a config say of a SwinV2."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from inflate_zoo.errors import ConfigError
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
    small,
    whole,
)
from inflate_zoo.naming.definition import Family
from inflate_zoo.naming.from_header import FromHeader
from inflate_zoo.naming.patterns import Matching
from inflate_zoo.naming.readers.pieces import building, no_check, no_note, require_core, settled
from inflate_zoo.naming.readers.reader import Reader
from inflate_zoo.naming.readers.staged import (
    first_sizes,
    mlp_dims,
    stage_depths,
    trained_windows,
    wholes,
    windows,
)
from inflate_zoo.networks.swinv2.config import SwinV2Form

_SCALE, _INDEX = "attn.logit_scale", "attn.relative_position_index"
_SAID = ("norm_eps", "outer_eps", "clipping", "padding", "activation")
_CORE = {"patch_embed.weight": 4, f"stages.0.blocks.0.{_SCALE}": 3}


def gather(family: Family, matching: Matching, header: Header) -> FromHeader:
    """Read the architecture off names and shapes.

    Raises:
        AccountingError: A tensor without which nothing can be said is missing or misshapen, or
            blocks are missing.
    """
    stem, scale = require_core(family, matching, header, _CORE)
    dim, in_channels, *patch = header[stem].shape
    depths = stage_depths(matching)
    first = "stages.0.blocks.0"
    values: dict[str, Any] = {
        "embed_dim": dim,
        "in_channels": in_channels,
        "patch_size": tuple(patch),
        "depths": depths,
        "num_heads": first_sizes(matching, header, depths, _SCALE, 0),
        "mlp_dims": first_sizes(matching, header, depths, "mlp.fc1.weight", 0),
        "qv_bias": f"{first}.attn.q_bias" in matching.kept,
        "stem_bias": "patch_embed.bias" in matching.kept,
    }
    scales = [matching.kept[f"stages.{s}.blocks.0.{_SCALE}"][0] for s in range(len(depths))]
    indices = [f"{name.removesuffix(_SCALE)}{_INDEX}" for name in scales]
    shapes = [header[name].shape if name in header else () for name in indices]
    values["tokens"] = tuple(shape[0] if shape else 0 for shape in shapes)
    told_by = dict.fromkeys(("embed_dim", "in_channels", "patch_size"), f"'{stem}' says")
    told_by["num_heads"] = f"'{scale}' and its like say"
    return FromHeader(values, told_by, indices[0])


def make_form(facts: FromHeader, claims: FromConfig, statement: Statement) -> SwinV2Form:
    """Facts and claims together.

    Raises:
        ConfigError: They make no network, or nothing tells the windows.
    """
    known = {name: value for name, value in facts.values.items() if name != "tokens"}
    stages, claimed = len(known["depths"]), claims.values.get("windows")
    image: Any = claims.values.get("image_size")
    if claimed is None:
        claimed = _indexed_windows(facts)
    elif isinstance(claimed, int):  # transformers' windows, which follow the height of the grid
        grids = [image[0] // known["patch_size"][0] // 2**stage for stage in range(stages)]
        claimed = tuple((min(claimed, grid),) * 2 for grid in grids)
    stride = [side * 2 ** (stages - 1) for side in known["patch_size"]]
    # Of all published ones the last stage is one window.
    native = tuple(side * step for side, step in zip(claimed[-1], stride, strict=True))
    with building("SwinV2", statement):
        return SwinV2Form(
            **known,
            **{name: claims.values[name] for name in _SAID},
            image_size=image or native,
            windows=claimed,
            pretrained_windows=claims.values["pretrained_windows"][:stages],
        )


def _indexed_windows(facts: FromHeader) -> tuple[tuple[int, int], ...]:
    """The windows of the indices of positions, taken for square as all published ones are.

    Raises:
        ConfigError: An index is missing, or is that of no square window.
    """
    tokens = facts.values["tokens"]
    sides = [math.isqrt(count) for count in tokens]
    if 0 in sides or [side**2 for side in sides] != list(tokens):
        raise ConfigError(
            f"nothing tells the windows: '{facts.table}' or its like of another stage is missing, "
            "or that of no square window",
            hint="take the file as it was published, with the indices of positions in it",
        )
    return tuple((side, side) for side in sides)


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
        "pretrained_windows": trained_windows,
        "qv_bias": flag,
        "clipping": as_it_is,
        "padding": as_it_is,
    }
)
SWINV2 = Reader(
    fields=FIELDS,
    required=(*_SAID, "pretrained_windows"),
    rules=MappingProxyType({"mlp_dims": ConfigRule(mlp_dims, "embed_dim * mlp_ratio, as widths,")}),
    width="embed_dim",
    gather=gather,
    settled=settled,
    check=no_check,
    make_form=make_form,
    note=no_note,
)
