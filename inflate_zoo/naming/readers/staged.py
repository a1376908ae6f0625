"""What readers of hierarchical networks of windows ask of a header and a config."""

import math
import re
from collections.abc import Sequence
from typing import Any

from inflate_zoo.errors import AccountingError, ConfigError
from inflate_zoo.files.header import Header
from inflate_zoo.naming.configs.from_config import (
    FromConfig,
    Raw,
    count,
    stated_number,
    whole,
    wrong,
)
from inflate_zoo.naming.patterns import Matching

MOST_STAGES = 8
_BLOCK = re.compile(r"stages\.(\d+)\.blocks\.(\d+)\.")


def stage_depths(matching: Matching) -> tuple[int, ...]:
    """Blocks of each stage, without gaps.

    Raises:
        AccountingError: A stage or a block lacks all its tensors. A number far off would otherwise
            ask for millions of them.
    """
    found: dict[int, set[int]] = {}
    for name in matching.kept:
        if place := _BLOCK.match(name):
            found.setdefault(int(place[1]), set()).add(int(place[2]))
    depths = tuple(max(found[stage], default=-1) + 1 for stage in sorted(found))
    absent = [stage for stage in range(max(found)) if stage not in found]
    gaps = [s for s, blocks in found.items() if len(blocks) != max(blocks) + 1]
    if absent or gaps or len(depths) > MOST_STAGES:
        raise AccountingError(
            f"the {len(depths)} stages of the file have no blocks without gaps: found "
            + ", ".join(f"{len(blocks)} of {max(blocks) + 1}" for blocks in found.values()),
            details=[f"no block of stage {stage} is there" for stage in absent],
            hint="is the file complete? download it again, or give the whole folder of shards",
        )
    return depths


def first_sizes(
    matching: Matching, header: Header, depths: Sequence[int], name: str, axis: int
) -> tuple[int, ...]:
    """A size of one tensor of each stage's first block.

    Args:
        matching: The names of the header.
        header: Their shapes.
        depths: Blocks of each stage.
        name: Of the tensor, inside a block.
        axis: Which of its sizes.

    Raises:
        AccountingError: It is missing, or of too few axes.
    """
    targets = [f"stages.{stage}.blocks.0.{name}" for stage in range(len(depths))]
    return tuple(size_of(matching, header, target, axis) for target in targets)


def size_of(matching: Matching, header: Header, target: str, axis: int) -> int:
    """A size of one tensor, by our name.

    Raises:
        AccountingError: It is missing, or of too few axes.
    """
    source = matching.kept.get(target, ("",))[0]
    shape = header[source].shape if source else ()
    if len(shape) <= axis:
        raise AccountingError(
            f"'{source or target}' is missing or has no such shape as a block needs",
            hint="is the file complete? download it again, or give the whole folder of shards",
        )
    return shape[axis]


def wholes(label: str, value: Any) -> tuple[int, ...]:
    """A positive whole number for each stage.

    Raises:
        ConfigError: It is something else; likewise in the function below.
    """
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= MOST_STAGES:
        raise wrong(label, value, "a list of positive whole numbers, one for each stage")
    return tuple(whole(label, each) for each in value)


def windows(label: str, value: Any) -> int | tuple[tuple[int, int], ...]:
    """One side of all windows, or height and width of each stage's."""
    if not isinstance(value, list | tuple):
        return whole(label, value)
    pairs = [each for each in value if isinstance(each, list | tuple) and len(each) == 2]
    if len(pairs) != len(value) or not 1 <= len(value) <= MOST_STAGES:
        raise wrong(label, value, "a positive whole number, or [height, width] of each stage")
    return tuple((whole(label, height), whole(label, width)) for height, width in pairs)


def trained_windows(label: str, value: Any) -> tuple[tuple[int, int], ...]:
    """A side, or height and width, of each stage's windows in an earlier training; 0 for none."""
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= MOST_STAGES:
        raise wrong(label, value, "a list of whole numbers from 0, one for each stage")
    pairs = [each if isinstance(each, list | tuple) else (each, each) for each in value]
    if any(len(each) != 2 for each in pairs):
        raise wrong(label, value, "a list of whole numbers, or of [height, width] of each stage")
    return tuple((count(label, height), count(label, width)) for height, width in pairs)


def mlp_dims(raw: Raw, _: int) -> tuple[int, ...]:
    """Width inside the feed-forward part of each stage, as transformers computes it."""
    depths = wholes("depths", raw.get("depths", [2, 2, 6, 2]))
    width = int(stated_number(raw, "embed_dim", 96))
    ratio = stated_number(raw, "mlp_ratio", 4.0)
    return tuple(int(ratio * (width * 2**stage)) for stage in range(len(depths)))


def stage_windows(claims: FromConfig, stages: int) -> tuple[tuple[int, int], ...] | None:
    """The claimed window (height, width) of each stage; `None` where nothing claims any."""
    claimed = claims.values.get("windows")
    return ((claimed, claimed),) * stages if isinstance(claimed, int) else claimed


def square_windows(rows: Sequence[int], table: str) -> tuple[tuple[int, int], ...]:
    """The windows of tables of relative positions, taken for square as all published ones are.

    Raises:
        ConfigError: A table has no such number of rows.
    """
    sides = [(math.isqrt(count) + 1) // 2 for count in rows]
    if any((2 * side - 1) ** 2 != count for side, count in zip(sides, rows, strict=True)):
        raise ConfigError(
            f"'{table}' and its like have {', '.join(map(str, rows))} rows, which are those of no "
            "square windows",
            hint="name the architecture: --arch NAME",
        )
    return tuple((side, side) for side in sides)
