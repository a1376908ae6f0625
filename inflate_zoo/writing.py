"""Writing single files: texts, JSON, and tensors as a stream."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from inflate_zoo.safetensors_header import ITEM_BYTES

if TYPE_CHECKING:
    from torch import Tensor

_CHUNK = 16 << 20


def write_text(path: Path, text: str) -> str:
    """Write a text as UTF-8 with line feeds; returns its SHA-256, hexadecimal."""
    content = text.encode("utf-8")
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def json_text(value: object) -> str:
    """Readable JSON, the same text for the same value."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write_safetensors(
    path: Path,
    entries: Sequence[tuple[str, str, tuple[int, ...]]],
    tensors: Iterable[Tensor],
    progress: Callable[[int], None] = lambda _: None,
) -> str:
    """Stream tensors into a safetensors file, one at a time; returns its SHA-256, hexadecimal.

    Args:
        path: The file.
        entries: Name, type (safetensors' name) and shape of each tensor, in file order.
        tensors: The tensors, in the same order, of just these types and shapes.
        progress: Called with the bytes written so far, after each piece.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, dtype, shape in entries:
        end = position + prod(shape) * ITEM_BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        start = len(text).to_bytes(8, "little") + text
        file.write(start)
        digest.update(start)
        written = len(start)
        for tensor in tensors:
            for piece in _pieces(tensor):
                file.write(piece)
                digest.update(piece)
                written += len(piece)
                progress(written)
    return digest.hexdigest()


def _pieces(tensor: Tensor) -> Iterator[memoryview]:
    import torch

    raw = tensor.contiguous().view(-1).view(torch.uint8).numpy().data
    for begin in range(0, len(raw), _CHUNK):
        yield raw[begin : begin + _CHUNK]
