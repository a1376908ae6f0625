"""Single files that are whole or absent: written beside their place, then renamed."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from inflate_zoo.errors import WriteError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


@cache
def _mask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well.

    Raises:
        WriteError: Disk full, read-only folder, I/O error.
    """
    temporary = path.parent / f".{path.name[:100]}.{uuid.uuid4().hex}.partial"
    try:
        yield temporary
        temporary.chmod(0o666 & ~_mask())  # safetensors makes private files
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise WriteError(
            f"cannot write '{path.name}': {reason}; nothing half-written was left",
            hint="free space or repair the folder, then run the same command again",
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, atomically.

    Raises:
        WriteError: It cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def replace_tensors(path: Path, tensors: Mapping[str, Tensor], state: str) -> None:
    """Write a safetensors file with a text, its metadata entry `state`, atomically.

    Raises:
        WriteError: It cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with replacing(path) as temporary:
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        try:
            save_file(whole, temporary, metadata={"state": state})
        except SafetensorError as error:  # its I/O errors
            raise OSError(None, str(error)) from error


def remove_partial(folder: Path) -> None:
    """Remove what killed writers left in a folder."""
    for pattern in (".*.partial", ".lease-*", ".clock-*"):
        for path in folder.glob(pattern):
            with suppress(OSError):
                path.unlink()
