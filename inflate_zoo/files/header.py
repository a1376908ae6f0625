"""The header of a safetensors file, read strictly."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inflate_zoo.errors import CheckpointError
from inflate_zoo.files.budgets import SAFETENSORS_HEADER
from inflate_zoo.files.dtypes import ITEM_BYTES
from inflate_zoo.files.foreign import json_value, parsing, reason_of
from inflate_zoo.files.reading import reading, refuse_disguise, require_regular

_MOST_DIMENSIONS = 64  # torch's own limit


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What a header says of a tensor: safetensors' name of the type, and the shape."""

    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype} [{', '.join(map(str, self.shape))}]"


Header = Mapping[str, TensorInfo]


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Read and check the header of a safetensors file.

    Args:
        path: The file.

    Returns:
        Name to type and shape.

    Raises:
        CheckpointError: The file is damaged or is something else; names tensor and offsets.
    """
    require_regular(path)
    with reading(path), path.open("rb") as file:
        size = path.stat().st_size
        start = file.read(512)
        refuse_disguise(path, start)
        if size < 8:
            raise _damaged(path, f"it has {size} bytes, a header needs at least 8")
        if start.startswith(b"PK\x03\x04"):
            raise CheckpointError(
                f"'{path.name}' is a pickle checkpoint (zip), not safetensors",
                hint="rename it to end in .pth or .bin and convert that",
            )
        length = int.from_bytes(start[:8], "little")
        if length > SAFETENSORS_HEADER:
            raise _damaged(
                path, f"its header claims {length} bytes; the limit is {SAFETENSORS_HEADER}"
            )
        if length > size - 8:
            raise _damaged(path, f"its header claims {length} bytes, the file has {size}")
        file.seek(8)
        text = file.read(length)

    def refused(error: Exception) -> CheckpointError:
        return _damaged(path, f"bad header: {reason_of(error)}")

    with parsing(lambda _: _damaged(path, "bad header: it is no valid JSON")):
        header = json_value(text.decode("utf-8"), refused, unique=True)
    return _checked(path, header, size - 8 - length)


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"'{path.name}' is damaged: {reason}",
        hint="download the file again and compare its size with the repo's",
    )


def _checked(path: Path, header: object, data_bytes: int) -> dict[str, TensorInfo]:
    if not isinstance(header, dict):
        raise _damaged(path, "bad header: not an object")
    metadata = header.pop("__metadata__", None)
    metadata = {} if metadata is None else metadata
    texts = isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())
    if not texts:
        raise _damaged(path, "bad header: __metadata__ holds something that is not text")
    infos: dict[str, TensorInfo] = {}
    spans: list[tuple[int, int, str]] = []
    for name, entry in header.items():
        if not name:
            raise _damaged(path, "bad header: a tensor has an empty name")
        infos[name], begin, end = _entry(path, name, entry)
        spans.append((begin, end, name))
    position = 0
    for begin, end, name in sorted(spans):
        if begin != position:
            kind = "overlap" if begin < position else "hole"
            raise _damaged(
                path, f"{kind} before '{name}': it begins at byte {begin}, expected {position}"
            )
        position = end
    if position != data_bytes:
        last = max(spans)[2] if spans else "the header"
        what = f"the data ends at byte {position} after '{last}', the file has {data_bytes}"
        raise _damaged(
            path, f"{'truncated' if position > data_bytes else 'trailing bytes'}: {what}"
        )
    return infos


def _entry(path: Path, name: str, entry: object) -> tuple[TensorInfo, int, int]:
    fields: Mapping[str, Any] = entry if isinstance(entry, dict) else {}
    dtype, shape, offsets = (fields.get(key) for key in ("dtype", "shape", "data_offsets"))
    whole = [
        isinstance(values, list)
        and len(values) <= _MOST_DIMENSIONS
        and all(type(v) is int and 0 <= v < 1 << 63 for v in values)
        for values in (shape, offsets)
    ]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES or not all(whole):
        raise _damaged(path, f"bad header: '{name}' has dtype {dtype!r}, shape {shape!r}"[:200])
    if len(offsets) != 2 or offsets[0] > offsets[1]:  # type: ignore[arg-type,index]
        raise _damaged(path, f"bad header: '{name}' has offsets {offsets!r}"[:200])
    begin, end = offsets  # type: ignore[misc]
    expected = math.prod(shape) * ITEM_BYTES[dtype]  # type: ignore[arg-type]
    if end - begin != expected:
        raise _damaged(
            path,
            f"'{name}' {dtype} {shape} needs {expected} bytes, "
            f"its offsets [{begin}, {end}] give {end - begin}",
        )
    return TensorInfo(dtype, tuple(shape)), begin, end  # type: ignore[arg-type]
