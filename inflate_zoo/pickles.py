"""Pickle checkpoints (.bin, .pth, .ckpt, ...): always weights_only, memory-mapped if possible."""

from __future__ import annotations

import argparse
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inflate_zoo.errors import CheckpointError
from inflate_zoo.files import reading, refuse_disguise, require_regular

if TYPE_CHECKING:
    from torch import Tensor

_LEVELS = 12  # deeper nests are no checkpoint's
_MOST_VALUES = 5_000_000  # a pickle can name one list a thousand times, on each level
_NUMBERS = ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")


def load_pickle(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a pickle checkpoint, without running anything it holds.

    Nested dicts and lists become dotted names: `teacher.backbone.cls_token`.

    Args:
        path: The file.

    Returns:
        Name to tensor, on the CPU; mapped from the file unless its format is older than torch 1.6.

    Raises:
        CheckpointError: Damaged, something else, a TorchScript archive, or in need of a global
            that is not on the list of harmless ones.
    """
    require_regular(path)
    with reading(path), path.open("rb") as file:
        start = file.read(512)
    refuse_disguise(path, start)
    if not start:
        raise _damaged(path, "it is empty")
    if start[257:262] == b"ustar":
        raise CheckpointError(
            f"'{path.name}' is a tar archive, not a checkpoint",
            hint="unpack it and name the file of weights in it",
        )
    zipped = start.startswith(b"PK\x03\x04")
    if zipped:
        _check_archive(path)
    content = _load(path, zipped=zipped, is_pickle=zipped or start.startswith(b"\x80"))
    tensors = _collect(path, content)
    if not tensors:
        raise CheckpointError(f"'{path.name}' holds no tensors", hint="name a file of weights")
    return tensors


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"'{path.name}' is damaged: {reason}",
        hint="download the file again and compare its size with the repo's",
    )


def _check_archive(path: Path) -> None:
    """Refuse what torch would not have written: code, or entries that unpack to more."""
    try:
        with reading(path), zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        raise _damaged(path, "its zip directory is missing or broken") from error
    names = [entry.filename for entry in entries]
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        raise CheckpointError(
            f"'{path.name}' is a TorchScript archive, which holds code",
            hint="convert the repo of the weights instead, e.g. openai/clip-vit-base-patch16",
        )
    if not any(name.endswith("/data.pkl") for name in names):
        raise CheckpointError(
            f"'{path.name}' is a zip archive, not a checkpoint",
            hint="unpack it and name the file of weights in it",
        )
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise _damaged(path, "its entries are compressed, which torch never does")


def _harmless() -> list[Any]:
    """Inert types that training checkpoints carry beside their tensors."""
    import numpy as np

    scalar = np.float64(0).__reduce__()[0]
    kinds = [np.dtype, *(type(np.dtype(code)) for code in _NUMBERS)]
    return [argparse.Namespace, scalar, (scalar, "numpy.core.multiarray.scalar"), *kinds]


def _load(path: Path, *, zipped: bool, is_pickle: bool) -> Any:
    import pickle
    import warnings

    import torch

    try:
        with torch.serialization.safe_globals(_harmless()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # notes on old formats are of no use to our users
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        raise _refused(path, str(error), is_pickle=is_pickle) from None
    except (RuntimeError, EOFError, OSError) as error:
        raise _damaged(path, _first_line(path, error)) from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, AssertionError,
            OverflowError, RecursionError) as error:  # fmt: skip
        raise _damaged(path, "it is no checkpoint that torch can read") from error


def _first_line(path: Path, error: BaseException) -> str:
    """What torch said, without the folder, which its messages may name."""
    text = error.strerror or "" if isinstance(error, OSError) else str(error)
    for folder in {str(path.parent.resolve()), str(path.parent)} - {"."}:
        text = text.replace(f"{folder.removesuffix('/')}/", "")
    lines = text.strip().splitlines() or ["it ends too early"]
    return lines[0][:160]


_GLOBALS = (
    r"GLOBAL (\S+)",
    r"``(\S+)`` must be imported",
    r"got <class '([^']+)'>",
    r"unrecognized function (.+)",
)


def _refused(path: Path, text: str, *, is_pickle: bool) -> CheckpointError:
    found = next((match for sign in _GLOBALS if (match := re.search(sign, text))), None)
    hint = "take the safetensors file of the model, or save its state_dict alone with torch.save"
    if found is not None:
        return CheckpointError(
            f"'{path.name}' needs the global '{found.group(1)[:200]}', which loading would run or "
            "build; nothing was run",
            hint=hint,
        )
    if is_pickle and (operand := re.search(r"Unsupported operand (\d+)", text)):
        return CheckpointError(
            f"'{path.name}' is a pickle with instruction {operand.group(1)}, which safe loading "
            "does not know; nothing was run",
            hint=hint,
        )
    return _damaged(path, "it is no checkpoint that torch can read")


def _collect(path: Path, content: Any) -> dict[str, Tensor]:
    """All tensors by dotted name.

    Raises:
        CheckpointError: Two of one name, one that is not plain memory, or far too many values.
    """
    import torch

    tensors: dict[str, Tensor] = {}
    for count, (name, value) in enumerate(_flatten(content, "", _LEVELS)):
        if count > _MOST_VALUES:
            raise _damaged(path, f"it holds more than {_MOST_VALUES:,} values beside its tensors")
        if not isinstance(value, torch.Tensor):
            continue
        if name in tensors:
            raise _damaged(path, f"tensor '{name}' occurs twice")
        if value.layout is not torch.strided or value.is_quantized or value.device.type != "cpu":
            raise CheckpointError(
                f"tensor '{name}' in '{path.name}' is sparse, quantized or without data",
                hint="save it as a plain tensor: tensor.to_dense() or tensor.dequantize()",
            )
        tensors[name] = value
    return tensors


def _flatten(content: Any, prefix: str, levels: int) -> Iterator[tuple[str, Any]]:
    """Every value with its dotted name; what is nested too deeply is passed over."""
    if levels and isinstance(content, Mapping):
        for key, value in content.items():
            if isinstance(key, str | int):
                yield from _flatten(value, f"{prefix}{key}.", levels - 1)
    elif levels and isinstance(content, list | tuple):
        for index, value in enumerate(content):
            yield from _flatten(value, f"{prefix}{index}.", levels - 1)
    else:
        yield prefix.removesuffix("."), content
