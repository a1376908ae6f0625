"""Writing: a whole folder or nothing.

Everything is written into a staging folder beside the target. A new target appears by one rename;
an existing one (`force`) gets its files by renames, one by one, while a marker folder inside it
says so: a folder that holds the marker was left by a killed replacement.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from inflate_zoo.errors import OutputExistsError, WriteError
from inflate_zoo.safetensors_header import ITEM_BYTES

if TYPE_CHECKING:
    from torch import Tensor

try:
    import fcntl
except ImportError:  # Windows: stale staging folders then stay until removed by hand
    fcntl = None  # type: ignore[assignment]

MARKER = ".inflate-zoo-replacing"
_CHUNK = 16 << 20


def check_target(target: Path, *, force: bool) -> None:
    """Refuse a target that holds something.

    Raises:
        OutputExistsError: The target is no empty or absent folder and `force` is off, or is no
            folder at all.
    """
    if target.is_dir() and not target.is_symlink():
        if not force and any(target.iterdir()):
            raise OutputExistsError(
                f"the output folder '{target.name}' is not empty",
                hint="choose another with --out, or replace our files in it with --force",
            )
    elif target.exists() or target.is_symlink():
        raise OutputExistsError(
            f"the output '{target.name}' exists and is no folder", hint="choose another with --out"
        )


@contextmanager
def staged(target: Path, order: Sequence[str], *, force: bool) -> Iterator[Path]:
    """A staging folder whose files become the target's when the block ends well.

    Args:
        target: The output folder.
        order: The files to publish, the one that vouches for the others last.
        force: Replace these files in a folder that holds something.

    Yields:
        The staging folder. It is removed if the block raises.

    Raises:
        OutputExistsError: The target holds something, now or when the block ends.
        WriteError: Disk full, read-only folder, I/O error.
    """
    check_target(target, force=force)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(target)
        stage, lock = _make_stage(target)
    except OSError as error:
        raise _write_error(target, error) from error
    try:
        yield stage
        _publish(stage, target, order, force=force)
    except OSError as error:
        raise _write_error(target, error) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _write_error(target: Path, error: OSError) -> WriteError:
    reason = error.strerror or str(error) or type(error).__name__
    return WriteError(
        f"cannot write '{target.name}': {reason}; nothing half-written was left",
        hint="free space or choose another folder with --out, then run the same command again",
    )


def _make_stage(target: Path) -> tuple[Path, int | None]:
    while True:
        stage = Path(
            tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
        )
        if fcntl is None:
            return stage, None
        try:
            lock = os.open(stage, os.O_RDONLY)
        except FileNotFoundError:
            continue  # another process took it for stale before it was locked
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stage.exists():
            return stage, lock
        os.close(lock)


def _remove_stale(target: Path) -> None:
    """Remove staging folders of killed processes: the kernel released their locks."""
    if fcntl is None:
        return
    for stage in target.parent.glob(f".{target.name}.*.partial"):
        try:
            lock = os.open(stage, os.O_RDONLY)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(stage, ignore_errors=True)
        except OSError:
            pass  # its writer is alive
        finally:
            os.close(lock)


def _publish(stage: Path, target: Path, order: Sequence[str], *, force: bool) -> None:
    mask = os.umask(0)
    os.umask(mask)
    for name in order:  # temporary files are private; the published ones follow the umask
        (stage / name).chmod(0o666 & ~mask)
    stage.chmod(0o777 & ~mask)
    if not target.is_dir() or not any(target.iterdir()):
        try:
            stage.rename(target)
        except OSError:
            if not (target.is_dir() and any(target.iterdir())):
                raise
            if not force:
                raise OutputExistsError(
                    f"another process filled the output folder '{target.name}' meanwhile",
                    hint="choose another with --out",
                ) from None
        else:
            return
    marker = target / MARKER
    marker.mkdir(exist_ok=True)
    for name in order:
        (stage / name).replace(target / name)
    marker.rmdir()


def write_text(path: Path, text: str) -> str:
    """Write a text as UTF-8 with line feeds.

    Returns:
        Its SHA-256, hexadecimal.
    """
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
    """Stream tensors into a safetensors file; only one is held at a time.

    Args:
        path: The file.
        entries: Name, type (safetensors' name) and shape of each tensor, in file order.
        tensors: The tensors, in the same order, of just these types and shapes.
        progress: Called with the bytes written so far, after each piece.

    Returns:
        SHA-256 of the file, hexadecimal.

    Raises:
        OSError: The file cannot be written.
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

    raw = memoryview(tensor.contiguous().view(-1).view(torch.uint8).numpy())
    for begin in range(0, len(raw), _CHUNK):
        yield raw[begin : begin + _CHUNK]
