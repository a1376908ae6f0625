"""What a header and a config say of SAM 2's image encoder, a Hiera."""

from collections.abc import Mapping
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
    disagreement,
    no_note,
    require_core,
    settled,
    teller,
)
from inflate_zoo.naming.readers.reader import Reader
from inflate_zoo.naming.readers.staged import MOST_STAGES, size_of, wholes
from inflate_zoo.networks.sam2.config import Sam2Form

_CORE = {"patch_embed.weight": 4, "pos_embed": 4, "pos_embed_window": 4,
         "blocks.0.mlp.fc1.weight": 2}  # fmt: skip
_OTHER = ("widths", "first_window")  # facts that are no field of the form
_IMAGE = (1024, 1024)  # of every published one


class _Published(NamedTuple):
    """What no tensor tells of a published network."""

    num_heads: tuple[int, ...]
    windows: tuple[int, ...]
    global_blocks: tuple[int, ...]


# Tiny, small, base plus, large (Ravi et al. 2024), by width and blocks of each stage.
_NETWORKS: Mapping[tuple[int, tuple[int, ...]], _Published] = MappingProxyType(
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
    stem, table, tile, _ = require_core(family, matching, header, _CORE)
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
        "position_grid": header[table].shape[2:],
        "first_window": header[tile].shape[2],
    }
    told_by = dict.fromkeys(("embed_dim", "in_channels", "kernel"), f"'{stem}' says")
    told_by["position_grid"] = f"'{table}' says"
    told_by["depths"] = teller(family, matching, "blocks.0.norm1.weight") + " with its like"
    return FromHeader(values, told_by, tile)


def make_form(facts: FromHeader, claims: FromConfig, statement: Statement) -> Sam2Form:
    """Facts and claims together.

    Raises:
        ConfigError: They make no network, or nothing tells what no tensor does.
    """
    known = {name: value for name, value in facts.values.items() if name not in _OTHER}
    told = _untold(facts, claims)
    _compare_window(told["windows"], facts, claims, statement)
    _require_doubling(facts, statement)
    blocks = sum(known["depths"])  # an index beyond the last is nobody's, as in the libraries
    free = tuple(index for index in told["global_blocks"] if index < blocks)
    said = ("activation", "norm_eps", "patch_size")
    with building("SAM 2 encoder", statement):
        return Sam2Form(
            **known,
            **{name: claims.values[name] for name in said},
            **{**told, "global_blocks": free},
            image_size=claims.values.get("image_size", _IMAGE),
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
    published = _NETWORKS.get((dim, depths))
    if published is None:
        raise ConfigError(
            f"no published SAM 2 is {dim} wide with {'+'.join(map(str, depths))} blocks: its "
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


def _require_doubling(facts: FromHeader, statement: Statement) -> None:
    dim, widths = facts.values["embed_dim"], facts.values["widths"]
    if widths != tuple(dim * 2**stage for stage in range(len(widths))):
        raise ConfigError(
            f"the stages are {', '.join(map(str, widths))} wide behind a stem of {dim}; only "
            "networks whose stages double it are converted",
            hint=statement.hint,
        )


def _mlp_dims(raw: Raw, _: int) -> tuple[int, ...]:
    widths = wholes("embed_dim_per_stage", raw.get("embed_dim_per_stage", [96, 192, 384, 768]))
    ratio = stated_number(raw, "mlp_ratio", 4.0)
    return tuple(int(width * ratio) for width in widths)


def _check(claims: FromConfig, _: int, statement: Statement) -> None:
    values, labels = claims.values, claims.labels
    kernel, stages = values.get("kernel"), len(values.get("depths", ()))
    wanted = {"query_stride": (2, 2)}
    if kernel is not None:
        wanted["padding"] = (kernel[0] // 2, kernel[1] // 2)
    for field, value in wanted.items():
        if values.get(field, value) != value:
            raise ConfigError(
                f"{statement.name}: {labels[field]} is {plain(values[field])}; only encoders with "
                f"{plain(value)} are converted",
                hint="published SAM 2 encoders have it",
            )
    pooled = values.get("pooled_stages", stages - 1)
    if stages and pooled != stages - 1:
        raise ConfigError(
            f"{statement.name}: {labels['pooled_stages']} is {pooled}; only encoders that pool in "
            f"every stage but the first, here {stages - 1}, are converted",
            hint="published SAM 2 encoders do",
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
        "image_size": pair,
        "position_grid": pair,
        "windows": wholes,
        "global_blocks": indices,
        "activation": activation,
        "norm_eps": small,
    }
)
SAM2 = Reader(
    fields=FIELDS,
    required=("norm_eps", "activation", "patch_size"),
    rules=MappingProxyType(
        {"sam2_mlp_dims": ConfigRule(_mlp_dims, "embed_dim_per_stage * mlp_ratio, as widths,")}
    ),
    width="embed_dim",
    gather=gather,
    settled=settled,
    check=_check,
    make_form=make_form,
    note=no_note,
)
