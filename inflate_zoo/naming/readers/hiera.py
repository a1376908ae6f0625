"""What a header and a config say of a Hiera, which SAM 2's image encoder is, too."""

from collections.abc import Mapping, Sequence
from math import isqrt
from types import MappingProxyType
from typing import Any, NamedTuple

from inflate_zoo.errors import AccountingError, ConfigError
from inflate_zoo.files.header import Header
from inflate_zoo.naming.configs.from_config import (
    ConfigRule,
    FieldType,
    FromConfig,
    Raw,
    Statement,
    activation,
    count,
    indices,
    pair,
    plain,
    positive,
    small,
    stated_number,
    whole,
    wrong,
)
from inflate_zoo.naming.definition import Family
from inflate_zoo.naming.from_header import FromHeader
from inflate_zoo.naming.patterns import Matching, covers
from inflate_zoo.naming.readers import staged
from inflate_zoo.naming.readers.pieces import (
    block_numbers,
    building,
    disagreement,
    no_note,
    require_core,
    settled,
    teller,
)
from inflate_zoo.naming.readers.reader import Reader
from inflate_zoo.naming.readers.staged import MOST_STAGES, size_of, wholes
from inflate_zoo.networks.hiera.config import HieraForm

_CORE = {"patch_embed.weight": 4, "blocks.0.mlp.fc1.weight": 2}
_TABLES = {"pos_embed": 4, "pos_embed_window": 4}  # where there are positions inside windows
_TABLE = {"pos_embed": 3}  # where there are none
_OTHER = ("widths", "first_window", "rows")  # facts that are no field of the form
_UNITS = (8, 4, 2, 1)  # windows of a published Hiera: mask units, which are pooled with the queries
_MASKED = (True, True, False, False)  # its stages of such windows


class _Published(NamedTuple):
    """What no tensor tells of a published network."""

    num_heads: tuple[int, ...]
    windows: tuple[int, ...]
    global_blocks: tuple[int, ...]


def unmasked(depths: Sequence[int], masked: Sequence[bool]) -> tuple[int, ...]:
    """Blocks whose tokens all see one another: the first of a stage is as the stage before has it.

    Args:
        depths: Blocks of each stage.
        masked: Of each stage, whether its blocks are confined to mask units.
    """
    lagged = [masked[max(0, stage - 1)] for stage in range(len(depths))]
    flags = [
        masked[stage] if block else lagged[stage]
        for stage, depth in enumerate(depths)
        for block in range(depth)
    ]
    return tuple(index for index, flag in enumerate(flags) if not flag)


def _plain(heads: int, depths: tuple[int, ...]) -> _Published:
    each = tuple(heads * 2**stage for stage in range(len(depths)))
    return _Published(each, _UNITS, unmasked(depths, _MASKED))


_SAM2_IMAGE = (1024, 1024)  # of every published one
# By width and blocks of each stage. Tiny, small, base, base plus, large, huge (Ryali et al. 2023):
_PLAIN: Mapping[tuple[int, tuple[int, ...]], _Published] = MappingProxyType(
    {
        (dim, depths): _plain(heads, depths)
        for dim, heads, depths in (
            (96, 1, (1, 2, 7, 2)),
            (96, 1, (1, 2, 11, 2)),
            (96, 1, (2, 3, 16, 3)),
            (112, 2, (2, 3, 16, 3)),
            (144, 2, (2, 6, 36, 4)),
            (256, 4, (2, 6, 36, 4)),
        )
    }
)
# Tiny, small, base plus, large of SAM 2 (Ravi et al. 2024):
_OF_SAM2: Mapping[tuple[int, tuple[int, ...]], _Published] = MappingProxyType(
    {
        (96, (1, 2, 7, 2)): _Published((1, 2, 4, 8), (8, 4, 14, 7), (5, 7, 9)),
        (96, (1, 2, 11, 2)): _Published((1, 2, 4, 8), (8, 4, 14, 7), (7, 10, 13)),
        (112, (2, 3, 16, 3)): _Published((2, 4, 8, 16), (8, 4, 14, 7), (12, 16, 20)),
        (144, (2, 6, 36, 4)): _Published((2, 4, 8, 16), (8, 4, 16, 8), (23, 33, 43)),
    }
)


def gather(family: Family, matching: Matching, header: Header) -> FromHeader:
    """Read the architecture off names and shapes.

    Raises:
        AccountingError: A tensor without which nothing can be said is missing or misshapen, or a
            whole block is missing.
    """
    tiled = covers(family, "pos_embed_window")
    found = require_core(family, matching, header, _CORE | (_TABLES if tiled else _TABLE))
    stem, _, table, *tiles = found
    dim, in_channels, *kernel = header[stem].shape
    numbers = block_numbers(family, matching)
    firsts = [i for i in numbers if not i or f"blocks.{i}.proj.weight" in matching.kept]
    if len(firsts) > MOST_STAGES:
        raise AccountingError(
            f"the file has {len(firsts)} stages, blocks that change the width; at most "
            f"{MOST_STAGES} are known",
            hint="is it the right family? 'inflate-zoo families' lists them; --family overrides",
        )
    ends = [*firsts[1:], len(numbers)]
    values: dict[str, Any] = {
        "embed_dim": dim,
        "in_channels": in_channels,
        "kernel": tuple(kernel),
        "depths": tuple(end - first for first, end in zip(firsts, ends, strict=True)),
        "widths": tuple(size_of(matching, header, f"blocks.{i}.norm2.weight", 0) for i in firsts),
        "mlp_dims": tuple(
            size_of(matching, header, f"blocks.{i}.mlp.fc1.weight", 0) for i in firsts
        ),
        "window_positions": tiled,
    }
    told_by = dict.fromkeys(("embed_dim", "in_channels", "kernel"), f"'{stem}' says")
    if tiled:
        values |= {"position_grid": header[table].shape[2:]}
        values |= {"first_window": header[tiles[0]].shape[2]}
        told_by["position_grid"] = f"'{table}' says"
    else:
        values["rows"] = header[table].shape[1]
    told_by["depths"] = teller(family, matching, "blocks.0.norm1.weight") + " with its like"
    return FromHeader(values, told_by, tiles[0] if tiled else table)


def make_form(facts: FromHeader, claims: FromConfig, statement: Statement) -> HieraForm:
    """Facts and claims together.

    Raises:
        ConfigError: They make no network, or nothing tells what no tensor does.
    """
    known = {name: value for name, value in facts.values.items() if name not in _OTHER}
    told = _untold(facts, claims)
    _require_doubling(facts, statement)
    if known["window_positions"]:
        _compare_window(told["windows"], facts, claims, statement)
        image = claims.values.get("image_size", _SAM2_IMAGE)
    else:
        known["position_grid"] = grid = _grid(facts, claims, statement)
        (high, wide), (height, width) = grid, claims.values["patch_size"]
        image = claims.values.get("image_size", (high * height, wide * width))
    blocks = sum(known["depths"])  # an index beyond the last is nobody's, as in the libraries
    free = tuple(index for index in told["global_blocks"] if index < blocks)
    said = ("activation", "norm_eps", "patch_size")
    with building("Hiera", statement):
        return HieraForm(
            **known,
            **{name: claims.values[name] for name in said},
            **{**told, "global_blocks": free},
            image_size=image,
        )


def _untold(facts: FromHeader, claims: FromConfig) -> dict[str, Any]:
    """Heads, windows and global blocks: as claimed, else those of the published network.

    Raises:
        ConfigError: Some are not claimed, and no such network is published.
    """
    claimed = {f: claims.values[f] for f in _Published._fields if f in claims.values}
    if len(claimed) == len(_Published._fields):
        return claimed
    dim, depths = facts.values["embed_dim"], facts.values["depths"]
    kind, networks = ("SAM 2", _OF_SAM2) if "rows" not in facts.values else ("Hiera", _PLAIN)
    published = networks.get((dim, depths))
    if published is None:
        raise ConfigError(
            f"no published {kind} is {dim} wide with {'+'.join(map(str, depths))} blocks: its "
            "heads, windows and global blocks are unknown",
            hint="take the same weights as transformers or timm hold them, with their config.json",
        )
    return {**published._asdict(), **claimed}


def _compare_window(
    windows: tuple[int, ...], facts: FromHeader, claims: FromConfig, statement: Statement
) -> None:
    side = facts.values["first_window"]
    if windows[0] != side:
        raise disagreement(
            statement,
            f"{claims.labels.get('windows', 'windows')} begins with {windows[0]}, "
            f"'{facts.table}' is {side} tokens high",
        )


def _grid(facts: FromHeader, claims: FromConfig, statement: Statement) -> tuple[int, int]:
    """Height and width of a position table of rows: as claimed, else those of a square.

    Raises:
        ConfigError: The table has other rows.
    """
    rows = facts.values["rows"]
    claimed = claims.values.get("position_grid")
    if claimed is None and isqrt(rows) ** 2 != rows:
        raise ConfigError(
            f"'{facts.table}' has {rows} rows, which are no square, and nothing states its grid",
            hint="take the same weights as transformers or timm hold them, with their config.json",
        )
    height, width = claimed or (isqrt(rows), isqrt(rows))
    if height * width != rows:
        raise disagreement(
            statement,
            f"{claims.labels['position_grid']} is {plain((height, width))}, "
            f"'{facts.table}' has {rows} rows",
        )
    return height, width


def _require_doubling(facts: FromHeader, statement: Statement) -> None:
    dim, widths = facts.values["embed_dim"], facts.values["widths"]
    if widths != tuple(dim * 2**stage for stage in range(len(widths))):
        raise ConfigError(
            f"the stages are {', '.join(map(str, widths))} wide behind a stem of {dim}; only "
            "networks whose stages double it are converted",
            hint=statement.hint,
        )


_DEPTHS = [2, 3, 16, 3]  # transformers' own


def _mlp_dims(raw: Raw, _: int) -> tuple[int, ...]:
    widths = wholes("embed_dim_per_stage", raw.get("embed_dim_per_stage", [96, 192, 384, 768]))
    ratio = stated_number(raw, "mlp_ratio", 4.0)
    return tuple(int(width * ratio) for width in widths)


def _position_grid(raw: Raw, _: int) -> tuple[int, int]:
    image, patch = (
        pair(field, raw.get(field, default))
        for field, default in (("image_size", [224, 224]), ("patch_stride", [4, 4]))
    )
    return image[0] // patch[0], image[1] // patch[1]


def _units(raw: Raw, _: int) -> tuple[int, ...]:
    """Side of the mask units of each stage, as poolings halve them down to one token.

    Of more tokens than that the libraries' units are no windows.
    """
    sides = pair("masked_unit_size", raw.get("masked_unit_size", [8, 8]))
    stages = len(wholes("depths", raw.get("depths", _DEPTHS)))
    side = 2 ** (stages - 1)
    if sides != (side, side):
        raise wrong("masked_unit_size", list(sides), f"[{side}, {side}] with {stages} stages")
    return tuple(side >> stage for stage in range(stages))


def _unmasked(raw: Raw, _: int) -> tuple[int, ...]:
    depths = wholes("depths", raw.get("depths", _DEPTHS))
    masked = raw.get("masked_unit_attention", list(_MASKED))
    # Of any other order the libraries differ in what the first block of a stage sees.
    if len(masked) != len(depths) or list(masked) != sorted(masked, reverse=True):
        raise wrong(
            "masked_unit_attention", masked, "true for the first stages and false for the others"
        )
    return unmasked(depths, masked)


def _remark(claims: FromConfig) -> str:
    """What to say of a network that was trained with fewer stages pooled than it is used with."""
    stages, pooled = len(claims.values.get("depths", ())), claims.values.get("trained_pools")
    if pooled is None or pooled == stages - 1:
        return ""
    return (
        f"{claims.labels['trained_pools']} is {pooled}: so its pre-training had it. As its authors "
        f"fine-tune it, here all {stages - 1} stages after the first pool their queries, and the "
        "proof compares with that."
    )


def _check(claims: FromConfig, _: int, statement: Statement) -> None:
    values, labels = claims.values, claims.labels
    kernel, stages = values.get("kernel"), len(values.get("depths", ()))
    wanted: dict[str, Any] = {"query_stride": (2, 2), "widening": 2}
    if kernel is not None:
        wanted["padding"] = (kernel[0] // 2, kernel[1] // 2)
    for field, value in wanted.items():
        if values.get(field, value) != value:
            raise ConfigError(
                f"{statement.name}: {labels[field]} is {plain(values[field])}; only encoders with "
                f"{plain(value)} are converted",
                hint="published encoders have it",
            )
    # A Hiera's masked pre-training pools in one stage less, and has the same tensors.
    for field, fewest in (("pooled_stages", stages - 1), ("trained_pools", stages - 2)):
        pooled = values.get(field, stages - 1)
        if stages and not fewest <= pooled < stages:
            raise ConfigError(
                f"{statement.name}: {labels[field]} is {pooled}; only encoders that pool in every "
                f"stage but the first, here {stages - 1}, are converted",
                hint="published encoders do",
            )


FIELDS: Mapping[str, FieldType] = MappingProxyType(
    {
        "embed_dim": whole,
        "widths": wholes,
        "depths": wholes,
        "num_heads": wholes,
        "mlp_dims": wholes,
        "in_channels": whole,
        "patch_size": pair,
        "kernel": pair,
        "padding": pair,
        "query_stride": pair,
        "pooled_stages": count,
        "trained_pools": count,
        "widening": positive,
        "image_size": pair,
        "position_grid": pair,
        "windows": wholes,
        "global_blocks": indices,
        "activation": activation,
        "norm_eps": small,
    }
)
HIERA = Reader(
    fields=FIELDS,
    required=("norm_eps", "activation", "patch_size"),
    rules=MappingProxyType(
        {
            "sam2_mlp_dims": ConfigRule(_mlp_dims, "embed_dim_per_stage * mlp_ratio, as widths,"),
            "hiera_mlp_dims": ConfigRule(staged.mlp_dims, "embed_dim * mlp_ratio, as widths,"),
            "hiera_position_grid": ConfigRule(_position_grid, "image_size over patch_stride"),
            "hiera_windows": ConfigRule(_units, "masked_unit_size"),
            "hiera_global_blocks": ConfigRule(_unmasked, "masked_unit_attention"),
        }
    ),
    width="embed_dim",
    gather=gather,
    settled=settled,
    check=_check,
    make_form=make_form,
    note=no_note,
    remark=_remark,
)
