"""What a header and a config say of a SwinV2."""

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

_SCALE = "attn.logit_scale"
_SAID = ("norm_eps", "outer_eps", "clipping", "padding", "activation", "image_size")
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
    told_by = dict.fromkeys(("embed_dim", "in_channels", "patch_size"), f"'{stem}' says")
    told_by["num_heads"] = f"'{scale}' and its like say"
    return FromHeader(values, told_by)


def make_form(facts: FromHeader, claims: FromConfig, statement: Statement) -> SwinV2Form:
    """Facts and claims together.

    Raises:
        ConfigError: They make no network.
    """
    known, claimed = facts.values, claims.values["windows"]
    stages, image = len(known["depths"]), claims.values["image_size"]
    if isinstance(claimed, int):  # transformers' windows, which follow the height of the grid
        grids = [image[0] // known["patch_size"][0] // 2**stage for stage in range(stages)]
        claimed = tuple((min(claimed, grid),) * 2 for grid in grids)
    with building("SwinV2", statement):
        return SwinV2Form(
            **known,
            **{name: claims.values[name] for name in _SAID},
            windows=claimed,
            pretrained_windows=claims.values["pretrained_windows"][:stages],
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
        "pretrained_windows": trained_windows,
        "qv_bias": flag,
        "clipping": as_it_is,
        "padding": as_it_is,
    }
)
SWINV2 = Reader(
    fields=FIELDS,
    required=(*_SAID, "windows", "pretrained_windows"),
    rules=MappingProxyType({"mlp_dims": ConfigRule(mlp_dims, "embed_dim * mlp_ratio, as widths,")}),
    width="embed_dim",
    gather=gather,
    settled=settled,
    check=no_check,
    make_form=make_form,
    note=no_note,
)
