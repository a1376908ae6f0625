"""What a header and a config say of a DINOv3."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from inflate_zoo.errors import AccountingError, ConfigError, UnsupportedModelError
from inflate_zoo.files.dtypes import FLOATS
from inflate_zoo.files.header import Header, TensorInfo
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
from inflate_zoo.naming.patterns import WHOLE, Matching, bare_name, is_optional
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

_CORE = {"patch_embed.weight": 4, "blocks.0.mlp.fc1.weight": 2}
_WIDEST = 4096  # the 7B, whose heads alone are 128 wide


def gather(family: Family, matching: Matching, header: Header) -> FromHeader:
    """Read the architecture off names and shapes.

    Raises:
        AccountingError: A tensor without which nothing can be said is missing or misshapen, or a
            whole block is missing.
        UnsupportedModelError: Keys have a bias.
    """
    core = _CORE if _is_without_registers(family, matching) else _CORE | {"reg_token": 3}
    stem, fc1, *registers = require_core(family, matching, header, core)
    _require_masked_keys(matching, header)
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
        "reg_tokens": header[registers[0]].shape[1] if registers else 0,
    }
    telling = {
        "depth": f"blocks.{len(numbers) - 1}.norm1.weight",
        "gated": "blocks.0.mlp.gate.weight",
        "qv_bias": "blocks.0.attn.q_bias",
        "reg_tokens": "reg_token",
    }
    told_by = dict.fromkeys(("embed_dim", "in_channels", "patch_size"), f"'{stem}' says")
    told_by["mlp_dim"] = f"'{fc1}' says"
    told_by |= {field: teller(family, matching, target) for field, target in telling.items()}
    for periods in _periods(matching):
        values["num_heads"] = _heads(periods, header[periods], dim)
        told_by["num_heads"] = f"'{periods}' says"
    return FromHeader(values, told_by)


def _periods(matching: Matching) -> list[str]:
    """The buffer of rotary periods in Meta's own files, where a file has it."""
    bare = "rope_embed.periods"
    return [name for name in matching.dropped if bare_name(matching.prefix, name) == bare]


def _is_without_registers(family: Family, matching: Matching) -> bool:
    """Whether it may lack them: without either, other networks with such blocks look like it."""
    absent = "reg_token" not in matching.kept and is_optional(family, "reg_token")
    return absent and bool(_periods(matching))


def _heads(name: str, periods: TensorInfo, width: int) -> int:
    """Heads of a network with such periods: each has one for every four of its channels.

    Raises:
        AccountingError: No number of heads has them.
    """
    channels = 4 * periods.shape[0] if len(periods.shape) == 1 else 0
    if channels == 0 or width % channels or periods.dtype not in FLOATS:
        raise AccountingError(
            f"'{name}' has an unexpected shape or type: {periods}",
            hint=f"it is one period for every four channels of a head, and heads divide {width}",
        )
    return width // channels


def _require_masked_keys(matching: Matching, header: Header) -> None:
    """Hold keys to having no bias, as the mask beside a bias of query, key and value says.

    Raises:
        UnsupportedModelError: There is no mask: rotary positions do not cancel such a bias.
        AccountingError: The mask is no such mask.
    """
    split = [name for name, share in matching.shares.items() if share != WHOLE]
    for bias in (matching.kept[name][0] for name in split if name.endswith(".attn.q_bias")):
        mask = header.get(f"{bias}_mask")
        if mask is None:
            raise UnsupportedModelError(
                f"a DINOv3 whose keys have a bias is not converted: beside '{bias}' there is no "
                f"'{bias}_mask'",
                hint="trained with mask_k_bias, as all published ones are, it has one: save the "
                "whole state_dict(), buffers too",
            )
        if mask.shape != header[bias].shape or mask.dtype not in FLOATS:
            raise AccountingError(
                f"'{bias}_mask' has an unexpected shape or type: {mask}",
                hint=f"it masks '{bias}' {header[bias]}; save the network as it was trained",
            )


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
    own = {field: known[field] for field in told}
    if facts.values["gated"] and "gate_activation" in known:
        own["activation"] = known["gate_activation"]
    with building("DINOv3", statement):
        return Dinov3Form(**{**facts.values, **own}, image_grid=grid)


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


def _heads_by_width(_: Raw, embed_dim: int) -> int:
    """Heads of the published networks, which are 64 wide in all but the widest.

    Raises:
        ConfigError: None is of that width, and so many heads of 64 neither.
    """
    if embed_dim % 64 and embed_dim > 64:
        raise ConfigError(
            f"the tensors are {embed_dim} wide, no multiple of 64: the number of heads is unknown",
            hint="take the same weights as transformers or timm hold them, whose config states it",
        )
    return 32 if embed_dim == _WIDEST else max(1, embed_dim // 64)


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
        "gate_activation": activation,
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
        {
            "dinov3_qv_bias": ConfigRule(_query_and_value, "query_bias and value_bias"),
            "dinov3_heads": ConfigRule(_heads_by_width, "num_heads"),
        }
    ),
    width="embed_dim",
    gather=gather,
    settled=settled,
    check=check_heads,
    make_form=make_form,
    note=no_note,
)
