"""What a header says of a Video-Swin, which is 3D already."""

from types import MappingProxyType
from typing import Any

from inflate_zoo.errors import AccountingError
from inflate_zoo.files.header import Header
from inflate_zoo.naming.configs.from_config import FromConfig, Statement
from inflate_zoo.naming.definition import Family
from inflate_zoo.naming.from_header import FromHeader
from inflate_zoo.naming.patterns import Matching
from inflate_zoo.naming.readers.pieces import building, no_check, no_note, require_core, settled
from inflate_zoo.naming.readers.reader import Reader
from inflate_zoo.naming.readers.staged import first_sizes, stage_depths
from inflate_zoo.naming.readers.swin import FIELDS
from inflate_zoo.networks.layers.grids import MOST_WINDOW
from inflate_zoo.networks.swin.config import VideoSwinForm

_TABLE = "attn.relative_position_bias_table"
_INDEX = "attn.relative_position_index"
_CORE = {"patch_embed.weight": 5, f"stages.0.blocks.0.{_TABLE}": 2}
_SAID = ("activation", "norm_eps", "outer_eps", "clipping", "padding")


def gather(family: Family, matching: Matching, header: Header) -> FromHeader:
    """Read the architecture off names and shapes.

    Raises:
        AccountingError: A tensor without which nothing can be said is missing or misshapen, blocks
            are missing, or the windows cannot be told.
    """
    stem, table = require_core(family, matching, header, _CORE)
    dim, in_channels, patch_depth, *patch = header[stem].shape
    depths = stage_depths(matching)
    deep, *plane = _window(table, header)
    values: dict[str, Any] = {
        "embed_dim": dim,
        "in_channels": in_channels,
        "patch_size": tuple(patch),
        "patch_depth": patch_depth,
        "depths": depths,
        "num_heads": first_sizes(matching, header, depths, _TABLE, 1),
        "mlp_dims": first_sizes(matching, header, depths, "mlp.fc1.weight", 0),
        "windows": (tuple(plane),) * len(depths),
        "depth_window": deep,
        "qkv_bias": "stages.0.blocks.0.attn.qkv.bias" in matching.kept,
        "stem_norm": "norm_pre.weight" in matching.kept,
        "stem_bias": "patch_embed.bias" in matching.kept,
    }
    told_by = dict.fromkeys(("embed_dim", "in_channels", "patch_size"), f"'{stem}' says")
    return FromHeader(values, told_by, table)


def _window(table: str, header: Header) -> tuple[int, int, int]:
    """Depth, height and width of the windows, which are square in the plane.

    The rows of a table fit several windows; the index of positions beside it has as many rows as a
    window has tokens, which leaves one.

    Raises:
        AccountingError: There is no such index, or none that fits the table.
    """
    index = f"{table.removesuffix(_TABLE)}{_INDEX}"
    rows = header[table].shape[0]
    tokens = header[index].shape[0] if index in header and header[index].shape else 0
    for side in range(1, MOST_WINDOW + 1):
        deep, rest = divmod(tokens, side * side)
        if deep and not rest and (2 * deep - 1) * (2 * side - 1) ** 2 == rows:
            return deep, side, side
    found = f"'{index}' {header[index]}" if index in header else f"'{index}' is missing"
    raise AccountingError(
        f"'{table}' has {rows} rows, and nothing tells of which windows: {found}",
        hint="take the file as it was published, with the indices of positions in it",
    )


def make_form(facts: FromHeader, claims: FromConfig, statement: Statement) -> VideoSwinForm:
    """Facts and claims together.

    Raises:
        ConfigError: They make no network.
    """
    known = facts.values
    # Of all published ones the last stage is one window in the plane.
    steps = [side * 2 ** (len(known["depths"]) - 1) for side in known["patch_size"]]
    image = tuple(side * step for side, step in zip(known["windows"][-1], steps, strict=True))
    with building("Video-Swin", statement):
        return VideoSwinForm(
            **known, **{name: claims.values[name] for name in _SAID}, image_size=image
        )


VIDEO_SWIN = Reader(
    fields=FIELDS,
    required=_SAID,
    rules=MappingProxyType({}),
    width="embed_dim",
    gather=gather,
    settled=settled,
    check=no_check,
    make_form=make_form,
    note=no_note,
)
