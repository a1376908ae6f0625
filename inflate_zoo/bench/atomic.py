"""Tensors in files that are whole or absent, and what killed writers of a trial left."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from inflate_zoo import whole_files
from inflate_zoo.foreign import parsing, reason_of

if TYPE_CHECKING:
    from torch import Tensor


def replace_tensors(
    path: Path, tensors: Mapping[str, Tensor], state: str, *, durable: bool = False
) -> None:
    """Write a safetensors file with a text, its metadata entry `state`, atomically.

    Args:
        path: The file.
        tensors: By name, on any device.
        state: The text.
        durable: Wait until it is on the disk.

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


def remove_partial(folder: Path) -> None:
    """Remove what killed writers left in a trial's folder."""
    whole_files.remove_partial(folder)
    for path in folder.glob(".clock-*"):
        with suppress(OSError):
            path.unlink()
