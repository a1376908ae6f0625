"""What is written into files: texts, JSON, and tensors as a stream."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from inflate_zoo.files.dtypes import ITEM_BYTES
from inflate_zoo.files.foreign import parsing, reason_of
from inflate_zoo.files.writing import whole_files

if TYPE_CHECKING:
    from pydantic import BaseModel
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


def form_text(form: BaseModel) -> str:
    """A form as readable JSON, from which the same form is read."""
    return json_text(form.model_dump(mode="json"))


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


def replace_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    state: str,
    *,
    durable: bool = False,
    guard: Callable[[], None] = lambda: None,
) -> None:
    """Write a safetensors file with a text, its metadata entry `state`, atomically.

    Args:
        path: The file.
        tensors: By name, on any device.
        state: The text.
        durable: Wait until it is on the disk.
        guard: Called once all is written, before it takes its place; may raise instead.

    Raises:
        WriteError: It cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    def told(error: Exception) -> Exception:
        failed = isinstance(error, SafetensorError)  # its I/O errors
        return OSError(None, reason_of(error)) if failed else error

    with whole_files.replacing(path, durable=durable) as temporary:
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        with parsing(told):
            save_file(whole, temporary, metadata={"state": state})
        guard()
